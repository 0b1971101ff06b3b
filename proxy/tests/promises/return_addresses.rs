//! One open redirect is one too many: whatever an address says, a login leads back to the host it began at.
use crate::harness::client::Answer;
use crate::harness::{Door, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

fn leads(answer: &Answer, from: &str) -> Option<String> {
    let location = answer.headers.get("location")?.to_str().unwrap();
    let url = Url::parse(from).unwrap().join(location).unwrap();
    Some(url.host_str().unwrap().to_owned())
}

#[tokio::test]
async fn one_open_redirect_is_one_too_many() {
    let world = World::start().await;
    for path in [
        "//evil.test",
        "///evil.test/",
        "/%2e%2e//evil.test",
        "/./\u{2f}evil.test",
        "/evil.test?next=https://evil.test",
        "/?to=//evil.test",
        "/@evil.test",
        "/:evil.test",
        "/.evil.test",
        "/https:/evil.test",
        "/.torhaus/logout",
        "/%2etorhaus/session?code=x",
        "/x?.torhaus",
    ] {
        let mut alice = world.browser(Door::Inside).of("alice");
        let url = format!("https://wiki.test{path}");
        let answer = alice.open(&url).await;
        for (_, url) in &alice.trail {
            let host = Url::parse(url).unwrap().host_str().unwrap().to_owned();
            assert!(["wiki.test", "auth.test", "127.0.0.1"].contains(&host.as_str()), "{path} led to {url}");
        }
        let (_, last) = alice.trail.last().unwrap();
        assert!(last.starts_with("https://wiki.test/"), "{path} ended at {last} with {}", answer.status);
        assert!(answer.status == 200 || path.contains("torhaus"), "{path}: {answer:?}");
        if answer.body.contains("\"target\"") {
            assert!(!answer.seen().target.starts_with("//") && !answer.seen().target.contains("/.torhaus"), "{path}");
        }
    }
}

#[tokio::test]
async fn our_own_pages_follow_no_address_that_they_are_given() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    let mut sealed =
        world.browser(Door::Inside).navigate("GET", "https://wiki.test/", &[]).await.header("location").to_owned();
    sealed.truncate(sealed.len() - 2);
    for url in [
        sealed.as_str(),
        "https://auth.test/login?to=https://evil.test",
        "https://auth.test/login?to=//evil.test",
        "https://auth.test/login?next=//evil.test",
        "https://auth.test/login?provider=https://evil.test",
        "https://auth.test/login?again=1&redirect_uri=https://evil.test",
        "https://auth.test/login?rd=https://evil.test",
        "https://auth.test/callback/demo?code=x&state=x&iss=https://evil.test",
        "https://auth.test/callback/https:%20evil.test?code=x",
        "https://auth.test/signed-out?post_logout_redirect_uri=https://evil.test",
        "https://auth.test/logout?next=https://evil.test",
        "https://auth.test/?to=https://evil.test",
        "https://wiki.test/.torhaus/session?code=x&to=https://evil.test",
        "https://wiki.test/.torhaus/session?return_to=//evil.test",
        "https://wiki.test/.torhaus/logout?rd=//evil.test",
    ] {
        for browser in [&mut alice, &mut world.browser(Door::Inside)] {
            let answer = browser.navigate("GET", url, &[]).await;
            let to = leads(&answer, url);
            assert!(
                to.as_deref().is_none_or(|host| ["auth.test", "wiki.test", "127.0.0.1"].contains(&host)),
                "{url} -> {to:?}"
            );
            assert!(!answer.body.contains("href=\"https://evil") && !answer.body.contains("href=\"//evil"), "{url}");
            if answer.header("location").starts_with("http://127.0.0.1") {
                assert!(
                    answer.header("location").contains("redirect_uri=https%3A%2F%2Fauth.test%2Fcallback%2Fdemo"),
                    "{url}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_plain_listener_sends_people_to_our_hosts_only() {
    let world = World::start().await;
    for (bytes, expected) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "308 https://wiki.test/a?b=c"),
        ("GET //evil.test/ HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "308 https://wiki.test/evil.test/"),
        ("GET / HTTP/1.1\r\nHost: wiki.test:8080\r\n\r\n", "308 https://wiki.test/"),
        ("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "404 "),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: wiki.test\r\n\r\n", "400 "),
        ("GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "404 "),
        ("GET / HTTP/1.1\r\nHost: wiki.test@evil.test\r\n\r\n", "400 "),
        ("GET / HTTP/1.1\r\nHost: wiki.test\r\nX-Forwarded-Host: evil.test\r\n\r\n", "308 https://wiki.test/"),
        ("GET /generate_204 HTTP/1.1\r\nHost: captive.example\r\n\r\n", "204 "),
        ("POST /form HTTP/1.1\r\nHost: wiki.test\r\nContent-Length: 0\r\n\r\n", "308 https://wiki.test/form"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.address(Door::Plain)).await.unwrap();
        stream.write_all(bytes.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut received = Vec::new();
        // Reset after the answer is as good as closed.
        let _ = tokio::time::timeout(crate::harness::PATIENCE, stream.read_to_end(&mut received)).await.unwrap();
        let answer = crate::harness::raw::parse(&received).into_iter().next().unwrap();
        assert_eq!(format!("{} {}", answer.status, answer.header("location")), expected, "{bytes}");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    // Nor does TLS there, nor plain text at the TLS listener, get anywhere.
    let tls = world.tls(None, &["http/1.1"]);
    assert!(crate::harness::client::handshake(world.address(Door::Plain), "wiki.test", &tls).await.is_err());
    assert_eq!(world.echo.count(), 0);
}
