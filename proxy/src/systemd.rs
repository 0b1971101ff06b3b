//! The service manager's side of running (sd_notify(3), sd_listen_fds(3)): sockets that it opened for us, and telling
//! it that we serve, live and stop. Without a service manager all of it does nothing.
use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::Duration;

/// Sockets that were open before this process: connections that came while nobody served wait in them.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Those of `LISTEN_FDS`, if they are meant for this process.
    ///
    /// # Errors
    /// One of them is no listening TCP socket.
    pub fn take() -> io::Result<Self> {
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut all = Vec::new();
        for index in 0..descriptors.len() {
            if let Some(listener) = descriptors.take_tcp_listener(index)? {
                listener.set_nonblocking(true)?;
                all.push(listener);
            }
        }
        Ok(Self(all))
    }

    /// The socket for an address of the configuration, once.
    pub fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let found = self.0.iter().position(|listener| listener.local_addr().is_ok_and(|own| own == address))?;
        Some(self.0.swap_remove(found))
    }

    /// Addresses that nobody asked for.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok())
    }
}

/// Tells the service manager.
pub struct Notify(Option<(UnixDatagram, UnixAddr)>);

impl Notify {
    /// To the socket of `NOTIFY_SOCKET`: a path, or a name after `@`.
    pub fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddr::from_abstract_name(name),
            None => UnixAddr::from_pathname(&name),
        };
        let reached = address.and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        Self(reached.map_err(|error| tracing::warn!(%error, "the service manager cannot be told")).ok())
    }

    /// New connections are served.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// No new connections; what runs may finish.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=open requests may finish");
    }

    /// Still alive: to be said more often than [`watchdog_interval`].
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(what.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager was not told");
        }
    }
}

/// How often the service manager wants to hear that we live: half of the time after which it kills us.
pub fn watchdog_interval() -> Option<Duration> {
    interval(&env::var("WATCHDOG_USEC").ok()?, env::var("WATCHDOG_PID").ok().as_deref())
}

fn interval(micros: &str, pid: Option<&str>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    let micros = micros.parse::<u64>().ok().filter(|micros| *micros > 0 && ours)?;
    Some(Duration::from_micros(micros) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_or_of_no_time_is_none() {
        let own = std::process::id().to_string();
        assert_eq!(interval("4000000", None), Some(Duration::from_secs(2)));
        assert_eq!(interval("4000000", Some(&own)), Some(Duration::from_secs(2)));
        for (micros, pid) in [("4000000", Some("1")), ("0", None), ("", None), ("-1", None)] {
            assert_eq!(interval(micros, pid), None, "{micros} {pid:?}");
        }
    }

    #[test]
    fn a_socket_is_found_by_its_address_and_given_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut inherited = Inherited(vec![listener]);
        assert!(inherited.at("127.0.0.1:1".parse().unwrap()).is_none());
        assert_eq!(inherited.left().collect::<Vec<_>>(), [address]);
        assert_eq!(inherited.at(address).unwrap().local_addr().unwrap(), address);
        assert!(inherited.at(address).is_none() && inherited.left().next().is_none());
    }
}
