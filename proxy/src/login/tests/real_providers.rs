//! Tokens as Keycloak and authentik write them with what each does differently.
use super::fake::{ACCESS_TOKEN, Fake, NOW, Reply, half_sha256};
use super::*;
use crate::login::proofs::NotProven;
use std::time::Duration;
use torhaus_authz::Fact;

/// The answer's `iss`, and the ID token's claims beside the nonce.
async fn finished(
    fake: &Fake,
    provider: &OidcProvider,
    wish: Wish,
    iss: Option<String>,
    mut claims: Value,
) -> Result<SignedIn, LoginError> {
    let (url, started) = provider.start(wish, STATE, NOW).await?;
    claims["nonce"] = json!(query_of(&url)["nonce"]);
    fake.answer_with(&fake.sign(&claims));
    provider.finish(&started, &CallbackParams { iss, ..good_callback() }, NOW).await
}

#[tokio::test]
async fn keycloak_proves_a_tier_by_acr_and_names_itself_in_the_answer() {
    let fake = Fake::start().await;
    fake.discovery(|document| {
        document["authorization_response_iss_parameter_supported"] = json!(true);
        document["acr_values_supported"] = json!(["0", "silver", "gold"]);
    });
    let provider = build(config(&fake));
    let now = NOW.seconds();
    let claims = |acr: &str| {
        json!({
            "iss": fake.issuer(), "aud": "torhaus", "azp": "torhaus", "typ": "ID", "sub": "f:1:alice", "jti": "j",
            "exp": now + 300, "iat": now, "auth_time": now - 5, "acr": acr, "amr": ["pwd", "otp"], "sid": "s-1",
            "at_hash": half_sha256(ACCESS_TOKEN), "groups": ["/it-admins"], "preferred_username": "alice",
            "email_verified": true,
        })
    };
    let wish = || Wish { max_age: Some(Duration::from_secs(300)), ..wish("mfa") };
    let signed_in = finished(&fake, &provider, wish(), Some(fake.issuer()), claims("gold")).await.unwrap();
    let tiers: Vec<_> = signed_in.proofs.iter().map(|proof| &*proof.tier).collect();
    assert_eq!((tiers, signed_in.not_proven), (vec!["mfa", "otp", "standard"], None));
    assert!(
        matches!(&signed_in.groups, Fact::Known(groups) if groups.contains("/it-admins") && !groups.contains("it-admins"))
    );
    // A long-lived cookie, no assurance: a normal value, and the lowest.
    let signed_in = finished(&fake, &provider, wish(), Some(fake.issuer()), claims("0")).await.unwrap();
    assert_eq!(signed_in.not_proven, Some(NotProven::Acr));
    let missing = finished(&fake, &provider, wish(), None, claims("gold")).await;
    assert_eq!(missing.err(), Some(LoginError::NoIssuer));
}

#[tokio::test]
async fn authentik_proves_a_tier_by_its_client_and_sends_no_issuer() {
    let fake = Fake::start().await;
    let issuer = fake.url("/application/o/high/");
    let document = json!({
        "issuer": issuer, "jwks_uri": fake.url("/jwks"), "token_endpoint": fake.url("/token"),
        "authorization_endpoint": fake.url("/application/o/authorize/"),
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
    });
    fake.reply("/application/o/high/.well-known/openid-configuration", Reply::json(&document));
    let at_authentik =
        Provider { issuer: Url::parse(&issuer).unwrap(), issuer_text: issuer.as_str().into(), ..config(&fake) };
    let provider = build(at_authentik);
    let now = NOW.seconds();
    let claims = |client: &str| {
        json!({
            "iss": issuer, "aud": client, "sub": "a".repeat(64), "exp": now + 300, "iat": now, "auth_time": now - 5,
            "acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd", "mfa"], "sid": "b".repeat(64),
            "c_hash": "x", "groups": ["it-admins"], "preferred_username": "alice", "email": "a@x", "email_verified": false,
        })
    };
    let signed_in = finished(&fake, &provider, wish("hardware"), None, claims("torhaus-hw")).await.unwrap();
    let tiers: Vec<_> = signed_in.proofs.iter().map(|proof| &*proof.tier).collect();
    assert_eq!((tiers, signed_in.not_proven), (vec!["hardware", "standard"], None));
    assert_eq!((&*signed_in.user.name, signed_in.email), ("alice", None));
    // It ignores `acr_values` and answers its one constant: that is no step-up.
    let signed_in = finished(&fake, &provider, wish("mfa"), None, claims("torhaus")).await.unwrap();
    assert_eq!(signed_in.not_proven, Some(NotProven::Acr));
}
