//! `acme`: the ACME server and the enrolment of devices. Says what is missing before anybody enrols.
use super::{Cx, default, host, settings};
use crate::at::At;
use crate::config::{Acme, AcmeLimits, AcmeProbe, HostPattern};
use crate::file;
use crate::units::{self, Mistake};
use std::net::SocketAddr;
use std::time::Duration;

/// A device that renews for longer than this without anybody signing in is one that nobody remembers.
const LONGEST_ENROLMENT: Duration = Duration::from_secs(366 * 24 * 3600);
/// Shorter than the longest life of a device's certificate, and it would end before the first renewal.
const LEAST_ENROLMENT: Duration = Duration::from_secs(3600);

/// The outer `None` is one that was there and wrong.
pub(crate) fn check(tree: &file::Torhaus, cx: &mut Cx<'_>) -> Option<Option<Acme>> {
    let Some(at) = &tree.acme else { return Some(None) };
    let typed = at.get()?;
    let issues = |domain: &file::TrustDomain| domain.own_ca.as_ref().is_some_and(|at| at.get() == Some(&true));
    if !tree.trust_domains.iter().any(|(_, _, domain)| domain.get().is_some_and(issues)) {
        let hint = "add `own_ca: true` to a trust domain, or remove `acme`";
        cx.error(&at.place, "no trust domain has `own_ca`, so there is nobody to sign", hint);
    }
    let client_zone = cx.parse(&typed.client_zone, |text| match host::pattern(text)? {
        HostPattern::Exact(name) if name.contains('.') => Ok(name),
        _ => Err(Mistake::new(format!("`{text}` is not a zone")).hint("write it as `devices.example.test`")),
    });
    let enrolment = cx.parse_or(typed.enrolment.as_ref(), default::ENROLMENT, |text| {
        let life = units::duration(text)?;
        if (LEAST_ENROLMENT..=LONGEST_ENROLMENT).contains(&life) {
            return Ok(life);
        }
        Err(Mistake::new(format!("an enrolment of `{text}` is not possible")).hint("write `1h` to `366d`"))
    });
    let probe = probe(typed.probe.as_ref(), cx);
    let limits = limits(typed.limits.as_ref(), cx);
    Some(Some(Acme {
        client_zone: client_zone?,
        tier: typed.tier.text()?.into(),
        enrolment: enrolment?,
        probe: probe?,
        limits: limits?,
    }))
}

fn probe(at: Option<&At<file::acme::Probe>>, cx: &mut Cx<'_>) -> Option<AcmeProbe> {
    let Some(at) = at else {
        return Some(AcmeProbe { networks: Vec::new(), resolver: None, http_port: HTTP, tls_port: HTTPS });
    };
    let typed = at.get()?;
    let networks: Vec<_> = typed.networks.items.iter().filter_map(|item| cx.parse(item, settings::network)).collect();
    let resolver = cx.parse_or(typed.resolver.as_ref(), None, |text| {
        let hint = "write the address and port of a name server: `127.0.0.1:53`";
        text.parse::<SocketAddr>().map(Some).map_err(|_| Mistake::new(format!("`{text}` is no address")).hint(hint))
    });
    let (http, tls) = (port(typed.http_port.as_ref(), HTTP, cx), port(typed.tls_port.as_ref(), HTTPS, cx));
    let whole = networks.len() == typed.networks.items.len();
    whole.then_some(AcmeProbe { networks, resolver: resolver?, http_port: http?, tls_port: tls? })
}

/// RFC 8555 section 8.3.
const HTTP: u16 = 80;
/// RFC 8737 section 3.
const HTTPS: u16 = 443;

fn port(at: Option<&At<u64>>, default: u16, cx: &mut Cx<'_>) -> Option<u16> {
    let Some(at) = at else { return Some(default) };
    let port = u16::try_from(*at.get()?).ok().filter(|port| *port != 0);
    if port.is_none() {
        cx.error(&at.place, "this is not a port", "write 1 to 65535");
    }
    port
}

fn limits(at: Option<&At<file::acme::AcmeLimits>>, cx: &mut Cx<'_>) -> Option<AcmeLimits> {
    let typed = match at {
        Some(at) => Some(at.get()?),
        None => None,
    };
    let mut limit = |at: Option<&At<u64>>, default: u32| {
        let Some(at) = at else { return Some(default) };
        let limit = u32::try_from(*at.get()?).ok().filter(|limit| *limit != 0);
        if limit.is_none() {
            cx.error(&at.place, "with this limit nothing could ever be asked for", "write 1 or more");
        }
        limit
    };
    let new_accounts = limit(typed.and_then(|typed| typed.new_accounts.as_ref()), default::ACME_REQUESTS);
    let new_orders = limit(typed.and_then(|typed| typed.new_orders.as_ref()), default::ACME_REQUESTS);
    let failed = limit(typed.and_then(|typed| typed.failed_validations.as_ref()), default::ACME_FAILED);
    let finalizes = limit(typed.and_then(|typed| typed.finalizes.as_ref()), default::ACME_REQUESTS);
    Some(AcmeLimits {
        new_accounts: new_accounts?,
        new_orders: new_orders?,
        failed_validations: failed?,
        finalizes: finalizes?,
    })
}
