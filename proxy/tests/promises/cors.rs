//! Scripts of another origin: what a route allows them, and whatever the gate itself answers can be read by them.
use crate::harness::{Answer, Call, Door, Setup, World};

const THEIRS: &str = "https://app.example.test";

async fn world() -> World {
    let mut setup = Setup::new().await;
    let allows = format!("resource: wiki, cors_origins: [\"{THEIRS}\"] }}");
    setup.config = setup.config.replacen("resource: wiki }", &allows, 1);
    setup.start().await
}

async fn asked(world: &World, call: Call) -> Answer {
    world.call(Door::Inside, None, &call).await.unwrap()
}

/// What the CORS protocol asks for, so that a script may read an answer to a request with its cookies.
fn may_read(answer: &Answer) -> bool {
    answer.header("access-control-allow-origin") == THEIRS
        && answer.header("access-control-allow-credentials") == "true"
        && answer.headers.get_all("vary").iter().any(|named| named == "Origin")
}

#[tokio::test]
async fn a_preflight_of_an_allowed_origin_is_answered_and_never_reaches_the_application() {
    let world = world().await;
    let preflight = |host: &str, origin: &str| {
        let call = Call { method: "OPTIONS", ..Call::get(host, "/") };
        call.with("origin", origin)
            .with("access-control-request-method", "PUT")
            .with("access-control-request-headers", "x-own")
    };
    let answer = asked(&world, preflight("wiki.test", THEIRS)).await;
    assert!(answer.status == 204 && may_read(&answer), "{answer:?}");
    let told = ["access-control-allow-methods", "access-control-allow-headers"].map(|name| answer.header(name));
    assert_eq!(told, ["PUT", "x-own"]);
    for (host, origin) in [("wiki.test", "https://evil.test"), ("wiki.test", "null"), ("samba.test", THEIRS)] {
        let answer = asked(&world, preflight(host, origin)).await;
        assert!(answer.status != 204 && answer.header("access-control-allow-origin").is_empty(), "{host}: {answer:?}");
    }
    assert!(world.echo.seen().is_empty());
}

#[tokio::test]
async fn an_allowed_script_reads_why_it_was_refused_and_no_other_does() {
    let world = world().await;
    let get = |origin: &str| Call::get("wiki.test", "/").with("accept", "application/json").with("origin", origin);
    let claims = serde_json::json!({ "iss": world.idp.provider.issuer(), "aud": "torhaus", "sub": "u", "exp": 1 });
    let expired = format!("Bearer {}", world.idp.provider.sign("at+jwt", &claims).unwrap());
    for (what, call, outcome) in [
        ("nobody is signed in", get(THEIRS), (401, "login_needed")),
        ("a token that has ended", get(THEIRS).with("authorization", &expired), (401, "bearer_invalid")),
    ] {
        let answer = asked(&world, call).await;
        assert_eq!(answer.outcome(), (outcome.0, outcome.1.to_owned()), "{what}");
        assert!(may_read(&answer), "{what}: {answer:?}");
        assert_eq!(answer.header("access-control-expose-headers"), "WWW-Authenticate", "{what}");
    }
    let answer = asked(&world, get("https://evil.test").with("authorization", &expired)).await;
    assert!(answer.status == 401 && answer.header("access-control-allow-origin").is_empty(), "{answer:?}");
    // The application is not there.
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200);
    let up = world.read("torhaus.yaml");
    let upstream = up.split("name: wiki, host: wiki.test, upstream: \"").nth(1).unwrap().split('"').next().unwrap();
    let place = format!("name: wiki, host: wiki.test, upstream: \"{upstream}\"");
    world.change("torhaus.yaml", &place, "name: wiki, host: wiki.test, upstream: \"http://127.0.0.1:1\"");
    world.reload().await.unwrap();
    let call = alice.request("GET", "https://wiki.test/").with("accept", "application/json").with("origin", THEIRS);
    let answer = asked(&world, call).await;
    assert_eq!(answer.outcome(), (503, "upstream_unavailable".to_owned()));
    assert!(may_read(&answer), "{answer:?}");
}
