//! What an application hears about the caller comes from the gate, and from nobody else.
use crate::harness::echo::Seen;
use crate::harness::raw::exchange;
use crate::harness::{Call, Connection, Door, World};

/// Names by which somebody could say who they are, or what they really want.
const CLAIMS: [&str; 38] = [
    "X-Forwarded-User",
    "X_Forwarded_User",
    "X.Forwarded.User",
    "x-FORWARDED_user",
    "X-Forwarded-Groups",
    "X_FORWARDED_GROUPS",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-For",
    "X_Forwarded.For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Client-Cert",
    "Forwarded",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Torhaus-Assertion",
    "X_Torhaus_Assertion",
    "Client-Cert",
    "client_cert",
    "Client-Cert-Chain",
    "X-Client-Cert",
    "X-SSL-Client-Cert",
    "ssl-client-verify",
    "SSL_CLIENT_S_DN",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "Remote-User",
    "Remote_Groups",
    "X-WEBAUTH-USER",
    "X-authentik-username",
    "Impersonate-User",
    "Proxy",
];

fn claims_nothing(seen: &Seen) {
    for (name, value) in &seen.headers {
        assert!(!value.contains("evil"), "`{name}: {value}` arrived");
    }
}

/// Ours, each once, whatever was sent.
fn ours(seen: &Seen, person: &str) {
    claims_nothing(seen);
    assert_eq!(seen.all("x-forwarded-user"), [person]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("forwarded"), ["for=127.0.0.1;host=\"wiki.test\";proto=https"]);
    assert_eq!(seen.all("x-torhaus-assertion").len(), 1);
    assert!(seen.all("cookie").iter().all(|value| !value.contains("torhaus")), "{:?}", seen.headers);
}

#[tokio::test]
async fn identity_headers_of_the_client_never_reach_an_application() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    ours(&alice.open("https://wiki.test/").await.seen(), "alice");
    let base = alice.request("GET", "https://wiki.test/claims");
    for alpn in ["http/1.1", "h2"] {
        let tls = world.tls(None, &[alpn]);
        let mut connection = Connection::open(world.address(Door::Inside), "wiki.test", &tls).await.unwrap();
        for name in CLAIMS {
            for call in [
                base.clone().with(name, "evil"),
                base.clone().with(name, "evil").with(name, "evil, evil"),
                base.clone().with(name, "evil").with("cookie", "app=1; __host-TORHAUS-x=evil"),
            ] {
                let answer = connection.send(&call).await.unwrap();
                assert_eq!(answer.status, 200, "{name} over {alpn}: {answer:?}");
                ours(&answer.seen(), "alice");
            }
        }
        // All at once, and the application's own headers and cookies pass.
        let all = CLAIMS.iter().fold(base.clone(), |call, name| call.with(name, "evil"));
        let seen = connection.send(&all.with("x-app", "mine").with("cookie", "app=1")).await.unwrap().seen();
        ours(&seen, "alice");
        assert_eq!((seen.header("x-app"), seen.header("cookie")), (Some("mine"), Some("app=1")), "{alpn}");
    }
}

#[tokio::test]
async fn a_nomination_by_connection_takes_nothing_of_ours_away() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    let base = alice.request("GET", "https://wiki.test/");
    for nominated in [
        "X-Forwarded-User",
        "close, X-Forwarded-User, X-Forwarded-For",
        "x-forwarded-proto,forwarded",
        "keep-alive, X-Torhaus-Assertion",
        "Upgrade, X-Forwarded-User",
    ] {
        let call = base.clone().with("connection", nominated).with("x-forwarded-user", "evil");
        ours(&world.call(Door::Inside, None, &call).await.unwrap().seen(), "alice");
    }
    for name in CLAIMS {
        let call = base.clone().with("connection", name).with("connection", name);
        ours(&world.call(Door::Inside, None, &call).await.unwrap().seen(), "alice");
    }
}

#[tokio::test]
async fn a_trailer_is_no_way_in_either() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    let cookie = format!("__Host-torhaus={}", alice.handle("wiki.test").unwrap());
    let bytes = format!(
        "POST /trailer HTTP/1.1\r\nHost: wiki.test\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\nTrailer: \
         X-Forwarded-User\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX-Forwarded-User: evil\r\nX_Forwarded_Groups: \
         evil\r\n\r\n"
    );
    let tls = world.tls(None, &["http/1.1"]);
    let answers = exchange(world.address(Door::Inside), "wiki.test", &tls, bytes.as_bytes()).await;
    for seen in world.echo.seen_at("/trailer") {
        ours(&seen, "alice");
    }
    assert!(matches!(answers.first().map(|answer| answer.status), Some(200 | 400)), "{answers:?}");
}

#[tokio::test]
async fn an_open_page_hears_no_name_at_all() {
    let world = World::start().await;
    let call = CLAIMS.iter().fold(Call::get("status.test", "/"), |call, name| call.with(name, "evil"));
    let seen = world.call(Door::Outside, None, &call).await.unwrap().seen();
    claims_nothing(&seen);
    for name in ["x-forwarded-user", "x-forwarded-groups", "x-forwarded-email", "x-torhaus-assertion", "client-cert"] {
        assert_eq!(seen.header(name), None);
    }
}

#[tokio::test]
async fn no_header_changes_what_is_decided() {
    let world = World::start().await;
    for (name, value) in [
        ("X-Original-URL", "/"),
        ("X-Rewrite-URL", "/"),
        ("X-Forwarded-Uri", "/"),
        ("X-HTTP-Method-Override", "OPTIONS"),
        ("X-Forwarded-Host", "status.test"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1;host=status.test"),
        ("User-Agent", "kube-probe/1.30"),
        ("X-Forwarded-User", "alice"),
        ("Origin", "https://status.test"),
    ] {
        let protected = Call::get("status.test", "/admin").with("accept", "application/json").with(name, value);
        let answer = world.call(Door::Inside, None, &protected).await.unwrap();
        assert_eq!(answer.outcome(), (401, "login_needed".to_owned()), "{name}: {value}");
        let outside = world.call(Door::Outside, None, &protected).await.unwrap();
        assert_eq!(outside.outcome(), (403, "zone_denied".to_owned()), "{name}: {value}");
    }
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn an_application_can_set_any_cookie_but_ours() {
    let world = World::start().await;
    let answer = world.call(Door::Inside, None, &Call::get("status.test", "/cookies")).await.unwrap();
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["app=1; Path=/"]);
}

#[tokio::test]
async fn a_reload_changes_what_an_application_is_told_with_the_next_request() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let before = alice.open("https://wiki.test/").await.seen();
    assert_eq!((before.all("x-forwarded-user"), before.all("x-remote-user")), (vec!["alice"], vec![]));
    assert!(before.all("x-forwarded-groups")[0].contains("all-employees"));
    world.change(
        "torhaus.yaml",
        "resource: wiki }",
        "resource: wiki, headers: { user: X-Remote-User, groups: X-Forwarded-Groups, groups_limited_to: [nobody] } }",
    );
    world.reload().await.unwrap();
    let after = alice.fetch("https://wiki.test/").await.seen();
    assert_eq!((after.all("x-forwarded-user"), after.all("x-remote-user")), (vec![], vec!["alice"]));
    assert!(!after.all("x-forwarded-groups").concat().contains("all-employees"), "{:?}", after.headers);
}

/// RFC 6797: whoever was here once is not led to plain http by anybody in between.
#[tokio::test]
async fn answers_over_tls_say_that_the_host_is_asked_by_https_alone() {
    const HSTS: &str = "strict-transport-security";
    let said = async |world: &World, call: Call| {
        let answer = world.call(Door::Inside, None, &call).await.unwrap();
        let all: Vec<_> = answer.headers.get_all(HSTS).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        all.join(" and ")
    };
    let world = World::start().await;
    let year = "max-age=31536000";
    assert_eq!(said(&world, Call::get("status.test", "/")).await, year, "an application's");
    assert_eq!(said(&world, Call::get("wiki.test", "/").with("accept", "application/json")).await, year, "a refusal");
    assert_eq!(said(&world, Call::get("auth.test", "/")).await, year, "our own page");
    assert_eq!(said(&world, Call::get("status.test", "/hsts")).await, "max-age=1; includeSubDomains", "its own word");
    for (setting, expected) in [("hsts: 1h", "max-age=3600"), ("hsts: off", "")] {
        let config = world.read("torhaus.yaml");
        let kept: Vec<&str> = config.lines().filter(|line| !line.starts_with("hsts:")).collect();
        world.write("torhaus.yaml", &format!("{}\n{setting}\n", kept.join("\n")));
        world.reload().await.unwrap();
        assert_eq!(said(&world, Call::get("status.test", "/")).await, expected, "{setting}");
    }
}
