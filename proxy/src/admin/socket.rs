//! The unix socket: who may open it. There is no moment in which it exists with a wider mode.
use crate::admin::Caller;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another process answers on `{0}`")]
    InUse(PathBuf),
    #[error("the admin socket `{0}` cannot be made: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// A bound socket.
pub struct Socket {
    listener: OwnerOnly,
    file: SocketFile,
}

/// Accepts connections of the owner and of root; drops all others.
pub struct OwnerOnly {
    listener: UnixListener,
    owner: u32,
}

/// Removes the socket from its folder, unless somebody else's lies there by now.
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Socket {
    /// Binds `path` (mode 0600). One that lies there is replaced only if nobody answers on it.
    ///
    /// # Errors
    /// 1. somebody answers; 2. the folder cannot be used, or the path is longer than a socket's may be (107 bytes).
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |e| BindError::Io(path.to_owned(), e);
        match UnixStream::connect(path).await {
            Ok(_) => return Err(BindError::InUse(path.to_owned())),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(e) => return Err(io(e)),
        }
        // Bound in a folder that only we may enter, made private there, and moved: the umask is the whole process's
        // and no thread may change it.
        let folder = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
        let nook = folder.join(".adm");
        let _ = fs::remove_dir_all(&nook);
        DirBuilder::new().mode(0o700).create(&nook).map_err(io)?;
        let bound = bind_private(&nook.join("s"), path);
        let _ = fs::remove_dir_all(&nook);
        bound.map_err(io)
    }

    pub(super) fn into_parts(self) -> (OwnerOnly, SocketFile) {
        (self.listener, self.file)
    }
}

fn bind_private(first: &Path, path: &Path) -> io::Result<Socket> {
    let listener = UnixListener::bind(first)?;
    fs::set_permissions(first, Permissions::from_mode(0o600))?;
    let meta = fs::metadata(first)?;
    fs::rename(first, path)?;
    let file = SocketFile { path: path.to_owned(), identity: (meta.dev(), meta.ino()) };
    Ok(Socket { listener: OwnerOnly { listener, owner: meta.uid() }, file })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The mode of the socket keeps others out already; this holds where a file system ignores it.
fn may_enter(uid: u32, owner: u32) -> bool {
    uid == owner || uid == 0
}

impl Listener for OwnerOnly {
    type Io = UnixStream;
    type Addr = Caller;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if may_enter(peer.uid(), self.owner) => {
                        return (stream, Caller { uid: peer.uid(), pid: peer.pid() });
                    }
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a connection to the admin socket"),
                    Err(error) => tracing::warn!(%error, "a connection to the admin socket does not say who it is"),
                },
                Err(error) => {
                    // Out of files, most likely: wait instead of spinning.
                    tracing::warn!(%error, "the admin socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Caller { uid: self.owner, pid: None })
    }
}

impl Connected<IncomingStream<'_, OwnerOnly>> for Caller {
    fn connect_info(stream: IncomingStream<'_, OwnerOnly>) -> Self {
        *stream.remote_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_root_may_enter() {
        assert!(may_enter(1000, 1000) && may_enter(0, 1000) && may_enter(0, 0));
        assert!(!may_enter(1001, 1000) && !may_enter(1000, 0));
    }
}
