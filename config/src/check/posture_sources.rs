//! `lookups.posture.sources`: device managements that are asked over HTTPS.
use super::directory::one_of;
use super::{Cx, polled};
use crate::at::{At, List};
use crate::config::{JsonMapping, PostureApi, PostureSource};
use crate::file::lookups::{Mapping, PostureSource as Typed};
use crate::place::Place;
use crate::secret::Secret;
use crate::units::Mistake;
use std::collections::HashMap;
use std::sync::Arc;
use torhaus_authz::SourceTrust;
use url::Url;

/// Defaults; their reasons stand in `reference`, and so in `docs/config.md`.
mod default {
    use super::super::polled::Defaults;
    use std::time::Duration;

    pub(super) const POLLED: Defaults = Defaults {
        poll: Duration::from_secs(5 * 60),
        max_stale: Duration::from_secs(30 * 60),
        timeout: Duration::from_secs(10),
    };
    pub(super) const LOGIN: &str = "https://login.microsoftonline.com";
    pub(super) const GRAPH: &str = "https://graph.microsoft.com";
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fleet,
    Intune,
    Json,
}

const KINDS: [(&str, Kind); 3] = [("fleet", Kind::Fleet), ("intune", Kind::Intune), ("json", Kind::Json)];
pub(super) const TRUST: [(&str, SourceTrust); 3] =
    [("self", SourceTrust::SelfReported), ("agent", SourceTrust::Agent), ("mdm", SourceTrust::Mdm)];
/// Names that `status` and the metrics know already.
const TAKEN: [&str; 4] = ["ldap", "headscale", "inventory", "agent"];

pub(super) fn check(list: &List<Typed>, cx: &mut Cx<'_>) -> Option<Vec<Arc<PostureSource>>> {
    let mut seen = HashMap::new();
    for (_, typed) in list.iter() {
        super::listeners::once(&typed.name, "source", &mut seen, cx);
    }
    let checked: Vec<Option<PostureSource>> =
        list.items.iter().map(|at| at.get().and_then(|typed| source(typed, &at.place, cx))).collect();
    let checked: Option<Vec<_>> = checked.into_iter().map(|source| source.map(Arc::new)).collect();
    checked.filter(|_| list.whole)
}

fn source(typed: &Typed, place: &Place, cx: &mut Cx<'_>) -> Option<PostureSource> {
    let name = cx.parse(&typed.name, name);
    let kind = cx.parse(&typed.kind, |text| one_of(text, &KINDS));
    // An agent of theirs reports to Fleet; Intune manages the machine.
    let usual = match kind {
        Some(Kind::Intune) => SourceTrust::Mdm,
        _ => SourceTrust::Agent,
    };
    let trust = cx.parse_or(typed.source_trust.as_ref(), usual, |text| one_of(text, &TRUST));
    let of_api = polled::Typed {
        ca_file: typed.ca_file.as_ref(),
        poll: typed.poll.as_ref(),
        max_stale: typed.max_stale.as_ref(),
        timeout: typed.timeout.as_ref(),
    };
    let polled = polled::check(&of_api, &default::POLLED, place, cx);
    let kind = kind?;
    not_asked_for(typed, kind, cx);
    let api = match kind {
        Kind::Fleet => fleet(typed, place, cx),
        Kind::Intune => intune(typed, place, cx),
        Kind::Json => json(typed, place, cx),
    };
    Some(PostureSource { name: name?.into(), api: api?, trust: trust?, polled: polled? })
}

fn fleet(typed: &Typed, place: &Place, cx: &mut Cx<'_>) -> Option<PostureApi> {
    let url = needed(typed.url.as_ref(), "url: https://fleet.example.test", place, cx);
    let url = url.and_then(|at| cx.parse(at, polled::server));
    let token = needed(typed.token_file.as_ref(), "token_file: secrets/fleet", place, cx);
    let token = token.and_then(|at| cx.secret(at, "secret file"));
    Some(PostureApi::Fleet { url: url?, token: token? })
}

fn intune(typed: &Typed, place: &Place, cx: &mut Cx<'_>) -> Option<PostureApi> {
    let tenant = needed(typed.tenant.as_ref(), "tenant: 00000000-…", place, cx);
    let tenant = tenant.and_then(|at| cx.parse(at, tenant_id));
    let client_id = needed(typed.client_id.as_ref(), "client_id: 00000000-…", place, cx);
    let client_id = client_id.and_then(At::text).map(str::to_owned);
    let secret = needed(typed.client_secret_file.as_ref(), "client_secret_file: secrets/intune", place, cx);
    let client_secret = secret.and_then(|at| cx.secret(at, "secret file"));
    // Both are fixed in Microsoft's cloud; a national cloud or a test has others, at one address.
    let (login, graph) = match &typed.url {
        Some(at) => {
            let url = cx.parse(at, polled::server)?;
            (url.clone(), url)
        }
        None => (Url::parse(default::LOGIN).ok()?, Url::parse(default::GRAPH).ok()?),
    };
    let login = login.join(&format!("/{}/oauth2/v2.0/token", tenant?)).ok()?;
    Some(PostureApi::Intune { login, graph, client_id: client_id?, client_secret: client_secret? })
}

fn json(typed: &Typed, place: &Place, cx: &mut Cx<'_>) -> Option<PostureApi> {
    let url = needed(typed.url.as_ref(), "url: https://cmdb.example.test/devices", place, cx);
    let url = url.and_then(|at| cx.parse(at, polled::url));
    let token: Option<Option<Secret>> = match &typed.token_file {
        Some(at) => cx.secret(at, "secret file").map(Some),
        None => Some(None),
    };
    let header = match (&typed.header, token) {
        (Some(at), Some(Some(token))) => cx.parse(at, header_name).map(|name| Some((name, token))),
        (None, Some(Some(token))) => {
            Some(Some(("authorization".to_owned(), Secret::new(format!("Bearer {}", token.expose())))))
        }
        (Some(at), Some(None)) => {
            cx.error(&at.place, "`header` says where a secret goes, and there is none", "add `token_file: …`");
            None
        }
        (None, token) => token.map(|_| None),
        (Some(_), None) => None,
    };
    let mapping = needed(typed.mapping.as_ref(), "mapping: { id: /name, observed_at: /seen, … }", place, cx);
    let mapping = mapping.and_then(At::get).and_then(|typed| mapping_of(typed, cx));
    Some(PostureApi::Json { url: url?, header: header?, mapping: Box::new(mapping?) })
}

fn mapping_of(typed: &Mapping, cx: &mut Cx<'_>) -> Option<JsonMapping> {
    let mut optional = |at: &Option<At<String>>| at.as_ref().map_or(Some(None), |at| cx.parse(at, pointer).map(Some));
    let devices = optional(&typed.devices);
    let next = optional(&typed.next);
    let (serial, owner, managed) = (optional(&typed.serial), optional(&typed.owner), optional(&typed.managed));
    let disk_encrypted = optional(&typed.disk_encrypted);
    let firewall = optional(&typed.firewall);
    let secure_boot = optional(&typed.secure_boot);
    let compliant = optional(&typed.compliant);
    let edr = optional(&typed.edr);
    let patched_at = optional(&typed.patched_at);
    let patch_age_days = optional(&typed.patch_age_days);
    let (os, os_version) = (optional(&typed.os), optional(&typed.os_version));
    let id = cx.parse(&typed.id, pointer);
    let observed_at = cx.parse(&typed.observed_at, pointer);
    Some(JsonMapping {
        devices: devices?.unwrap_or_default(),
        next: next?,
        id: id?,
        serial: serial?,
        owner: owner?,
        managed: managed?,
        observed_at: observed_at?,
        disk_encrypted: disk_encrypted?,
        firewall: firewall?,
        secure_boot: secure_boot?,
        compliant: compliant?,
        edr: edr?,
        patched_at: patched_at?,
        patch_age_days: patch_age_days?,
        os: os?,
        os_version: os_version?,
    })
}

/// Keys that another kind of source has.
fn not_asked_for(typed: &Typed, kind: Kind, cx: &mut Cx<'_>) {
    let of_intune = [&typed.tenant, &typed.client_id, &typed.client_secret_file];
    let strange: Vec<&Place> = match kind {
        Kind::Intune => [&typed.token_file, &typed.header].into_iter().flatten().map(|at| &at.place).collect(),
        Kind::Fleet => of_intune.into_iter().chain([&typed.header]).flatten().map(|at| &at.place).collect(),
        Kind::Json => of_intune.into_iter().flatten().map(|at| &at.place).collect(),
    };
    let mapping = typed.mapping.as_ref().filter(|_| kind != Kind::Json).map(|at| &at.place);
    for place in strange.into_iter().chain(mapping) {
        let kind = KINDS.iter().find(|(_, own)| *own == kind).map_or("", |(word, _)| word);
        cx.error(place, format!("a source of kind `{kind}` has no such key"), "remove it, or correct `kind`");
    }
}

fn needed<'a, T>(at: Option<&'a At<T>>, example: &str, place: &Place, cx: &mut Cx<'_>) -> Option<&'a At<T>> {
    if at.is_none() {
        let key = example.split(':').next().unwrap_or_default();
        cx.error(place, format!("this source has no `{key}`"), format!("add `{example}`"));
    }
    at
}

fn name(text: &str) -> Result<String, Mistake> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if text.is_empty() || !text.chars().all(good) {
        return Err(Mistake::new(format!("`{text}` is not a name")).hint("use small letters, digits, `-` and `_`"));
    }
    if TAKEN.contains(&text) {
        return Err(Mistake::new(format!("`{text}` is the name of another source")).hint("give this one another name"));
    }
    Ok(text.to_owned())
}

/// It becomes part of an address.
fn tenant_id(text: &str) -> Result<String, Mistake> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    good.then(|| text.to_owned())
        .ok_or_else(|| Mistake::new(format!("`{text}` is not a tenant")).hint("write its id, or its domain"))
}

fn header_name(text: &str) -> Result<String, Mistake> {
    // RFC 9110 section 5.6.2.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let good = !text.is_empty() && text.chars().all(token);
    good.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| Mistake::new(format!("`{text}` is not the name of a header")).hint("for example `X-Api-Key`"))
}

/// RFC 6901 section 3.
fn pointer(text: &str) -> Result<String, Mistake> {
    let escapes_well = text.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'));
    if text.starts_with('/') && escapes_well {
        return Ok(text.to_owned());
    }
    let hint = match text.starts_with('/') {
        true => "in a name, write `~` as `~0` and `/` as `~1`".to_owned(),
        false => format!("write `/{}`", text.replace('.', "/")),
    };
    Err(Mistake::new(format!("`{text}` is not a JSON pointer")).hint(hint))
}
