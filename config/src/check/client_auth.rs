//! Client certificates of a host: which mode, and whose.
use super::Cx;
use super::trust::TrustDomains;
use crate::at::At;
use crate::config::{ClientAuth, ClientAuthMode, HostPattern};
use crate::file::route::{self as typed, Mode};
use crate::place::Place;
use crate::suggest;
use crate::units::Mistake;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) fn check(at: Option<&At<typed::ClientAuth>>, domains: &TrustDomains, cx: &mut Cx<'_>) -> Option<ClientAuth> {
    let Some(at) = at else {
        return Some(ClientAuth { mode: ClientAuthMode::None, trust_domains: Vec::new() });
    };
    let typed = at.get()?;
    let mut whole = typed.trust_domains.whole;
    let mut names: Vec<Arc<str>> = Vec::new();
    for (place, name) in typed.trust_domains.iter() {
        if domains.names.contains(name) {
            names.push(name.as_str().into());
        } else if !domains.whole {
            whole = false;
        } else {
            let hint = suggest::hint(name, domains.names.iter().map(String::as_str));
            let hint = hint.or_else(|| Some("define it in `trust_domains`".to_owned()));
            cx.mistake(place, Mistake { message: format!("unknown trust domain `{name}`"), hint });
            whole = false;
        }
    }
    names.sort_unstable();
    names.dedup();
    let mode = match typed.mode.get()? {
        Mode::None => ClientAuthMode::None,
        Mode::Optional => ClientAuthMode::Optional,
        Mode::Required => ClientAuthMode::Required,
    };
    if whole && mode != ClientAuthMode::None && names.is_empty() {
        cx.error(
            &at.place,
            "nothing says whose client certificates count",
            "add `trust_domains: [NAME]` with a name of `trust_domains`",
        );
        return None;
    }
    if mode == ClientAuthMode::None && !names.is_empty() {
        cx.error(
            &at.place,
            "`mode: none` asks for no certificate, so `trust_domains` has no effect",
            "write `mode: optional` or `required`, or remove `trust_domains`",
        );
        return None;
    }
    whole.then_some(ClientAuth { mode, trust_domains: names })
}

/// TLS asks for the certificate before the path is known: all routes of a host must agree.
#[derive(Default)]
pub(crate) struct OfHost {
    first: HashMap<HostPattern, (ClientAuth, u32)>,
}

impl OfHost {
    pub fn same(&mut self, host: &HostPattern, auth: &ClientAuth, place: &Place, cx: &mut Cx<'_>) {
        match self.first.get(host) {
            Some((first, line)) if first != auth => cx.error(
                place,
                format!(
                    "host `{}` has another `client_auth` on line {line}; TLS asks for a certificate before it knows the path",
                    super::host::shown(host)
                ),
                "make `client_auth` the same on all routes of the host, or give this one a host of its own",
            ),
            Some(_) => {}
            None => {
                self.first.insert(host.clone(), (auth.clone(), place.line));
            }
        }
    }
}
