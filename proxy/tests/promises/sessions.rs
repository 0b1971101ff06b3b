//! A session: where its handles are good, how it ends, and what those without one are told.
use crate::harness::{Browser, Call, Door, World};
use std::sync::Arc;
use torhaus::login::seal::SealKey;
use torhaus::login::session::{SessionStore as _, Which};
use torhaus::store::SqlStore;

const EXPIRED: (u16, &str) = (401, "session_expired");

async fn is(browser: &mut Browser<'_>, url: &str) -> (u16, String) {
    browser.fetch(url).await.outcome()
}

fn equal(found: &(u16, String), expected: (u16, &str), what: &str) {
    assert_eq!((found.0, found.1.as_str()), expected, "{what}");
}

#[tokio::test]
async fn handles_are_new_after_every_login_and_step_up() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    // Somebody planted a handle before: fixation.
    let planted = "A".repeat(43);
    for host in ["apps.test", "auth.test"] {
        alice.jar.entry(host.into()).or_default().insert("__Host-torhaus".into(), planted.clone());
    }
    let mut before: Vec<(String, String)> = vec![("apps.test".into(), planted.clone()), ("auth.test".into(), planted)];
    for tier in ["standard", "mfa", "hardware"] {
        let answer = alice.open(&format!("https://apps.test/level-{tier}")).await;
        assert_eq!(answer.status, 200, "{tier}: {:?}", alice.trail);
        let now = ["apps.test", "auth.test"].map(|host| alice.handle(host).unwrap().to_owned());
        for (host, handle) in &before {
            assert!(!now.contains(handle), "{host} has a new handle after {tier}");
            let mut thief = world.browser(Door::Inside);
            thief.jar.entry(host.clone()).or_default().insert("__Host-torhaus".into(), handle.clone());
            let url = if host == "apps.test" { "https://apps.test/wiki" } else { "https://auth.test/.torhaus/whoami" };
            let found = is(&mut thief, url).await;
            assert_ne!(found.0, 200, "an old handle of {host} after {tier}: {found:?}");
        }
        before.extend([("apps.test".to_owned(), now[0].clone()), ("auth.test".to_owned(), now[1].clone())]);
    }
    // A handle is good at its own host only.
    let mut thief = world.browser(Door::Inside);
    let handle = alice.handle("apps.test").unwrap().to_owned();
    for host in ["wiki.test", "device.test", "auth.test"] {
        thief.jar.entry(host.into()).or_default().insert("__Host-torhaus".into(), handle.clone());
        let answer = thief.fetch(&format!("https://{host}/")).await;
        assert_ne!(answer.status, 200, "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_at_every_host() {
    let world = World::start().await;
    for at in ["https://wiki.test/.torhaus/logout", "https://auth.test/logout"] {
        let mut alice = world.browser(Door::Inside).of("alice");
        let hosts = ["https://wiki.test/", "https://apps.test/wiki"];
        for url in hosts {
            assert_eq!(alice.open(url).await.status, 200, "{:?}", alice.trail);
        }
        let mut other = world.browser(Door::Inside).of("alice");
        assert_eq!(other.open("https://wiki.test/").await.status, 200);

        // Another site cannot do it, nor can a link.
        let evil = alice.request("POST", at).with("origin", "https://evil.test").with("accept", "application/json");
        equal(&alice.send(at, &evil).await.outcome(), (403, "cross_origin"), at);
        let evil = alice.request("POST", at).with("sec-fetch-site", "same-site").with("accept", "application/json");
        equal(&alice.send(at, &evil).await.outcome(), (403, "cross_origin"), at);
        assert_eq!(alice.navigate("GET", at, &[]).await.status, 200, "a page with a button");
        equal(&is(&mut alice, hosts[0]).await, (200, "allowed"), "still there");

        let handles = alice.jar.clone();
        let answer = alice.navigate("POST", at, &[]).await;
        let answer = alice.follow(at, answer).await;
        assert_eq!(answer.status, 200, "{at}: {:?}", alice.trail);
        assert!(alice.trail.last().unwrap().1.starts_with("https://auth.test/signed-out"), "{:?}", alice.trail);
        // OpenID Connect RP-Initiated Logout 1.0, section 2: with the token it needs not ask who that is.
        assert!(alice.trail.iter().any(|(_, url)| url.contains("id_token_hint=")), "{:?}", alice.trail);
        alice.jar = handles;
        for url in hosts {
            equal(&is(&mut alice, url).await, EXPIRED, url);
        }
        equal(&is(&mut other, hosts[0]).await, (200, "allowed"), "the session of another browser");
        alice.jar.retain(|host, _| !host.starts_with("127.0.0.1") || host.is_empty());
    }
    assert!(world.recorded_with(&[("kind", "session_end")]).len() >= 2);
}

#[tokio::test]
async fn our_cookies_are_for_one_host_over_tls_and_for_no_script() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    alice.open("https://pve.test/").await;
    alice.navigate("POST", "https://wiki.test/.torhaus/logout", &[]).await;
    let ours: Vec<_> = alice.set.iter().filter(|(host, _)| host.ends_with(".test")).collect();
    assert!(ours.len() >= 8, "{ours:?}");
    for (host, line) in ours {
        let attributes: Vec<&str> = line.split("; ").skip(1).collect();
        for needed in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(attributes.contains(&needed), "{host}: {line}");
        }
        assert!(line.starts_with("__Host-torhaus"), "{host}: {line}");
        assert!(!line.to_ascii_lowercase().contains("domain="), "{host}: {line}");
    }
}

#[tokio::test]
async fn only_a_browser_that_navigates_is_redirected() {
    let world = World::start().await;
    const HTML: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
    for (what, headers) in [
        ("curl", vec![("accept", "*/*")]),
        ("nothing said", vec![]),
        ("an API client", vec![("accept", "application/json")]),
        ("fetch", vec![("accept", "*/*"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "same-origin")]),
        ("fetch that asks for html", vec![("accept", HTML), ("sec-fetch-mode", "same-origin")]),
        ("jquery", vec![("accept", HTML), ("x-requested-with", "XMLHttpRequest")]),
        ("an image", vec![("accept", "image/avif,*/*"), ("sec-fetch-mode", "no-cors")]),
        ("a WebSocket", vec![("accept", HTML), ("connection", "upgrade"), ("upgrade", "websocket")]),
        ("a dead session", vec![("cookie", "__Host-torhaus=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]),
        ("a foreign bearer", vec![("authorization", "Bearer abc"), ("accept", "application/json")]),
    ] {
        for method in ["GET", "POST"] {
            let call = Call { method, ..Call::get("wiki.test", "/api?x=1") };
            let call = headers.iter().fold(call, |call, (name, value)| call.with(name, value));
            let answer = world.call(Door::Outside, None, &call).await.unwrap();
            assert_eq!((answer.status, answer.header("location")), (401, ""), "{what}, {method}: {answer:?}");
            assert!(answer.headers.contains_key("www-authenticate"), "{what}: RFC 9110 section 15.5.2");
            let expected = if what == "a dead session" { "session_expired" } else { "login_needed" };
            assert_eq!(answer.reason().as_deref(), Some(expected), "{what}");
        }
    }
    for (what, headers) in [
        ("a browser", vec![("accept", HTML), ("sec-fetch-mode", "navigate")]),
        ("an older browser", vec![("accept", HTML)]),
    ] {
        let call = headers.iter().fold(Call::get("wiki.test", "/"), |call, (name, value)| call.with(name, value));
        let answer = world.call(Door::Outside, None, &call).await.unwrap();
        assert!(
            answer.status / 100 == 3 && answer.header("location").starts_with("https://auth.test/login?to="),
            "{what}"
        );
        assert!(answer.header("cache-control").contains("no-store"), "{what}: {answer:?}");
    }
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn a_form_that_meets_an_ended_session_keeps_its_fields() {
    let world = World::start().await;
    let mut dana = world.browser(Door::Inside).of("dana");
    dana.open("https://wiki.test/").await;
    let (code, _, why) = world.torhaus(&["session", "revoke", "--user", "dana"]).await;
    assert_eq!(code, 0, "{why}");
    let before = world.echo.count();
    let fields = [("title", "Über \"uns\" <b>&amp;</b>"), ("text", "line one\r\nline two"), ("tag", "a"), ("tag", "b")];
    let page = dana.navigate("POST", "https://wiki.test/save?draft=1", &fields).await;
    assert_eq!((page.status, page.header("location")), (401, ""), "{page:?}");
    for part in [
        "action=\"/save?draft=1\"",
        "name=\"title\" value=\"Über &#34;uns&#34; &#60;b&#62;&#38;amp;&#60;/b&#62;\"",
        "name=\"tag\" value=\"a\"",
        "name=\"tag\" value=\"b\"",
        "https://auth.test/login?to=",
        "line two",
    ] {
        assert!(page.body.contains(part), "{part} is not in {}", page.body);
    }
    assert!(!page.body.contains("<script"), "nothing is sent again by itself");
    assert_eq!(world.echo.count(), before, "the form did not arrive");

    // Another site's form is not ours to keep, nor is what is no form.
    for (origin, kind, body) in [
        ("https://evil.test", "application/x-www-form-urlencoded", "title=x"),
        ("https://wiki.test", "application/json", "{\"title\":1}"),
        ("https://wiki.test", "text/plain", "title=x"),
    ] {
        let mut call = dana.request("POST", "https://wiki.test/save").with("accept", "text/html");
        call = call.with("origin", origin).with("content-type", kind);
        call.body = body.to_owned();
        let page = dana.send("https://wiki.test/save", &call).await;
        assert_eq!(page.status, 401);
        assert!(!page.body.contains("name=\"title\""), "{origin} {kind}: {}", page.body);
    }
    // Signed in again (the page's own link), the person sends it again.
    let link = page.body.split("href=\"").find(|part| part.starts_with("https://auth.test/login?to=")).unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(dana.open(&link).await.status, 200, "{:?}", dana.trail);
    let sent = dana.navigate("POST", "https://wiki.test/save?draft=1", &fields).await.seen();
    assert!(sent.body.contains("line+two"), "{sent:?}");
}

#[tokio::test]
async fn tossed_and_oversized_cookies_are_no_session_and_no_trouble() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    let handle = format!("__Host-torhaus={}", alice.handle("wiki.test").unwrap());
    let get = || Call::get("wiki.test", "/").with("accept", "application/json");
    let many: String = (0..1000).map(|n| format!("c{n}=v; ")).collect();
    for (what, cookies, expected) in [
        ("alone", vec![handle.clone()], (200, "allowed")),
        (
            "another of the same name after it",
            vec![handle.clone(), "__Host-torhaus=tossed".into()],
            (401, "login_needed"),
        ),
        ("another before it", vec![format!("__Host-torhaus=tossed; {handle}")], (401, "login_needed")),
        ("without the prefix", vec![handle.replace("__Host-", "")], (401, "login_needed")),
        ("in lower case", vec![handle.to_ascii_lowercase()], (401, "login_needed")),
        ("a thousand cookies", vec![format!("{many}{handle}")], (200, "allowed")),
        ("64 KiB of cookie", vec![format!("x={}", "y".repeat(64 * 1024)), handle.clone()], (431, "header_too_large")),
    ] {
        let call = cookies.iter().fold(get(), |call, cookie| call.with("cookie", cookie));
        let answer = world.call(Door::Inside, None, &call).await.unwrap();
        equal(&answer.outcome(), expected, what);
    }
}

#[tokio::test]
async fn a_session_that_somebody_deletes_from_the_file_is_out_within_seconds() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    // Long enough that the gate has asked whether others write, and believes that nobody does.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(is(&mut alice, "https://apps.test/wiki").await.0, 200);
    let seal = Arc::new(SealKey::load_or_create(&world.path("state")).unwrap());
    let theirs = SqlStore::sqlite(&world.path("state/torhaus.db"), seal).await.unwrap();
    assert_eq!(theirs.end(&Which::All, torhaus::clock::now()).await.unwrap().len(), 1);
    let begun = std::time::Instant::now();
    while is(&mut alice, "https://apps.test/wiki").await.0 == 200 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(8), "still in");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    equal(&is(&mut alice, "https://apps.test/wiki").await, EXPIRED, "its handle is unknown");
}
