//! Files that the configuration names. Relative paths begin at the folder of the file that names them.
use super::Cx;
use crate::at::At;
use crate::place::Place;
use crate::secret::Secret;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn resolve(base: &Path, typed: &str) -> PathBuf {
    base.join(typed.strip_prefix("./").unwrap_or(typed))
}

impl Cx<'_> {
    /// The path of a file that can be read, and what is in it. One that cannot is reported where it is named first.
    pub fn read(&mut self, at: &At<String>, what: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = resolve(self.base, at.text()?);
        match std::fs::read(&path) {
            Ok(bytes) => {
                self.files.insert(path.clone());
                Some((path, bytes))
            }
            Err(error) => {
                if self.files.insert(path.clone()) {
                    self.unreadable(&at.place, &path, what, &error);
                }
                None
            }
        }
    }

    /// A secret in a file: readable, not empty, one line; a warning if others may read it, too.
    pub fn secret(&mut self, at: &At<String>, what: &str) -> Option<Secret> {
        let (path, bytes) = self.read(at, what)?;
        self.warn_if_open(&at.place, &path, what);
        let shown = path.display();
        // The text of the file is never part of a message.
        let Ok(text) = String::from_utf8(bytes) else {
            self.error(&at.place, format!("{what} `{shown}` is not text"), "write the secret into it as one line");
            return None;
        };
        let text = zeroize::Zeroizing::new(text);
        let secret = text.trim_end_matches(['\n', '\r']);
        if secret.trim().is_empty() {
            self.error(&at.place, format!("{what} `{shown}` is empty"), "write the secret into it as one line");
            return None;
        }
        if secret.contains(['\n', '\r']) {
            self.error(
                &at.place,
                format!("{what} `{shown}` has more than one line"),
                "leave only the secret itself in it",
            );
            return None;
        }
        Some(Secret::new(secret.to_owned()))
    }

    /// A private file should be its owner's alone.
    pub fn warn_if_open(&mut self, place: &Place, path: &Path, what: &str) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
            let Ok(metadata) = std::fs::metadata(path) else { return };
            let mode = metadata.permissions().mode();
            // How Kubernetes hands a secret to a pod that is not root (`fsGroup`): nobody may write it, one group reads.
            let handed_over = metadata.uid() == 0 && mode & 0o777 == 0o440;
            if mode & 0o077 != 0 && !handed_over {
                let who = if mode & 0o007 != 0 { "everybody on this machine" } else { "its group" };
                let shown = path.display();
                self.warning(
                    place,
                    format!("{what} `{shown}` is open to {who} (mode {:04o})", mode & 0o7777),
                    format!("`chmod 600 {shown}`"),
                );
            }
        }
    }

    fn unreadable(&mut self, place: &Place, path: &Path, what: &str, error: &io::Error) {
        let shown = path.display();
        let (why, hint) = match error.kind() {
            io::ErrorKind::NotFound => ("does not exist".to_owned(), {
                let folder = path.parent().unwrap_or(path);
                if folder.as_os_str().is_empty() || folder.is_dir() {
                    "create it, or correct the path; relative paths begin at the folder of this file".to_owned()
                } else {
                    format!(
                        "there is no folder `{}`; relative paths begin at the folder of this file",
                        folder.display()
                    )
                }
            }),
            io::ErrorKind::PermissionDenied => (
                "may not be read by this user".to_owned(),
                "let the user that runs torhaus read it, and nobody else".to_owned(),
            ),
            io::ErrorKind::IsADirectory => ("is a folder".to_owned(), "name the file in it".to_owned()),
            _ => (format!("cannot be read: {error}"), "check the file system".to_owned()),
        };
        self.error(place, format!("{what} `{shown}` {why}"), hint);
    }
}
