//! `torhaus policy explain`: facts from the command line, through the gate's own routing and the gate's own `decide`.
//! What is not given is unknown, and unknown never opens.
mod device;

use super::out::Out;
use super::{Answer, Failure, Output, load};
use crate::clock;
use crate::edge::trust::{OwnAuthorities, TrustDomains, VerifiedCertificate};
use crate::lookup::Lookups;
use crate::path;
use crate::route::Routes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{
    Country, Explanation, Fact, Facts, Groups, Identity, Language, Name, Proof, Reason, Service, SpiffeId, Timestamp,
    User, VerdictKind, Why,
};
use torhaus_config::{Config, ListenerKind, Provider, Signers};
use url::Url;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// Where the request goes; finds the route, and by it the row.
    #[arg(long, value_name = "URL", required_unless_present_any = ["resource", "decision"])]
    url: Option<Url>,
    /// The row itself, instead of a URL.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    resource: Option<String>,
    /// A decision of the audit log, by the number that a refusal page shows: its facts, and the policy that made it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "resource", "user", "service", "ip", "proven"])]
    decision: Option<String>,
    #[arg(long, default_value = "GET")]
    method: String,
    /// Who asks, as in the policy: `alice`, or `partner/bob` for a provider that is not the first.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The person's groups; give `--groups ""` for none. Without it they are unknown.
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "user")]
    groups: Option<Vec<String>>,
    /// A service, by its SPIFFE ID.
    #[arg(long, value_name = "SPIFFE-ID", conflicts_with = "user")]
    service: Option<String>,
    /// Whose certificate the service has; needed only if there is more than one trust domain.
    #[arg(long, value_name = "NAME", requires = "service")]
    trust_domain: Option<String>,
    /// Tiers that were proven, and how long ago: `mfa`, `hardware:90m`.
    #[arg(long, value_name = "TIER[:AGO]", value_delimiter = ',')]
    proven: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// By which listener; by default the one of the URL's port.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// ISO 3166-1 alpha-2; by default that of the named network.
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// The client certificate (PEM), or `none`. Judged as in a handshake.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    device: device::DeviceArgs,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
struct Explained<'a> {
    route: Option<&'a str>,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// An answer that the gate gives before it asks the policy.
#[derive(Serialize)]
struct Before {
    verdict: VerdictKind,
    reason: Reason,
    status: u16,
    summary: String,
}

pub fn explain(args: &Args, out: &mut Out) -> Result<Answer, Failure> {
    if let Some(id) = &args.decision {
        return super::decided::explain(&args.config, id, args.output, out);
    }
    let now = clock::now();
    let config = load(&args.config)?;
    let routes = Routes::of(&config.routes);
    let target = match Target::of(args, &config, &routes)? {
        Ok(target) => target,
        Err((reason, summary)) => return refused_before(args, reason, summary, out),
    };
    let presented = match presented(args, &config, &target, now)? {
        Ok(presented) => presented,
        Err((reason, summary)) => return refused_before(args, reason, summary, out),
    };
    let listener = listener(args, &config)?;
    let lookups = Lookups::build(&config, None, now).map_err(Failure::Failed)?;
    let mut facts = Facts {
        method: &args.method,
        path: &target.path,
        listener: &listener,
        country: country(args, &lookups, now)?,
        address: args.ip.map_or(Fact::Unknown(Why::NotGiven), |ip| Fact::Known(ip.to_canonical())),
        ..Facts::unknown(now, &target.resource)
    };
    identify(args, &config, presented.as_ref(), &mut facts)?;
    device::look_up(&args.device, &lookups, presented.as_ref(), &mut facts)?;
    if let Some(found) = presented {
        facts.certificate = Fact::Known(found.map(|found| found.certificate));
    }

    let decision = config.policy.decide(&facts);
    let explanation = torhaus_authz::explain(&config.policy, &facts, &decision);
    match args.output {
        Output::Text => out.line(&explanation)?,
        Output::Json => out.json(&Explained { route: target.route.as_deref(), explanation: &explanation })?,
    }
    Ok((decision.verdict.kind() == VerdictKind::Allow).into())
}

fn refused_before(args: &Args, reason: Reason, summary: String, out: &mut Out) -> Result<Answer, Failure> {
    match args.output {
        Output::Text => {
            let words = reason.words(Language::English);
            out.line(format!("refused before the policy is asked ({}): {summary}", reason.as_str()))?;
            out.line(format!("{} {}", words.sentence, words.what_to_do))?;
        }
        Output::Json => {
            let verdict = VerdictKind::Deny;
            out.json(&Before { verdict, reason, status: reason.status(), summary })?;
        }
    }
    Ok(Answer::No)
}

/// What is asked for.
struct Target {
    route: Option<Name>,
    resource: Name,
    path: String,
    /// Trust domains whose certificates the host accepts.
    domains: Vec<Name>,
}

impl Target {
    /// The inner error is the gate's answer.
    fn of(args: &Args, config: &Config, routes: &Routes) -> Result<Result<Self, (Reason, String)>, Failure> {
        let Some(url) = &args.url else {
            let resource = args.resource.clone().unwrap_or_default();
            let domains = config.trust_domains.values().map(|domain| domain.name.clone()).collect();
            return Ok(Ok(Self { route: None, resource: resource.into(), path: String::new(), domains }));
        };
        let host = url.host_str().ok_or_else(|| Failure::Usage(format!("`{url}` names no host")))?;
        let host = host.to_ascii_lowercase();
        if host == config.portal.host {
            return Err(Failure::Usage(format!("`{host}` is the portal itself, which is not a row of the policy")));
        }
        let path = match path::canonical(url.path()) {
            Ok(path) => path.into_owned(),
            Err(invalid) => return Ok(Err((Reason::BadRequest, invalid.sentence().to_owned()))),
        };
        let Some(route) = routes.find(&host, &path) else {
            let what = if routes.knows(&host) { "has no route for this path" } else { "has no route at all" };
            return Ok(Err((Reason::NoRoute, format!("`{host}` {what}"))));
        };
        Ok(Ok(Self {
            route: Some(route.name.clone()),
            resource: route.resource.clone(),
            path,
            domains: route.client_auth.trust_domains.clone(),
        }))
    }
}

/// None: not said. Some(None): said to be none. The inner error is the gate's answer.
#[expect(clippy::type_complexity, reason = "not said, none, or one; ours to explain, or the gate's to refuse")]
fn presented(
    args: &Args,
    config: &Config,
    target: &Target,
    now: Timestamp,
) -> Result<Result<Option<Option<VerifiedCertificate>>, (Reason, String)>, Failure> {
    let Some(file) = &args.certificate else {
        return Ok(Ok(None));
    };
    if file == Path::new("none") {
        return Ok(Ok(Some(None)));
    }
    let unreadable = |why: String| Failure::Usage(format!("`{}`: {why}", file.display()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e| unreadable(format!("is not a PEM certificate: {e}")))?;
    let leaf = chain.first().ok_or_else(|| unreadable("holds no certificate".into()))?;
    let sha256: Arc<str> = Sha256::digest(leaf).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    if target.domains.is_empty() {
        // The host does not ask for certificates, so a client never sends one.
        return Ok(Ok(Some(None)));
    }
    let is_own = |name: &Name| config.trust_domains.get(&**name).is_some_and(|domain| domain.signers == Signers::Own);
    if target.domains.iter().any(is_own) {
        return Err(Failure::Failed(
            "certificates of a trust domain with `own_ca` are known to the running process only; \
             leave out --certificate, and read its answer in the audit log"
                .to_owned(),
        ));
    }
    let trust = TrustDomains::load(&config.trust_domains, &OwnAuthorities::default())
        .map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(match trust.judge_anew(&target.domains, &chain, &sha256, now) {
        Ok(found) => Ok(Some(Some(found))),
        Err(refusal) => {
            let domains = target.domains.join(", ");
            Err((Reason::CertificateInvalid, format!("the certificate does not count for {domains}: {refusal:?}")))
        }
    })
}

/// Who asks: a person, a service by its ID, or a service by its certificate, as the gate identifies them.
fn identify(
    args: &Args,
    config: &Config,
    presented: Option<&Option<VerifiedCertificate>>,
    facts: &mut Facts<'_>,
) -> Result<(), Failure> {
    let now = facts.now;
    let certificate = presented.and_then(Option::as_ref);
    let by_certificate = certificate.and_then(|found| Some((found.spiffe.clone()?, &found.certificate.trust_domain)));
    let typed_proofs = proofs(args, config, now)?;
    if let Some(name) = &args.user {
        let provider = provider_of(name, config)?;
        facts.identity = Identity::User(Arc::new(User {
            name: name.as_str().into(),
            provider: provider.name.clone(),
            issuer: provider.issuer_text.clone(),
            subject: name.as_str().into(),
            federated: provider.federated,
        }));
        if let Some(groups) = &args.groups {
            let groups: Groups = groups.iter().map(|g| g.trim()).filter(|g| !g.is_empty()).collect();
            facts.groups = Fact::Known(Arc::new(groups));
        }
        facts.proofs = typed_proofs.into_iter().map(|(tier, at)| proof(tier, at, &provider.name)).collect();
        return Ok(());
    }
    let service = match (&args.service, by_certificate) {
        (Some(id), _) => {
            let id = SpiffeId::parse(id).map_err(|e| Failure::Usage(format!("`{id}` is not a SPIFFE ID: {e}")))?;
            let domain = trust_domain(args, config)?;
            if config.trust_domains.get(&*domain).is_some_and(|found| !found.vouches_for.includes(id.trust_domain())) {
                return Err(Failure::Usage(format!("`{domain}` may not vouch for `{id}` (`spiffe_trust_domains`)")));
            }
            Some((id, domain))
        }
        (None, Some((id, domain))) => Some((id, domain.clone())),
        (None, None) => None,
    };
    let Some((id, domain)) = service else {
        return match typed_proofs.is_empty() {
            true => Ok(()),
            false => Err(Failure::Usage("--proven says what somebody proved; name --user or --service".into())),
        };
    };
    // A service cannot step up: its trust domain says what it proves.
    let proves = config.trust_domains.get(&*domain).and_then(|domain| domain.proves.clone());
    let proves = proves.map(|tier| (tier, now));
    facts.proofs = typed_proofs.into_iter().chain(proves).map(|(tier, at)| proof(tier, at, &domain)).collect();
    facts.groups = Fact::Known(Arc::default());
    facts.identity = Identity::Service(Arc::new(Service { id, trust_domain: domain }));
    Ok(())
}

fn proof(tier: Name, proven_at: Timestamp, provider: &Name) -> Proof {
    Proof { tier, proven_at, provider: provider.clone() }
}

/// `partner/bob` belongs to `partner`, a bare name to the first provider.
fn provider_of<'a>(user: &str, config: &'a Config) -> Result<&'a Arc<Provider>, Failure> {
    let named =
        user.split_once('/').and_then(|(name, _)| config.providers.iter().find(|p| !p.first && *p.name == *name));
    named
        .or_else(|| config.providers.iter().find(|p| p.first))
        .ok_or_else(|| Failure::Failed("the configuration has no identity provider".into()))
}

fn trust_domain(args: &Args, config: &Config) -> Result<Name, Failure> {
    let known = || config.trust_domains.keys().cloned().collect::<Vec<_>>().join(", ");
    let only = (config.trust_domains.len() == 1).then(|| config.trust_domains.keys().next()).flatten();
    let name = args.trust_domain.as_ref().or(only).ok_or_else(|| {
        Failure::Usage(format!("say whose certificate the service has: --trust-domain, one of: {}", known()))
    })?;
    let domain = config.trust_domains.get(name);
    domain
        .map(|domain| domain.name.clone())
        .ok_or_else(|| Failure::Usage(format!("there is no trust domain `{name}`; there are: {}", known())))
}

fn proofs(args: &Args, config: &Config, now: Timestamp) -> Result<Vec<(Name, Timestamp)>, Failure> {
    let mut found = Vec::new();
    for text in args.proven.iter().map(|t| t.trim()).filter(|t| !t.is_empty()) {
        let (name, ago) = text.split_once(':').unwrap_or((text, "0s"));
        let ago = duration(ago).ok_or_else(|| Failure::Usage(format!("`{ago}` is not a time like `90m`")))?;
        let tier = config.policy.tiers().find(|tier| *tier.name == *name).ok_or_else(|| {
            let known: Vec<&str> = config.policy.tiers().map(|tier| &*tier.name).collect();
            Failure::Usage(format!("there is no tier `{name}`; there are: {}", known.join(", ")))
        })?;
        found.push((tier.name.clone(), now.minus(ago)));
    }
    Ok(found)
}

fn listener(args: &Args, config: &Config) -> Result<Name, Failure> {
    let known: BTreeSet<&str> = config.listeners.iter().map(|l| &*l.name).collect();
    if let Some(name) = &args.listener {
        let found = config.listeners.iter().find(|l| *l.name == **name);
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        let none = || Failure::Usage(format!("there is no listener `{name}`; there are: {known}"));
        return found.map(|l| l.name.clone()).ok_or_else(none);
    }
    let tls = || config.listeners.iter().filter(|l| matches!(l.kind, ListenerKind::Tls { .. }));
    let port = args.url.as_ref().and_then(Url::port_or_known_default);
    let found = tls().find(|l| Some(l.address.port()) == port).or_else(|| tls().next());
    Ok(found.map_or_else(|| "".into(), |l| l.name.clone()))
}

fn country(args: &Args, lookups: &Lookups, now: Timestamp) -> Result<Fact<Country>, Failure> {
    if let Some(code) = &args.country {
        let parsed = Country::parse(code);
        return parsed
            .map(Fact::Known)
            .ok_or_else(|| Failure::Usage(format!("`{code}` is not a country code like `DE`")));
    }
    Ok(args.ip.map_or(Fact::Unknown(Why::NotGiven), |ip| lookups.places.country(ip, now)))
}

/// `45s`, `90m`, `2h`, `7d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(duration("90m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        for wrong in ["", "m", "90", "-1m", "1.5h", "90M", "ä", "99999999999999999999d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
