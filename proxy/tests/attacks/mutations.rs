//! What reads bytes of strangers, given bytes that nobody thought of: corpora of this folder, mutated. Each target says
//! what must hold of anything that is accepted; that nothing panics goes without saying.
//!
//! Runs on the stable toolchain, some seconds in all, from fixed seeds. `TORHAUS_MUTATIONS=100` runs a hundred times as
//! many; a failure prints the bytes, which then belong into the corpus.
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use torhaus::edge::connection::ConnectionInfo;
use torhaus::edge::pace::Progress;
use torhaus::edge::stream::Cutter;
use torhaus::edge::{client_hello, proxy_protocol};
use torhaus::headers::{Reserved, disarmed_connection};
use torhaus::login::jws::{Unverified, signature_algorithm};
use torhaus::login::seal::SealKey;
use torhaus::login::session::Ticket;
use torhaus::request::{self, Request};
use torhaus::{path, strict};
use torhaus_authz::Timestamp;

/// Mutations of each target; a debug build does them all in some seconds.
const ROUNDS: usize = 20_000;

fn rounds() -> usize {
    let times: usize = std::env::var("TORHAUS_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ROUNDS * times
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target}");
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Bytes that mean something to some parser.
const TELLING: [u8; 24] = *b"\0\r\n\t %/.;:=,\\\"'#?@&+-_\x7f\xff";

/// Flips, cuts, doubles, splices.
fn mutated(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..6) {
        let length = bytes.len();
        let at = random.random_range(0..length.max(1)).min(length);
        match random.random_range(0..8) {
            0 if length > 0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 if length > 0 => bytes[at] = random.random(),
            2 => bytes.insert(at, TELLING[random.random_range(0..TELLING.len())]),
            3 if length > 0 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let end = random.random_range(at..=length);
                let part = bytes[at..end].repeat(random.random_range(1..4));
                let _ = bytes.splice(at..at, part).count();
            }
            6 => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.extend((0..random.random_range(0..64)).map(|_| random.random::<u8>())),
        }
    }
    bytes.truncate(64 * 1024);
    bytes
}

fn each(target: &str, mut check: impl FnMut(&[u8])) {
    let corpus = corpus(target);
    let mut random = StdRng::seed_from_u64(0x7043);
    corpus.iter().for_each(|bytes| check(bytes));
    for _ in 0..rounds() {
        check(&mutated(&mut random, &corpus));
    }
}

/// Gives its bytes, then ends; counts what was taken; swallows what is written.
struct Wire<'a> {
    left: &'a [u8],
    taken: usize,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let count = buffer.remaining().min(self.left.len());
        let (now, later) = self.left.split_at(count);
        buffer.put_slice(now);
        (self.left, self.taken) = (later, self.taken + count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    futures::FutureExt::now_or_never(future).expect("it waits for bytes that will not come")
}

#[test]
fn client_hello() {
    let mut named = 0;
    each("client_hello", |bytes| {
        let mut wire = Wire { left: bytes, taken: 0 };
        if let Ok(accepted) = now(client_hello::read(&mut wire)) {
            named += usize::from(accepted.client_hello().server_name().is_some());
        }
        assert!(wire.taken <= 20 * 1024, "{} bytes were read", wire.taken);
    });
    assert!(named > 100, "{named}: hardly any was a greeting");
}

#[test]
fn proxy_header() {
    let mut callers = 0;
    each("proxy", |bytes| {
        let mut wire = Wire { left: bytes, taken: 0 };
        if let Ok(told) = now(proxy_protocol::read(&mut wire)) {
            callers += usize::from(told.is_some());
            assert!(bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        }
        assert!(wire.taken <= 16 + 2048, "{} bytes were read", wire.taken);
    });
    assert!(callers > 100, "{callers}");
}

#[test]
fn path_canonicaliser() {
    let mut accepted = 0;
    each("path", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(once) = path::canonical_with_slashes(text) else { return };
        accepted += 1;
        assert_eq!(path::canonical_with_slashes(&once).as_deref(), Ok(&*once), "{text:?}");
        let odd = |b: u8| matches!(b, 0..=0x20 | 0x7f.. | b';' | b'\\' | b'#');
        assert!(once.starts_with('/') && !once.bytes().any(odd), "{text:?} -> {once:?}");
        assert!(!once.contains("//") && !once.split('/').any(|s| s == "." || s == ".."), "{text:?} -> {once:?}");
    });
    assert!(accepted > 100, "{accepted}");
}

/// A head as an engine would hand it on, if it took it at all.
fn parsed(bytes: &[u8]) -> Option<(Method, Uri, Version, HeaderMap)> {
    let text = bytes.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut lines = text;
    let mut words = lines.next()?.split(|b| *b == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let version = if words.next()? == b"HTTP/1.1" { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let at = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
    Some((method, uri, version, headers))
}

#[test]
fn head_host_and_header_filter() {
    let reserved = Reserved::with(["X-Company-Person"].into_iter());
    let (mut read, mut filtered) = (0, 0);
    each("head", |bytes| {
        let _ = strict::check_head(bytes);
        let Some((method, uri, version, mut headers)) = parsed(bytes) else { return };
        if let Ok(target) = request::read(&method, &uri, version, &headers, 100) {
            read += 1;
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
            assert!(target.host.bytes().all(plain) && !target.host.is_empty(), "{:?}", target.host);
            assert!(target.path.starts_with('/'), "{target:?}");
        }
        for changes in [disarmed_connection(&headers), reserved.changes(&headers)] {
            filtered += changes.remove.len();
            for name in changes.remove {
                headers.remove(name);
            }
            if let Some((name, values)) = changes.replace {
                headers.remove(&name);
                for value in values {
                    headers.append(name.clone(), value);
                }
            }
        }
        for (name, value) in &headers {
            let folded: String =
                name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            assert!(
                !folded.starts_with("x-forwarded-") && folded != "client-cert" && !folded.starts_with("ssl-client-"),
                "{name}"
            );
            let ours = |pair: &[u8]| pair.trim_ascii().to_ascii_lowercase().starts_with(b"__host-torhaus");
            assert!(name != "cookie" || !value.as_bytes().split(|b| *b == b';').any(ours), "{value:?}");
        }
    });
    assert!(read > 100 && filtered > 100, "{read} {filtered}");
}

fn connection() -> Arc<ConnectionInfo> {
    let caller = SocketAddr::from(([127, 0, 0, 1], 50_000));
    Arc::new(ConnectionInfo {
        listener: "test".into(),
        client: caller,
        peer: caller,
        local_port: 443,
        tls: None,
        cutter: Cutter::default(),
        progress: Progress::default(),
        backlog: Arc::default(),
        origin: OnceLock::new(),
    })
}

#[test]
fn cookies() {
    let info = connection();
    let mut found = 0;
    each("cookie", |bytes| {
        let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
        let headers = HeaderMap::from_iter([(http::header::COOKIE, value)]);
        let method = Method::GET;
        let request = Request {
            method: &method,
            host: "a.test",
            port: None,
            path: "/",
            query: None,
            headers: &headers,
            connection: &info,
            body: &[],
        };
        if let Some(cookie) = request.cookie("__Host-torhaus") {
            found += 1;
            // Exactly one pair of that name, and this is its value.
            let pairs = bytes.split(|b| *b == b';').filter(|pair| pair.trim_ascii().starts_with(b"__Host-torhaus"));
            let ours =
                pairs.filter(|pair| pair.split(|b| *b == b'=').next().unwrap().trim_ascii() == b"__Host-torhaus");
            assert_eq!(ours.filter(|pair| pair.contains(&b'=')).count(), 1, "{:?}", bytes.escape_ascii());
            assert!(!cookie.contains(';'));
        }
        let _ = request.cookie_names("__Host-torhaus");
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = Ticket::parse(text);
        }
    });
    assert!(found > 100, "{found}");
}

#[test]
fn jwt_heads() {
    let mut read = 0;
    each("jws", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(token) = Unverified::parse(text) else { return };
        read += 1;
        let _ = token.claimed_issuer();
        assert_eq!(text.split('.').count(), 3, "{text}");
    });
    assert!(read > 100, "{read}");
    for name in ["none", "None", "HS256", "HS384", "HS512", "", "ES256K", "RSA1_5", "dir"] {
        assert!(signature_algorithm(name).is_none(), "{name}");
    }
}

/// What browsers carry for us between hosts: nothing but what was sealed opens, for its purpose, in its time.
#[test]
fn handed_over_values() {
    let folder = tempfile::tempdir().unwrap();
    let key = SealKey::load_or_create(folder.path()).unwrap();
    let (at, end) = (Timestamp::from_seconds(1_800_000_000), Timestamp::from_seconds(1_800_000_900));
    let sealed: Vec<Vec<u8>> =
        corpus("sealed").iter().map(|plain| key.seal_text("a", plain, end).unwrap().into_bytes()).collect();
    for text in &sealed {
        let text = std::str::from_utf8(text).unwrap();
        assert!(key.open_text("a", text, at).is_ok());
        assert!(key.open_text("b", text, at).is_err(), "another purpose");
        assert!(key.open_text("a", text, Timestamp::from_seconds(1_800_000_901)).is_err(), "too late");
    }
    let mut random = StdRng::seed_from_u64(0x7043);
    for _ in 0..rounds() {
        let bytes = mutated(&mut random, &sealed);
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        let _ = Ticket::parse(text);
        let opened = key.open_text("a", text, at).is_ok();
        assert!(!opened || sealed.contains(&bytes), "{text:?} was never sealed");
    }
}
