//! Another program in this one's place, without a service manager: the process drains, and then becomes what lies at its
//! path now (exec), with the listening sockets as a service manager hands them on (sd_listen_fds(3)). Connections that
//! come meanwhile wait in the sockets; nobody is turned away. Its number stays, so whoever watches it notices nothing.
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Where to look for as many descriptors in a row as there are sockets: above what is usually open.
const FROM: [i32; 5] = [512, 900, 4_000, 16_000, 60_000];

/// Our sockets once more, in a row, so that they outlive the listeners of this program.
pub struct Successor {
    program: PathBuf,
    sockets: Vec<OwnedFd>,
}

impl Successor {
    /// `program`: where this one lay when it started; another one may lie there now.
    ///
    /// # Errors
    /// There are not as many descriptors in a row.
    pub fn with<S: AsFd>(program: PathBuf, sockets: &[S]) -> io::Result<Self> {
        for from in FROM {
            let copied = sockets.iter().map(|socket| fcntl_dupfd_cloexec(socket, from));
            let Ok(copied) = copied.collect::<Result<Vec<_>, _>>() else { continue };
            let in_a_row = (from..).zip(&copied).all(|(number, socket)| socket.as_raw_fd() == number);
            if in_a_row {
                return Ok(Self { program, sockets: copied });
            }
        }
        Err(io::Error::other("there are not as many descriptors in a row as there are listeners"))
    }

    /// Becomes it. Returns only if that fails.
    pub fn take_over(self) -> io::Error {
        let first = self.sockets.first().map_or(0, |socket| socket.as_raw_fd());
        for socket in &self.sockets {
            if let Err(error) = fcntl_setfd(socket, FdFlags::empty()) {
                return error.into();
            }
        }
        Command::new(&self.program)
            .args(env::args_os().skip(1))
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDS_FIRST_FD", first.to_string())
            .env("LISTEN_PID", std::process::id().to_string())
            .exec()
    }
}
