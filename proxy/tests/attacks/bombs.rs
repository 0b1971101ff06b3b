//! Answers and files that are small to send and large to take: what reads them has a bound, and nobody else notices.
use crate::harness::pki::replace;
use crate::harness::raw::exchange;
use crate::harness::{Call, Door, Setup, World, until};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What one bomb may leave in the process's memory. The allocator takes it in pieces of 32 MiB; whoever reads without a
/// bound takes gigabytes.
const MOST_GROWTH_KIB: u64 = 48 * 1024;

/// What an identity provider sends instead of its metadata or its keys.
#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// The same piece until the reader has had enough.
    Endless(&'static str, Vec<u8>),
}

/// A provider that answers `metadata` at its well-known address, and `keys` at the address its metadata names.
struct Provider {
    issuer: String,
    /// How often it was asked for its metadata, and for its keys.
    asked: Arc<[AtomicUsize; 2]>,
}

impl Provider {
    async fn start(metadata: Option<Answer>, keys: Option<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<[AtomicUsize; 2]> = Arc::default();
        let (shared, own) = (asked.clone(), issuer.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, metadata.clone(), keys.clone(), shared.clone(), own.clone()));
            }
        });
        Self { issuer, asked }
    }
}

async fn serve(
    mut stream: TcpStream,
    metadata: Option<Answer>,
    keys: Option<Answer>,
    asked: Arc<[AtomicUsize; 2]>,
    issuer: String,
) {
    let mut head = vec![0; 4096];
    let read = stream.read(&mut head).await.unwrap_or(0);
    let asked_metadata = String::from_utf8_lossy(&head[..read]).contains("openid-configuration");
    asked[usize::from(!asked_metadata)].fetch_add(1, Ordering::Relaxed);
    let usual = Answer::Whole(
        serde_json::json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
            "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"] })
        .to_string()
        .into_bytes(),
    );
    let answer = if asked_metadata { metadata.unwrap_or(usual) } else { keys.unwrap_or(Answer::Whole(b"{}".to_vec())) };
    // Whoever has read enough hangs up: writing fails then.
    let _ = match answer {
        Answer::Whole(body) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            stream.write_all(&body).await
        }
        Answer::Endless(framing, piece) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{framing}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            loop {
                if let Err(gone) = stream.write_all(&piece).await {
                    break Err(gone);
                }
            }
        }
    };
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[tokio::test]
async fn a_provider_that_sends_too_much_is_not_believed_and_costs_nobody_else() {
    let megabyte = || b" ".repeat(1 << 20);
    let deep = b"[".repeat(500_000);
    let many_keys = format!("{{\"keys\":[{}]}}", vec![r#"{"kty":"EC","crv":"P-256"}"#; 30_000].join(","));
    let chunked = || Answer::Endless("Transfer-Encoding: chunked", chunk(&megabyte()));
    let declared = || Answer::Endless("Content-Length: 10737418240", megabyte());
    for (what, metadata, keys) in [
        ("metadata without an end", Some(chunked()), None),
        ("metadata of ten gibibytes", Some(declared()), None),
        ("metadata until the connection ends", Some(Answer::Endless("Connection: close", megabyte())), None),
        ("a head without an end", Some(Answer::Endless("X-More: 1", b"X-More: 1\r\n".repeat(1000))), None),
        ("metadata nested half a million times", Some(Answer::Whole(deep.clone())), None),
        ("keys without an end", None, Some(chunked())),
        ("keys of ten gibibytes", None, Some(declared())),
        ("keys nested half a million times", None, Some(Answer::Whole([b"{\"keys\":".to_vec(), deep].concat()))),
        ("thirty thousand keys", None, Some(Answer::Whole(many_keys.into_bytes()))),
    ] {
        let of_keys = usize::from(keys.is_some());
        let provider = Provider::start(metadata, keys).await;
        let mut setup = Setup::new().await;
        setup.config = setup.config.replace(&setup.idp.issuer, &provider.issuer);
        let world = setup.start().await;
        let open = async || world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap().status;
        assert_eq!(open().await, 200);
        let before = world.memory_kib("RssAnon:");
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"at+jwt","kid":"1"}"#);
        let claims = format!(r#"{{"iss":"{}","aud":"torhaus","sub":"a"}}"#, provider.issuer);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let call = Call::get("wiki.test", "/").with("accept", "application/json");
        let token = format!("Bearer {head}.{claims}.{}", "A".repeat(86));
        let answer = world.call(Door::Inside, None, &call.with("authorization", &token)).await.unwrap();
        let refused = [(503, "provider_unavailable".to_owned()), (401, "bearer_invalid".to_owned())];
        assert!(refused.contains(&answer.outcome()), "{what}: {answer:?}");
        assert!(provider.asked[of_keys].load(Ordering::Relaxed) > 0, "{what}: nobody read it");
        assert_eq!(open().await, 200, "{what}");
        assert_eq!(world.echo.count(), 2, "{what}: only the open page was served");
        let after = world.memory_kib("RssAnon:");
        assert!(after.saturating_sub(before) < MOST_GROWTH_KIB, "{what}: it grew from {before} to {after} KiB");
    }
}

#[tokio::test]
async fn a_list_of_devices_that_unfolds_is_not_unfolded() {
    let mut setup = Setup::new().await;
    setup.config = setup.config.replace(
        "routes:\n",
        "lookups: { posture: { inventory_file: devices.yaml, trust_domains: [devices] } }\nroutes:\n",
    );
    let good = "version: 1\nsource_trust: mdm\ndevices:\n  - { id: laptop-17, managed: true }\n";
    replace(&setup.folder.path().join("devices.yaml"), good);
    let world = setup.start().await;
    assert_eq!(world.status().await.without, Vec::<String>::new());
    // Each line is ten of the line before: 10^9 devices from a kilobyte.
    let mut laughs = "version: 1\nx0: &x0 { id: laptop-17 }\n".to_owned();
    for n in 1..10 {
        let ten = vec![format!("*x{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("x{n}: &x{n} [{ten}]\n"));
    }
    laughs.push_str("devices: *x9\n");
    let deep = format!("version: 1\ndevices: {}", "[".repeat(200_000));
    let flow = format!("version: 1\ndevices: {}", "{a: ".repeat(200_000));
    for (what, text) in [("a thousand million laughs", laughs), ("nested lists", deep), ("nested maps", flow)] {
        let before = world.memory_kib("RssAnon:");
        world.write("devices.yaml", &text);
        until(what, async || world.status().await.without.iter().any(|line| line.contains("devices"))).await;
        assert_eq!(world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap().status, 200, "{what}");
        world.write("devices.yaml", good);
        until("the good list is back", async || world.status().await.without.is_empty()).await;
        let after = world.memory_kib("RssAnon:");
        assert!(after.saturating_sub(before) < MOST_GROWTH_KIB, "{what}: it grew from {before} to {after} KiB");
    }
}

#[tokio::test]
async fn a_body_for_our_own_pages_has_a_bound_however_it_is_framed() {
    let world = World::start().await;
    let tls = world.tls(None, &["http/1.1"]);
    let form = format!("logout_token={}", "a".repeat(150 * 1024));
    let head = "POST /backchannel-logout/demo HTTP/1.1\r\nHost: auth.test\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let chunked =
        [format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes(), &chunk(form.as_bytes()), b"0\r\n\r\n"]
            .concat();
    let declared = format!("{head}Content-Length: {}\r\n\r\n{form}", form.len()).into_bytes();
    let announced = format!("{head}Content-Length: 99999999999\r\n\r\nlogout_token=a").into_bytes();
    for (what, bytes) in [("chunked", chunked), ("declared", declared), ("announced", announced)] {
        let answers = exchange(world.address(Door::Inside), "auth.test", &tls, &bytes).await;
        let first = answers.first().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(first.outcome(), (413, "body_too_large".to_owned()), "{what}: {first:?}");
    }
}
