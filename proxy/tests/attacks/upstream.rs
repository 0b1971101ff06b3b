//! An application that is odd, hostile or gone: what it does stays its own.
use crate::h2::{self, Ended, Raw};
use crate::harness::{Call, Connection, Door, Setup, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers each request by its path, in bytes of the test's own.
async fn odd() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut received, mut part) = (Vec::new(), [0u8; 4096]);
                loop {
                    let read = stream.read(&mut part).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    received.extend_from_slice(&part[..read]);
                    if !received.windows(4).any(|end| end == b"\r\n\r\n") {
                        continue;
                    }
                    let head = String::from_utf8_lossy(&received).into_owned();
                    received.clear();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let (answer, then) = answer(&path);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                    match then {
                        Then::Next => {}
                        Then::Close => return,
                        Then::Hang => tokio::time::sleep(Duration::from_secs(3600)).await,
                    }
                }
            });
        }
    });
    port
}

enum Then {
    Next,
    Close,
    Hang,
}

fn answer(path: &str) -> (Vec<u8>, Then) {
    let ok = "HTTP/1.1 200 OK\r\n";
    let text = match path {
        "/redirect" => {
            "HTTP/1.1 302 Found\r\nLocation: http://internal.test:9001/x?a=b\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        "/relative" => "HTTP/1.1 307 Temporary Redirect\r\nLocation: ../y\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "/unasked" => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: odd\r\n\r\nodd".to_owned(),
        "/unasked-h2c" => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned(),
        "/unasked-bare" => "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        "/hints" => format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nSet-Cookie: __Host-torhaus=fixed\r\n\r\n{ok}Content-Length: 2\r\n\r\nok"
        ),
        "/continue" => {
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{ok}Content-Length: 2\r\n\r\nok")
        }
        "/huge" => format!("{ok}X-Big: {}\r\nContent-Length: 2\r\n\r\nok", "b".repeat(70 * 1024)),
        "/huger" => format!("{ok}X-Big: {}\r\nContent-Length: 2\r\n\r\nok", "b".repeat(2 * 1024 * 1024)),
        "/many" => format!("{ok}{}Content-Length: 2\r\n\r\nok", "X-A: b\r\n".repeat(300)),
        "/endless-head" => format!("{ok}X-A: b"),
        "/silent" => String::new(),
        "/gone" => return (Vec::new(), Then::Close),
        "/cut" => return (format!("{ok}Content-Length: 100\r\n\r\nonly this").into_bytes(), Then::Close),
        "/cut-chunk" => {
            return (format!("{ok}Transfer-Encoding: chunked\r\n\r\n64\r\nonly this").into_bytes(), Then::Close);
        }
        "/no-http" => return (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Then::Close),
        "/two-lengths" => {
            return (format!("{ok}Content-Length: 2\r\nContent-Length: 40\r\n\r\nok").into_bytes(), Then::Close);
        }
        "/both" => {
            return (
                format!("{ok}Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
                    .into_bytes(),
                Then::Close,
            );
        }
        "/one-more" => format!("{ok}Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"),
        "/nul" => return (format!("{ok}X-A: a\0b\r\nContent-Length: 2\r\n\r\nok").into_bytes(), Then::Close),
        "/status" => return (b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n".to_vec(), Then::Close),
        _ => format!("{ok}Content-Length: 4\r\n\r\nfine"),
    };
    let then = if matches!(path, "/endless-head" | "/silent") { Then::Hang } else { Then::Next };
    (text.into_bytes(), then)
}

async fn world() -> World {
    let mut setup = Setup::new().await;
    let port = odd().await;
    let up = format!("http://127.0.0.1:{}", setup.echo.port);
    setup.config = setup.config.replace(
        &format!("host: status.test, upstream: \"{up}\", resource: status }}"),
        &format!("host: status.test, upstream: \"http://127.0.0.1:{port}\", resource: status, response_timeout: 2s }}"),
    );
    setup.start().await
}

/// Path, status, body. Status 0: the answer had begun, and the connection or stream ends.
const CASES: [(&str, u16, &str); 20] = [
    ("/fine", 200, "fine"),
    ("/redirect", 302, ""),
    ("/relative", 307, ""),
    ("/unasked", 502, "upstream_failed"),
    ("/unasked-h2c", 502, "upstream_failed"),
    ("/unasked-bare", 502, "upstream_failed"),
    ("/hints", 200, "ok"),
    ("/continue", 200, "ok"),
    ("/huge", 502, "upstream_failed"),
    ("/huger", 502, "upstream_failed"),
    ("/many", 502, "upstream_failed"),
    ("/endless-head", 504, "upstream_timeout"),
    ("/silent", 504, "upstream_timeout"),
    ("/gone", 502, "upstream_failed"),
    ("/cut", 0, ""),
    ("/cut-chunk", 0, ""),
    ("/no-http", 502, "upstream_failed"),
    ("/two-lengths", 502, "upstream_failed"),
    ("/one-more", 200, "ok"),
    ("/nul", 502, "upstream_failed"),
];

#[tokio::test]
async fn what_an_application_does_is_contained() {
    let world = world().await;
    let mut wrong = Vec::new();
    for alpn in ["http/1.1", "h2"] {
        for (path, status, said) in CASES {
            let call = Call::get("status.test", path).with("accept", "application/json");
            let mut connection =
                Connection::open(world.address(Door::Inside), "status.test", &world.tls(None, &[alpn])).await.unwrap();
            let (got, body) = match connection.send(&call).await {
                Ok(answer) => {
                    if let Some((_, expected)) =
                        [("/redirect", "http://internal.test:9001/x?a=b"), ("/relative", "../y")]
                            .iter()
                            .find(|(p, _)| *p == path)
                    {
                        assert_eq!(answer.header("location"), *expected, "redirects are the application's own");
                    }
                    assert!(!answer.header("set-cookie").contains("torhaus"));
                    (answer.status, answer.reason().unwrap_or(answer.body))
                }
                Err(_) => (0, String::new()),
            };
            if (got, body.as_str()) != (status, said) {
                wrong.push(format!("{alpn} {path}: {got} {body:?}, not {status} {said:?}"));
            }
            // The next one, whoever's connection it gets.
            let fine = world.call(Door::Inside, None, &Call::get("status.test", "/fine")).await.unwrap();
            if fine.body != "fine" {
                wrong.push(format!("after {alpn} {path}: {fine:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A client sees one final answer: what comes before it (RFC 8297) nobody has looked at yet.
#[tokio::test]
async fn early_hints_do_not_reach_a_client() {
    let world = world().await;
    let tls = world.tls(None, &["http/1.1"]);
    for path in ["/hints", "/continue"] {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: status.test\r\nConnection: close\r\n\r\n");
        let answers =
            crate::harness::raw::exchange(world.address(Door::Inside), "status.test", &tls, bytes.as_bytes()).await;
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200], "{path}: {answers:?}");
        let mut raw = Raw::open(&world, Door::Inside, "status.test").await;
        let head = h2::block(&h2::get("status.test", path));
        raw.send(&h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &head)).await;
        assert_eq!(raw.outcome(1).await, Ended::Answered(200), "{path}");
    }
}

/// The engine's own pool does not look at who vouched for a connection.
#[tokio::test]
async fn a_connection_that_another_authority_vouched_for_is_not_reused() {
    let mut setup = Setup::new().await;
    let folder = setup.folder.path().to_owned();
    let chain = std::fs::read(folder.join("web.pem")).unwrap();
    let key = std::fs::read(folder.join("web.key")).unwrap();
    use rustls::pki_types::pem::PemObject as _;
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(&chain).map(Result::unwrap).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor =
        tokio_rustls::TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), counted.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut part = [0u8; 4096];
                while stream.read(&mut part).await.is_ok_and(|read| read > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").await;
                }
            });
        }
    });
    let route = |name: &str, tls: &str| {
        format!(
            "  - {{ name: tls-{name}, host: status.test, path: /{name}, upstream: \"https://127.0.0.1:{port}\", upstream_tls: {{ {tls} }}, resource: status }}\n"
        )
    };
    let wrong_pin = "00".repeat(32);
    setup.config.push_str(&route("good", "ca_file: web-ca.pem, server_name: status.test"));
    setup.config.push_str(&route("wrong-ca", "ca_file: devices-ca.pem, server_name: status.test"));
    setup.config.push_str(&route("wrong-name", "ca_file: web-ca.pem, server_name: evil.test"));
    setup.config.push_str(&route("wrong-pin", &format!("pin_sha256: \"{wrong_pin}\", server_name: status.test")));
    setup.config.push_str(&route("system", "server_name: status.test"));
    let world = setup.start().await;
    let get = |name: &str| Call::get("status.test", &format!("/{name}")).with("accept", "application/json");
    for round in 1..=3 {
        assert_eq!(
            world.call(Door::Inside, None, &get("good")).await.unwrap().body,
            "fine",
            "a good connection lies in the pool"
        );
        for name in ["wrong-ca", "wrong-name", "wrong-pin", "system"] {
            let answer = world.call(Door::Inside, None, &get(name)).await.unwrap();
            assert_eq!(answer.outcome(), (502, "upstream_not_trusted".to_owned()), "{name}");
        }
        assert_eq!(requests.load(Ordering::SeqCst), round, "not a byte of a request went there");
    }
}
