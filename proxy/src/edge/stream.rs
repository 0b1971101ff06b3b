//! The stream that the engine reads and writes: TLS or plain, with what is known of the connection, a way to cut it
//! from outside, and an eye on what the engine lets a client do.
use crate::edge::connection::ConnectionInfo;
use crate::edge::control_frames::ControlFrames;
use crate::edge::held::Held;
use crate::edge::linger::Linger;
use crate::edge::pace::{HeadBounds, HeadWatch, Over};
use bytes::{Buf as _, Bytes};
use futures::task::AtomicWaker;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_http::ResponseHeader;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

/// Cuts a connection: whoever waits to read or write on it wakes up with an error.
#[derive(Clone, Default)]
pub struct Cutter(Arc<Cut>);

#[derive(Default)]
struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cutter {
    pub fn cut(&self) {
        self.0.done.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    pub fn is_cut(&self) -> bool {
        self.0.done.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cutter").field(&self.is_cut()).finish()
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct GateStream {
    io: Transport,
    /// Of HTTP/1.1: HTTP/2 puts its frames together itself.
    held: Held,
    info: Arc<ConnectionInfo>,
    watch: HeadWatch,
    /// On HTTP/2 only.
    control: Option<ControlFrames>,
    /// On its way to the end.
    farewell: Option<Farewell>,
    /// Our side is closed.
    lingers: Option<Linger>,
    ssl: Option<Arc<SslDigest>>,
    /// Carries `Arc<ConnectionInfo>` to the request hooks, on h1 and h2 alike.
    carrier: Arc<ProxyDigest>,
    timing: TimingDigest,
    socket: Arc<SocketDigest>,
}

#[derive(Debug)]
enum Transport {
    Tls(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

impl GateStream {
    pub fn tls(stream: TlsStream<TcpStream>, info: Arc<ConnectionInfo>, bounds: HeadBounds) -> io::Result<Self> {
        // Only its presence matters to the engine (it never offers h2c on TLS); what the gate reads is in `info`.
        let ssl = Arc::new(SslDigest::new("", "", None, None, Vec::new()));
        Self::new(Transport::Tls(Box::new(stream)), Some(ssl), info, bounds)
    }

    pub fn plain(stream: TcpStream, info: Arc<ConnectionInfo>, bounds: HeadBounds) -> io::Result<Self> {
        Self::new(Transport::Plain(stream), None, info, bounds)
    }

    fn new(
        io: Transport,
        ssl: Option<Arc<SslDigest>>,
        info: Arc<ConnectionInfo>,
        bounds: HeadBounds,
    ) -> io::Result<Self> {
        let h2 = matches!(&io, Transport::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let placeholder = ResponseHeader::build(200, None).map_err(io::Error::other)?;
        let carrier = Arc::new(ProxyDigest::new(Box::new(placeholder), Some(Box::new(info.clone()))));
        let socket = Arc::new(SocketDigest::from_raw_fd(io.socket().as_raw_fd()));
        Ok(Self {
            io,
            held: Held::default(),
            watch: HeadWatch::new(bounds, h2),
            control: h2.then(|| ControlFrames::new(Instant::now())),
            farewell: None,
            lingers: None,
            info,
            ssl,
            carrier,
            timing: TimingDigest::default(),
            socket,
        })
    }

    /// An error if the connection was cut, else whoever polls will be woken when it is.
    fn check_cut(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        if self.info.cutter.is_cut() {
            return Err(cut_error());
        }
        waker.register(cx.waker());
        // Cut between the check and the registration: nobody would wake us.
        if self.info.cutter.is_cut() { Err(cut_error()) } else { Ok(()) }
    }

    /// An error if the connection was cut; whoever waits to write is woken when it is.
    fn poll_unless_cut<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.info.cutter.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        let polled = poll(self, cx);
        if polled.is_pending() {
            self.check_cut(&self.info.cutter.0.writer, cx)?;
        }
        polled
    }

    pub fn is_h2(&self) -> bool {
        self.control.is_some()
    }

    /// Waits until there is something to read, and takes nothing of it. False: the client says no more.
    ///
    /// # Errors
    /// The connection broke, or was cut.
    pub async fn has_more(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            if self.info.cutter.is_cut() {
                return Poll::Ready(Err(cut_error()));
            }
            let _waits = self.poll_release(cx)?;
            let polled = match &mut self.io {
                Transport::Tls(stream) => Pin::new(&mut **stream).poll_fill_buf(cx).map_ok(|said| !said.is_empty()),
                Transport::Plain(stream) => stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map_ok(|said| said > 0),
            };
            if polled.is_pending() {
                self.check_cut(&self.info.cutter.0.reader, cx)?;
            }
            polled
        })
        .await
    }

    /// Ends the connection for what its client does: with a last word on HTTP/1.1, by closing on HTTP/2.
    fn end(&mut self, why: Over, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let words = if self.control.is_some() { Bytes::new() } else { why.last_words() };
        self.farewell = Some(Farewell { words, until: Box::pin(tokio::time::sleep(FAREWELL)) });
        self.poll_farewell(cx)
    }

    /// Says the last words. The engine gives the connection up then, and with that closes it.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Err(over_error())) };
        if farewell.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(over_error()));
        }
        let mut io = self.io.wire();
        ready!(self.held.poll_release(io.as_mut(), cx))?;
        while !farewell.words.is_empty() {
            let said = ready!(io.as_mut().poll_write(cx, &farewell.words))?;
            farewell.words.advance(said);
        }
        ready!(io.as_mut().poll_flush(cx))?;
        Poll::Ready(Err(over_error()))
    }

    /// Passes on what the engine wrote and did not flush.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.poll_release(self.io.wire(), cx)
    }

    fn poll_io(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// How long a client that is over a bound may take to take our last words.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection that ends for what its client did.
#[derive(Debug)]
struct Farewell {
    words: Bytes,
    until: Pin<Box<Sleep>>,
}

trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

fn over_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "over a bound of the gate")
}

fn cut_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "ended by the gate")
}

impl Transport {
    fn wire(&mut self) -> Pin<&mut dyn Wire> {
        let wire: &mut dyn Wire = match self {
            Self::Tls(stream) => &mut **stream,
            Self::Plain(stream) => stream,
        };
        Pin::new(wire)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tls(stream) => stream.get_ref().0,
            Self::Plain(stream) => stream,
        }
    }

    fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Tls(stream) => stream.get_mut().0,
            Self::Plain(stream) => stream,
        }
    }
}

impl AsyncRead for GateStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.info.cutter.is_cut() {
            return Poll::Ready(Err(cut_error()));
        }
        if this.farewell.is_some() {
            return this.poll_farewell(cx);
        }
        if let Err(why) = this.watch.before(&this.info.progress) {
            return this.end(why, cx);
        }
        if this.info.backlog.poll_room(cx).is_pending() {
            this.check_cut(&this.info.cutter.0.reader, cx)?;
            return Poll::Pending;
        }
        // Whoever waits for the client has said all that it waits for. If the client takes nothing, it wakes us when it does.
        let _waits = this.poll_release(cx)?;
        let filled = buf.filled().len();
        let polled = this.poll_io(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => {
                let came = buf.filled().get(filled..).unwrap_or_default();
                this.watch.came(&this.info.progress, came.len());
                if let Some(control) = &mut this.control
                    && control.see(came, Instant::now()).is_err()
                {
                    this.watch.count("too many control frames");
                    return Poll::Ready(Err(cut_error()));
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                this.check_cut(&this.info.cutter.0.reader, cx)?;
                if let Err(why) = this.watch.waiting(&this.info.progress, cx) {
                    return this.end(why, cx);
                }
            }
        }
        polled
    }
}

impl AsyncWrite for GateStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_unless_cut(cx, |this, cx| {
            let io = this.io.wire();
            if this.control.is_some() { io.poll_write(cx, buf) } else { this.held.poll_write(io, cx, buf) }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_unless_cut(cx, |this, cx| {
            ready!(this.poll_release(cx))?;
            this.io.wire().poll_flush(cx)
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.info.cutter.is_cut() {
            return this.io.wire().poll_shutdown(cx);
        }
        if this.lingers.is_none() {
            ready!(this.poll_release(cx))?;
            ready!(this.io.wire().poll_shutdown(cx))?;
        }
        let lingers = this.lingers.get_or_insert_with(Linger::new);
        lingers.poll(Pin::new(this.io.socket_mut()), cx).map(Ok)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_unless_cut(cx, |this, cx| {
            ready!(this.poll_release(cx))?;
            this.io.wire().poll_write_vectored(cx, bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[async_trait::async_trait]
impl Shutdown for GateStream {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for GateStream {
    fn id(&self) -> UniqueIDType {
        self.io.socket().as_raw_fd()
    }
}

impl Ssl for GateStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match &self.io {
            Transport::Tls(stream) => match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Some(ALPN::H2),
                Some(b"http/1.1") => Some(ALPN::H1),
                _ => None,
            },
            Transport::Plain(_) => None,
        }
    }
}

impl GetTimingDigest for GateStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(self.timing.clone())]
    }
}

impl GetProxyDigest for GateStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.carrier.clone())
    }
}

impl GetSocketDigest for GateStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.socket = Arc::new(digest);
    }
}

impl Peek for GateStream {}
