//! Identity providers and bearer issuers.
use super::directory::one_of;
use super::listeners::once;
use super::posture_sources::TRUST;
use super::{Cx, host, trust};
use crate::at::{At, Keyed};
use crate::config::{BearerIssuer, OidcClient, PostureClaim, Provider, TierProof};
use crate::file::identity::{self as typed, OneOrMany};
use crate::place::Place;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use torhaus_authz::SourceTrust;
use url::Url;

/// What a provider is asked for when the file does not say.
pub(crate) const DEFAULT_SCOPES: [&str; 4] = ["openid", "profile", "email", "groups"];
pub(crate) const DEFAULT_USER_CLAIM: &str = "sub";
pub(crate) const DEFAULT_GROUPS_CLAIM: &str = "groups";
/// OpenID Connect Core 1.0 s2, and what every provider adds: none of them speaks of a device.
const STANDARD_CLAIMS: [&str; 14] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "acr", "amr", "azp", "sid", "email", "groups"];

pub(crate) fn providers(at: &At<typed::Identity>, cx: &mut Cx<'_>) -> Option<Vec<Arc<Provider>>> {
    let identity = at.get()?;
    let list = &identity.providers;
    if list.items.is_empty() && list.whole {
        cx.error(
            list.place.as_ref().unwrap_or(&at.place),
            "no identity provider, so nobody can sign in",
            "add one: `providers: [{ name: corp, issuer: https://…, client_id: …, client_secret_file: …, tiers: {…} }]`",
        );
        return None;
    }
    let mut names = HashMap::new();
    let mut issuers = HashMap::new();
    let mut whole = list.whole;
    let mut found = Vec::new();
    for (index, (place, provider)) in list.iter().enumerate() {
        once(&provider.name, "provider", &mut names, cx);
        match provider_of(provider, place, index == 0, cx) {
            Some(checked) => {
                // The key of a person is (issuer, subject): two providers would give one person two names.
                if let Some(line) = issuers.insert(checked.issuer_text.clone(), place.line) {
                    cx.error(
                        &provider.issuer.place,
                        format!("the provider on line {line} has the same issuer, so its people would have two names"),
                        "keep one of them; an own client for a tier stands in `tiers`",
                    );
                }
                found.push(Arc::new(checked));
            }
            None => whole = false,
        }
    }
    whole.then_some(found)
}

fn provider_of(provider: &typed::Provider, place: &Place, first: bool, cx: &mut Cx<'_>) -> Option<Provider> {
    let name = cx.parse(&provider.name, name);
    let issuer = issuer(&provider.issuer, provider.danger_allow_http.as_ref(), cx);
    let ca_file = provider.ca_file.as_ref().map(|at| trust::ca_file(at, cx));
    let secret = cx.secret(&provider.client_secret_file, "secret file");
    let scopes = scopes(provider, cx);
    let posture = posture(provider, cx);
    let of =
        Of::Provider { issuer: issuer.as_ref().map(|(url, _)| url), allow_http: provider.danger_allow_http.as_ref() };
    let tiers = tiers(&provider.tiers, place, of, cx);
    let name: Arc<str> = name?.into();
    let (issuer, issuer_text) = issuer?;
    Some(Provider {
        first,
        federated: flag(provider.federated.as_ref()).unwrap_or(false),
        title: text_or(provider.title.as_ref(), &name),
        issuer,
        issuer_text,
        ca_file: ca_file.map_or(Some(None), |file| file.map(Some))?,
        client: OidcClient { id: provider.client_id.text()?.to_owned(), secret: secret? },
        scopes,
        user_claim: text_or(provider.user_claim.as_ref(), DEFAULT_USER_CLAIM),
        groups_claim: text_or(provider.groups_claim.as_ref(), DEFAULT_GROUPS_CLAIM),
        posture: posture?,
        tiers: tiers?,
        name,
    })
}

pub(crate) fn bearer(
    at: &At<typed::Identity>,
    providers: &[Arc<Provider>],
    cx: &mut Cx<'_>,
) -> Option<Vec<BearerIssuer>> {
    let identity = at.get()?;
    let mut whole = identity.bearer.whole;
    let mut found: Vec<BearerIssuer> = Vec::new();
    let mut seen: HashMap<(String, String), u32> = HashMap::new();
    let lines = identity.providers.iter().map(|(place, _)| place.line);
    let mut names: HashMap<Arc<str>, (u32, Arc<str>)> =
        providers.iter().zip(lines).map(|(it, line)| (it.name.clone(), (line, it.issuer_text.clone()))).collect();
    for (place, bearer) in identity.bearer.iter() {
        let Some(checked) = bearer_of(bearer, place, providers, cx) else {
            whole = false;
            continue;
        };
        let key = (checked.issuer_text.to_string(), checked.audience.clone());
        if let Some(line) = seen.insert(key, place.line) {
            cx.error(place, format!("the same issuer and audience stand on line {line} already"), "remove one of them");
        }
        // Else whoever runs one of them could name somebody of the other.
        let (line, issuer) =
            names.entry(checked.provider.clone()).or_insert_with(|| (place.line, checked.issuer_text.clone()));
        if *issuer != checked.issuer_text {
            cx.error(
                bearer.name.as_ref().map_or(&bearer.issuer.place, |name| &name.place),
                format!(
                    "its callers would be named `{}/…`, as those of the issuer on line {line} are",
                    checked.provider
                ),
                "give this one a `name` of its own",
            );
        }
        found.push(checked);
    }
    whole.then_some(found)
}

fn bearer_of(
    bearer: &typed::Bearer,
    place: &Place,
    providers: &[Arc<Provider>],
    cx: &mut Cx<'_>,
) -> Option<BearerIssuer> {
    let issuer = issuer(&bearer.issuer, bearer.danger_allow_http.as_ref(), cx);
    let ca_file = bearer.ca_file.as_ref().map(|at| trust::ca_file(at, cx));
    let tiers = tiers(&bearer.tiers, place, Of::Bearer, cx);
    let given = bearer.name.as_ref().map(|at| cx.parse(at, name));
    let (issuer, issuer_text) = issuer?;
    let same = providers.iter().find(|provider| provider.issuer_text == issuer_text);
    let name: Arc<str> = match (given, same) {
        (Some(given), None) => given?.into(),
        (None, None) => issuer.host_str().unwrap_or_default().into(),
        (None, Some(provider)) => provider.name.clone(),
        (Some(_), Some(provider)) => {
            cx.error(
                bearer.name.as_ref().map_or(place, |name| &name.place),
                format!("this issuer is the provider `{}`, and its people have one name", provider.name),
                "remove `name`",
            );
            return None;
        }
    };
    let federated = flag(bearer.federated.as_ref()).unwrap_or_else(|| same.is_some_and(|provider| provider.federated));
    let claim = |at: Option<&At<String>>, of: fn(&Provider) -> &str, default: &str| match (at, same) {
        (None, Some(provider)) => of(provider).to_owned(),
        (at, _) => text_or(at, default),
    };
    Some(BearerIssuer {
        audience: bearer.audience.text()?.to_owned(),
        ca_file: match ca_file {
            Some(file) => Some(file?),
            None => same.and_then(|provider| provider.ca_file.clone()),
        },
        provider: name,
        first: same.is_some_and(|provider| provider.first),
        federated,
        user_claim: claim(bearer.user_claim.as_ref(), |provider| &provider.user_claim, DEFAULT_USER_CLAIM),
        groups_claim: claim(bearer.groups_claim.as_ref(), |provider| &provider.groups_claim, DEFAULT_GROUPS_CLAIM),
        tiers: tiers?,
        issuer,
        issuer_text,
    })
}

/// A name that can stand in a URL (`/callback/{provider}`) and before a `/` in the policy.
fn name(text: &str) -> Result<String, crate::units::Mistake> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(crate::units::Mistake::new(format!(
        "`{text}` cannot be a provider's name: it stands in URLs and in the policy"
    ))
    .hint("use lower case letters, digits, `-`, `_`; what people read goes into `title`"))
}

fn issuer(at: &At<String>, allow_http: Option<&At<bool>>, cx: &mut Cx<'_>) -> Option<(Url, Arc<str>)> {
    let url = cx.parse(at, |text| host::url(text, &["https", "http"]))?;
    if url.scheme() == "http" && flag(allow_http) != Some(true) {
        cx.error(
            &at.place,
            "an issuer over http: whoever sits on the way can sign in as anybody",
            "use its https address; only for a test on one machine, add `danger_allow_http: true`",
        );
        return None;
    }
    if url.scheme() == "http" {
        cx.warning(
            &at.place,
            "an issuer over http: whoever sits on the way can sign in as anybody (`danger_allow_http`)",
            "use its https address",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        // OpenID Connect Discovery 1.0 s3: an issuer has no query and no fragment.
        cx.error(&at.place, "an issuer has no `?` or `#`", "take `issuer` from the provider's discovery document");
        return None;
    }
    if let Some((issuer, _)) = at.text()?.split_once("/.well-known/") {
        cx.error(
            &at.place,
            "this is the address of the discovery document, not the issuer",
            format!("write `{issuer}`"),
        );
        return None;
    }
    Some((url, at.text()?.into()))
}

/// The outer `None` is a mistake that was reported.
fn posture(provider: &typed::Provider, cx: &mut Cx<'_>) -> Option<Option<PostureClaim>> {
    let Some(at) = &provider.posture_claim else {
        if let Some(at) = &provider.posture_trust {
            cx.error(&at.place, "`posture_trust` is about a claim, and there is none", "add `posture_claim: …`");
            return None;
        }
        return Some(None);
    };
    // An agent on the device tells the provider, who passes it on.
    let trust = cx.parse_or(provider.posture_trust.as_ref(), SourceTrust::Agent, |text| one_of(text, &TRUST));
    let claim = at.text()?.to_owned();
    if STANDARD_CLAIMS.contains(&&*claim) {
        let message = format!("`{claim}` has a meaning of its own in an ID token");
        cx.error(
            &at.place,
            message,
            "name the claim that the provider was given for this: `posture_claim: torhaus_device`",
        );
        return None;
    }
    Some(Some(PostureClaim { claim, trust: trust? }))
}

fn scopes(provider: &typed::Provider, cx: &mut Cx<'_>) -> Vec<String> {
    if provider.scopes.place.is_none() {
        return DEFAULT_SCOPES.map(str::to_owned).to_vec();
    }
    let scopes: Vec<String> = provider.scopes.iter().map(|(_, scope)| scope.clone()).collect();
    if let Some(place) = &provider.scopes.place
        && provider.scopes.whole
        && !scopes.iter().any(|scope| scope == "openid")
    {
        // OpenID Connect Core 1.0 s3.1.2.1
        cx.error(place, "without the scope `openid` the provider tells nobody's name", "add `openid`");
    }
    scopes
}

/// Whose tiers they are.
#[derive(Clone, Copy)]
enum Of<'a> {
    Provider {
        /// None if it is wrong: all mistakes at once.
        issuer: Option<&'a Url>,
        allow_http: Option<&'a At<bool>>,
    },
    Bearer,
}

fn tiers(
    tiers: &Keyed<typed::Tier>,
    parent: &Place,
    of: Of<'_>,
    cx: &mut Cx<'_>,
) -> Option<BTreeMap<Arc<str>, TierProof>> {
    if tiers.entries.is_empty() && tiers.whole {
        cx.error(
            tiers.place.as_ref().unwrap_or(parent),
            "`tiers` says nothing, so a login here proves nothing and opens nothing",
            "name at least the lowest tier of the policy: `tiers: { standard: {} }`",
        );
        return None;
    }
    let mut whole = tiers.whole;
    let mut found = BTreeMap::new();
    for (name, _, at) in tiers.iter() {
        match at.get().and_then(|tier| proof(tier, of, cx)) {
            Some(proof) => {
                found.insert(name.into(), proof);
            }
            None => whole = false,
        }
    }
    whole.then_some(found)
}

fn proof(tier: &typed::Tier, of: Of<'_>, cx: &mut Cx<'_>) -> Option<TierProof> {
    let (amr_all, amr_any) = match &tier.amr {
        Some(at) => at.get().map(|amr| (texts(&amr.all.items), texts(&amr.any.items)))?,
        None => Default::default(),
    };
    if let Some(at) = &tier.amr
        && amr_all.is_empty()
        && amr_any.is_empty()
        && !cx.is_reported(&at.place)
    {
        cx.error(&at.place, "`amr` asks for nothing, so every login would prove this tier", "add `all` or `any`");
    }
    if let Some(place) = &tier.acr.place
        && tier.acr.items.is_empty()
        && tier.acr.whole
    {
        cx.error(place, "`acr` is empty, so every login would prove this tier", "name the values: `acr: [gold]`");
    }
    let acr = texts(&tier.acr.items);
    let (acr_values, essential) = request(tier, &acr, cx)?;
    Some(TierProof {
        client: client(tier, of, cx)?,
        client_issuer: client_issuer(tier, of, cx)?,
        request_acr_values: acr_values,
        request_essential: essential,
        acr,
        amr_all,
        amr_any,
    })
}

fn request(tier: &typed::Tier, acr: &[String], cx: &mut Cx<'_>) -> Option<(Vec<String>, bool)> {
    let Some(at) = &tier.request else {
        return Some((acr.to_vec(), false));
    };
    let request = at.get()?;
    let values = match request.acr_values.as_ref().map(At::get) {
        None => acr.to_vec(),
        Some(None) => return None,
        Some(Some(OneOrMany::One(value))) => value.split_whitespace().map(str::to_owned).collect(),
        Some(Some(OneOrMany::Many(list))) => texts(&list.items),
    };
    let essential = flag(request.essential.as_ref()).unwrap_or(false);
    if essential && acr.is_empty() && !cx.is_reported(&at.place) {
        cx.error(
            &at.place,
            "`essential` asks for an `acr`, but none is expected back",
            "add `acr: […]`: what comes back is checked against it",
        );
        return None;
    }
    Some((values, essential))
}

/// The outer `None` is a client that is wrong.
fn client(tier: &typed::Tier, of: Of<'_>, cx: &mut Cx<'_>) -> Option<Option<OidcClient>> {
    match (&tier.client_id, &tier.client_secret_file) {
        (None, None) => Some(None),
        (Some(id), _) if matches!(of, Of::Bearer) => {
            cx.error(
                &id.place,
                "a bearer token is not asked for by us, so no client of ours can prove its tier",
                "use `acr` or `amr` here",
            );
            None
        }
        (Some(id), Some(file)) => {
            let secret = cx.secret(file, "secret file");
            Some(Some(OidcClient { id: id.text()?.to_owned(), secret: secret? }))
        }
        (Some(id), None) => {
            cx.error(&id.place, "this client has no secret", "add `client_secret_file: PATH` beside it");
            None
        }
        (None, Some(file)) => {
            cx.error(&file.place, "this secret has no client", "add `client_id` beside it");
            None
        }
    }
}

/// The outer `None` is an issuer that is wrong. On another server it would be another provider, with other people.
fn client_issuer(tier: &typed::Tier, of: Of<'_>, cx: &mut Cx<'_>) -> Option<Option<Arc<str>>> {
    let (Some(at), Of::Provider { issuer: provider, allow_http }) = (&tier.issuer, of) else {
        return Some(None);
    };
    if tier.client_id.is_none() {
        cx.error(
            &at.place,
            "an issuer of its own, and no client",
            "add `client_id` and `client_secret_file` beside it",
        );
        return None;
    }
    let (url, text) = issuer(at, allow_http, cx)?;
    if let Some(provider) = provider
        && url.origin() != provider.origin()
    {
        cx.error(
            &at.place,
            format!("this is not on the provider's server, {}", provider.origin().ascii_serialization()),
            "another server is another provider; add it to `providers`",
        );
        return None;
    }
    Some(Some(text))
}

fn texts(items: &[At<String>]) -> Vec<String> {
    items.iter().filter_map(At::text).map(str::to_owned).collect()
}

fn text_or(at: Option<&At<String>>, default: &str) -> String {
    at.and_then(At::text).unwrap_or(default).to_owned()
}

fn flag(at: Option<&At<bool>>) -> Option<bool> {
    at.and_then(At::get).copied()
}
