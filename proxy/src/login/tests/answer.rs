//! Answers that belong to another login, another browser, another provider.
use super::fake::{Fake, NOW, Reply};
use super::*;
use crate::login::error::{LoginPage, Refusal};
use crate::login::token_endpoint::TokenError;
use std::time::Duration;

async fn answered(change: impl FnOnce(&mut CallbackParams)) -> (Fake, Result<SignedIn, LoginError>) {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.sign(&claims));
    let mut callback = good_callback();
    change(&mut callback);
    let result = provider.finish(&started, &callback, NOW).await;
    (fake, result)
}

#[tokio::test]
async fn an_answer_that_is_not_for_this_login_is_refused_before_the_code_is_used() {
    type Change = fn(&mut CallbackParams);
    let cases: [(&str, Change, LoginError); 7] = [
        ("another state", |c| c.state = Some(Zeroizing::new("A".repeat(43))), LoginError::State),
        ("no state", |c| c.state = None, LoginError::State),
        ("an empty state", |c| c.state = Some(Zeroizing::default()), LoginError::State),
        ("another issuer", |c| c.iss = Some("https://evil.test".to_owned()), LoginError::MixUp),
        (
            "another issuer's error",
            |c| (c.iss, c.error) = (Some("https://evil.test".to_owned()), Some("access_denied".to_owned())),
            LoginError::MixUp,
        ),
        ("no code", |c| c.code = None, LoginError::NoCode),
        ("an empty code", |c| c.code = Some(Zeroizing::default()), LoginError::NoCode),
    ];
    for (name, change, expected) in cases {
        let (fake, result) = answered(change).await;
        assert_eq!(result.err(), Some(expected), "{name}");
        assert_eq!(fake.asked("/token"), 0, "{name}: the code stays unused");
    }
}

#[tokio::test]
async fn the_issuer_parameter_is_demanded_where_the_provider_promises_it() {
    let fake = Fake::start().await;
    fake.discovery(|document| document["authorization_response_iss_parameter_supported"] = json!(true));
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.sign(&claims));
    assert_eq!(provider.finish(&started, &good_callback(), NOW).await.err(), Some(LoginError::NoIssuer));
    let slash = CallbackParams { iss: Some(format!("{}/", fake.issuer())), ..good_callback() };
    assert_eq!(provider.finish(&started, &slash, NOW).await.err(), Some(LoginError::MixUp));
    let exact = CallbackParams { iss: Some(fake.issuer()), ..good_callback() };
    provider.finish(&started, &exact, NOW).await.expect("the right issuer");
}

#[tokio::test]
async fn two_providers_do_not_share_an_answer() {
    let (one, other) = (Fake::start().await, Fake::start().await);
    let (corp, partner) =
        (build(config(&one)), build(Provider { name: "partner".into(), first: false, ..config(&other) }));
    let (started, claims) = begin(&corp, &one, Wish::default()).await;
    other.answer_with(&other.sign(&claims));
    assert_eq!(partner.finish(&started, &good_callback(), NOW).await.err(), Some(LoginError::OtherProvider));
    // The same name with another issuer: the configuration was changed during the login.
    let moved = build(config(&other));
    assert_eq!(moved.finish(&started, &good_callback(), NOW).await.err(), Some(LoginError::OtherProvider));
    assert_eq!(other.asked("/token"), 0);
}

#[tokio::test]
async fn a_login_ends_after_ten_minutes() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, Wish::default()).await;
    fake.answer_with(&fake.sign(&claims));
    let late = NOW.plus(Duration::from_secs(601));
    assert_eq!(provider.finish(&started, &good_callback(), late).await.err(), Some(LoginError::TooSlow));
}

#[tokio::test]
async fn the_code_is_exchanged_with_the_verifier_of_this_login() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (url, started) = provider.start(Wish::default(), STATE, NOW).await.unwrap();
    let query = query_of(&url);
    fake.answer_with(&fake.sign(&alice(&fake, "torhaus", &query["nonce"])));
    provider.finish(&started, &good_callback(), NOW).await.unwrap();
    let seen = fake.seen("/token").remove(0);
    assert_eq!(seen.form["grant_type"], "authorization_code");
    assert_eq!(seen.form["code"], CODE);
    assert_eq!(seen.form["redirect_uri"], query["redirect_uri"]);
    let verifier = &seen.form["code_verifier"];
    use sha2::Digest as _;
    assert_eq!(fake::b64(&sha2::Sha256::digest(verifier)), query["code_challenge"]);
    // RFC 6749 s2.3.1: form-encoded before base64.
    let basic = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "torhaus:s%2Bcret+%26+more");
    assert_eq!(seen.authorization, Some(format!("Basic {basic}")));
    assert!(!seen.form.contains_key("client_secret"));
}

#[tokio::test]
async fn the_client_secret_goes_where_the_provider_wants_it() {
    let fake = Fake::start().await;
    fake.discovery(|document| document["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]));
    login(&build(config(&fake)), &fake, Wish::default(), |_| {}).await.unwrap();
    let seen = fake.seen("/token").remove(0);
    assert_eq!((seen.authorization, &*seen.form["client_secret"]), (None, "s+cret & more"));

    let public = OidcClient { id: "torhaus".to_owned(), secret: Secret::new(String::new()) };
    let fake = Fake::start().await;
    login(&build(Provider { client: public, ..config(&fake) }), &fake, Wish::default(), |_| {}).await.unwrap();
    let seen = fake.seen("/token").remove(0);
    assert_eq!((seen.authorization, &*seen.form["client_id"]), (None, "torhaus"));
}

#[tokio::test]
async fn what_the_provider_says_becomes_a_page() {
    let other = |code: &str| Refusal::Other(code.to_owned());
    for (code, refusal, page) in [
        ("access_denied", Refusal::AccessDenied, LoginPage::Declined),
        ("login_required", Refusal::LoginRequired, LoginPage::Expired),
        ("interaction_required", Refusal::InteractionRequired, LoginPage::Expired),
        ("unmet_authentication_requirements", Refusal::TierNotMet, LoginPage::TierNotProven),
        (
            "temporarily_unavailable",
            Refusal::Unavailable("temporarily_unavailable".to_owned()),
            LoginPage::ProviderDown,
        ),
        ("invalid_scope", other("invalid_scope"), LoginPage::Misconfigured),
        // Into a log goes a word, never a line break or a page.
        ("a\r\nb<script>\u{1b}[31m", other("abscript31m"), LoginPage::Misconfigured),
        (&"x".repeat(5000), other(&"x".repeat(64)), LoginPage::Misconfigured),
    ] {
        let (_, result) = answered(|callback| callback.error = Some(code.to_owned())).await;
        let error = result.expect_err(code);
        assert_eq!(error, LoginError::Refused(refusal));
        assert_eq!(error.page(), page, "{code}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_or_answers_nonsense_is_named() {
    let tokens = |extra: Value| {
        let mut answer = json!({"access_token": "a", "token_type": "Bearer", "id_token": "x"});
        answer.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Reply::json(&answer)
    };
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, _) = begin(&provider, &fake, Wish::default()).await;
    let token = LoginError::Token;
    for (name, reply, expected, page) in [
        (
            "used code",
            Reply::text(400, r#"{"error":"invalid_grant","error_description":"marked"}"#),
            token(TokenError::Refused("invalid_grant".to_owned())),
            LoginPage::Expired,
        ),
        (
            "wrong secret",
            Reply::text(401, r#"{"error":"invalid_client"}"#),
            token(TokenError::Refused("invalid_client".to_owned())),
            LoginPage::Misconfigured,
        ),
        ("busy", Reply::text(429, ""), token(TokenError::Unavailable(429)), LoginPage::ProviderDown),
        ("broken", Reply::text(500, "x"), token(TokenError::Unavailable(500)), LoginPage::ProviderDown),
        ("a page", Reply::text(200, "<html>"), token(TokenError::Malformed), LoginPage::Misconfigured),
        ("a page with 400", Reply::text(400, "<html>"), token(TokenError::Malformed), LoginPage::Misconfigured),
        ("201", Reply::text(201, "{}"), token(TokenError::Malformed), LoginPage::Misconfigured),
        ("DPoP", tokens(json!({"token_type": "DPoP"})), token(TokenError::Malformed), LoginPage::Misconfigured),
        (
            "no access token",
            tokens(json!({"access_token": ""})),
            token(TokenError::Malformed),
            LoginPage::Misconfigured,
        ),
        ("no ID token", tokens(json!({"id_token": null})), LoginError::NoIdToken, LoginPage::Misconfigured),
    ] {
        fake.reply("/token", reply);
        let error = provider.finish(&started, &good_callback(), NOW).await.expect_err(name);
        assert_eq!((&error, error.page()), (&expected, page), "{name}");
    }
}

#[test]
fn a_query_with_a_parameter_twice_is_refused() {
    let good =
        CallbackParams::parse("code=c%2B1&state=s&iss=https%3A%2F%2Fidp&session_state=x&session_state=y").unwrap();
    assert_eq!(good.code.as_ref().map(|code| code.as_str()), Some("c+1"));
    assert_eq!(good.iss.as_deref(), Some("https://idp"));
    assert!(!format!("{good:?}").contains("c+1"));
    for query in [
        "code=a&code=b",
        "state=a&code=b&state=a",
        "iss=a&iss=a",
        "error=a&error=b",
        &format!("code={}", "x".repeat(20_000)),
    ] {
        assert_eq!(CallbackParams::parse(query).err(), Some(LoginError::MalformedAnswer));
    }
}
