//! The checklist of the contract, section 2: one lie each, and the error that names it.
use super::fake::{Fake, FakeKey, NOW, sign_hs256, unsigned};
use super::*;
use crate::login::claims::odd;
use crate::login::id_token::IdTokenError as E;
use crate::login::jws::JwsError;
use crate::login::keys::KeyError;

type Lie = Box<dyn FnOnce(&mut Value)>;

fn set(claim: &'static str, value: Value) -> Lie {
    Box::new(move |claims| claims[claim] = value)
}

fn drop_claim(claim: &'static str) -> Lie {
    Box::new(move |claims| drop(claims.as_object_mut().unwrap().remove(claim)))
}

fn all(lies: Vec<Lie>) -> Lie {
    Box::new(move |claims| lies.into_iter().for_each(|lie| lie(claims)))
}

#[tokio::test]
async fn every_wrong_claim_is_refused_with_its_own_error() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let now = NOW.seconds();
    let issuer = fake.issuer();
    let cases: Vec<(&str, Lie, E)> = vec![
        ("another issuer", set("iss", json!("https://evil.test")), E::Issuer),
        ("the issuer with a slash", set("iss", json!(format!("{issuer}/"))), E::Issuer),
        ("no issuer", drop_claim("iss"), E::Issuer),
        ("an issuer that is a list", set("iss", json!([issuer])), E::Odd(odd("iss", "a string"))),
        ("another audience", set("aud", json!("someone-else")), E::Audience),
        ("the other client of ours", set("aud", json!("torhaus-hw")), E::Audience),
        ("an audience that begins alike", set("aud", json!("torhaus2")), E::Audience),
        ("no audience", drop_claim("aud"), E::Audience),
        ("a number as audience", set("aud", json!(7)), E::Odd(odd("aud", "a list of strings"))),
        ("a second audience", set("aud", json!(["torhaus", "evil"])), E::ForeignAudience),
        (
            "a second audience, azp ours",
            all(vec![set("aud", json!(["evil", "torhaus"])), set("azp", json!("torhaus"))]),
            E::ForeignAudience,
        ),
        ("two audiences without azp", set("aud", json!(["torhaus", "torhaus"])), E::AuthorizedPartyMissing),
        ("azp of another", set("azp", json!("evil")), E::AuthorizedParty),
        ("no exp", drop_claim("exp"), E::NoExpiry),
        ("expired, beyond the leeway", set("exp", json!(now - 60)), E::Expired),
        ("exp as text", set("exp", json!("9999999999")), E::Odd(odd("exp", "a time in seconds"))),
        ("exp beyond all time", set("exp", json!(1e300)), E::Odd(odd("exp", "a time in seconds"))),
        ("negative exp", set("exp", json!(-1)), E::Odd(odd("exp", "a time in seconds"))),
        ("no iat", drop_claim("iat"), E::NoIssueTime),
        ("issued in the future", set("iat", json!(now + 61)), E::FromTheFuture),
        ("issued long ago", set("iat", json!(now - 601)), E::TooOld),
        ("not valid yet", set("nbf", json!(now + 61)), E::NotYetValid),
        ("no nonce", drop_claim("nonce"), E::Nonce),
        ("an empty nonce", set("nonce", json!("")), E::Nonce),
        ("the nonce of another login", set("nonce", json!("A".repeat(43))), E::Nonce),
        ("a nonce that is a list", set("nonce", json!(["x"])), E::Odd(odd("nonce", "a string"))),
        ("no subject", drop_claim("sub"), E::Subject),
        ("an empty subject", set("sub", json!("")), E::Subject),
        ("a long subject", set("sub", json!("x".repeat(256))), E::Subject),
        ("a subject with a line break", set("sub", json!("a\nb")), E::Subject),
        ("a subject that is not ASCII", set("sub", json!("ä")), E::Subject),
        ("a number as subject", set("sub", json!(7)), E::Odd(odd("sub", "a string"))),
        ("signed in in the future", set("auth_time", json!(now + 61)), E::AuthTimeInTheFuture),
        ("auth_time as text", set("auth_time", json!("yesterday")), E::Odd(odd("auth_time", "a time in seconds"))),
        ("the hash of another access token", set("at_hash", json!(fake::half_sha256("other"))), E::AccessToken),
        ("an empty at_hash", set("at_hash", json!("")), E::AccessToken),
        ("acr as a number", set("acr", json!(2)), E::Odd(odd("acr", "a string"))),
        ("amr as an object", set("amr", json!({"otp": true})), E::Odd(odd("amr", "a list of strings"))),
        ("a refresh token of Keycloak", set("typ", json!("Refresh")), E::NotAnIdToken),
        ("an access token of Keycloak", set("typ", json!("Bearer")), E::NotAnIdToken),
        ("a logout token", set("events", json!({})), E::NotAnIdToken),
    ];
    for (name, lie, expected) in cases {
        let result = login(&provider, &fake, Wish::default(), lie).await;
        assert_eq!(result.err(), Some(LoginError::IdToken(expected)), "{name}");
    }
}

/// Exactly the documented leeway of 60 s, and not ten minutes.
#[tokio::test]
async fn clocks_may_differ_by_a_minute_and_no_more() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let now = NOW.seconds();
    for (claim, value) in
        [("exp", now - 59), ("iat", now + 60), ("nbf", now + 60), ("auth_time", now + 60), ("iat", now - 600)]
    {
        login(&provider, &fake, Wish::default(), set(claim, json!(value))).await.expect(claim);
    }
    for (skew, expected) in [(-600, E::Expired), (600, E::FromTheFuture)] {
        // The whole token as a provider with a wrong clock writes it (its tokens live 5 minutes).
        let lie = move |claims: &mut Value| {
            for claim in ["exp", "iat", "auth_time"] {
                claims[claim] = json!(claims[claim].as_i64().unwrap() + skew);
            }
        };
        let error = login(&provider, &fake, Wish::default(), lie).await.err();
        assert_eq!(error, Some(LoginError::IdToken(expected)), "{skew}");
    }
    // A sign-in within the leeway ahead counts from now: it is not fresher than fresh.
    let signed_in = login(&provider, &fake, Wish::default(), set("auth_time", json!(now + 60))).await.unwrap();
    assert!(signed_in.proofs.iter().all(|proof| proof.proven_at == NOW));
}

#[tokio::test]
async fn odd_but_correct_tokens_are_accepted() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let cases: Vec<(&str, Lie)> = vec![
        ("aud as a list of one", set("aud", json!(["torhaus"]))),
        ("azp is the client", set("azp", json!("torhaus"))),
        (
            "two audiences that are both the client, with azp",
            all(vec![set("aud", json!(["torhaus", "torhaus"])), set("azp", json!("torhaus"))]),
        ),
        ("unknown claims", set("ignored_claim", json!({"deep": [null]}))),
        ("times with a fraction", set("iat", json!(NOW.seconds() as f64 - 0.5))),
        ("no at_hash", drop_claim("at_hash")),
        ("Keycloak's typ", set("typ", json!("ID"))),
        ("authentik's c_hash", set("c_hash", json!("x"))),
        ("amr empty", set("amr", json!([]))),
    ];
    for (name, lie) in cases {
        let signed_in = login(&provider, &fake, Wish::default(), lie).await.expect(name);
        assert_eq!(&*signed_in.user.name, "alice", "{name}");
    }
}

/// Forged and confused tokens (RFC 8725).
#[tokio::test]
async fn a_token_that_is_not_signed_by_the_provider_is_refused() {
    let fake = Fake::start().await;
    let rsa = FakeKey::rs256("r1");
    fake.publish(&[&fake.key, &rsa]);
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    let stranger = FakeKey::es256("k1");
    let key = |error| LoginError::IdToken(E::Key(error));
    let token = |error| LoginError::IdToken(E::Token(error));
    let mut cases = vec![
        ("none", unsigned(&json!({"alg": "none"}), &claims), token(JwsError::NotSigned)),
        ("nOnE with kid", unsigned(&json!({"alg": "nOnE", "kid": "k1"}), &claims), token(JwsError::NotSigned)),
        ("ES256 and no signature", unsigned(&json!({"alg": "ES256", "kid": "k1"}), &claims), key(KeyError::Signature)),
        ("the client secret", sign_hs256(&json!({"alg": "HS256"}), &claims, b"s+cret & more"), token(JwsError::Symmetric)),
        ("a stranger's key of the same name", stranger.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims), key(KeyError::Signature)),
        ("its own key inside", stranger.sign(&json!({"alg": "ES256", "jwk": stranger.jwk}), &claims), key(KeyError::Signature)),
        ("its own key behind a URL", stranger.sign(&json!({"alg": "ES256", "kid": "k1", "jku": fake.url("/evil"), "x5u": fake.url("/evil"), "x5c": ["AA=="]}), &claims), key(KeyError::Signature)),
        ("another key's name", fake.key.sign(&json!({"alg": "ES256", "kid": "r1"}), &claims), key(KeyError::UnknownKey)),
        ("a path as key id", fake.key.sign(&json!({"alg": "ES256", "kid": "../../dev/null"}), &claims), key(KeyError::UnknownKey)),
        ("SQL as key id", fake.key.sign(&json!({"alg": "ES256", "kid": "k1' OR '1'='1"}), &claims), key(KeyError::UnknownKey)),
        ("a number as key id", fake.key.sign(&json!({"alg": "ES256", "kid": 1}), &claims), token(JwsError::Header)),
        ("a huge key id", fake.key.sign(&json!({"alg": "ES256", "kid": "k".repeat(513)}), &claims), token(JwsError::Header)),
        ("the RSA key with another hash", rsa.sign(&json!({"alg": "RS512", "kid": "r1"}), &claims), key(KeyError::UnknownKey)),
        ("ES256K", fake.key.sign(&json!({"alg": "ES256K", "kid": "k1"}), &claims), token(JwsError::Algorithm)),
        ("no alg", fake.key.sign(&json!({"kid": "k1"}), &claims), token(JwsError::Header)),
        ("an unknown extension", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "crit": ["exp"], "exp": 1}), &claims), token(JwsError::Critical)),
        ("an empty crit", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "crit": []}), &claims), token(JwsError::Critical)),
        ("unencoded payload", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "b64": false, "crit": ["b64"]}), &claims), token(JwsError::Critical)),
        ("typ at+jwt", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}), &claims), LoginError::IdToken(E::NotAnIdToken)),
        ("typ application/at+jwt", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "application/AT+JWT"}), &claims), LoginError::IdToken(E::NotAnIdToken)),
        ("typ logout+jwt", fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"}), &claims), LoginError::IdToken(E::NotAnIdToken)),
        ("encrypted", "a.b.c.d.e".to_owned(), token(JwsError::NotCompact)),
        ("opaque", "opaque".to_owned(), token(JwsError::NotCompact)),
        ("claims that are a list", fake.key.sign(&json!({"alg": "ES256", "kid": "k1"}), &json!(["x"])), token(JwsError::Claims)),
        ("too long", "a".repeat(200_000), token(JwsError::TooLong)),
    ];
    for form in fake.key.public_forms().into_iter().chain(rsa.public_forms()) {
        for alg in ["HS256", "hs256"] {
            let header = json!({"alg": alg, "kid": "k1"});
            cases.push(("HS256 with the public key", sign_hs256(&header, &claims, &form), token(JwsError::Symmetric)));
        }
    }
    let mut altered = fake.sign(&claims);
    altered.insert(altered.rfind('.').unwrap() + 1, 'A');
    cases.push(("an altered signature", altered, key(KeyError::Signature)));
    let keys_asked = fake.asked("/jwks");
    for (name, id_token, expected) in cases {
        fake.answer_with(&id_token);
        let result = provider.finish(&started, &good_callback(), NOW).await;
        assert_eq!(result.err(), Some(expected), "{name}");
    }
    assert_eq!(fake.asked("/evil"), 0, "a token never sends Torhaus anywhere");
    assert!(fake.asked("/jwks") <= keys_asked + 1, "strange key ids do not make Torhaus hammer the provider");
    for (key, header) in [
        (&fake.key, json!({"alg": "ES256", "kid": "k1"})),
        (&rsa, json!({"alg": "RS256", "kid": "r1", "typ": "application/jwt"})),
    ] {
        fake.answer_with(&key.sign(&header, &claims));
        provider.finish(&started, &good_callback(), NOW).await.expect("the honest tokens are accepted");
    }
}

#[tokio::test]
async fn an_algorithm_that_the_provider_does_not_announce_is_refused() {
    let fake = Fake::start().await;
    fake.discovery(|document| document["id_token_signing_alg_values_supported"] = json!(["RS256"]));
    let error = login(&build(config(&fake)), &fake, Wish::default(), |_| {}).await.err();
    assert_eq!(error, Some(LoginError::IdToken(E::AlgorithmNotOffered)));
}
