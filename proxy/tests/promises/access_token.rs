//! The person's access token goes to the application whose route asks for it, fresh, and to nobody else.
use crate::harness::{Answer, Call, Connection, Door, Setup, World};
use std::fs;
use std::time::Duration;

/// `wiki` takes it as APIs do, `samba-general` in a header of its own; all others do not ask.
async fn world(token_life: i64) -> World {
    let mut setup = Setup::new().await;
    for (route, header) in [("wiki", "Authorization"), ("samba-general", "X-App-Token")] {
        let (from, to) = (format!("resource: {route} }}"), format!("resource: {route}, access_token: {header} }}"));
        assert!(setup.config.contains(&from), "{route}");
        setup.config = setup.config.replacen(&from, &to, 1);
    }
    setup.idp.provider.set_token_life(token_life);
    setup.start().await
}

fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.seen();
    let [bearer] = seen.all("authorization")[..] else { panic!("one `Authorization`: {:?}", seen.headers) };
    let token = bearer.strip_prefix("Bearer ").unwrap();
    assert_eq!(token.split('.').count(), 3, "the provider's tokens are JWTs");
    token.to_owned()
}

fn ours(answer: &Answer, name: &str) -> usize {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.seen().all(name).len()
}

#[tokio::test]
async fn the_application_that_asks_gets_the_access_token_and_no_neighbour_does() {
    let world = world(300).await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let first = token(&alice.open("https://wiki.test/").await);
    // It is the provider's own, and whatever the client claims to have instead is gone.
    let whose = world.idp.provider.clone();
    assert!(whose.knows_access_token(&first), "a token of alice at the provider");
    let call = alice.request("GET", "https://wiki.test/").with("authorization", "Basic ZXZpbDpldmls");
    assert_eq!(token(&world.call(Door::Inside, None, &call).await.unwrap()), first, "as long as it lives");
    // The neighbour's `Authorization` is the client's own.
    let neighbour = alice.open("https://apps.test/wiki").await;
    assert_eq!((ours(&neighbour, "authorization"), ours(&neighbour, "x-app-token")), (0, 0), "{neighbour:?}");
    assert!(!neighbour.body.contains(&first), "{neighbour:?}");
    let call = alice.request("GET", "https://apps.test/wiki").with("authorization", "Basic b3duOm93bg==");
    let own = world.call(Door::Inside, None, &call).await.unwrap();
    assert_eq!(own.seen().all("authorization"), ["Basic b3duOm93bg=="]);
    // Another header carries the bare token, and no client can say anything in it, in any spelling. A second factor was
    // asked for here, so it is the token of that login.
    alice.open("https://samba.test/").await;
    let second = token(&alice.open("https://wiki.test/").await);
    for name in ["X-App-Token", "x_app_token", "X.App.Token"] {
        let call = alice.request("GET", "https://samba.test/").with(name, "evil");
        let seen = world.call(Door::Inside, None, &call).await.unwrap().seen();
        assert_eq!(seen.all("x-app-token"), [second.as_str()]);
        assert!(seen.all("authorization").is_empty());
        assert!(seen.headers.iter().all(|(_, value)| value != "evil"), "{name}: {:?}", seen.headers);
        let nobody = world.call(Door::Inside, None, &Call::get("status.test", "/").with(name, "evil")).await.unwrap();
        assert!(nobody.status == 200 && !nobody.body.contains("evil"), "{nobody:?}");
    }
    // No token is in anything that was written, the database included: it is sealed there.
    let secret = first.rsplit('.').next().unwrap();
    for file in ["stdout.log", "stderr.log", "state/torhaus.db", "state/torhaus.db-wal"] {
        let Ok(bytes) = fs::read(world.path(file)) else { continue };
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file}");
    }
    assert!(world.audit().iter().all(|line| !line.to_string().contains(secret)));
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed_once_for_all_who_ask() {
    // Renewed when less than 30 s are left.
    let world = world(40).await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let first = token(&alice.open("https://wiki.test/").await);
    assert_eq!(token(&alice.open("https://wiki.test/").await), first);
    tokio::time::sleep(Duration::from_secs(11)).await;
    // The provider takes a refresh token once and ends everything at a second use.
    let tls = world.tls(None, &["h2"]);
    let call = alice.request("GET", "https://wiki.test/");
    let all = (0..20).map(|_| async {
        let mut connection = Connection::open(world.address(Door::Inside), "wiki.test", &tls).await.unwrap();
        token(&connection.send(&call).await.unwrap())
    });
    let all = futures::future::join_all(all).await;
    assert_ne!(all[0], first, "a new one");
    assert!(all.iter().all(|token| *token == all[0]), "and the same for all");
    assert!(world.idp.provider.knows_access_token(&all[0]));
}

/// A provider need not give a refresh token each time (OpenID Connect Core 1.0 section 11).
#[tokio::test]
async fn a_step_up_takes_no_refresh_token_away() {
    let world = world(40).await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let first = token(&alice.open("https://wiki.test/").await);
    world.idp.provider.give_no_refresh_tokens();
    alice.open("https://samba.test/").await;
    assert_eq!(world.recorded_with(&[("kind", "step_up")]).len(), 1);
    assert_eq!(token(&alice.open("https://wiki.test/").await), first, "of the login that can be continued");
    tokio::time::sleep(Duration::from_secs(11)).await;
    let second = token(&alice.open("https://wiki.test/").await);
    assert!(second != first && world.idp.provider.knows_access_token(&second), "renewed");
}

#[tokio::test]
async fn a_renewal_that_the_provider_refuses_ends_the_session_and_one_that_it_cannot_answer_does_not() {
    let mut world = world(1).await;
    let mut alice = world.browser(Door::Inside).of("alice");
    token(&alice.open("https://wiki.test/").await);
    alice.open("https://apps.test/wiki").await;
    let wiki = alice.request("GET", "https://wiki.test/");
    let neighbour = alice.request("GET", "https://apps.test/wiki");
    world.idp.provider.end_sessions("alice");
    // The one that was renewed a moment ago is shared no longer, and nobody is asking now.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let refused = world.call(Door::Inside, None, &wiki).await.unwrap();
    assert_eq!(refused.outcome(), (401, "session_revoked".to_owned()), "{refused:?}");
    let elsewhere = world.call(Door::Inside, None, &neighbour).await.unwrap();
    assert_eq!(elsewhere.status, 401, "the session is over everywhere: {elsewhere:?}");
    let ended = world.recorded_with(&[("kind", "session_end")]);
    assert!(ended.iter().any(|line| line.to_string().contains("it has no access token any more")), "{ended:?}");

    let mut dana = world.browser(Door::Inside).of("dana");
    token(&dana.open("https://wiki.test/").await);
    let wiki = dana.request("GET", "https://wiki.test/");
    dana.open("https://apps.test/wiki").await;
    let neighbour = dana.request("GET", "https://apps.test/wiki");
    world.idp.stop();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let refused = world.call(Door::Inside, None, &wiki).await.unwrap();
    assert_eq!(refused.outcome(), (503, "provider_unavailable".to_owned()), "{refused:?}");
    assert_eq!(world.call(Door::Inside, None, &neighbour).await.unwrap().status, 200, "her session goes on");
}
