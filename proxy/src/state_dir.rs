//! The folder of what outlives the process: keys, sessions, the audit log.
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    #[error("state folder {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("state folder {}: anybody may write to it, and so put keys and sessions of their own there; `chmod o-w` it, \
             and look at what it holds", .0.display())]
    OpenToAll(PathBuf),
}

/// Made for its owner alone. One that was there may be its group's, as volumes of Kubernetes are, and nobody else's.
///
/// # Errors
/// 1. it cannot be made; 2. anybody may write to it: who can replace a file here can be whoever they like.
pub fn make(path: &Path) -> Result<(), StateDirError> {
    let failed = |why| StateDirError::Io { path: path.to_owned(), why };
    for folder in [path, &path.join("keys")] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        if fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o002 != 0 {
            return Err(StateDirError::OpenToAll(folder.to_owned()));
        }
    }
    Ok(())
}

/// Bytes of the file system that holds it: all, and those that we may still write.
///
/// # Errors
/// It cannot be asked.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Bytes of the files in a folder, not below it.
///
/// # Errors
/// It cannot be read.
pub fn bytes_in(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum: u64, entry| Ok(sum.saturating_add(entry?.metadata()?.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_and_size_are_what_the_system_says() {
        let folder = tempfile::tempdir().unwrap();
        let before = bytes_in(folder.path()).unwrap();
        fs::write(folder.path().join("a"), [0; 1000]).unwrap();
        fs::write(folder.path().join("b"), [0; 24]).unwrap();
        assert_eq!(bytes_in(folder.path()).unwrap(), before + 1024);
        let (all, free) = space(folder.path()).unwrap();
        assert!(free > 0 && free <= all, "{free} of {all}");
        assert!(space(&folder.path().join("none")).is_err() && bytes_in(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_folder_that_anybody_may_write_to_holds_no_state() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        make(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        mode(&state, 0o2770);
        make(&state).unwrap();
        for open in [state.clone(), state.join("keys")] {
            mode(&open, 0o777);
            let error = make(&state).unwrap_err().to_string();
            assert!(error.contains(&format!("{}: anybody may write", open.display())), "{error}");
            mode(&open, 0o700);
        }
        make(&state).unwrap();
    }
}
