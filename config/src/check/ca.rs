//! `ca`: how torhaus issues certificates. Says what is wrong with a lifetime, a name or a key before anything is made.
use super::listeners::Listeners;
use super::{Cx, default, host, resolve};
use crate::at::{At, List};
use crate::config::{Ca, HostPattern, ListenerKind, Portal};
use crate::file;
use crate::place::Place;
use crate::secret::Secret;
use crate::units::{self, Mistake};
use torhaus_certs::{Profile, Purpose};

/// A key for AES-256 is derived from it: fewer characters hold fewer than 128 bits even where they are random hex.
const LEAST_KEY_CHARACTERS: usize = 32;

pub(crate) fn check(
    tree: &file::Torhaus,
    portal: Option<&Portal>,
    listeners: &Listeners,
    cx: &mut Cx<'_>,
) -> Option<Ca> {
    let at = tree.ca.as_ref();
    let typed = match at {
        Some(at) => Some(at.get()?),
        None => None,
    };
    if let Some(at) = at
        && !tree.trust_domains.iter().any(|(_, _, domain)| domain.get().is_some_and(|domain| domain.own_ca.is_some()))
    {
        let hint = "add `own_ca: true` to a trust domain";
        cx.warning(&at.place, "no trust domain has `own_ca`, so `ca` has no effect", hint);
    }
    let organisation = tree.branding.as_ref().and_then(At::get).and_then(|typed| typed.organisation.as_ref());
    let name = typed.and_then(|typed| typed.name.as_ref()).or(organisation);
    let permitted_dns = typed.map_or(Some(Vec::new()), |typed| permitted(&typed.permitted_dns, cx));
    let crl_base = match typed.and_then(|typed| typed.crl_url.as_ref()) {
        Some(at) => cx.parse(at, crl_url),
        None => portal.map(|portal| published(portal, listeners)),
    };
    let key = typed.map_or(Some(None), |typed| key(typed, cx));
    let lifetimes = typed.and_then(|typed| typed.lifetimes.as_ref());
    let profiles = lifetimes.map_or(Some(Purpose::ALL.map(Profile::standard)), |at| profiles(at.get()?, cx));
    let revocations_file = typed.and_then(|typed| typed.revocations_file.as_ref()).and_then(At::text);
    let offline_root = typed.and_then(|typed| typed.offline_root.as_ref()).and_then(At::get);
    Some(Ca {
        name: name.and_then(At::text).unwrap_or(default::ORGANISATION).to_owned(),
        permitted_dns: permitted_dns?,
        crl_base: crl_base?,
        key: key?,
        offline_root: offline_root.copied().unwrap_or(false),
        revocations_file: revocations_file.map(|typed| resolve(cx.base, typed)),
        profiles: profiles?,
    })
}

fn permitted(list: &List<String>, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let found: Vec<String> = list
        .items
        .iter()
        .filter_map(|at| {
            cx.parse(at, |text| match host::pattern(text)? {
                HostPattern::Exact(name) => Ok(name),
                HostPattern::Any => Err(Mistake::new("no name")),
                HostPattern::Wildcard(name) => Err(Mistake::new("a permitted name covers what is below it, too")
                    .hint(format!("write `{name}` (RFC 5280 section 4.2.1.10)"))),
            })
        })
        .collect();
    (found.len() == list.items.len()).then_some(found)
}

fn crl_url(text: &str) -> Result<String, Mistake> {
    let url = host::url(text, &["http", "https"])?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Mistake::new("`/ISSUER.crl` is added to this address").hint("write it without `?` and `#`"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Over http on the port that browsers use, where there is such a listener: a list is signed, and a verifier that
/// needs it cannot verify a server first (RFC 5280 section 8).
fn published(portal: &Portal, listeners: &Listeners) -> String {
    let plain = listeners.checked.iter().any(|listener| matches!(listener.kind, ListenerKind::RedirectToHttps));
    if plain {
        format!("http://{}/ca", portal.host)
    } else {
        format!("{}/ca", portal.url.as_str().trim_end_matches('/'))
    }
}

/// The outer `None` is one that was there and wrong.
fn key(typed: &file::Ca, cx: &mut Cx<'_>) -> Option<Option<Secret>> {
    let (place, secret) = match (&typed.key_file, &typed.key_env) {
        (None, None) => return Some(None),
        (Some(_), Some(at)) => {
            cx.error(&at.place, "`key_file` names the key already", "write one of them");
            return None;
        }
        (Some(at), None) => (&at.place, cx.secret(at, "key file")?),
        (None, Some(at)) => {
            let name = at.text()?;
            let Ok(value) = std::env::var(name) else {
                let hint = "set it for the process, or name a file in `key_file`";
                cx.error(&at.place, format!("the environment has no `{name}`"), hint);
                return None;
            };
            (&at.place, Secret::new(value))
        }
    };
    is_long_enough(&secret, place, cx).then_some(Some(secret))
}

/// Whether a key can be derived from it that nobody guesses.
pub(crate) fn is_long_enough(secret: &Secret, place: &Place, cx: &mut Cx<'_>) -> bool {
    let enough = secret.expose().chars().count() >= LEAST_KEY_CHARACTERS;
    if !enough {
        let hint = "write 32 random characters or more: `openssl rand -base64 32`";
        cx.error(place, "this key is too short to seal anything under it", hint);
    }
    enough
}

fn profiles(typed: &file::Lifetimes, cx: &mut Cx<'_>) -> Option<[Profile; 4]> {
    let mut profile = |purpose: Purpose, at: &Option<At<String>>| {
        cx.parse_or(at.as_ref(), Profile::standard(purpose), |text| {
            let life = units::duration(text)?;
            let life = time::Duration::try_from(life).map_err(|_| Mistake::new(format!("`{text}` is too long")))?;
            Profile::new(purpose, life).map_err(|error| Mistake::new(error.to_string()))
        })
    };
    let (user, device) = (profile(Purpose::User, &typed.user), profile(Purpose::Device, &typed.device));
    let (service, server) = (profile(Purpose::Service, &typed.service), profile(Purpose::Server, &typed.server));
    Some([user?, device?, service?, server?])
}
