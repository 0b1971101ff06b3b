//! Logout tokens: both dialects count, and one lie each does not.
use super::fake::{Fake, FakeKey, NOW, sign_hs256, unsigned};
use super::*;
use crate::login::jws::JwsError;
use crate::login::keys::KeyError;
use crate::login::logout_token::{LogoutToken, LogoutTokenError as E};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// As Keycloak writes it.
fn keycloak(fake: &Fake) -> Value {
    json!({
        "iss": fake.issuer(), "aud": "torhaus", "iat": NOW.seconds(), "exp": NOW.seconds() + 120, "jti": "u1",
        "typ": "Logout", "sub": "f:1:alice", "sid": "s-1", "events": { EVENT: {}, "revoke_offline_access": true },
    })
}

fn header(typ: &str) -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": typ})
}

fn with(fake: &Fake, lie: impl FnOnce(&mut Value)) -> Value {
    let mut claims = keycloak(fake);
    lie(&mut claims);
    claims
}

#[tokio::test]
async fn the_dialects_of_keycloak_and_authentik_count() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let drop_claims = |names: &[&str]| {
        with(&fake, |claims| names.iter().for_each(|name| drop(claims.as_object_mut().unwrap().remove(*name))))
    };
    let names = |token: &LogoutToken| (token.subject.as_deref().map(str::to_owned), token.sid.clone());
    let (alice, sid) = (Some("f:1:alice".to_owned()), Some("s-1".to_owned()));
    let rows = [
        ("Keycloak", "logout+jwt", keycloak(&fake), (alice.clone(), sid.clone())),
        ("an older Keycloak", "JWT", keycloak(&fake), (alice.clone(), sid.clone())),
        ("Keycloak without the session", "logout+jwt", drop_claims(&["sid"]), (alice.clone(), None)),
        ("authentik", "JWT", drop_claims(&["typ"]), (alice.clone(), sid.clone())),
        ("authentik, only the person is known", "JWT", drop_claims(&["typ", "sid"]), (alice.clone(), None)),
        ("a session and no person", "logout+jwt", drop_claims(&["sub"]), (None, sid.clone())),
        ("no jti", "logout+jwt", drop_claims(&["jti"]), (alice.clone(), sid.clone())),
        (
            "a claim that nobody knows",
            "application/logout+jwt",
            with(&fake, |claims| claims["ignored_claim"] = json!({"a": 1})),
            (alice.clone(), sid.clone()),
        ),
        (
            "several audiences",
            "logout+jwt",
            with(&fake, |claims| claims["aud"] = json!(["other", "torhaus"])),
            (alice.clone(), sid.clone()),
        ),
        ("the client of a tier", "logout+jwt", with(&fake, |claims| claims["aud"] = json!("torhaus-hw")), (alice, sid)),
    ];
    for (what, typ, claims, expected) in rows {
        let token = fake.key.sign(&header(typ), &claims);
        let checked = provider.check_logout_token(&token, NOW).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(names(&checked), expected, "{what}");
    }
    let untyped = fake.key.sign(&json!({"alg": "ES256", "kid": "k1"}), &keycloak(&fake));
    assert!(provider.check_logout_token(&untyped, NOW).await.is_ok(), "no typ");
}

#[tokio::test]
async fn a_logout_token_that_lies_is_refused_with_its_own_error() {
    let fake = Fake::start().await;
    let other = FakeKey::es256("k1");
    let provider = build(config(&fake));
    let signed = |claims: Value| fake.key.sign(&header("logout+jwt"), &claims);
    let lie = |claim: &str, value: Value| signed(with(&fake, |claims| claims[claim] = value));
    let without = |names: &[&str]| {
        signed(with(&fake, |claims| names.iter().for_each(|n| drop(claims.as_object_mut().unwrap().remove(*n)))))
    };
    let now = NOW.seconds();
    let mut rows: Vec<(&str, String, E)> = vec![
        ("a nonce", lie("nonce", json!("n")), E::Nonce),
        ("an empty nonce", lie("nonce", json!("")), E::Nonce),
        ("a nonce of null", lie("nonce", Value::Null), E::Nonce),
        ("no events", without(&["events"]), E::NoEvent),
        ("events as a list", lie("events", json!([EVENT])), E::NoEvent),
        ("an event that is true", lie("events", json!({ EVENT: true })), E::NoEvent),
        ("another event", lie("events", json!({ "urn:other": {} })), E::NoEvent),
        ("nobody", without(&["sub", "sid"]), E::NamesNobody),
        ("an empty subject", lie("sub", json!("")), E::Subject),
        ("an empty session", lie("sid", json!("")), E::Session),
        ("another audience", lie("aud", json!("someone-else")), E::Audience),
        ("no audience", without(&["aud"]), E::Audience),
        ("the issuer with a slash", lie("iss", json!(format!("{}/", fake.issuer()))), E::Issuer),
        ("no issuer", without(&["iss"]), E::Issuer),
        ("expired, beyond the leeway", lie("exp", json!(now - 60)), E::Expired),
        ("no exp", without(&["exp"]), E::NoExpiry),
        ("a token for ever", lie("exp", json!(now + 10 * 86_400)), E::LivesTooLong),
        ("issued in an hour", lie("iat", json!(now + 3600)), E::FromTheFuture),
        ("no iat", without(&["iat"]), E::NoIssueTime),
        ("an ID token by its payload", lie("typ", json!("ID")), E::NotALogoutToken),
        ("an access token", fake.key.sign(&header("at+jwt"), &keycloak(&fake)), E::NotALogoutToken),
        ("alg none", unsigned(&json!({"alg": "none"}), &keycloak(&fake)), E::Token(JwsError::NotSigned)),
        (
            "the key of another provider",
            other.sign(&header("logout+jwt"), &keycloak(&fake)),
            E::Key(KeyError::Signature),
        ),
        ("longer than 16 KiB", lie("pad", json!("x".repeat(16 * 1024))), E::TooLong),
    ];
    for public in fake.key.public_forms() {
        let token = sign_hs256(&json!({"alg": "HS256", "kid": "k1"}), &keycloak(&fake), &public);
        rows.push(("HS256 with the public key", token, E::Token(JwsError::Symmetric)));
    }
    for (what, token, expected) in rows {
        let refused = provider.check_logout_token(&token, NOW).await.err();
        assert_eq!(refused.as_ref(), Some(&expected), "{what}");
        assert!(!expected.is_unavailable(), "{what}: 400, no second try");
        let signed = !matches!(expected, E::TooLong | E::Token(_) | E::Key(_));
        assert_eq!(!expected.is_strange(), signed, "{what}: only what the provider signed may raise an alert");
    }
    fake.reply("/jwks", super::fake::Reply::text(503, ""));
    let unasked = build(config(&fake)).check_logout_token(&signed(keycloak(&fake)), NOW).await.unwrap_err();
    assert!(unasked.is_unavailable() && !unasked.is_strange(), "{unasked}: the provider is to try again");
}
