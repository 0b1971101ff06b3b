//! Somebody signs out at the identity provider, and is out here: with the session, what is open under it, and the
//! login that was not done yet.
use crate::harness::browser::{Socket, echoes};
use crate::harness::idp::person;
use crate::harness::pki::now;
use crate::harness::{Answer, Browser, Call, Door, World};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use torhaus_demo::provider::Provider;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const ADDRESS: &str = "/backchannel-logout/demo";
const PROMISED: Duration = Duration::from_secs(2);

/// As Keycloak writes it: `sub` and `sid`, a second event.
fn keycloak(world: &World, user: &str, sid: &str, jti: &str) -> Value {
    let at = now().unix_timestamp();
    json!({
        "iss": world.idp.issuer, "aud": "torhaus", "iat": at, "exp": at + 120, "jti": jti, "typ": "Logout",
        "sub": person(user).subject, "sid": sid, "events": { EVENT: {}, "revoke_offline_access": true },
    })
}

/// As authentik writes it when it knows the person and no session.
fn authentik(world: &World, user: &str, jti: &str) -> Value {
    let at = now().unix_timestamp();
    json!({
        "iss": world.idp.issuer, "aud": ["torhaus"], "iat": at, "exp": at + 300, "jti": jti,
        "sub": person(user).subject, "events": { EVENT: {} },
    })
}

fn form(body: String) -> Call {
    let call = Call { method: "POST", ..Call::get("auth.test", ADDRESS) };
    Call { body, ..call.with("content-type", "application/x-www-form-urlencoded") }
}

async fn send(world: &World, token: &str) -> Answer {
    world.call(Door::Outside, None, &form(format!("ignored=1&logout_token={token}"))).await.unwrap()
}

async fn tell(world: &World, typ: &str, claims: &Value) -> u16 {
    let answer = send(world, &world.idp.provider.sign(typ, claims).unwrap()).await;
    assert!(answer.header("cache-control").contains("no-store"), "{answer:?}");
    answer.status
}

fn sid(world: &World, user: &str) -> String {
    let ids = world.idp.provider.session_ids(user);
    assert_eq!(ids.len(), 1, "one browser of {user}");
    ids[0].clone()
}

async fn signed_in<'a>(world: &'a World, user: &'static str) -> Browser<'a> {
    let mut browser = world.browser(Door::Inside).of(user);
    assert_eq!(browser.open("https://wiki.test/").await.status, 200, "{:?}", browser.trail);
    browser
}

async fn status(browser: &mut Browser<'_>) -> u16 {
    browser.fetch("https://wiki.test/").await.status
}

async fn open(browser: &Browser<'_>) -> Socket {
    for _ in 0..8 {
        let mut socket = browser.socket("wiki.test", "/socket").await.unwrap();
        if echoes(&mut socket, "hello").await {
            return socket;
        }
    }
    panic!("no WebSocket")
}

async fn ends(socket: &mut Socket) -> bool {
    let end = async { while matches!(socket.next().await, Some(Ok(message)) if !message.is_close()) {} };
    tokio::time::timeout(PROMISED, end).await.is_ok()
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_and_what_is_open_under_it() {
    let world = World::start().await;
    let (mut alice, mut dana) = (signed_in(&world, "alice").await, signed_in(&world, "dana").await);
    let (mut of_alice, mut of_dana) = (open(&alice).await, open(&dana).await);
    assert_eq!(tell(&world, "logout+jwt", &keycloak(&world, "alice", &sid(&world, "alice"), "k-1")).await, 200);
    assert!(ends(&mut of_alice).await, "the WebSocket goes on");
    assert_eq!(status(&mut alice).await, 401);
    assert_eq!(status(&mut dana).await, 200, "whoever was not meant");

    // Two browsers of one person, and a provider that names only the person.
    let mut second = world.browser(Door::Inside).of("dana");
    assert_eq!(second.open("https://wiki.test/").await.status, 200);
    assert_eq!(tell(&world, "JWT", &authentik(&world, "dana", "a-1")).await, 200);
    assert!(ends(&mut of_dana).await, "the WebSocket goes on");
    assert_eq!((status(&mut dana).await, status(&mut second).await), (401, 401));
    let ends = world.recorded_with(&[("kind", "session_end")]);
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|line| line["detail"].as_str().unwrap().contains("at the identity provider")), "{ends:?}");
}

#[tokio::test]
async fn a_logout_that_comes_twice_or_for_nobody_is_answered_and_ends_nobody_else() {
    let world = World::start().await;
    drop(signed_in(&world, "alice").await);
    let again = authentik(&world, "alice", "same");
    assert_eq!(tell(&world, "JWT", &again).await, 200);
    // She signs in again; the provider repeats itself.
    let mut alice = signed_in(&world, "alice").await;
    assert_eq!(tell(&world, "JWT", &again).await, 200);
    assert_eq!(status(&mut alice).await, 200, "the second telling means what the first one meant");
    assert_eq!(tell(&world, "logout+jwt", &keycloak(&world, "alice", "no such session", "k")).await, 200);
    assert_eq!(status(&mut alice).await, 200);
}

#[tokio::test]
async fn a_logout_that_comes_before_its_login_wins() {
    let world = World::start().await;
    for dialect in ["keycloak", "authentik"] {
        let user = if dialect == "keycloak" { "alice" } else { "dana" };
        let mut browser = world.browser(Door::Inside).of(user);
        // The provider has signed the person in; the browser is on its way back with the code.
        let callback = browser.up_to("https://wiki.test/", "/callback/demo?").await;
        let claims = match dialect {
            "keycloak" => keycloak(&world, user, &sid(&world, user), "early"),
            _ => authentik(&world, user, "early too"),
        };
        assert_eq!(tell(&world, "logout+jwt", &claims).await, 200);
        let answer = browser.navigate("GET", &callback, &[]).await;
        assert_eq!(answer.reason().as_deref(), Some("session_revoked"), "{dialect}: {answer:?}");
        assert_eq!(browser.handle("auth.test"), None, "{dialect}");
        let live: Vec<Value> = world.admin().get(&format!("/sessions?user={user}")).await.unwrap();
        assert!(live.is_empty(), "{dialect}: {live:?}");
    }
    // Signing in anew, at the provider too, works at once.
    assert_eq!(signed_in(&world, "dana").await.fetch("https://wiki.test/").await.status, 200);
}

#[tokio::test]
async fn what_is_no_logout_token_gets_400_and_ends_nobody() {
    let world = World::start().await;
    let mut alice = signed_in(&world, "alice").await;
    let sid = sid(&world, "alice");
    let good = keycloak(&world, "alice", &sid, "n");
    let sign = |typ: &str, claims: &Value| world.idp.provider.sign(typ, claims).unwrap();
    let lie = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        sign("logout+jwt", &claims)
    };
    let port = world.idp.issuer.rsplit(':').next().unwrap().parse().unwrap();
    let stranger = Provider::new(port, Vec::new()).unwrap();
    let at = now().unix_timestamp();
    let token = sign("logout+jwt", &good);
    let (head, rest) = token.split_once('.').unwrap();
    let other_head = |alg: &str| {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        assert!(!head.is_empty());
        format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}")))
    };
    let tokens = [
        ("a nonce", lie("nonce", Value::Null)),
        ("events as a list", lie("events", json!([EVENT]))),
        ("an event that is true", lie("events", json!({ EVENT: true }))),
        (
            "neither subject nor session",
            sign("logout+jwt", &{
                let mut claims = good.clone();
                claims.as_object_mut().unwrap().retain(|name, _| name != "sub" && name != "sid");
                claims
            }),
        ),
        ("another audience", lie("aud", json!("other"))),
        ("the issuer with a slash", lie("iss", json!(format!("{}/", world.idp.issuer)))),
        ("expired", lie("exp", json!(at - 120))),
        ("from the future", lie("iat", json!(at + 3600))),
        ("alg none", other_head("none")),
        ("HS256", other_head("HS256")),
        ("an access token", sign("at+jwt", &good)),
        ("the key of another provider", stranger.sign("logout+jwt", &good).unwrap()),
        ("over 16 KiB", lie("pad", json!("x".repeat(13 * 1024)))),
        ("no token at all", String::new()),
    ];
    for (what, token) in tokens {
        let answer = send(&world, &token).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(said["error"], "invalid_request", "{what}");
    }
    let json_body = Call { method: "POST", ..Call::get("auth.test", ADDRESS) }.with("content-type", "application/json");
    let calls = [
        ("JSON", Call { body: json!({ "logout_token": token }).to_string(), ..json_body }, 400),
        ("the form without its name", Call { headers: vec![], ..form(format!("logout_token={token}")) }, 400),
        ("two tokens", form(format!("logout_token={token}&logout_token={token}")), 400),
        ("by GET", Call::get("auth.test", &format!("{ADDRESS}?logout_token={token}")), 405),
        (
            "a provider that is not there",
            Call { target: "/backchannel-logout/x".into(), ..form(format!("logout_token={token}")) },
            404,
        ),
    ];
    for (what, call, expected) in calls {
        let answer = world.call(Door::Outside, None, &call).await.unwrap();
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
    }
    assert_eq!(status(&mut alice).await, 200, "she is still signed in");
    assert_eq!(send(&world, &token).await.status, 200, "and the token was good all the time");
    assert_eq!(status(&mut alice).await, 401);
}

#[tokio::test]
async fn a_frame_of_the_provider_signs_out_the_session_that_it_names() {
    let world = World::start().await;
    let mut alice = signed_in(&world, "alice").await;
    let (issuer, sid) = (world.idp.issuer.clone(), sid(&world, "alice"));
    let query = |issuer: &str, sid: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::from("/frontchannel-logout/demo?"));
        query.append_pair("iss", issuer).append_pair("sid", sid);
        Call::get("auth.test", &query.finish())
    };
    for (call, expected) in [
        (query("https://other.test", &sid), 400),
        (query(&issuer, ""), 400),
        (Call::get("auth.test", "/frontchannel-logout/demo"), 400),
        (query(&issuer, "unknown"), 200),
    ] {
        assert_eq!(world.call(Door::Outside, None, &call).await.unwrap().status, expected, "{call:?}");
        assert_eq!(status(&mut alice).await, 200);
    }
    let answer = world.call(Door::Outside, None, &query(&issuer, &sid)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-security-policy").ends_with(&format!("frame-ancestors {issuer}")), "{answer:?}");
    assert_eq!(status(&mut alice).await, 401);
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_session_and_goes_on_to_the_provider() {
    let world = World::start().await;
    let (mut one, mut two) = (signed_in(&world, "alice").await, signed_in(&world, "alice").await);
    let mut dana = signed_in(&world, "dana").await;
    let mut socket = open(&two).await;
    let answer = one.navigate("POST", "https://auth.test/sessions", &[("end", "everywhere")]).await;
    assert!(answer.header("location").starts_with(&format!("{}/end-session?", world.idp.issuer)), "{answer:?}");
    assert!(ends(&mut socket).await);
    assert_eq!((status(&mut one).await, status(&mut two).await, status(&mut dana).await), (401, 401, 200));
    let ends = world.recorded_with(&[("kind", "session_end")]);
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[tokio::test]
async fn an_operator_ends_the_sessions_that_were_used_at_a_resource() {
    let world = World::start().await;
    let (mut alice, mut dana) = (signed_in(&world, "alice").await, signed_in(&world, "dana").await);
    assert_eq!(alice.open("https://pve.test/").await.status, 200, "{:?}", alice.trail);
    let (code, said, why) = world.torhaus(&["session", "list", "--resource", "proxmox", "--output", "json"]).await;
    assert_eq!(code, 0, "{why}");
    let listed: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert_eq!(listed.iter().map(|line| line["user"].as_str().unwrap()).collect::<Vec<_>>(), ["alice"]);
    let (code, _, why) = world.torhaus(&["session", "revoke", "--resource", "nothing"]).await;
    assert_eq!(code, 1, "nobody was meant: {why}");
    assert_eq!(world.torhaus(&["session", "revoke", "--resource", "proxmox"]).await.0, 0);
    assert_eq!((status(&mut alice).await, status(&mut dana).await), (401, 200));
}
