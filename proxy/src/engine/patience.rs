//! Connections for upgrades (WebSocket), whose answer shows itself a few turns late, and that listen while they cannot
//! speak.
//!
//! pingora 0.9.1 closes an upgraded connection at once if it reads the 101 before it has noted that the request has no
//! body (cloudflare/pingora, issue 946): its loop looks at both in random order, and when a machine is busy and the
//! application near, both are there in the same turn. After every write these connections have nothing to read for a
//! few turns of the loop, in which the end of the body is seen. Goes when the engine's fix is released.
//!
//! The same loop reads nothing while it writes. An application that has to say something before it takes more would
//! wait for us, and we for it, for ever: what it says meanwhile is kept here.
use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The first turn may come before the end of the body is on its way, the second sees it; one more for luck.
const TURNS: u8 = 3;
/// What is kept of an application that talks while it does not listen. It has to be told that there is room before it
/// listens again, and so have we: the system says so to either side only when a third of its buffer is free, of 4 MiB
/// for what is sent and 6 MiB for what is received. Beyond it, the application waits.
const MOST_KEPT: usize = 8 * 1024 * 1024;

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
                Box::new(Patient::new(socket))
            }
            SocketAddr::Unix(address) => {
                let no_path = || Error::explain(ErrorType::ConnectError, "a socket without a path");
                let path = address.as_pathname().ok_or_else(no_path)?;
                Box::new(Patient::new(self.within(UnixStream::connect(path)).await?))
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
    /// What was said while we wrote.
    kept: BytesMut,
    /// How it ended, after what is kept.
    end: Option<io::Result<()>>,
}

impl<S: AsyncRead + Unpin> Patient<S> {
    fn new(socket: S) -> Self {
        Self { socket, turns: 0, kept: BytesMut::new(), end: None }
    }

    /// Takes what is said while nothing can be written; whoever waits to write is woken when there is more of it.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.kept.len() < MOST_KEPT {
            let mut piece = [0; 8 * 1024];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.socket).poll_read(cx, &mut piece) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if piece.filled().is_empty() => self.end = Some(Ok(())),
                Poll::Ready(Ok(())) => self.kept.extend_from_slice(piece.filled()),
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
            }
        }
    }
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
        if !self.kept.is_empty() {
            let length = self.kept.len().min(buffer.remaining());
            buffer.put_slice(self.kept.get(..length).unwrap_or_default());
            self.kept.advance(length);
            return Poll::Ready(Ok(()));
        }
        match self.end.take() {
            Some(end) => Poll::Ready(end),
            None => Pin::new(&mut self.socket).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, bytes) else {
            self.listen(cx);
            return Poll::Pending;
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn an_application_that_says_something_before_it_takes_more_is_heard() {
        // Less between the two than one of them says at a time.
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let mut piece = [0; 256];
            while let Ok(length @ 1..) = theirs.read(&mut piece).await {
                theirs.write_all(&piece[..length]).await.unwrap();
            }
        });
        let mut ours = Patient::new(ours);
        let said: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut heard = vec![0; said.len()];
        let both = async {
            ours.write_all(&said).await.unwrap();
            ours.read_exact(&mut heard).await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("neither waits for the other");
        assert_eq!(heard, said);
    }
}
