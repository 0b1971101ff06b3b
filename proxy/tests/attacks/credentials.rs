//! Tokens and cookies that are not what they say.
use crate::harness::client::Connection;
use crate::harness::{Answer, Call, Door, World};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

async fn published_key(world: &World) -> Value {
    let url = url::Url::parse(&world.idp.issuer).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let fetch = async |path: &str| -> Value {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let get = format!("GET {path} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", address.0, address.1);
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        serde_json::from_str(&crate::harness::raw::parse(&received)[0].body).unwrap()
    };
    let metadata = fetch(&format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'))).await;
    let keys = url::Url::parse(metadata["jwks_uri"].as_str().unwrap()).unwrap();
    fetch(keys.path()).await["keys"][0].clone()
}

fn hmac(key: &[u8], text: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, text.as_bytes()))
}

/// Each of them would be believed by a verifier that trusts the token's own head.
#[tokio::test]
async fn a_token_says_nothing_about_how_it_is_to_be_checked() {
    let world = World::start().await;
    let key = published_key(&world).await;
    let kid = key["kid"].clone();
    // Whoever fetches a key from an address in a token comes here.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", elsewhere.local_addr().unwrap());
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = |audience: &str| {
        json!({ "iss": world.idp.issuer, "aud": audience, "sub": "alice", "preferred_username": "alice",
            "groups": ["all-employees", "it-admins"], "iat": now, "exp": now + 600, "client_id": "x", "jti": "1" })
    };
    let secrets: Vec<Vec<u8>> = vec![
        key.to_string().into_bytes(),
        key["x"].as_str().or(key["n"].as_str()).unwrap().as_bytes().to_vec(),
        BASE64_URL_SAFE_NO_PAD.decode(key["x"].as_str().or(key["n"].as_str()).unwrap()).unwrap(),
        Vec::new(),
    ];
    let mut tokens: Vec<(String, String)> = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = encoded(&json!({ "alg": none, "typ": "at+jwt", "kid": kid }));
        tokens.push((format!("alg {none}"), format!("{head}.{}.", encoded(&claims("torhaus")))));
        tokens.push((format!("alg {none} with a signature"), format!("{head}.{}.AAAA", encoded(&claims("torhaus")))));
    }
    for (n, secret) in secrets.iter().enumerate() {
        for alg in ["HS256", "hs256"] {
            let text = format!(
                "{}.{}",
                encoded(&json!({ "alg": alg, "typ": "at+jwt", "kid": kid })),
                encoded(&claims("torhaus"))
            );
            let signature = hmac(secret, &text);
            tokens.push((format!("{alg} with the public key {n}"), format!("{text}.{signature}")));
        }
    }
    for (name, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("x5c", json!(["AAAA"])),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' OR '1'='1")),
        ("kid", json!("a\u{0}b")),
        ("kid", json!("k".repeat(4000))),
        ("kid", json!(7)),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("typ", json!("JWT")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
    ] {
        let mut head = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid });
        head[name] = value.clone();
        let text = format!("{}.{}", encoded(&head), encoded(&claims("torhaus")));
        tokens.push((format!("{name} {value:.40}"), format!("{text}.{}", hmac(b"\0\0\0", &text))));
    }
    for (what, token) in [
        ("nothing", String::new()),
        ("a dot", ".".to_owned()),
        ("two dots", "..".to_owned()),
        ("five parts", "a.b.c.d.e".to_owned()),
        ("no JSON", "AAAA.AAAA.AAAA".to_owned()),
        ("30 KiB", "A".repeat(30_000)),
    ] {
        tokens.push((what.to_owned(), token));
    }
    for (what, token) in tokens {
        for host in ["wiki.test", "status.test"] {
            let path = if host == "status.test" { "/admin" } else { "/" };
            let call = Call::get(host, path)
                .with("accept", "application/json")
                .with("authorization", &format!("Bearer {token}"));
            let answer = world.call(Door::Inside, None, &call).await.unwrap();
            assert!(matches!(answer.status, 400 | 401 | 431), "{what}: {answer:?}");
        }
    }
    assert_eq!(world.echo.count(), 0);
    let visited = tokio::time::timeout(std::time::Duration::from_millis(300), elsewhere.accept()).await;
    assert!(visited.is_err(), "an address in a token was asked");
}

/// Only `__Host-` cookies count, and what else is there neither helps nor hurts.
#[tokio::test]
async fn a_session_cookie_is_exactly_that() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://wiki.test/").await;
    let handle = alice.handle("wiki.test").unwrap().to_owned();
    let mut last = handle.clone();
    let end = if last.pop() == Some('A') { 'B' } else { 'A' };
    last.push(end);
    for (what, cookie) in [
        ("cut short", format!("__Host-torhaus={}", &handle[..handle.len() - 1])),
        ("one letter more", format!("__Host-torhaus={handle}A")),
        ("another last letter", format!("__Host-torhaus={last}")),
        ("in quotes", format!("__Host-torhaus=\"{handle}\"")),
        ("in upper case", format!("__Host-torhaus={}", handle.to_ascii_uppercase())),
        ("encoded", format!("__Host-torhaus=%{:02x}{}", handle.as_bytes()[0], &handle[1..])),
        ("another name", format!("__Secure-torhaus={handle}")),
        ("a name with a space", format!("__Host-torhaus ={}x", &handle[1..])),
        ("in a value", format!("a=__Host-torhaus={handle}")),
        ("nothing", "__Host-torhaus=".to_owned()),
        ("no value", "__Host-torhaus".to_owned()),
        ("SQL", "__Host-torhaus=' OR 1=1 --".to_owned()),
        ("a path", "__Host-torhaus=../../state/torhaus.db".to_owned()),
        ("twice", format!("__Host-torhaus={handle}; __Host-torhaus={handle}")),
    ] {
        let call = Call::get("wiki.test", "/").with("accept", "application/json").with("cookie", &cookie);
        let answer = world.call(Door::Inside, None, &call).await.unwrap();
        // Whether it could be one of ours, and has ended, or could not.
        let reason = answer.reason().unwrap_or_default();
        assert!(answer.status == 401 && ["login_needed", "session_expired"].contains(&&*reason), "{what}: {answer:?}");
    }
    // The handle of one host is nothing at another.
    let call = Call::get("samba.test", "/")
        .with("accept", "application/json")
        .with("cookie", &format!("__Host-torhaus={handle}"));
    assert_eq!(world.call(Door::Inside, None, &call).await.unwrap().outcome().0, 401);
}

/// What an access token for us says.
fn good(world: &World) -> Value {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    json!({ "iss": world.idp.issuer, "aud": "torhaus", "sub": "4711", "preferred_username": "alice",
        "groups": ["all-employees"], "iat": now, "exp": now + 600, "client_id": "backup", "jti": "1" })
}

fn with(mut claims: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims
}

async fn call_with(world: &World, token: &str) -> Answer {
    let call = Call::get("wiki.test", "/").with("accept", "application/json");
    world.call(Door::Inside, None, &call.with("authorization", &format!("Bearer {token}"))).await.unwrap()
}

/// Signed with the provider's own key, each of them: it says other things with it too.
#[tokio::test]
async fn a_token_that_is_signed_and_meant_for_something_else_opens_nothing() {
    let world = World::start().await;
    let sign = |typ: &str, claims: &Value| world.idp.provider.sign(typ, claims).unwrap();
    let answer = call_with(&world, &sign("at+jwt", &good(&world))).await;
    assert_eq!(answer.status, 200, "what the others differ from: {answer:?}");
    assert_eq!(call_with(&world, &sign("JWT", &good(&world))).await.status, 200, "as most providers type it");
    let served = world.echo.count();

    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let issuer = world.idp.issuer.clone();
    for (what, typ, more) in [
        ("an ID token", "JWT", json!({ "nonce": "n" })),
        ("an ID token with the hash of another", "JWT", json!({ "at_hash": "AAAA" })),
        ("an ID token of the code flow", "JWT", json!({ "c_hash": "AAAA" })),
        ("an ID token as Keycloak types it", "JWT", json!({ "typ": "ID" })),
        ("a refresh token", "JWT", json!({ "typ": "Refresh" })),
        ("an offline token", "JWT", json!({ "typ": "Offline" })),
        ("an ID token as Cognito says it", "JWT", json!({ "token_use": "id" })),
        ("a logout token", "logout+jwt", json!({ "events": logout })),
        ("a logout token that is typed as any", "JWT", json!({ "events": logout })),
        ("a token about events", "secevent+jwt", json!({})),
        ("a proof of possession", "dpop+jwt", json!({})),
        ("a client's assertion", "client-authentication+jwt", json!({})),
        ("an authorization request", "oauth-authz-req+jwt", json!({})),
        ("a token of introspection", "token-introspection+jwt", json!({})),
        ("our own assertion", "torhaus-assertion+jwt", json!({})),
        ("for another audience", "at+jwt", json!({ "aud": "wiki" })),
        ("for our audience in another case", "at+jwt", json!({ "aud": "Torhaus" })),
        ("for an audience that begins like ours", "at+jwt", json!({ "aud": "torhaus.example.test" })),
        ("for several others", "at+jwt", json!({ "aud": ["wiki", "torhaus2"] })),
        ("for nobody", "at+jwt", json!({ "aud": null })),
        ("for an empty list", "at+jwt", json!({ "aud": [] })),
        ("for something that is no text", "at+jwt", json!({ "aud": { "torhaus": true } })),
        ("over", "at+jwt", json!({ "exp": now - 3600 })),
        ("over by more than clocks may differ", "at+jwt", json!({ "exp": now - 70 })),
        ("without an end", "at+jwt", json!({ "exp": null })),
        ("with an end that is no number", "at+jwt", json!({ "exp": "tomorrow" })),
        ("not yet good", "at+jwt", json!({ "nbf": now + 600 })),
        ("from the future", "at+jwt", json!({ "iat": now + 600 })),
        ("of nobody", "at+jwt", json!({ "sub": null })),
        ("of an empty name", "at+jwt", json!({ "sub": "" })),
        ("bound to a certificate that nobody shows", "at+jwt", json!({ "cnf": { "x5t#S256": "A".repeat(43) } })),
        ("bound to what we do not know", "at+jwt", json!({ "cnf": { "jkt": "AAAA" } })),
        ("of an issuer with a slash more", "at+jwt", json!({ "iss": format!("{issuer}/") })),
    ] {
        let answer = call_with(&world, &sign(typ, &with(good(&world), &more))).await;
        // An issuer that is not configured is the application's own matter: nobody is identified.
        let expected = if more.get("iss").is_some() { "login_needed" } else { "bearer_invalid" };
        assert_eq!((answer.status, answer.reason().as_deref()), (401, Some(expected)), "{what}: {answer:?}");
    }
    assert_eq!(world.echo.count(), served, "nothing of it reached the application");
}

/// One change anywhere in a good token: its head, its claims, its signature, the letters they are written in.
#[tokio::test]
async fn no_change_of_a_good_token_is_as_good() {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/";
    let world = World::start().await;
    let token = world.idp.provider.sign("at+jwt", &good(&world)).unwrap().into_bytes();
    assert_eq!(call_with(&world, std::str::from_utf8(&token).unwrap()).await.status, 200);
    let served = world.echo.count();
    let tls = world.tls(None, &["http/1.1"]);
    let mut connection = Connection::open(world.address(Door::Inside), "wiki.test", &tls).await.unwrap();
    let mut random = StdRng::seed_from_u64(0x7515);
    // The last letter of each part carries bits that no byte needs: every value of them is tried.
    let ends: Vec<usize> = token
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'.')
        .map(|(at, _)| at - 1)
        .chain([token.len() - 1])
        .collect();
    let tried = ends.iter().flat_map(|end| LETTERS.iter().map(|letter| (*end, *letter)));
    let more: Vec<_> = (0..200)
        .map(|_| (random.random_range(0..token.len()), LETTERS[random.random_range(0..LETTERS.len())]))
        .collect();
    for (at, letter) in tried.chain(more) {
        let mut changed = token.clone();
        changed[at] = letter;
        if changed == token {
            continue;
        }
        let changed = String::from_utf8(changed).unwrap();
        let call = Call::get("wiki.test", "/").with("accept", "application/json");
        let answer = connection.send(&call.with("authorization", &format!("Bearer {changed}"))).await.unwrap();
        assert_eq!(answer.status, 401, "{letter:?} at {at}: {answer:?}");
    }
    assert_eq!(world.echo.count(), served);
}
