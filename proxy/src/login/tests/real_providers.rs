//! Tokens as Keycloak and authentik write them with what each does differently.
use super::fake::{ACCESS_TOKEN, Fake, FakeKey, NOW, Reply, half_sha256};
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

/// authentik as it is when nothing is changed there: each application is an issuer of its own, below one server, with its
/// own document, keys and address for logouts.
struct Authentik {
    fake: Fake,
    /// Signs for the application `torhaus-hw`; `fake.key` for `torhaus`.
    hardware_key: FakeKey,
}

impl Authentik {
    async fn start() -> Self {
        let fake = Fake::start().await;
        let hardware_key = FakeKey::es256("hw");
        fake.reply("/application/o/torhaus-hw/jwks/", Reply::json(&json!({"keys": [hardware_key.jwk]})));
        fake.reply("/application/o/torhaus/jwks/", Reply::json(&json!({"keys": [fake.key.jwk]})));
        for slug in ["torhaus", "torhaus-hw"] {
            let own = |path: &str| fake.url(&format!("/application/o/{slug}/{path}"));
            let document = json!({
                "issuer": own(""), "jwks_uri": own("jwks/"), "end_session_endpoint": own("end-session/"),
                "token_endpoint": fake.url("/token"), "authorization_endpoint": fake.url("/application/o/authorize/"),
                "id_token_signing_alg_values_supported": ["ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            });
            fake.reply(&format!("/application/o/{slug}/.well-known/openid-configuration"), Reply::json(&document));
        }
        Self { fake, hardware_key }
    }

    fn issuer(&self, slug: &str) -> String {
        self.fake.url(&format!("/application/o/{slug}/"))
    }

    fn provider(&self) -> Arc<OidcProvider> {
        let issuer = self.issuer("torhaus");
        let mut config = Provider {
            issuer: Url::parse(&issuer).unwrap(),
            issuer_text: issuer.as_str().into(),
            ..config(&self.fake)
        };
        config.tiers.get_mut("hardware").unwrap().client_issuer = Some(self.issuer("torhaus-hw").into());
        build(config)
    }

    /// A token of this application, for that client.
    fn token(&self, slug: &str, more: &Value) -> String {
        let now = NOW.seconds();
        let mut claims = json!({
            "iss": self.issuer(slug), "aud": slug, "sub": "a".repeat(64), "exp": now + 300, "iat": now,
            "auth_time": now - 5, "acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd", "mfa"],
            "sid": "b".repeat(64), "c_hash": "x", "groups": ["it-admins"], "preferred_username": "alice",
            "email": "a@x", "email_verified": false,
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (key, id) = if slug == "torhaus" { (&self.fake.key, "k1") } else { (&self.hardware_key, "hw") };
        key.sign(&json!({"alg": "ES256", "kid": id}), &claims)
    }

    /// A login for this tier that is answered with a token of this application.
    async fn login(&self, provider: &OidcProvider, tier: &str, slug: &str) -> Result<SignedIn, LoginError> {
        let (url, started) = provider.start(wish(tier), STATE, NOW).await?;
        let nonce = query_of(&url)["nonce"].clone();
        self.fake.answer_with(&self.token(slug, &json!({ "nonce": nonce })));
        provider.finish(&started, &good_callback(), NOW).await
    }
}

#[tokio::test]
async fn authentik_proves_a_tier_by_its_client_which_is_an_issuer_of_its_own_and_sends_no_issuer() {
    let authentik = Authentik::start().await;
    let provider = authentik.provider();
    let high = authentik.login(&provider, "hardware", "torhaus-hw").await.unwrap();
    let tiers: Vec<_> = high.proofs.iter().map(|proof| &*proof.tier).collect();
    assert_eq!((tiers, high.not_proven), (vec!["hardware", "standard"], None));
    assert_eq!((&*high.user.name, &high.email), ("alice", &None));
    // It ignores `acr_values` and answers its one constant: that is no step-up.
    let low = authentik.login(&provider, "mfa", "torhaus").await.unwrap();
    assert_eq!(low.not_proven, Some(NotProven::Acr));
    // One person, whichever application signed: their proofs come together.
    assert_eq!((&high.user.issuer, &high.user.subject), (&low.user.issuer, &low.user.subject));
    assert_eq!(*high.user.issuer, *authentik.issuer("torhaus"));
    // Each is signed out where it signed in, and only with its own token.
    for (signed_in, slug) in [(&high, "torhaus-hw"), (&low, "torhaus")] {
        let url = provider.logout_url(signed_in.tokens.id_token.as_ref().map(|token| token.as_str()), "s").unwrap();
        assert_eq!(url.path(), format!("/application/o/{slug}/end-session/"));
        assert_eq!(query_of(&url)["client_id"], slug);
    }
}

#[tokio::test]
async fn a_token_of_one_application_of_authentik_is_none_of_another() {
    let authentik = Authentik::start().await;
    let provider = authentik.provider();
    let lies = [
        ("another application's token", json!({ "aud": "torhaus-hw" }), "torhaus"),
        ("another's issuer, the right key", json!({ "iss": authentik.issuer("torhaus") }), "torhaus-hw"),
    ];
    for (what, lie, slug) in lies {
        let (url, started) = provider.start(wish("hardware"), STATE, NOW).await.unwrap();
        let mut claims = lie.clone();
        claims["nonce"] = json!(query_of(&url)["nonce"]);
        authentik.fake.answer_with(&authentik.token(slug, &claims));
        let refused = provider.finish(&started, &good_callback(), NOW).await.unwrap_err();
        assert!(matches!(refused, LoginError::IdToken(_)), "{what}: {refused}");
    }
    // `iss` of the answer, where somebody sends it.
    let (_, started) = provider.start(wish("hardware"), STATE, NOW).await.unwrap();
    let mixed_up = CallbackParams { iss: Some(authentik.issuer("torhaus")), ..good_callback() };
    assert_eq!(provider.finish(&started, &mixed_up, NOW).await.err(), Some(LoginError::MixUp));
}

#[tokio::test]
async fn each_application_of_authentik_may_sign_out_its_own_sessions() {
    let authentik = Authentik::start().await;
    let provider = authentik.provider();
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    for slug in ["torhaus", "torhaus-hw"] {
        let token = authentik.token(slug, &json!({ "events": event, "jti": slug, "exp": NOW.seconds() + 120 }));
        assert_eq!(provider.check_logout_token(&token, NOW).await.unwrap().sid, Some("b".repeat(64)), "{slug}");
    }
    for (what, slug, lie) in [
        ("for the other's client", "torhaus", json!({ "aud": "torhaus-hw" })),
        ("signed by the other", "torhaus-hw", json!({ "iss": authentik.issuer("torhaus"), "aud": "torhaus" })),
        ("of an application that is not ours", "torhaus", json!({ "iss": authentik.issuer("wiki") })),
    ] {
        let mut claims = lie;
        claims["events"] = event.clone();
        assert!(provider.check_logout_token(&authentik.token(slug, &claims), NOW).await.is_err(), "{what}");
    }
}
