//! A small application on a runtime of its own, so that it can die with all of its connections, as a process does.
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

/// What it does with a request.
pub enum Reply {
    Status(u16),
    /// Reads the request and closes without an answer.
    HangUp,
}

type Answers = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

pub struct App {
    pub port: u16,
    /// Heads of the requests that arrived.
    pub seen: Arc<Mutex<Vec<String>>>,
    /// Connections that were accepted.
    pub connections: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl App {
    /// Answers everything with 200 and its port.
    pub fn start() -> Self {
        Self::with(None, |_| Reply::Status(200))
    }

    pub fn with(
        tls: Option<Arc<rustls::ServerConfig>>,
        answers: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (mut app, answers, runtime) = Self::new(answers);
        let listener = runtime.block_on_other(|| TcpListener::bind("127.0.0.1:0"));
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = (app.seen.clone(), app.connections.clone());
        runtime.0.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answers, tls) = (seen.clone(), answers.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => drop(serve(stream, port, &seen, &answers).await),
                        Some(tls) => {
                            let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
                            drop(serve(stream, port, &seen, &answers).await);
                        }
                    }
                });
            }
        });
        (app.port, app.runtime) = (port, Some(runtime.0));
        app
    }

    pub fn on_socket(path: &Path) -> Self {
        let (mut app, answers, runtime) = Self::new(|_: &str| Reply::Status(200));
        let path = path.to_owned();
        let listener = runtime.block_on_other(move || async move { UnixListener::bind(path) });
        let seen = app.seen.clone();
        runtime.0.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (seen.clone(), answers.clone());
                tokio::spawn(async move { drop(serve(stream, 0, &seen, &answers).await) });
            }
        });
        app.runtime = Some(runtime.0);
        app
    }

    fn new(answers: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (Self, Answers, OwnRuntime) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = Self { port: 0, seen: Arc::default(), connections: Arc::default(), runtime: None };
        (app, Arc::new(answers), OwnRuntime(runtime))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// As `kill -9`: nobody listens any more, and every connection is closed.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill();
    }
}

struct OwnRuntime(Runtime);

impl OwnRuntime {
    /// The caller runs on a runtime already and must not block on another one.
    fn block_on_other<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = std::io::Result<T>> + Send,
    {
        let (done, made) = std::sync::mpsc::channel();
        self.0.spawn(async move { done.send(make().await).unwrap() });
        made.recv().unwrap().unwrap()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    port: u16,
    seen: &Mutex<Vec<String>>,
    answers: &Answers,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let reply = answers(&head);
        seen.lock().unwrap().push(head);
        // Requests are under way for a moment, so that a kill meets some.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let Reply::Status(status) = reply else { return Ok(()) };
        let body = port.to_string();
        let mut answer = String::new();
        let _ = write!(answer, "HTTP/1.1 {status} .\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
