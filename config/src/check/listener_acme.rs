//! `listeners[].tls.acme`: certificates that torhaus obtains itself. Which names, if they are not typed, is known when
//! portal and routes are.
use super::{Cx, host};
use crate::at::At;
use crate::config::{
    AcmeChallenge, AcmeEab, CertificateFiles, HostPattern, Listener, ListenerAcme, ListenerKind, Portal, Route,
};
use crate::file;
use crate::units::Mistake;
use std::sync::Arc;

/// Public authorities sign a hundred names at most.
const MOST_NAMES: usize = 100;

/// `plain`: some listener redirects to https, and so answers http-01.
pub(crate) fn check(at: &At<file::listener::Acme>, plain: bool, cx: &mut Cx<'_>) -> Option<ListenerAcme> {
    let typed = at.get()?;
    let directory = cx.parse(&typed.directory, |text| host::url(text, &["https"]));
    let names: Vec<_> = typed.names.items.iter().filter_map(|item| cx.parse(item, name)).collect();
    let contact: Vec<_> = typed.contact.items.iter().filter_map(|item| cx.parse(item, contact)).collect();
    let ca_file = typed.ca_file.as_ref().map(|at| super::trust::ca_file(at, cx));
    let default = if plain { AcmeChallenge::Http } else { AcmeChallenge::TlsAlpn };
    let challenge = cx.parse_or(typed.challenge.as_ref(), default, |text| match text {
        "http-01" => Ok(AcmeChallenge::Http),
        "tls-alpn-01" => Ok(AcmeChallenge::TlsAlpn),
        _ => Err(Mistake::new(format!("`{text}` is not a challenge that a listener can answer"))
            .hint("write `http-01` or `tls-alpn-01`")),
    });
    if let (Some(AcmeChallenge::Http), Some(at), false) = (challenge, &typed.challenge, plain) {
        cx.error(
            &at.place,
            "http-01 is looked for on plain HTTP, and no listener speaks it",
            "add `{ name: plain, address: 0.0.0.0:80, redirect_to_https: true }` to `listeners`, or write `tls-alpn-01`",
        );
    }
    let profile = typed.profile.as_ref().and_then(At::text).map(str::to_owned);
    let eab = typed.eab.as_ref().map(|at| eab(at.get()?, cx));
    let whole = typed.names.whole && typed.contact.whole;
    let whole = whole && names.len() == typed.names.items.len() && contact.len() == typed.contact.items.len();
    let mut names = names;
    names.sort();
    names.dedup();
    // What was typed and is wrong has been reported: all of it, before this ends here.
    let typed_and_good = whole && ca_file != Some(None) && eab != Some(None);
    typed_and_good.then_some(())?;
    let (ca_file, eab) = (ca_file.flatten(), eab.flatten());
    Some(ListenerAcme { directory: directory?, names, contact, ca_file, challenge: challenge?, profile, eab })
}

/// Whether the certificate that will be obtained is for this host. Without typed names it is for every host that no
/// file is for, and for a wildcard never: that takes dns-01.
pub(crate) fn will_cover(acme: &ListenerAcme, host: &HostPattern) -> bool {
    match host {
        HostPattern::Exact(host) => acme.names.is_empty() || acme.names.contains(host),
        HostPattern::Wildcard(_) | HostPattern::Any => false,
    }
}

/// The names of certificates for which none were typed.
pub(crate) fn fill_in(
    listeners: &mut [Listener],
    tree: &file::Torhaus,
    portal: Option<&Portal>,
    routes: &[Arc<Route>],
    cx: &mut Cx<'_>,
) {
    let hosts = routes.iter().filter(|route| route.upstream.is_some()).map(|route| &route.host);
    let portal = portal.map(|portal| HostPattern::Exact(portal.host.clone()));
    let hosts: Vec<&HostPattern> = portal.iter().chain(hosts).collect();
    for listener in listeners {
        let ListenerKind::Tls { certificates, acme: Some(acme) } = &mut listener.kind else { continue };
        if acme.names.is_empty() {
            acme.names = uncovered(&hosts, certificates);
        }
        let typed = tree.listeners.iter().find(|(_, typed)| typed.name.text() == Some(&listener.name));
        let Some(at) = typed.and_then(|(_, typed)| typed.tls.as_ref()?.get()?.acme.as_ref()) else { continue };
        if acme.names.is_empty() {
            cx.error(&at.place, "there is no name left to obtain a certificate for", "remove `acme`, or add `names`");
        } else if acme.names.len() > MOST_NAMES {
            let count = acme.names.len();
            cx.error(
                &at.place,
                format!("a certificate for {count} names is more than an authority signs"),
                format!("have one with a wildcard issued and name its files in `certificates`, or write up to {MOST_NAMES} `names`"),
            );
        }
    }
}

fn uncovered(hosts: &[&HostPattern], certificates: &[CertificateFiles]) -> Vec<String> {
    let open = hosts.iter().filter(|host| !certificates.iter().any(|files| host::is_covered(host, &files.names)));
    let mut names: Vec<String> = open
        .filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Wildcard(_) | HostPattern::Any => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn name(text: &str) -> Result<String, Mistake> {
    match host::pattern(text)? {
        HostPattern::Exact(name) => Ok(name),
        HostPattern::Wildcard(_) | HostPattern::Any => {
            Err(Mistake::new(format!("`{text}`: a wildcard is proved by dns-01 only"))
                .hint("name the hosts one by one, or name the files of a wildcard certificate in `certificates`"))
        }
    }
}

fn contact(text: &str) -> Result<String, Mistake> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let plain = address.split('@').count() == 2 && !address.contains(|c: char| c.is_whitespace() || "?,".contains(c));
    if plain {
        return Ok(format!("mailto:{address}"));
    }
    Err(Mistake::new(format!("`{text}` is not an e-mail address")).hint("write `mailto:it@example.test`"))
}

fn eab(typed: &file::listener::Eab, cx: &mut Cx<'_>) -> Option<AcmeEab> {
    let hmac_key = cx.secret(&typed.hmac_key_file, "HMAC key file");
    Some(AcmeEab { kid: typed.kid.text()?.to_owned(), hmac_key: hmac_key? })
}
