//! An application that says what it got, byte for byte, and does odd things when its path asks for them.
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A request as it arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

pub struct Echo {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let all = all.clone();
                tokio::spawn(async move { drop(serve(stream, all).await) });
            }
        });
        Self { port, seen, task }
    }

    /// All that arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What arrived for this path, query included.
    pub fn seen_at(&self, target: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.target == target).collect()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read(&mut stream).await? {
        all.lock().unwrap().push(seen.clone());
        let path = seen.target.split('?').next().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "deaf" => return deaf(stream.into_inner(), &seen).await,
            "socket" => return socket(stream.into_inner(), &seen, &all).await,
            "stream" => return chunks(stream.into_inner()).await,
            "unasked" => {
                let switch =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\nodd bytes";
                return stream.into_inner().write_all(switch).await;
            }
            "big" => {
                let head = format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 2\r\n\r\nok", "b".repeat(6000));
                stream.write_all(head.as_bytes()).await?;
            }
            "hsts" => {
                let head = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1; includeSubDomains\r\n\
                            Content-Length: 2\r\n\r\nok";
                stream.write_all(head.as_bytes()).await?;
            }
            "cookies" => {
                let head = "HTTP/1.1 200 OK\r\nSet-Cookie: app=1; Path=/\r\nSet-Cookie: __Host-torhaus=fixed; Path=/; \
                            Secure\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(head.as_bytes()).await?;
            }
            "slow" => {
                tokio::time::sleep(Duration::from_millis(40)).await;
                answer(&mut stream, &seen).await?;
            }
            _ => answer(&mut stream, &seen).await?,
        }
    }
    Ok(())
}

async fn answer(stream: &mut BufReader<TcpStream>, seen: &Seen) -> io::Result<()> {
    let body = if seen.method == "HEAD" { String::new() } else { serde_json::to_string(seen)? };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await
}

/// A chunk every 50 ms until nobody reads.
async fn chunks(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    loop {
        stream.write_all(b"5\r\ntick\n\r\n").await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn switched(seen: &Seen) -> String {
    let key = derive_accept_key(seen.header("sec-websocket-key").unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    )
}

/// A WebSocket whose application takes nothing.
async fn deaf(mut stream: TcpStream, seen: &Seen) -> io::Result<()> {
    stream.write_all(switched(seen).as_bytes()).await?;
    std::future::pending().await
}

async fn socket(mut stream: TcpStream, seen: &Seen, all: &Mutex<Vec<Seen>>) -> io::Result<()> {
    use futures::{SinkExt as _, StreamExt as _};
    stream.write_all(switched(seen).as_bytes()).await?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        match message {
            Ok(message) if message.is_close() => {}
            Ok(message) => socket.send(message).await.map_err(io::Error::other)?,
            Err(error) => {
                let target = error.to_string();
                all.lock().unwrap().push(Seen {
                    method: "SOCKET".into(),
                    target,
                    headers: vec![],
                    body: String::new(),
                });
                break;
            }
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Seen>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let mut next = || words.next().unwrap_or_default().to_owned();
    let (method, target) = (next(), next());
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { method, target, headers, body: String::new() };
    let mut body = Vec::new();
    if let Some(length) = seen.header("content-length").and_then(|length| length.parse().ok()) {
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
    } else if seen.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            if stream.read_line(&mut size).await? == 0 {
                // Cut off: it is no request.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            if size == 0 {
                seen.headers.extend(trailers(stream).await?);
                break;
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            chunk.truncate(size);
            body.extend(chunk);
        }
    }
    seen.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(seen))
}

/// Fields after the last chunk: an application may take them for headers.
async fn trailers(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(found) };
        found.push((name.to_owned(), value.trim().to_owned()));
    }
}
