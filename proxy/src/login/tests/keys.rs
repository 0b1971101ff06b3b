//! Key rotation, and key sets that are none.
use super::fake::{Fake, FakeKey, NOW, Reply};
use super::*;
use crate::login::http_client::FetchError;
use crate::login::id_token::IdTokenError;
use crate::login::keys::KeyError;
use crate::login::logout_token::LogoutTokenError;
use std::time::Duration;

/// A login at `now` whose token is signed by `key` with its own name.
async fn login_with(provider: &OidcProvider, fake: &Fake, key: &FakeKey, after: Duration) -> Result<(), LoginError> {
    let now = NOW.plus(after);
    let (url, started) = provider.start(Wish::default(), STATE, now).await?;
    let mut claims = alice(fake, "torhaus", &query_of(&url)["nonce"]);
    claims["iat"] = json!(now.seconds());
    claims["exp"] = json!(now.seconds() + 300);
    fake.answer_with(&key.sign(&json!({"alg": "ES256", "kid": key.jwk["kid"]}), &claims));
    provider.finish(&started, &good_callback(), now).await.map(drop)
}

fn key_error(error: KeyError) -> Result<(), LoginError> {
    Err(LoginError::IdToken(IdTokenError::Key(error)))
}

#[tokio::test]
async fn the_providers_own_new_key_is_looked_up_at_once_and_an_old_one_stops_counting() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let new = FakeKey::es256("k2");
    let millis = Duration::from_millis;
    assert_eq!(login_with(&provider, &fake, &fake.key, millis(0)).await, Ok(()));
    assert_eq!(login_with(&provider, &fake, &new, millis(2000)).await, key_error(KeyError::UnknownKey));
    assert_eq!(fake.asked("/jwks"), 2);
    fake.publish(&[&new]);
    let soon = login_with(&provider, &fake, &new, millis(3999)).await;
    assert_eq!((soon, fake.asked("/jwks")), (key_error(KeyError::UnknownKey), 2), "within two seconds");
    assert_eq!(login_with(&provider, &fake, &new, millis(4000)).await, Ok(()));
    assert_eq!(fake.asked("/jwks"), 3);
    let withdrawn = login_with(&provider, &fake, &fake.key, millis(4001)).await;
    assert_eq!(withdrawn, key_error(KeyError::UnknownKey));
}

/// Anybody may send a logout token.
#[tokio::test]
async fn strangers_make_us_look_once_a_minute_and_keep_nobody_from_a_new_key() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (stranger, new) = (FakeKey::es256("stranger"), FakeKey::es256("k2"));
    let token = stranger.sign(&json!({"alg": "ES256", "kid": "stranger"}), &json!({"iss": fake.issuer()}));
    let second = Duration::from_secs;
    for at in [0, 30, 59, 60, 119] {
        let refused = provider.check_logout_token(&token, NOW.plus(second(at))).await;
        assert_eq!(refused.err(), Some(LogoutTokenError::Key(KeyError::UnknownKey)), "{at}");
    }
    // The first one had its keys from a look of its own.
    assert_eq!(fake.asked("/jwks"), 2);
    fake.publish(&[&new]);
    assert_eq!(login_with(&provider, &fake, &new, second(62)).await, Ok(()));
}

#[tokio::test]
async fn a_clock_set_back_does_not_stop_the_lookup() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let new = FakeKey::es256("k2");
    assert_eq!(login_with(&provider, &fake, &fake.key, Duration::from_secs(86_400)).await, Ok(()));
    fake.publish(&[&new]);
    assert_eq!(login_with(&provider, &fake, &new, Duration::ZERO).await, Ok(()));
}

#[tokio::test]
async fn many_logins_at_once_ask_once() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.sign(&claims));
    let callback = good_callback();
    let logins = (0..20).map(|_| provider.finish(&started, &callback, NOW));
    assert!(futures::future::join_all(logins).await.iter().all(Result::is_ok));
    assert_eq!(fake.asked("/jwks"), 1);
    assert_eq!(fake.asked("/realms/corp/.well-known/openid-configuration"), 1);
}

#[tokio::test]
async fn the_last_good_keys_are_kept_while_the_provider_is_down() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    assert_eq!(login_with(&provider, &fake, &fake.key, Duration::ZERO).await, Ok(()));
    fake.reply("/jwks", Reply::text(500, "down"));
    fake.reply("/realms/corp/.well-known/openid-configuration", Reply::text(500, "down"));
    assert_eq!(login_with(&provider, &fake, &fake.key, Duration::from_secs(7200)).await, Ok(()));
    // What was refreshed behind that login failed, and changed nothing.
    for _ in 0..100 {
        if fake.asked("/jwks") == 2 && fake.asked("/realms/corp/.well-known/openid-configuration") == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fake.asked("/jwks"), 2);
    assert_eq!(login_with(&provider, &fake, &fake.key, Duration::from_secs(7201)).await, Ok(()));
}

#[tokio::test]
async fn a_key_set_that_is_none_is_named() {
    let key = |extra: Value| {
        let mut jwk = FakeKey::es256("k1").jwk;
        jwk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"keys": [jwk]}).to_string()
    };
    let host = || "127.0.0.1".to_owned();
    let many: Vec<Value> = (0..101).map(|n| json!({"kty": "x", "kid": n.to_string()})).collect();
    let weak = json!({"keys": [{"kty": "RSA", "kid": "k1", "n": fake::b64(&[0xff; 128]), "e": "AQAB"}]});
    let secret = json!({"keys": [{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}]});
    let none = KeyError::NoUsableKeys;
    for (name, body, expected) in [
        ("authentik without a key", "{}".to_owned(), none.clone()),
        ("no keys", r#"{"keys":[]}"#.to_owned(), none.clone()),
        ("a list", "[]".to_owned(), none.clone()),
        ("for encryption", key(json!({"use": "enc"})), none.clone()),
        ("for other operations", key(json!({"key_ops": ["encrypt"]})), none.clone()),
        ("another curve's name", key(json!({"crv": "P-384"})), none.clone()),
        ("a short coordinate", key(json!({"x": "AAAA"})), none.clone()),
        ("an HMAC algorithm", key(json!({"alg": "HS256"})), none.clone()),
        ("a shared secret", secret.to_string(), none.clone()),
        ("1024 bits", weak.to_string(), none),
        ("too many", json!({"keys": many}).to_string(), KeyError::TooManyKeys),
    ] {
        let fake = Fake::start().await;
        fake.reply("/jwks", Reply::text(200, &body));
        let result = login_with(&build(config(&fake)), &fake, &fake.key, Duration::ZERO).await;
        assert_eq!(result, key_error(expected), "{name}");
    }
    for (name, reply, expected) in [
        ("garbage", Reply::text(200, "<html>marked-secret"), None),
        (
            "10 MiB",
            Reply::text(200, &" ".repeat(10 * 1024 * 1024)),
            Some(FetchError::TooLarge { host: host(), mib: 1 }),
        ),
        ("an error", Reply::text(503, ""), Some(FetchError::Status { host: host(), status: 503 })),
    ] {
        let fake = Fake::start().await;
        fake.reply("/jwks", reply);
        let error = login_with(&build(config(&fake)), &fake, &fake.key, Duration::ZERO).await.expect_err(name);
        match expected {
            Some(expected) => assert_eq!(Err(error), key_error(KeyError::Fetch(expected)), "{name}"),
            None => {
                assert!(
                    matches!(
                        &error,
                        LoginError::IdToken(IdTokenError::Key(KeyError::Fetch(FetchError::NotJson { .. })))
                    ),
                    "{name}: {error:?}"
                );
                assert!(!format!("{error} {error:?}").contains("marked"), "the body is not quoted");
            }
        }
    }
}

#[tokio::test]
async fn a_token_without_key_id_counts_only_if_one_key_fits() {
    let fake = Fake::start().await;
    let rsa = FakeKey::rs256("r1");
    fake.publish(&[&fake.key, &rsa]);
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.key.sign(&json!({"alg": "ES256"}), &claims));
    provider.finish(&started, &good_callback(), NOW).await.expect("one ES256 key fits");

    let fake = Fake::start().await;
    fake.publish(&[&fake.key, &FakeKey::es256("k2")]);
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.key.sign(&json!({"alg": "ES256"}), &claims));
    let error = provider.finish(&started, &good_callback(), NOW).await.err();
    assert_eq!(error, Some(LoginError::IdToken(IdTokenError::Key(KeyError::Ambiguous))));
}
