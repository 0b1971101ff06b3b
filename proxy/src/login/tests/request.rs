//! What is asked of the provider.
use super::fake::{Fake, NOW};
use super::*;
use crate::login::metadata::MetadataError;
use std::time::Duration;

async fn asked(wish: Wish) -> HashMap<String, String> {
    let fake = Fake::start().await;
    let (url, _) = build(config(&fake)).start(wish, STATE, NOW).await.unwrap();
    assert!(url.as_str().starts_with(&fake.url("/auth?realm=corp&")), "the endpoint's own query stays: {url}");
    query_of(&url)
}

#[tokio::test]
async fn a_login_asks_for_a_code_with_pkce_state_and_nonce() {
    let query = asked(Wish::default()).await;
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "torhaus"),
        ("redirect_uri", "https://auth.example.test:8443/callback/corp"),
        ("scope", "openid groups"),
        ("state", STATE),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query[name], value, "{name}");
    }
    assert_eq!((query["nonce"].len(), query["code_challenge"].len()), (43, 43));
    for absent in ["acr_values", "claims", "max_age", "prompt", "login_hint", "ui_locales", "client_secret"] {
        assert!(!query.contains_key(absent), "{absent}");
    }
    let again = asked(Wish::default()).await;
    assert_ne!(query["nonce"], again["nonce"]);
    assert_ne!(query["code_challenge"], again["code_challenge"]);
}

#[tokio::test]
async fn a_step_up_asks_for_the_level_and_its_age() {
    let query = asked(Wish {
        max_age: Some(Duration::from_secs(300)),
        force: true,
        login_hint: Some("alice".to_owned()),
        ui_language: Some("de".to_owned()),
        ..wish("mfa")
    })
    .await;
    assert_eq!(query["acr_values"], "gold platinum");
    let claims: Value = serde_json::from_str(&query["claims"]).unwrap();
    let acr = json!({"essential": true, "values": ["gold", "platinum"]});
    assert_eq!(claims, json!({"id_token": {"acr": acr, "auth_time": {"essential": true}}}));
    for (name, value) in [("max_age", "300"), ("prompt", "login"), ("login_hint", "alice"), ("ui_locales", "de")] {
        assert_eq!(query[name], value);
    }
    // authentik reads 0 as "not given".
    assert_eq!(asked(Wish { max_age: Some(Duration::ZERO), ..Wish::default() }).await["max_age"], "1");
    assert_eq!(asked(wish("hardware")).await["client_id"], "torhaus-hw");
}

#[tokio::test]
async fn a_provider_that_reads_demands_gets_no_wish_beside_them() {
    for (reads, wish_too) in [(true, false), (false, true)] {
        let fake = Fake::start().await;
        fake.discovery(|document| document["claims_parameter_supported"] = json!(reads));
        let (url, _) = build(config(&fake)).start(wish("mfa"), STATE, NOW).await.unwrap();
        let query = query_of(&url);
        assert!(query.contains_key("claims"));
        assert_eq!(query.contains_key("acr_values"), wish_too);
    }
}

#[tokio::test]
async fn a_tier_that_the_provider_cannot_prove_is_not_asked_for() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    assert!(provider.offers("mfa") && !provider.offers("retina"));
    let error = provider.start(wish("retina"), STATE, NOW).await.err();
    assert_eq!(error, Some(LoginError::TierNotOffered("retina".to_owned())));
}

#[tokio::test]
async fn what_is_kept_survives_the_store_and_shows_no_secret() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let (started, claims) = begin(&provider, &fake, wish("mfa")).await;
    let nonce = claims["nonce"].as_str().unwrap().to_owned();
    assert!(!format!("{started:?}").contains(&nonce));
    let stored = serde_json::to_vec(&started).unwrap();
    let started: Started = serde_json::from_slice(&stored).unwrap();
    fake.answer_with(&fake.sign(&claims));
    let signed_in = provider.finish(&started, &good_callback(), NOW).await.expect("goes on after the store");
    let shown = format!("{signed_in:?} {provider:?}");
    for secret in [nonce.as_str(), "marked", "s+cret"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_discovery_document_of_someone_else_is_refused() {
    let fake = Fake::start().await;
    let issuer = |found: &str| MetadataError::Issuer { expected: fake.issuer(), found: found.to_owned() };
    type Lie<'a> = Box<dyn FnOnce(&mut Value) + 'a>;
    let set = |name: &'static str, value: Value| -> Lie<'_> { Box::new(move |document| document[name] = value) };
    for (name, lie, expected) in [
        ("a slash more", set("issuer", json!(format!("{}/", fake.issuer()))), issuer(&format!("{}/", fake.issuer()))),
        ("another issuer", set("issuer", json!("https://evil.test\n\u{1b}")), issuer("https://evil.test")),
        ("no keys", set("jwks_uri", Value::Null), MetadataError::Endpoint("jwks_uri")),
        ("a file", set("jwks_uri", json!("file:///etc/passwd")), MetadataError::Endpoint("jwks_uri")),
        (
            "a script",
            set("authorization_endpoint", json!("javascript:alert(1)")),
            MetadataError::Endpoint("authorization_endpoint"),
        ),
        (
            "a user in the URL",
            set("token_endpoint", json!("http://a:b@127.0.0.1/")),
            MetadataError::Endpoint("token_endpoint"),
        ),
        (
            "a fragment",
            set("authorization_endpoint", json!("http://127.0.0.1/#x")),
            MetadataError::Endpoint("authorization_endpoint"),
        ),
        ("relative", set("userinfo_endpoint", json!("/userinfo")), MetadataError::Endpoint("userinfo_endpoint")),
        (
            "shared secrets only",
            set("id_token_signing_alg_values_supported", json!(["HS256"])),
            MetadataError::OnlySymmetric,
        ),
    ] {
        fake.discovery(lie);
        let error = build(config(&fake)).start(Wish::default(), STATE, NOW).await.err();
        assert_eq!(error, Some(LoginError::Metadata(expected)), "{name}");
    }
    for endpoint in ["authorization_endpoint", "token_endpoint"] {
        fake.discovery(|document| document[endpoint] = Value::Null);
        let provider = build(config(&fake));
        let error = match provider.start(Wish::default(), STATE, NOW).await {
            Ok((_, started)) => provider.finish(&started, &good_callback(), NOW).await.err(),
            Err(error) => Some(error),
        };
        assert_eq!(error, Some(LoginError::NoEndpoint(endpoint)));
    }
}

#[tokio::test]
async fn signing_out_goes_to_the_provider_with_a_hint_and_our_address() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    assert_eq!(provider.logout_url(None, STATE), None, "never reached: nowhere to go");
    let signed_in = login(&provider, &fake, wish("hardware"), |_| {}).await.unwrap();
    let id_token = signed_in.tokens.id_token.unwrap();
    let url = provider.logout_url(Some(&id_token), STATE).unwrap();
    assert!(url.as_str().starts_with(&fake.url("/logout?")));
    let query = query_of(&url);
    assert_eq!(query["client_id"], "torhaus-hw", "the client that the hint belongs to");
    assert_eq!(query["post_logout_redirect_uri"], "https://auth.example.test:8443/signed-out");
    assert_eq!((&*query["state"], &query["id_token_hint"]), (STATE, &*id_token));
    let long = provider.logout_url(Some(&"x".repeat(5000)), STATE).unwrap();
    assert!(!query_of(&long).contains_key("id_token_hint"), "too long for an URL");
    fake.discovery(|document| document["end_session_endpoint"] = Value::Null);
    let provider = build(config(&fake));
    provider.start(Wish::default(), STATE, NOW).await.unwrap();
    assert_eq!(provider.logout_url(None, STATE), None);
}
