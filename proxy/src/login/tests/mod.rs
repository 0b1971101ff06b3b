//! The promises of `login`, against a provider that lies.
pub(crate) mod fake;

mod answer;
mod id_token;
mod keys;
mod logout;
mod profile;
mod real_providers;
mod refresh;
mod request;
mod tiers;
mod transport;

use super::callback::CallbackParams;
use super::error::LoginError;
use super::oidc::{SignedIn, Started, Wish};
use super::provider::OidcProvider;
use fake::{Fake, NOW};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use torhaus_config::{OidcClient, Provider, Secret, TierProof};
use url::Url;
use zeroize::Zeroizing;

pub(crate) const STATE: &str = "c3RhdGUtc3RhdGUtc3RhdGUtc3RhdGUtc3RhdGUtcw0";
pub(crate) const CODE: &str = "the-code";

pub(crate) fn client(id: &str) -> OidcClient {
    OidcClient { id: id.to_owned(), secret: Secret::new("s+cret & more".to_owned()) }
}

pub(crate) fn acr(values: &[&str]) -> TierProof {
    TierProof { acr: values.iter().map(|v| (*v).to_owned()).collect(), ..TierProof::default() }
}

/// Tiers: `standard` by any login, `mfa` by `acr` gold (essential), `hardware` by a client of its own, `otp` by `amr`.
pub(crate) fn config(fake: &Fake) -> Provider {
    let tiers = [
        ("standard", TierProof::default()),
        ("mfa", TierProof { request_essential: true, ..acr(&["gold", "platinum"]) }),
        ("hardware", TierProof { client: Some(client("torhaus-hw")), ..TierProof::default() }),
        (
            "otp",
            TierProof {
                amr_all: vec!["pwd".to_owned()],
                amr_any: vec!["otp".to_owned(), "hwk".to_owned()],
                ..TierProof::default()
            },
        ),
    ];
    Provider {
        name: "corp".into(),
        first: true,
        federated: false,
        title: "Corp".to_owned(),
        issuer: Url::parse(&fake.issuer()).unwrap(),
        issuer_text: fake.issuer().into(),
        ca_file: None,
        client: client("torhaus"),
        scopes: vec!["openid".to_owned(), "groups".to_owned()],
        user_claim: "preferred_username".to_owned(),
        groups_claim: "groups".to_owned(),
        posture: None,
        tiers: tiers.into_iter().map(|(name, proof)| (name.into(), proof)).collect::<BTreeMap<_, _>>(),
    }
}

pub(crate) fn build(config: Provider) -> Arc<OidcProvider> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let portal = Url::parse("https://auth.example.test:8443/").unwrap();
    Arc::new(OidcProvider::new(Arc::new(config), &portal, ["corp".into(), "partner".into()].into()).unwrap())
}

pub(crate) fn wish(tier: &str) -> Wish {
    Wish { tier: Some(tier.into()), ..Wish::default() }
}

pub(crate) fn query_of(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// What a browser brings back when all is well.
pub(crate) fn good_callback() -> CallbackParams {
    CallbackParams {
        code: Some(Zeroizing::new(CODE.to_owned())),
        state: Some(Zeroizing::new(STATE.to_owned())),
        ..CallbackParams::default()
    }
}

/// The claims of a plain login of alice through `client`, as a careful provider writes them.
pub(crate) fn alice(fake: &Fake, client: &str, nonce: &str) -> Value {
    json!({
        "iss": fake.issuer(), "aud": client, "sub": "a-1", "exp": NOW.seconds() + 300, "iat": NOW.seconds() - 1,
        "auth_time": NOW.seconds() - 30, "nonce": nonce, "sid": "s-1", "at_hash": fake::half_sha256(fake::ACCESS_TOKEN),
        "preferred_username": "alice", "name": "Alice", "email": "alice@example.test", "email_verified": true,
        "groups": ["/it-admins", "all-employees"],
    })
}

/// A login begun, and the claims that answer it.
pub(crate) async fn begin(provider: &OidcProvider, fake: &Fake, wish: Wish) -> (Started, Value) {
    let (url, started) = provider.start(wish, STATE, NOW).await.unwrap();
    let nonce = query_of(&url).remove("nonce").unwrap();
    let claims = alice(fake, &started.client_id, &nonce);
    (started, claims)
}

/// A whole login whose ID token's claims were changed by `lie`.
pub(crate) async fn login(
    provider: &OidcProvider,
    fake: &Fake,
    wish: Wish,
    lie: impl FnOnce(&mut Value),
) -> Result<SignedIn, LoginError> {
    let (started, mut claims) = begin(provider, fake, wish).await;
    lie(&mut claims);
    fake.answer_with(&fake.sign(&claims));
    provider.finish(&started, &good_callback(), NOW).await
}
