//! Providers that are down, slow, redirect, or are not who they say.
use super::fake::{Fake, NOW, Reply};
use super::*;
use crate::login::error::LoginPage;
use crate::login::http_client::{FetchError, HttpClient, HttpClientError};
use crate::login::metadata::MetadataError;
use std::time::Duration;

const DISCOVERY: &str = "/realms/corp/.well-known/openid-configuration";

fn fetch(error: FetchError) -> Option<LoginError> {
    Some(LoginError::Metadata(MetadataError::Fetch(error)))
}

#[tokio::test]
async fn a_dead_provider_stops_no_start_and_is_asked_again_after_a_moment() {
    let fake = Fake::start().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    let provider =
        build(Provider { issuer: Url::parse(&address).unwrap(), issuer_text: address.into(), ..config(&fake) });
    let error = provider.start(Wish::default(), STATE, NOW).await.expect_err("nobody there");
    assert!(matches!(&error, LoginError::Metadata(MetadataError::Fetch(FetchError::Connect { .. }))), "{error:?}");
    assert_eq!(error.page(), LoginPage::ProviderDown);

    let host = || "127.0.0.1".to_owned();
    let fake = Fake::start().await;
    fake.reply(DISCOVERY, Reply::text(503, ""));
    let provider = build(config(&fake));
    for after in [0, 1, 4] {
        let error = provider.start(Wish::default(), STATE, NOW.plus(Duration::from_secs(after))).await.err();
        assert_eq!(error, fetch(FetchError::Status { host: host(), status: 503 }));
    }
    assert_eq!(fake.asked(DISCOVERY), 1, "a provider in trouble is not hammered");
    fake.discovery(|_| {});
    provider.start(Wish::default(), STATE, NOW.plus(Duration::from_secs(5))).await.expect("it is back");
}

#[tokio::test]
async fn a_redirect_a_flood_and_garbage_are_not_followed() {
    let host = || "127.0.0.1".to_owned();
    for status in [301, 302, 303, 307, 308] {
        let fake = Fake::start().await;
        let reply = Reply { location: Some(fake.url("/elsewhere")), ..Reply::text(status, "") };
        fake.reply(DISCOVERY, reply);
        let error = build(config(&fake)).start(Wish::default(), STATE, NOW).await.err();
        assert_eq!(error, fetch(FetchError::Redirect { host: host() }));
        assert_eq!(fake.asked("/elsewhere"), 0);
    }
    let fake = Fake::start().await;
    fake.reply(DISCOVERY, Reply::text(200, &"x".repeat(10 * 1024 * 1024)));
    let error = build(config(&fake)).start(Wish::default(), STATE, NOW).await.err();
    assert_eq!(error, fetch(FetchError::TooLarge { host: host(), mib: 1 }));
    // The token endpoint too: a redirect must not carry the code elsewhere.
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, _) = begin(&provider, &fake, Wish::default()).await;
    fake.reply("/token", Reply { location: Some(fake.url("/elsewhere")), ..Reply::text(307, "") });
    assert!(provider.finish(&started, &good_callback(), NOW).await.is_err());
    assert_eq!(fake.asked("/elsewhere"), 0);
}

#[tokio::test]
async fn a_slow_provider_is_given_up_on() {
    let fake = Fake::start().await;
    fake.reply(DISCOVERY, Reply::text(200, "{}").after(Duration::from_secs(60)));
    let began = tokio::time::Instant::now();
    let error = build(config(&fake)).start(Wish::default(), STATE, NOW).await.err();
    assert_eq!(error, fetch(FetchError::Timeout { host: "127.0.0.1".to_owned() }));
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// A server for 127.0.0.1 with a certificate of `authority`, that answers `{"a":1}` to whoever believes it.
async fn tls_server(authority: &torhaus_certs::Authority) -> Url {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let now = time::OffsetDateTime::from_unix_timestamp(crate::clock::now().seconds()).unwrap();
    let request = torhaus_certs::LeafRequest::server(["idp.example.test"])
        .address([127, 0, 0, 1])
        .valid_for(time::Duration::hours(1));
    let leaf = authority.issue(&request, now).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(leaf.key_der().to_vec()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.cert_der().to_vec().into()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    url
}

#[tokio::test]
async fn with_a_ca_file_only_that_ca_is_believed() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let now = time::OffsetDateTime::from_unix_timestamp(crate::clock::now().seconds()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (dir.path().join("own.pem"), dir.path().join("other.pem"));
    let authority = torhaus_certs::Authority::new("Own", now, time::Duration::days(1)).unwrap();
    let stranger = torhaus_certs::Authority::new("Other", now, time::Duration::days(1)).unwrap();
    std::fs::write(&own, authority.root_pem()).unwrap();
    std::fs::write(&other, stranger.root_pem()).unwrap();
    let url = tls_server(&authority).await;
    let client = HttpClient::new(&url, Some(&own)).unwrap();
    assert_eq!(client.get_json::<Value>(&url).await, Ok(json!({"a": 1})));
    for file in [Some(other.as_path()), None] {
        let client = HttpClient::new(&url, file).unwrap();
        let error = client.get_json::<Value>(&url).await.expect_err("not believed");
        assert!(matches!(&error, FetchError::Connect { .. }) && error.to_string().contains("certificate"), "{error}");
    }
}

#[test]
fn a_ca_file_that_is_none_is_an_error_and_not_the_systems_roots() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let issuer = Url::parse("https://idp.example.test").unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate here\n").unwrap();
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for file in [empty, broken, dir.path().join("missing.pem")] {
        let result = HttpClient::new(&issuer, Some(&file));
        assert!(
            matches!(result, Err(HttpClientError::CaFile { .. } | HttpClientError::Build(_))),
            "{}",
            file.display()
        );
    }
    HttpClient::new(&issuer, None).expect("the system's roots");
}

#[tokio::test]
async fn a_provider_by_tls_is_never_asked_in_the_clear() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let fake = Fake::start().await;
    let client = HttpClient::new(&Url::parse("https://127.0.0.1/").unwrap(), None).unwrap();
    let result = client.get(&Url::parse(&fake.url("/userinfo")).unwrap(), None).await;
    assert!(result.is_err());
    assert_eq!(fake.asked("/userinfo"), 0);
}
