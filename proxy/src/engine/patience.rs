//! Connections for upgrades (WebSocket), whose answer shows itself a few turns late.
//!
//! pingora 0.9.1 closes an upgraded connection at once if it reads the 101 before it has noted that the request has no
//! body (cloudflare/pingora, issue 946): its loop looks at both in random order, and when a machine is busy and the
//! application near, both are there in the same turn. After every write these connections have nothing to read for a
//! few turns of the loop, in which the end of the body is seen. Goes when the engine's fix is released.
use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The first turn may come before the end of the body is on its way, the second sees it; one more for luck.
const TURNS: u8 = 3;

#[derive(Debug)]
pub struct Patience {
    pub connect_timeout: Duration,
}

#[async_trait]
impl Connect for Patience {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let connected: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let socket = self.within(TcpStream::connect(address)).await?;
                socket.set_nodelay(true).map_err(|e| Error::because(ErrorType::ConnectError, "no delay", e))?;
                Box::new(Patient { socket, turns: 0 })
            }
            SocketAddr::Unix(address) => {
                let no_path = || Error::explain(ErrorType::ConnectError, "a socket without a path");
                let path = address.as_pathname().ok_or_else(no_path)?;
                Box::new(Patient { socket: self.within(UnixStream::connect(path)).await?, turns: 0 })
            }
        };
        Ok(VirtualSocketStream::new(connected).into())
    }
}

impl Patience {
    async fn within<S>(&self, connect: impl Future<Output = io::Result<S>>) -> Result<S> {
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => Error::e_because(ErrorType::ConnectError, "the application is not there", error),
            Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "the application does not answer"),
        }
    }
}

#[derive(Debug)]
struct Patient<S> {
    socket: S,
    /// For how many turns there is still nothing to read.
    turns: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Debug + Send + Sync> VirtualSocket for Patient<S> {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turns > 0 {
            self.turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        self.turns = TURNS;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
