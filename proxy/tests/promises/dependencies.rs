//! What we depend on may stop; nothing opens by it. And what is not known is not yes.
use crate::harness::{Call, Door, Setup, World};

#[tokio::test]
async fn a_stopped_dependency_never_opens_a_route() {
    let mut world = World::start().await;
    let jar = {
        let mut alice = world.browser(Door::Inside).of("alice");
        assert_eq!(alice.open("https://apps.test/level-mfa").await.status, 200);
        alice.jar
    };
    world.idp.stop();
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.jar = jar;
    // Live sessions go on; what they may not, they still may not.
    assert_eq!(alice.fetch("https://apps.test/wiki").await.outcome(), (200, "allowed".to_owned()));
    assert_eq!(alice.fetch("https://apps.test/proxmox").await.outcome(), (401, "step_up_needed".to_owned()));
    // Nobody new comes in, and is told why.
    let before = world.echo.count();
    let mut dana = world.browser(Door::Inside).of("dana");
    let outcome = match world.browser(Door::Inside).navigate("GET", "https://wiki.test/", &[]).await {
        answer if answer.status / 100 == 3 => {
            dana.stop_before = Some("127.0.0.1");
            dana.open("https://wiki.test/").await
        }
        answer => answer,
    };
    // The provider's addresses may be known from before; then the browser finds out by itself, and nobody is in.
    let known = outcome.header("location").contains("/authorize");
    assert!(known || outcome.reason().as_deref() == Some("provider_unavailable"), "{outcome:?}");
    assert_eq!(dana.handle("wiki.test"), None);
    // A token of its issuer cannot be checked any more, or not at all.
    let bearer = "eyJhbGciOiJFUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ";
    let claims = base64_url(&format!("{{\"iss\":\"{}\",\"aud\":\"torhaus\",\"sub\":\"alice\"}}", world.idp.issuer));
    let call = Call::get("wiki.test", "/").with("authorization", &format!("Bearer {bearer}.{claims}.AAAA"));
    let answer = world.call(Door::Inside, None, &call).await.unwrap();
    assert!(answer.status == 401 || answer.status == 503, "{answer:?}");
    assert_ne!(answer.reason(), None);
    assert_eq!(world.echo.count(), before);
}

fn base64_url(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn a_provider_that_was_never_there_gives_a_page_and_no_session() {
    let mut setup = Setup::new().await;
    setup.idp.stop();
    let world = setup.start().await;
    let mut dana = world.browser(Door::Inside).of("dana");
    let answer = dana.open("https://wiki.test/").await;
    assert_eq!(answer.outcome(), (503, "provider_unavailable".to_owned()), "{:?}", dana.trail);
    assert_eq!(world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap().status, 200);
    assert_eq!(world.echo.count(), 1, "the open page needs no provider");
}

#[tokio::test]
async fn an_application_that_is_gone_or_odd_is_contained() {
    let world = World::start().await;
    let get = |path: &str| Call::get("status.test", path).with("accept", "application/json");
    let answer = world.call(Door::Inside, None, &get("/unasked")).await.unwrap();
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()), "a 101 that nobody asked for");
    let answer = world.call(Door::Inside, None, &get("/big")).await.unwrap();
    assert_eq!((answer.status, answer.header("x-big").len()), (200, 6000));
    let config = world.read("torhaus.yaml");
    let gone = config.replace(
        &format!("host: status.test, upstream: \"http://127.0.0.1:{}\"", world.echo.port),
        "host: status.test, upstream: \"http://127.0.0.1:1\"",
    );
    world.write("torhaus.yaml", &gone);
    world.reload().await.unwrap();
    let answer = world.call(Door::Inside, None, &get("/")).await.unwrap();
    assert_eq!(answer.outcome(), (503, "upstream_unavailable".to_owned()));
}

#[tokio::test]
async fn unknown_is_not_yes() {
    let mut setup = Setup::new().await;
    // The token says nothing of departments, and no source of countries is configured.
    setup.config = setup
        .config
        .replace("user_claim: preferred_username", "user_claim: preferred_username\n      groups_claim: departments");
    let far = "{ name: far, when: { country_not_in: [DE] }, to: hardware";
    for (resource, condition) in [
        ("abroad", "deny: [{ name: elsewhere, country_not_in: [DE] }]".to_owned()),
        ("at-home", "require: [{ name: home, country_in: [DE] }]".to_owned()),
        ("raised", format!("raise: [{far} }}]")),
        ("ignored", format!("raise: [{far}, on_unknown: ignore }}]")),
    ] {
        setup.row(resource, "internal: standard", &condition);
    }
    let world = setup.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    for (resource, expected) in [
        ("wiki", (503, "groups_unknown")),
        ("samba-hr", (503, "groups_unknown")),
        ("abroad", (403, "condition_denied")),
        ("at-home", (403, "requirement_missing")),
        ("raised", (401, "step_up_needed")),
        ("ignored", (200, "allowed")),
        ("level-standard", (200, "allowed")),
    ] {
        let (status, reason) = alice.fetch(&format!("https://apps.test/{resource}")).await.outcome();
        assert_eq!((status, reason.as_str()), expected, "{resource}");
    }
    // Groups of whom we know nothing are not told as "none".
    assert_eq!(alice.fetch("https://apps.test/ignored").await.seen().header("x-forwarded-groups"), None);
}
