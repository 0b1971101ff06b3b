//! A session that is asked about again.
use super::fake::{Fake, FakeKey, NOW, Reply};
use super::*;
use crate::login::error::UserInfoError;
use crate::login::id_token::IdTokenError;
use crate::login::refresh::{RefreshError, Refreshed};
use crate::login::session::{SessionId, Tokens};
use crate::login::token_endpoint::TokenError;
use std::time::Duration;
use torhaus_authz::Fact;

fn tokens(id_token: Option<String>) -> Tokens {
    Tokens {
        id_token: id_token.map(Zeroizing::new),
        refresh_token: Some(Zeroizing::new("marked-refresh-1".to_owned())),
        access_token: None,
    }
}

async fn refresh(fake: &Fake, provider: &Arc<OidcProvider>) -> Result<Refreshed, RefreshError> {
    let old = fake.sign(&alice(fake, "torhaus-hw", "n"));
    provider.refresh(&SessionId::from("sess"), "a-1", &tokens(Some(old)), NOW).await
}

fn claims(fake: &Fake) -> Value {
    let mut claims = alice(fake, "torhaus-hw", "n");
    claims.as_object_mut().unwrap().remove("nonce");
    claims
}

#[tokio::test]
async fn a_refresh_brings_new_groups_and_tokens() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let mut claims = claims(&fake);
    claims["groups"] = json!(["hr"]);
    let id_token = fake.sign(&claims);
    fake.answer_with(&id_token);
    let refreshed = refresh(&fake, &provider).await.unwrap();
    let profile = refreshed.profile.unwrap();
    assert!(matches!(&profile.groups, Fact::Known(groups) if groups.iter().map(|g| &**g).eq(["hr"])));
    assert_eq!(refreshed.tokens.refresh_token.unwrap().as_str(), "marked-refresh-2");
    assert_eq!(refreshed.tokens.id_token.unwrap().as_str(), id_token);
    let seen = fake.seen("/token").remove(0);
    assert_eq!((&*seen.form["grant_type"], &*seen.form["refresh_token"]), ("refresh_token", "marked-refresh-1"));
    let basic = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "torhaus-hw:s%2Bcret+%26+more");
    assert_eq!(seen.authorization, Some(format!("Basic {basic}")), "as the client that the tokens were issued to");
}

#[tokio::test]
async fn an_answer_without_id_token_keeps_what_is_known() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    fake.reply("/token", Reply::json(&json!({"access_token": "a", "token_type": "Bearer"})));
    let refreshed = refresh(&fake, &provider).await.unwrap();
    assert!(refreshed.profile.is_none());
    assert_eq!(refreshed.tokens.refresh_token.unwrap().as_str(), "marked-refresh-1", "RFC 6749 s6");
    assert!(refreshed.tokens.id_token.is_some());
}

/// A disabled person is out, although the refresh token lives.
#[tokio::test]
async fn what_the_provider_refuses_ends_the_session_and_what_is_down_does_not() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let refused = |code: &str| Reply::text(400, &json!({"error": code}).to_string());
    for (reply, ends) in [
        (refused("invalid_grant"), true),
        (refused("access_denied"), true),
        (refused("something_new"), true),
        (refused("invalid_client"), false),
        (Reply::text(500, ""), false),
        (Reply::text(429, ""), false),
        (Reply::text(502, "<html>"), false),
        // Of whatever stands before it, or where it is not any more.
        (Reply::text(404, r#"{"error":"Realm does not exist"}"#), false),
        (Reply::text(403, r#"{"error":"forbidden"}"#), false),
        (Reply::text(200, "<html>"), false),
    ] {
        let name = reply.body.clone();
        fake.reply("/token", reply);
        let error = refresh(&fake, &provider).await.expect_err(&name);
        assert_eq!(matches!(error, RefreshError::Ended(_)), ends, "{name}: {error}");
        assert_eq!(matches!(error, RefreshError::Unavailable(_)), !ends, "{name}: {error}");
    }
    let none = provider.refresh(&SessionId::from("sess"), "a-1", &Tokens::default(), NOW).await;
    assert!(matches!(none, Err(RefreshError::NoRefreshToken)));
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_ends_no_session() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    fake.answer_with(&FakeKey::es256("k2").sign(&json!({"alg": "ES256", "kid": "k2"}), &claims(&fake)));
    let error = refresh(&fake, &provider).await.unwrap_err();
    assert!(matches!(error, RefreshError::Unavailable(_)), "{error}");
    // The same name, and another key.
    fake.answer_with(&FakeKey::es256("k1").sign(&json!({"alg": "ES256", "kid": "k1"}), &claims(&fake)));
    let error = refresh(&fake, &provider).await.unwrap_err();
    assert!(matches!(error, RefreshError::Ended(_)), "{error}");
}

#[tokio::test]
async fn an_answer_about_another_person_ends_the_session() {
    type Lie = fn(&mut Value);
    let cases: [(Lie, IdTokenError); 5] = [
        (|c| c["sub"] = json!("b-2"), IdTokenError::OtherSubject),
        (|c| c["aud"] = json!("torhaus"), IdTokenError::Audience),
        (|c| c["iss"] = json!("https://evil.test"), IdTokenError::Issuer),
        (|c| c["exp"] = json!(NOW.seconds() - 100), IdTokenError::Expired),
        (|c| c["at_hash"] = json!("x"), IdTokenError::AccessToken),
    ];
    for (lie, expected) in cases {
        let fake = Fake::start().await;
        let provider = build(config(&fake));
        let mut claims = claims(&fake);
        lie(&mut claims);
        fake.answer_with(&fake.sign(&claims));
        match refresh(&fake, &provider).await {
            Err(RefreshError::Ended(error)) => assert_eq!(*error, LoginError::IdToken(expected)),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_new_refresh_token_is_not_lost_because_user_info_is_down() {
    let fake = Fake::start().await;
    fake.discovery(|document| document["userinfo_endpoint"] = json!(fake.url("/userinfo")));
    let provider = build(config(&fake));
    fake.reply(
        "/token",
        Reply::json(&json!({"access_token": "a", "token_type": "Bearer", "refresh_token": "marked-new"})),
    );
    fake.reply("/userinfo", Reply::text(503, ""));
    let refreshed = refresh(&fake, &provider).await.unwrap();
    assert!(refreshed.profile.is_none());
    assert_eq!(refreshed.tokens.refresh_token.unwrap().as_str(), "marked-new");
    let ask = |session: &'static str| {
        let provider = Arc::clone(&provider);
        async move { provider.refresh(&SessionId::from(session), "a-1", &tokens(None), NOW).await }
    };
    fake.reply("/userinfo", Reply::text(401, ""));
    assert!(
        matches!(ask("s2").await, Err(RefreshError::Ended(e)) if *e == LoginError::UserInfo(UserInfoError::Refused))
    );
    fake.reply("/userinfo", Reply::json(&json!({"sub": "a-1", "preferred_username": "alice", "groups": ["hr"]})));
    assert!(ask("s3").await.unwrap().profile.is_some_and(|profile| &*profile.name == "alice"));
}

#[tokio::test]
async fn many_requests_of_one_session_refresh_once() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let answer = json!({"access_token": fake::ACCESS_TOKEN, "token_type": "Bearer", "id_token": fake.sign(&claims(&fake)), "refresh_token": "marked-2"});
    fake.reply("/token", Reply::json(&answer).after(Duration::from_millis(100)));
    let all = futures::future::join_all((0..20).map(|_| refresh(&fake, &provider))).await;
    assert!(
        all.iter()
            .all(|one| { one.as_ref().is_ok_and(|r| r.tokens.refresh_token.as_ref().unwrap().as_str() == "marked-2") })
    );
    assert_eq!(fake.asked("/token"), 1);
    refresh(&fake, &provider).await.expect("who comes a little later with the old token gets the same answer");
    assert_eq!(fake.asked("/token"), 1);
}

#[tokio::test]
async fn a_refresh_goes_on_when_its_caller_goes_away() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    provider.start(Wish::default(), STATE, NOW).await.unwrap();
    let answer = json!({"access_token": "a", "token_type": "Bearer", "refresh_token": "marked-2"});
    fake.reply("/token", Reply::json(&answer).after(Duration::from_millis(200)));
    let gone = tokio::time::timeout(Duration::from_millis(50), refresh(&fake, &provider)).await;
    assert!(gone.is_err());
    let refreshed = refresh(&fake, &provider).await.unwrap();
    assert_eq!(refreshed.tokens.refresh_token.unwrap().as_str(), "marked-2");
    assert_eq!(fake.asked("/token"), 1, "the old refresh token is not used twice");
}

#[test]
fn errors_say_what_happened_in_a_sentence() {
    let error = RefreshError::from(LoginError::Token(TokenError::Refused("invalid_grant".to_owned())));
    let sentence = "the provider does not continue the session: the token endpoint refused: `invalid_grant`";
    assert_eq!(error.to_string(), sentence);
}
