//! Signing in belongs to one browser, one host and one moment.
use crate::harness::{Answer, Browser, Door, World};
use url::Url;

const SESSION: &str = "__Host-torhaus=";

/// The address with which the portal hands a session over to a host, not yet opened.
async fn handover(browser: &mut Browser<'_>) -> String {
    browser.up_to("https://wiki.test/", "/.torhaus/session?code=").await
}

fn refused(answer: &Answer, reason: &str, what: &str) {
    assert_eq!(answer.reason().as_deref(), Some(reason), "{what}: {answer:?}");
    assert!(answer.status >= 400, "{what}");
    let set = answer.headers.get_all("set-cookie").iter().any(|line| line.to_str().unwrap().starts_with(SESSION));
    assert!(!set, "{what}: a session came with a refusal");
}

#[tokio::test]
async fn a_hand_over_code_is_worth_nothing_in_another_browser() {
    let world = World::start().await;
    // Mallory wants somebody to use the wiki as mallory, and sends them the link.
    let mut mallory = world.browser(Door::Inside).of("mallory");
    let link = handover(&mut mallory).await;
    let mut fresh = world.browser(Door::Inside);
    refused(&fresh.navigate("GET", &link, &[]).await, "cookies_missing", "a browser that asked for nothing");
    refused(&mallory.navigate("GET", &link, &[]).await, "login_invalid", "a code is spent by the first try");

    let link = handover(&mut mallory).await;
    let mut victim = world.browser(Door::Inside);
    victim.navigate("GET", "https://wiki.test/", &[]).await;
    assert!(victim.jar["wiki.test"].contains_key("__Host-torhaus-nonce"));
    refused(&victim.navigate("GET", &link, &[]).await, "login_invalid", "a browser with a login of its own");
    assert_eq!(victim.handle("wiki.test"), None);
}

#[tokio::test]
async fn a_hand_over_code_works_once_and_at_its_host() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let link = handover(&mut alice).await;
    // The nonce of the wiki, carried to another host as a sibling domain could.
    let nonce = alice.jar["wiki.test"].clone();
    alice.jar.insert("samba.test".into(), nonce);
    let elsewhere = link.replace("wiki.test", "samba.test");
    refused(&alice.navigate("GET", &elsewhere, &[]).await, "login_invalid", "at another host");

    let link = handover(&mut alice).await;
    let taken = alice.jar["wiki.test"].clone();
    let answer = alice.navigate("GET", &link, &[]).await;
    assert_eq!((answer.status / 100, alice.handle("wiki.test").is_some()), (3, true), "{answer:?}");
    alice.jar.insert("wiki.test".into(), taken);
    refused(&alice.navigate("GET", &link, &[]).await, "login_invalid", "twice");
    for code in ["", "?code=", "?code=x", "?code=AAAA", &format!("?code={}", "A".repeat(43)), "?code=a&code=b"] {
        let answer = alice.navigate("GET", &format!("https://wiki.test/.torhaus/session{code}"), &[]).await;
        refused(&answer, "login_invalid", code);
    }
}

#[tokio::test]
async fn a_callback_belongs_to_the_browser_that_began_and_works_once() {
    let world = World::start().await;
    let callback = "https://auth.test/callback/";
    let mut mallory = world.browser(Door::Inside).of("mallory");
    let link = mallory.up_to("https://wiki.test/", "/callback/demo").await;
    refused(&world.browser(Door::Inside).navigate("GET", &link, &[]).await, "cookies_missing", "without the cookie");
    let mut victim = world.browser(Door::Inside);
    let begun = victim.navigate("GET", "https://wiki.test/", &[]).await.header("location").to_owned();
    victim.navigate("GET", &begun, &[]).await;
    assert!(victim.jar["auth.test"].keys().any(|name| name.starts_with("__Host-torhaus-login-")));
    refused(&victim.navigate("GET", &link, &[]).await, "cookies_missing", "in another browser");

    let link = mallory.up_to("https://wiki.test/", "/callback/demo").await;
    let begun = mallory.jar["auth.test"].clone();
    assert_eq!(mallory.navigate("GET", &link, &[]).await.status / 100, 3);
    refused(&mallory.navigate("GET", &link, &[]).await, "cookies_missing", "the state twice");
    mallory.jar.insert("auth.test".into(), begun);
    let again = mallory.navigate("GET", &link, &[]).await;
    let reason = again.reason().unwrap_or_default();
    refused(&again, &reason, "the state twice, in a browser that forgets nothing");

    // One thing of an honest answer changed.
    let change = |link: &str, name: &str, value: Option<&str>| {
        let mut url = Url::parse(link).unwrap();
        let kept: Vec<(String, String)> = url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
        url.to_string()
    };
    let zeros = "A".repeat(43);
    for (name, value, reasons) in [
        ("code", Some("another"), ["login_failed", "login_invalid"]),
        ("code", None, ["login_failed", "login_invalid"]),
        ("iss", Some("https://evil.test"), ["login_failed", "login_invalid"]),
        ("iss", None, ["login_failed", "login_invalid"]),
        ("state", Some(&*zeros), ["cookies_missing", "login_invalid"]),
        ("state", None, ["login_invalid", "login_invalid"]),
        ("error", Some("access_denied"), ["login_failed", "login_invalid"]),
    ] {
        let mut dana = world.browser(Door::Inside).of("dana");
        let link = dana.up_to("https://wiki.test/", "/callback/demo").await;
        let answer = dana.navigate("GET", &change(&link, name, value), &[]).await;
        let reason = answer.reason().unwrap_or_default();
        assert!(reasons.contains(&reason.as_str()), "{name}={value:?}: {reason}");
        refused(&answer, &reason, name);
        assert_eq!(dana.handle("auth.test"), None);
    }
    for wrong in ["nobody?code=a&state=b", "demo", "demo?code=a&code=b&state=c", "demo/x?code=a&state=b"] {
        let answer = mallory.navigate("GET", &format!("{callback}{wrong}"), &[]).await;
        assert!(answer.status >= 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn a_login_proves_what_came_back_and_not_what_was_wished_for() {
    let world = World::start().await;
    for tamper in [
        (|url: &mut Url| strip(url, &["claims", "acr_values", "max_age", "prompt"])) as fn(&mut Url),
        |url: &mut Url| strip(url, &["claims", "acr_values"]),
    ] {
        let mut alice = world.browser(Door::Inside).of("alice");
        alice.tampers = Some(tamper);
        let answer = alice.open("https://pve.test/").await;
        assert_eq!(answer.reason().as_deref(), Some("step_up_failed"), "{:#?}", alice.trail);
        let asked = alice.trail.iter().filter(|(_, url)| url.contains("/authorize")).count();
        assert_eq!(asked, 2, "once more, and then a clear refusal: {:#?}", alice.trail);
        alice.tampers = None;
        assert_eq!(alice.open("https://pve.test/").await.status, 200, "an honest try works: {:#?}", alice.trail);
    }
}

fn strip(url: &mut Url, names: &[&str]) {
    if url.path() != "/authorize" {
        return;
    }
    let kept: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(key, _)| !names.contains(&key.as_str())).collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
}

#[tokio::test]
async fn a_browser_without_cookies_gets_a_page_and_no_loop() {
    let world = World::start().await;
    for refuses in [vec!["wiki.test"], vec!["auth.test"], vec!["wiki.test", "auth.test"]] {
        let mut alice = world.browser(Door::Inside).of("alice");
        alice.refuses_cookies_of = refuses.clone();
        let answer = alice.open("https://wiki.test/").await;
        assert_eq!(answer.reason().as_deref(), Some("cookies_missing"), "{refuses:?}: {:#?}", alice.trail);
        assert!(alice.trail.len() < 12, "{:#?}", alice.trail);
    }
}

#[tokio::test]
async fn a_person_who_cancels_is_told_and_another_may_sign_in_after_them() {
    let world = World::start().await;
    let mut browser = world.browser(Door::Inside);
    let page = browser.open("https://wiki.test/").await;
    assert_eq!(page.status, 200, "the provider's form: {page:?}");
    let (_, form) = browser.trail.last().unwrap().clone();
    let answer = browser.navigate("POST", &form, &[("cancel", "1")]).await;
    let answer = browser.follow(&form, answer).await;
    assert_eq!(answer.reason().as_deref(), Some("login_failed"));
    assert_eq!(world.recorded_with(&[("kind", "login_failed")]).len(), 1);

    // One person after the other in one browser: the first one's session is over.
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.seen().header("x-forwarded-user"), Some("alice"));
    let old = alice.jar["wiki.test"].clone();
    let mut dana = alice.of("dana");
    dana.jar.retain(|host, _| !host.starts_with("127.0.0.1"));
    dana.open("https://auth.test/login?again=1").await;
    dana.jar.insert("wiki.test".into(), old);
    let answer = dana.fetch("https://wiki.test/").await;
    assert_eq!(answer.outcome(), (401, "session_expired".to_owned()), "alice's handle is worth nothing");
    assert_eq!(dana.open("https://wiki.test/").await.seen().header("x-forwarded-user"), Some("dana"));
}
