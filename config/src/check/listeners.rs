//! Listeners: names and addresses of their own, certificates that work.
use super::{Cx, certificate, host, listener_acme};
use crate::at::{At, List};
use crate::config::{CertificateFiles, FORWARD_AUTH_LISTENER, HostPattern, Listener, ListenerAcme, ListenerKind};
use crate::file;
use crate::place::{FileId, Place};
use crate::suggest;
use crate::units::Mistake;
use std::collections::HashMap;
use std::net::SocketAddr;

pub(crate) struct Listeners {
    pub checked: Vec<Listener>,
    /// False when some certificate could not be read: then nobody can say which hosts are covered.
    pub whole: bool,
}

impl Listeners {
    /// `None` when that cannot be said.
    pub fn covers(&self, host: &HostPattern) -> Option<bool> {
        self.whole.then(|| {
            self.certificates().any(|files| host::is_covered(host, &files.names))
                || self.acme().any(|acme| listener_acme::will_cover(acme, host))
        })
    }

    /// Names of all certificates, for hints.
    pub fn certificate_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.certificates().flat_map(|files| files.names.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn certificates(&self) -> impl Iterator<Item = &CertificateFiles> {
        self.checked.iter().flat_map(|listener| match &listener.kind {
            ListenerKind::Tls { certificates, .. } => certificates.as_slice(),
            ListenerKind::RedirectToHttps => &[],
        })
    }

    fn acme(&self) -> impl Iterator<Item = &ListenerAcme> {
        self.checked.iter().filter_map(|listener| match &listener.kind {
            ListenerKind::Tls { acme, .. } => acme.as_deref(),
            ListenerKind::RedirectToHttps => None,
        })
    }
}

pub(crate) fn check(list: &List<file::listener::Listener>, cx: &mut Cx<'_>) -> Listeners {
    let mut found = Listeners { checked: Vec::new(), whole: list.whole };
    let mut names: HashMap<&str, u32> = HashMap::new();
    let mut addresses: HashMap<SocketAddr, u32> = HashMap::new();
    let plain = list.iter().any(|(_, listener)| redirects(listener));
    for (place, listener) in list.iter() {
        let address = cx.parse(&listener.address, address);
        once(&listener.name, "listener", &mut names, cx);
        not_ours(&listener.name, cx);
        if let Some(address) = address {
            same_address(address, &listener.address, &mut addresses, cx);
        }
        let kind = kind(listener, place, plain, cx);
        let mesh = mesh(listener.mesh.as_ref(), cx);
        match (listener.name.text(), address, kind) {
            (Some(name), Some(address), Some(kind)) => found.checked.push(Listener {
                name: name.into(),
                address,
                kind,
                proxy_protocol: listener.proxy_protocol.as_ref().and_then(At::get).copied().unwrap_or(false),
                mesh,
            }),
            _ => found.whole = false,
        }
    }
    let has_tls = found.checked.iter().any(|listener| matches!(listener.kind, ListenerKind::Tls { .. }));
    if found.whole && !has_tls {
        found.whole = false;
        let file = Place::file(FileId::Main);
        cx.error(
            list.place.as_ref().unwrap_or(&file),
            "no listener speaks TLS, so nobody can sign in",
            "add one: `listeners: [{ name: public, address: 0.0.0.0:8443, tls: { certificates: […] } }]`",
        );
    }
    found
}

/// Only listed peers may speak the PROXY protocol, and where it is expected nobody may do without.
pub(crate) fn proxy_protocol(list: &List<file::listener::Listener>, trusted: &List<String>, cx: &mut Cx<'_>) {
    if !trusted.items.is_empty() || !trusted.whole {
        return;
    }
    for at in list.iter().filter_map(|(_, listener)| listener.proxy_protocol.as_ref()) {
        if at.get() == Some(&true) {
            cx.error(
                &at.place,
                "nobody can connect here: the PROXY protocol is expected, but `trusted_proxies` names nobody who may speak it",
                "add the addresses of the proxy in front to `trusted_proxies`, or remove `proxy_protocol`",
            );
        }
    }
}

/// `0.0.0.0:8443`, `[::]:8443`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Mistake> {
    text.parse().map_err(|_| {
        let mistake = Mistake::new(format!("`{text}` is not an address with a port"));
        match text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).or_else(|| text.strip_prefix("localhost:")) {
            Some(port) if text.starts_with("localhost") => mistake.hint(format!("write `127.0.0.1:{port}`")),
            Some(port) => mistake.hint(format!("write `0.0.0.0:{port}`, or `[::]:{port}` for IPv6 as well")),
            None if text.parse::<std::net::IpAddr>().is_ok() => mistake.hint("add the port: `0.0.0.0:8443`"),
            None => mistake.hint("write an address and a port, not a name: `0.0.0.0:8443` or `[::]:8443`"),
        }
    })
}

fn redirects(listener: &file::listener::Listener) -> bool {
    listener.redirect_to_https.as_ref().is_some_and(|at| at.get() == Some(&true))
}

fn kind(listener: &file::listener::Listener, place: &Place, plain: bool, cx: &mut Cx<'_>) -> Option<ListenerKind> {
    let redirects = redirects(listener);
    match (&listener.tls, redirects) {
        (Some(tls), true) => {
            cx.error(
                &tls.place,
                "a listener cannot both speak TLS and redirect to https",
                "remove `tls` or `redirect_to_https`; plain and TLS need an address each",
            );
            None
        }
        (None, true) => Some(ListenerKind::RedirectToHttps),
        (None, false) => {
            cx.error(
                place,
                "this listener has no `tls`; applications are never served without",
                "add `tls: { certificates: [{ cert_file: …, key_file: … }] }`, or `redirect_to_https: true`",
            );
            None
        }
        (Some(tls), false) => certificates(tls, plain, cx),
    }
}

fn certificates(at: &At<file::listener::Tls>, plain: bool, cx: &mut Cx<'_>) -> Option<ListenerKind> {
    let tls = at.get()?;
    if tls.certificates.whole && tls.certificates.items.is_empty() && tls.acme.is_none() {
        cx.error(
            &at.place,
            "`tls` names no certificate",
            "add `certificates: [{ cert_file: …, key_file: … }]`, or `acme`",
        );
        return None;
    }
    let acme = tls.acme.as_ref().map(|at| listener_acme::check(at, plain, cx));
    let checked: Vec<Option<CertificateFiles>> =
        tls.certificates.items.iter().map(|files| certificate::check(files, cx)).collect();
    let certificates: Option<Vec<CertificateFiles>> = checked.into_iter().collect();
    let acme = match acme {
        Some(acme) => Some(Box::new(acme?)),
        None => None,
    };
    certificates.filter(|_| tls.certificates.whole).map(|certificates| ListenerKind::Tls { certificates, acme })
}

fn mesh(at: Option<&At<String>>, cx: &mut Cx<'_>) -> Option<String> {
    /// Meshes whose listeners we know how to judge.
    const MESHES: [&str; 1] = ["headscale"];
    let at = at?;
    let text = at.text()?;
    if !MESHES.contains(&text) {
        let mistake = Mistake { message: format!("unknown mesh `{text}`"), hint: suggest::hint(text, MESHES) };
        cx.mistake(&at.place, mistake);
        return None;
    }
    Some(text.to_owned())
}

/// Reports the second thing of one name.
pub(crate) fn once<'a>(at: &'a At<String>, what: &str, seen: &mut HashMap<&'a str, u32>, cx: &mut Cx<'_>) {
    let Some(name) = at.text() else { return };
    if let Some(line) = seen.get(name) {
        cx.error(
            &at.place,
            format!("{what} `{name}` is already defined on line {line}"),
            "give this one another name, or remove it",
        );
    } else {
        seen.insert(name, at.line());
    }
}

/// Zones know this name for what other proxies ask about.
fn not_ours(at: &At<String>, cx: &mut Cx<'_>) {
    if at.text() == Some(FORWARD_AUTH_LISTENER) {
        cx.error(
            &at.place,
            format!("`{FORWARD_AUTH_LISTENER}` is the name of requests that another proxy asks about"),
            "give the listener another name",
        );
    }
}

fn same_address(address: SocketAddr, at: &At<String>, seen: &mut HashMap<SocketAddr, u32>, cx: &mut Cx<'_>) {
    let clash = seen.iter().find(|(other, _)| {
        let any = other.ip().is_unspecified() || address.ip().is_unspecified();
        other.port() == address.port() && (other.ip() == address.ip() || (any && other.is_ipv4() == address.is_ipv4()))
    });
    match clash {
        Some((other, line)) if *other == address => {
            cx.error(
                &at.place,
                format!("`{address}` is already taken by the listener on line {line}"),
                "use another port",
            );
        }
        Some((other, line)) => cx.error(
            &at.place,
            format!("`{address}` and `{other}` on line {line} are the same port: one of them takes it"),
            "use another port, or name one address each instead of all addresses",
        ),
        None => {
            seen.insert(address, at.line());
        }
    }
}
