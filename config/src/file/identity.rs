//! `identity:` — who says who people are, and how strongly it was proven.
use crate::at::{At, Keyed, List};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub providers: List<Provider>,
    pub bearer: List<Bearer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub name: At<String>,
    pub title: Option<At<String>>,
    pub issuer: At<String>,
    pub danger_allow_http: Option<At<bool>>,
    pub ca_file: Option<At<String>>,
    pub client_id: At<String>,
    pub client_secret_file: At<String>,
    pub scopes: List<String>,
    pub user_claim: Option<At<String>>,
    pub groups_claim: Option<At<String>>,
    pub posture_claim: Option<At<String>>,
    pub posture_trust: Option<At<String>>,
    pub federated: Option<At<bool>>,
    pub tiers: Keyed<Tier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bearer {
    pub issuer: At<String>,
    pub name: Option<At<String>>,
    pub audience: At<String>,
    pub danger_allow_http: Option<At<bool>>,
    pub ca_file: Option<At<String>>,
    pub user_claim: Option<At<String>>,
    pub groups_claim: Option<At<String>>,
    pub federated: Option<At<bool>>,
    pub tiers: Keyed<Tier>,
}

/// How a tier is proven there. `{}`: by any login.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub acr: List<String>,
    pub amr: Option<At<Amr>>,
    pub client_id: Option<At<String>>,
    pub client_secret_file: Option<At<String>>,
    pub issuer: Option<At<String>>,
    pub request: Option<At<Request>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amr {
    pub all: List<String>,
    pub any: List<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub acr_values: Option<At<OneOrMany>>,
    pub essential: Option<At<bool>>,
}

/// `gold` or `[gold, silver]`. The decoder picks by what was typed.
#[derive(Deserialize)]
pub(crate) enum OneOrMany {
    #[serde(rename = "$text")]
    One(String),
    #[serde(rename = "$list")]
    Many(List<String>),
}
