//! Attacks on the envelope: each refused with its RFC 8555 error, whatever stands inside.
use crate::harness::*;
use http::{Method, Request};
use serde_json::{Value, json};
use time::Duration;

#[tokio::test]
async fn nonces_are_single_use_and_ours() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let request = || alice.post(&world, "new-order").json(&wishes(&["nb.alice.clients.corp.example"]));
    let nonce = world.nonce().await;
    assert_eq!(request().header("nonce", json!(nonce)).send().await.status(), 201);
    let bad = |reply: Reply, case: &str| reply.is(case, 400, "badNonce", "JWS has an invalid anti-replay nonce");
    bad(request().header("nonce", json!(nonce)).send().await, "replay");
    bad(request().header("nonce", json!("AAAA")).send().await, "made up");
    bad(request().header("nonce", json!("not base64url!")).send().await, "garbage");
    bad(request().without("nonce").send().await, "missing");
    let other = World::new().nonce().await;
    bad(request().header("nonce", json!(other)).send().await, "of another server");
    let old = world.nonce().await;
    world.later(Duration::minutes(16));
    bad(request().header("nonce", json!(old)).send().await, "too old");
    // The nonce of an error works.
    let refused = request().header("nonce", json!("AAAA")).send().await;
    let fresh = refused.header("replay-nonce").unwrap();
    assert_eq!(request().header("nonce", json!(fresh)).send().await.status(), 201);
}

#[tokio::test]
async fn one_nonce_serves_one_of_two_replicas() {
    let one = World::with(config(), torhaus_certs::acme::Nonces::shared(&[9; 32]), std::sync::Arc::default());
    let store = std::sync::Arc::clone(&one.store);
    let other = World::with(config(), torhaus_certs::acme::Nonces::shared(&[9; 32]), store);
    let alice = one.client(laptop("alice")).await;
    let nonce = one.nonce().await;
    let order = |world| alice.post(world, "new-order").json(&wishes(&["nb.alice.clients.corp.example"]));
    assert_eq!(order(&other).header("nonce", json!(nonce)).send().await.status(), 201);
    let replay = order(&one).header("nonce", json!(nonce)).send().await;
    replay.is("replay to the other replica", 400, "badNonce", "anti-replay");
}

#[tokio::test]
async fn a_request_is_for_the_url_it_was_signed_for() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let order = || alice.post(&world, "new-order").json(&wishes(&["nb.alice.clients.corp.example"]));
    for (case, url) in [
        ("another host", "https://ca.evil.example/acme/new-order"),
        ("our other origin", "https://ca.other.example:8443/acme/new-order"),
        ("another path", "https://ca.corp.example/acme/revoke-cert"),
        ("a slash at the end", "https://ca.corp.example/acme/new-order/"),
        ("a query", "https://ca.corp.example/acme/new-order?a"),
        ("another scheme", "http://ca.corp.example/acme/new-order"),
        ("upper case", "https://CA.corp.example/acme/new-order"),
        ("nothing", ""),
    ] {
        order().header("url", json!(url)).send().await.is(case, 403, "unauthorized", "the signed `url`");
    }
    order().without("url").send().await.is("no url", 403, "unauthorized", "the signed `url`");
}

#[tokio::test]
async fn envelopes_of_another_form_are_refused() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let order = || alice.post(&world, "new-order").json(&wishes(&["nb.alice.clients.corp.example"]));

    order().jwk().send().await.is("jwk and kid", 400, "malformed", "exactly one of `kid` and `jwk`");
    order().without("kid").send().await.is("neither", 400, "malformed", "exactly one of `kid` and `jwk`");
    for alg in ["none", "None", "HS256", "HS512", "ES256K", "RS1", "PS256", ""] {
        let reply = order().header("alg", json!(alg)).send().await;
        reply.is(alg, 400, "badSignatureAlgorithm", "not accepted");
        assert_eq!(reply.json()["algorithms"], json!(["ES256", "ES384", "ES512", "EdDSA", "RS256"]));
    }
    for alg in ["ES384", "EdDSA", "RS256"] {
        order().header("alg", json!(alg)).send().await.is(alg, 400, "badSignatureAlgorithm", "for this key");
    }
    order().header("crit", json!(["exp"])).send().await.is("crit", 400, "malformed", "`crit`");
    order().header("crit", json!([])).send().await.is("empty crit", 400, "malformed", "`crit`");
    order().header("b64", json!(false)).send().await.is("b64", 400, "malformed", "`b64`");
    order().header("nonce", json!(7)).send().await.is("a nonce that is a number", 400, "malformed", "protected header");
    order().without("alg").send().await.is("no alg", 400, "malformed", "protected header");

    type Change = fn(&mut Value);
    let changes: [(&str, Change, &str); 9] = [
        ("two signatures", |body| body["signatures"] = json!([{}]), "several signatures"),
        ("an unprotected header", |body| body["header"] = json!({"kid": "x"}), "unprotected headers"),
        ("padding", |body| pad(body, "payload", "=="), "`payload` is not base64url"),
        ("a line end", |body| pad(body, "payload", "\n"), "`payload` is not base64url"),
        ("another alphabet", |body| body["signature"] = json!("+/+/"), "`signature` is not base64url"),
        ("no payload", |body| drop(body.as_object_mut().unwrap().remove("payload")), "flattened JWS"),
        ("another payload", |body| body["payload"] = json!(b64(b"{}")), "the signature of the request is wrong"),
        ("no signature", |body| body["signature"] = json!(""), "the signature of the request is wrong"),
        ("an array", |body| *body = json!([body.clone()]), "flattened JWS"),
    ];
    for (case, change, words) in changes {
        order().after(change).send().await.is(case, 400, "malformed", words);
    }
    let mallory = Key::new();
    let forged = world.post(&mallory, "new-order").header("kid", json!(alice.kid)).json(&wishes(&["a.example"]));
    forged.send().await.is("signed by another key", 400, "malformed", "the signature of the request is wrong");
    assert_eq!(order().send().await.status(), 201, "and the right one is not");
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused() {
    let world = World::new();
    let send = async |body: &[u8]| {
        let request = Request::post("/acme/new-order").header("host", "ca.corp.example");
        world.send(request.header("content-type", "application/jose+json").body(body.to_vec()).unwrap()).await
    };
    for body in ["", "{", "null", "\"a.b.c\"", "a.b.c", "{\"protected\":1}", "\u{feff}{}"] {
        send(body.as_bytes()).await.is(body, 400, "malformed", "flattened JWS");
    }
    let twice = br#"{"protected":"e30","protected":"e30","payload":"","signature":""}"#;
    send(twice).await.is("a member that stands twice", 400, "malformed", "flattened JWS");
    send(&[0xff; 40]).await.is("not UTF-8", 400, "malformed", "flattened JWS");
    let deep = [vec![b'['; 50_000], vec![b']'; 10_000]].concat();
    send(&deep).await.is("deep nesting", 400, "malformed", "flattened JWS");
    send(&[b' '; 64 * 1024 + 1]).await.is("too long", 413, "malformed", "64 KiB");
    let header = b64(br#"{"alg":"ES256","alg":"none","url":"","kid":""}"#);
    let twice = json!({"protected": header, "payload": "", "signature": ""}).to_string();
    send(twice.as_bytes()).await.is("`alg` twice", 400, "malformed", "protected header");
}

#[tokio::test]
async fn methods_paths_hosts_and_media_types_are_exact() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let order = || alice.post(&world, "new-order").json(&wishes(&["nb.alice.clients.corp.example"]));
    for media in [None, Some("application/json"), Some("application/jose"), Some("text/plain")] {
        order().media(media).send().await.is(&format!("{media:?}"), 415, "malformed", "content type");
    }
    for (method, path) in [
        (Method::GET, "/acme/new-order"),
        (Method::PUT, "/acme/new-account"),
        (Method::DELETE, "/acme/account/x"),
        (Method::GET, "/acme/order/x"),
        (Method::GET, "/acme/certificate/x"),
        (Method::OPTIONS, "/acme/directory"),
    ] {
        let reply = world.get(method.clone(), path).await;
        reply.is(&format!("{method} {path}"), 405, "malformed", "only");
        assert!(reply.header("allow").is_some());
    }
    world.get(Method::POST, "/acme/directory").await.is("POST directory", 405, "malformed", "GET, HEAD");
    for path in ["/acme", "/acme/", "/acme/nothing", "/acme/order", "/acme/order/a/b", "/acmedirectory", "/directory"] {
        world.get(Method::GET, path).await.is(path, 404, "malformed", "nothing stands");
    }
    world.get(Method::GET, "/acme/directory?x").await.is("a query", 404, "malformed", "no query");
    for host in ["evil.example", "ca.corp.example.evil.example", "ca.corp.example:444", ""] {
        let request = Request::get("/acme/directory").header("host", host).body(vec![]).unwrap();
        let reply = world.send(request).await;
        reply.is(host, 421, "malformed", "another name");
        assert!(host.is_empty() || !reply.text().contains(host), "a spoofed host stands in the answer");
    }
    let none = Request::get("/acme/directory").body(vec![]).unwrap();
    world.send(none).await.is("no host", 421, "malformed", "another name");
}

#[tokio::test]
async fn keys_that_are_weak_secret_or_misspelt_make_no_account() {
    let world = World::new();
    let key = Key::new();
    let good = key.jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk
    };
    let modulus = |bytes: usize| b64(&vec![0xff; bytes]);
    let rsa = |n: String, e: &str| json!({"kty": "RSA", "n": n, "e": e});
    let leading_zero = b64(&[vec![0], vec![0xff; 256]].concat());
    let short = b64(&[1; 31]);
    for (case, jwk, words) in [
        ("RSA-1024", rsa(modulus(128), "AQAB"), "2,048"),
        ("RSA-2040", rsa(modulus(255), "AQAB"), "2,048"),
        ("RSA-8192", rsa(modulus(1024), "AQAB"), "4,096"),
        ("RSA with a leading zero", rsa(leading_zero, "AQAB"), "2,048"),
        ("RSA with exponent 1", rsa(modulus(256), "AQ"), "exponent"),
        ("RSA with exponent 3", rsa(modulus(256), "Aw"), "exponent"),
        ("RSA with an even exponent", rsa(modulus(256), "AQAA"), "exponent"),
        ("RSA with an even modulus", rsa(b64(&vec![0xfe; 256]), "AQAB"), "even"),
        ("a MAC key", json!({"kty": "oct", "k": "AAAA"}), "secret or private"),
        ("a private key", with("d", json!("AAAA")), "secret or private"),
        ("not on the curve", with("x", json!(b64(&[1; 32]))), "not on the curve"),
        ("a short coordinate", with("x", json!(short)), "wrong length"),
        ("another curve", with("crv", json!("secp256k1")), "P-256"),
        ("P-384 with the coordinates of P-256", with("crv", json!("P-384")), "wrong length"),
        ("Ed448", json!({"kty": "OKP", "crv": "Ed448", "x": "AAAA"}), "not supported"),
        ("a short Ed25519 key", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), "Ed25519"),
        ("padding", with("x", json!(format!("{}=", good["x"].as_str().unwrap()))), "base64url"),
        ("no kty", json!({}), "`kty`"),
        ("a string", json!("key"), "not an object"),
    ] {
        let reply = world.post(&key, "new-account").header("jwk", jwk).raw(b"{}").send().await;
        reply.is(case, 400, "badPublicKey", words);
    }
}

#[tokio::test]
async fn the_key_types_of_clients_sign() {
    let world = World::new();
    let sign_up = async |alg: &str, jwk: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let eab = world.eab(laptop("alice")).await;
        let url = format!("{ORIGIN}/acme/new-account");
        let inner = json!({"alg": "HS512", "kid": eab.kid, "url": url});
        let payload = json!({"externalAccountBinding": mac(&eab.secret_base64(), &inner, &jwk)});
        let header = json!({"alg": alg, "jwk": jwk, "url": url, "nonce": world.nonce().await});
        let (protected, payload) = (b64(header.to_string().as_bytes()), b64(payload.to_string().as_bytes()));
        let signature = b64(&sign(format!("{protected}.{payload}").as_bytes()));
        let body = json!({"protected": protected, "payload": payload, "signature": signature});
        let request = Request::post("/acme/new-account").header("host", "ca.corp.example");
        let request = request.header("content-type", "application/jose+json").body(body.to_string().into_bytes());
        let reply = world.send(request.unwrap()).await;
        assert_eq!(reply.status(), 201, "{alg}: {}", reply.text());
    };
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::*;
    for (alg, crv, size, signing) in [
        ("ES384", "P-384", 48, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", "P-521", 66, &ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let key = EcdsaKeyPair::generate(signing).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(size);
        let jwk = json!({"kty": "EC", "crv": crv, "x": b64(x), "y": b64(y)});
        sign_up(alg, jwk, &|message| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()).await;
    }
    let key = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref())});
    sign_up("EdDSA", jwk, &|message| key.sign(message).as_ref().to_vec()).await;
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let jwk = json!({"kty": "RSA", "n": b64(&public.n), "e": b64(&public.e)});
    sign_up("RS256", jwk, &|message| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    })
    .await;
}

fn pad(body: &mut Value, member: &str, with: &str) {
    body[member] = json!(format!("{}{with}", body[member].as_str().unwrap()));
}
