//! Where the browser comes back to: one answer on the loopback address, for the browser that this command opened
//! (RFC 8252 section 7.3). What arrives is a code that is worth nothing without the verifier.
use crate::enroll::EnrollError;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use url::Url;

/// A person signs in, looks for the phone, reads a code.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// For one connection: it is on this machine.
const ONE: Duration = Duration::from_secs(5);
/// A request's head with two short values.
const MOST_BYTES: usize = 16 * 1024;

pub struct Loopback {
    listener: TcpListener,
    port: u16,
}

impl Loopback {
    /// # Errors
    /// There is no port on the loopback address.
    pub async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The code that comes with this `state`. Anything else that comes is turned away.
    ///
    /// # Errors
    /// The person said no, or nothing came in time.
    pub async fn code(self, state: &str) -> Result<String, EnrollError> {
        let come = async {
            loop {
                let Ok((stream, _)) = self.listener.accept().await else { continue };
                // One that says nothing must not keep the browser out for long.
                if let Ok(Some(answer)) = timeout(ONE, answer(stream, state)).await {
                    return answer;
                }
            }
        };
        let late = || Err(EnrollError::Here("nobody confirmed it in the browser within 15 minutes".into()));
        timeout(PATIENCE, come).await.unwrap_or_else(|_| late())
    }
}

/// None: it was not what is waited for.
async fn answer(mut stream: TcpStream, state: &str) -> Option<Result<String, EnrollError>> {
    let mut head = Vec::new();
    let mut buffer = [0u8; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(buffer.get(..read)?);
        if head.len() > MOST_BYTES {
            return None;
        }
    }
    let found = meant(&head, state);
    let (status, words) = match &found {
        Some(Ok(_)) => ("200 OK", "Confirmed. The command on this machine goes on; you can close this page."),
        Some(Err(_)) => ("200 OK", "Nothing was enrolled. You can close this page."),
        None => ("404 Not Found", "This is not what the command waits for."),
    };
    let page = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    let _ = stream.write_all(page.as_bytes()).await;
    let _ = stream.shutdown().await;
    found
}

fn meant(head: &[u8], state: &str) -> Option<Result<String, EnrollError>> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?.split(' ').next()?;
    let url = Url::parse("http://127.0.0.1/").ok()?.join(target).ok()?;
    if url.path() != "/" {
        return None;
    }
    let value = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
    // Another page that guesses the port does not know it.
    bool::from(value("state")?.as_bytes().ct_eq(state.as_bytes())).then_some(())?;
    match value("code") {
        Some(code) => Some(Ok(code)),
        None => value("error").map(|_| Err(EnrollError::Refused("it was not confirmed in the browser".into()))),
    }
}
