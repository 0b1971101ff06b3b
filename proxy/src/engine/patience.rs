//! Connections for upgrades (WebSocket), whose answer shows itself a few turns late, and that listen while they cannot
//! speak.
//!
//! pingora 0.9.1 closes an upgraded connection at once if it reads the 101 before it has noted that the request has no
//! body (cloudflare/pingora, issue 946): its loop looks at both in random order, and when a machine is busy and the
//! application near, both are there in the same turn. After every write these connections have nothing to read for a
//! few turns of the loop, in which the end of the body is seen. Goes when the engine's fix is released.
//!
//! The same loop reads nothing while it writes. An application that has to say something before it takes more would
//! wait for us, and we for it, for ever. So a write on these connections never waits: a task sends, and as long as much
//! is not sent, the caller is not listened to ([`Backlog`]).
use crate::edge::backlog::Backlog;
use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The first turn may come before the end of the body is on its way, the second sees it; one more for luck.
const TURNS: u8 = 3;
/// How long the last words may take when the connection is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Patience {
    pub connect_timeout: Duration,
    /// Of the connection that the caller came by.
    pub backlog: Arc<Backlog>,
}

#[async_trait]
impl Connect for Patience {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let connected: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let socket = self.within(TcpStream::connect(address)).await?;
                socket.set_nodelay(true).map_err(|e| Error::because(ErrorType::ConnectError, "no delay", e))?;
                Box::new(Patient::new(socket, self.backlog.clone()))
            }
            SocketAddr::Unix(address) => {
                let no_path = || Error::explain(ErrorType::ConnectError, "a socket without a path");
                let path = address.as_pathname().ok_or_else(no_path)?;
                {
                    let socket = self.within(UnixStream::connect(path)).await?;
                    Box::new(Patient::new(socket, self.backlog.clone()))
                }
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
    socket: ReadHalf<S>,
    /// For how many turns there is still nothing to read.
    turns: u8,
    /// To the task that sends; none after the end was said.
    said: Option<mpsc::UnboundedSender<Piece>>,
    sending: Option<JoinHandle<()>>,
    /// Why nothing is sent any more.
    failed: Arc<OnceLock<io::ErrorKind>>,
    backlog: Arc<Backlog>,
}

/// Counts in the backlog until it is sent, or given up.
#[derive(Debug)]
struct Piece {
    bytes: Box<[u8]>,
    backlog: Arc<Backlog>,
}

impl Piece {
    fn new(bytes: &[u8], backlog: &Arc<Backlog>) -> Self {
        backlog.add(bytes.len());
        Self { bytes: bytes.into(), backlog: backlog.clone() }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.backlog.remove(self.bytes.len());
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Patient<S> {
    fn new(socket: S, backlog: Arc<Backlog>) -> Self {
        let (reader, mut writer) = tokio::io::split(socket);
        let (said, mut to_send) = mpsc::unbounded_channel::<Piece>();
        let failed = Arc::<OnceLock<io::ErrorKind>>::default();
        let why = failed.clone();
        let sending = tokio::spawn(async move {
            while let Some(piece) = to_send.recv().await {
                if let Err(error) = writer.write_all(&piece.bytes).await {
                    // The first reason is the reason.
                    let _ = why.set(error.kind());
                    return;
                }
            }
            // Who is gone needs no goodbye.
            let _ = writer.shutdown().await;
        });
        Self { socket: reader, turns: 0, said: Some(said), sending: Some(sending), failed, backlog }
    }
}

impl<S> Drop for Patient<S> {
    fn drop(&mut self) {
        drop(self.said.take());
        let Some(mut sending) = self.sending.take().filter(|sending| !sending.is_finished()) else { return };
        tokio::spawn(async move {
            if tokio::time::timeout(LAST_WORDS, &mut sending).await.is_err() {
                sending.abort();
            }
        });
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
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.failed.get() {
            return Poll::Ready(Err((*kind).into()));
        }
        let piece = Piece::new(bytes, &self.backlog);
        // The task is over where the end was said, or a moment ago for a reason that is on its way.
        let taken = self.said.as_ref().is_some_and(|said| said.send(piece).is_ok());
        if !taken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.turns = TURNS;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.said = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

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
        let backlog = Arc::<Backlog>::default();
        let mut ours = Patient::new(ours, backlog);
        let said: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut heard = vec![0; said.len()];
        let both = async {
            ours.write_all(&said).await.unwrap();
            ours.shutdown().await.unwrap();
            ours.read_exact(&mut heard).await.unwrap();
            // The end that was said is answered by the other side's.
            assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("neither waits for the other");
        assert_eq!(heard, said);
    }

    #[tokio::test]
    async fn what_is_not_sent_counts_until_it_is_sent_or_given_up() {
        let (ours, theirs) = tokio::io::duplex(64);
        let backlog = Arc::<Backlog>::default();
        let mut ours = Patient::new(ours, backlog.clone());
        ours.write_all(&vec![0; 1024 * 1024]).await.unwrap();
        let room = || std::future::poll_fn(|cx| backlog.poll_room(cx));
        let waited = tokio::time::timeout(Duration::from_millis(50), room()).await;
        waited.expect_err("the caller would go on speaking");
        // Nobody reads, and the connection is over: it does not count for ever.
        drop(ours);
        tokio::time::timeout(LAST_WORDS * 10, room()).await.expect("given up");
        drop(theirs);
    }

    #[tokio::test]
    async fn an_application_that_is_gone_is_an_error_at_the_next_word() {
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let mut ours = Patient::new(ours, Arc::default());
        ours.write_all(b"hello").await.unwrap();
        let next = async {
            while ours.write_all(b"hello").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), next).await.expect("an error");
    }
}
