//! The headers that tell an application who it is. All of their names are taken from clients, so a name that
//! HTTP needs itself cannot be one of them.
use super::Cx;
use crate::at::At;
use crate::config::{GroupsAs, IdentityHeaders, Takes};
use crate::file::route as typed;
use crate::units::Mistake;
use std::collections::HashMap;

pub(crate) const DEFAULT_USER: &str = "X-Forwarded-User";
pub(crate) const DEFAULT_EMAIL: &str = "X-Forwarded-Email";
pub(crate) const DEFAULT_GROUPS: &str = "X-Forwarded-Groups";

pub(crate) fn check(at: Option<&At<typed::Headers>>, cx: &mut Cx<'_>) -> Option<IdentityHeaders> {
    let mut headers = IdentityHeaders {
        user: Some(DEFAULT_USER.to_owned()),
        email: Some(DEFAULT_EMAIL.to_owned()),
        groups: Some(DEFAULT_GROUPS.to_owned()),
        name: None,
        groups_as: GroupsAs::default(),
        groups_limited_to: None,
        assertion: true,
        client_certificate: false,
    };
    let Some(at) = at else { return Some(headers) };
    let typed = at.get()?;
    let user = one(typed.user.as_ref(), headers.user.take(), cx);
    let email = one(typed.email.as_ref(), headers.email.take(), cx);
    let groups = one(typed.groups.as_ref(), headers.groups.take(), cx);
    let name = one(typed.name.as_ref(), None, cx);
    collisions(
        &[
            ("user", typed.user.as_ref(), &user),
            ("email", typed.email.as_ref(), &email),
            ("groups", typed.groups.as_ref(), &groups),
            ("name", typed.name.as_ref(), &name),
        ],
        cx,
    );
    if let Some(limited) = &typed.groups_limited_to {
        let names = limited.get()?;
        if groups == Some(None) {
            cx.error(&limited.place, "no header carries the groups", "remove `groups: off`, or this");
        }
        headers.groups_limited_to = Some(names.iter().filter_map(At::text).map(str::to_owned).collect());
    }
    headers.user = user?;
    headers.email = email?;
    headers.groups = groups?;
    headers.name = name?;
    headers.groups_as = match typed.groups_as.as_ref().map(At::get) {
        None => GroupsAs::default(),
        Some(Some(typed::GroupsAs::Commas)) => GroupsAs::Commas,
        Some(Some(typed::GroupsAs::Pipes)) => GroupsAs::Pipes,
        Some(Some(typed::GroupsAs::Lines)) => GroupsAs::Lines,
        Some(None) => return None,
    };
    headers.assertion = typed.assertion.as_ref().and_then(At::get).copied().unwrap_or(true);
    headers.client_certificate = typed.client_certificate.as_ref().and_then(At::get).copied().unwrap_or(false);
    Some(headers)
}

/// `off`, or a name. The outer `None` is a mistake.
fn one(at: Option<&At<String>>, default: Option<String>, cx: &mut Cx<'_>) -> Option<Option<String>> {
    let Some(at) = at else { return Some(default) };
    if at.text() == Some("off") {
        return Some(None);
    }
    cx.parse(at, name).map(Some)
}

/// `Authorization`, or a header that carries nothing else. The outer `None` is a mistake.
pub(crate) fn access_token(
    route: &typed::Route,
    told: Option<&IdentityHeaders>,
    takes: Option<&Takes>,
    cx: &mut Cx<'_>,
) -> Option<Option<String>> {
    let Some(at) = route.access_token.as_ref().filter(|at| at.text() != Some("off")) else { return Some(None) };
    let name =
        cx.parse(at, |text| if text.eq_ignore_ascii_case("authorization") { plain_name(text) } else { name(text) })?;
    let same = |other: &str| other.eq_ignore_ascii_case(&name);
    let identity = told.into_iter().flat_map(|told| [&told.user, &told.email, &told.groups, &told.name]).flatten();
    if identity.map(String::as_str).any(same) {
        cx.error(&at.place, format!("`{name}` says who it is already"), "give the token a header of its own");
        return None;
    }
    if takes.is_some_and(|takes| {
        takes.sent.iter().any(|sent| same(&sent.name)) || takes.strip.iter().any(|name| same(name))
    }) {
        cx.error(
            &at.place,
            format!("`{name}` is set or stripped by this route already"),
            "an application gets either the person's token or a secret of its own there: remove one",
        );
        return None;
    }
    Some(Some(name))
}

/// A header name that has one reading.
pub(crate) fn plain_name(text: &str) -> Result<String, Mistake> {
    // RFC 9110 s5.6.2, without what servers turn into `_` or drop.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !text.bytes().all(is_plain) {
        return Err(Mistake::new(format!("`{text}` is not a header name that every server reads the same"))
            .hint("use letters, digits and `-`: `X-Forwarded-User`"));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, Mistake> {
    plain_name(text)?;
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(text)) {
        return Err(Mistake::new(format!(
            "`{text}` is a header with a meaning of its own, which clients or the gate need"
        ))
        .hint("choose a name that only says who it is: `X-Forwarded-User`"));
    }
    Ok(text.to_owned())
}

/// Hop-by-hop (RFC 9110 s7.6.1), framing, the request itself, and what the gate sets besides.
const RESERVED: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "location",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-http-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-torhaus-assertion",
];

type Named<'a> = (&'a str, Option<&'a At<String>>, &'a Option<Option<String>>);

fn collisions(all: &[Named<'_>], cx: &mut Cx<'_>) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    // Typed names after the defaults, so that the blame is on a line that exists.
    let (typed, defaults): (Vec<_>, Vec<_>) = all.iter().partition(|(_, at, _)| at.is_some());
    for (key, at, name) in defaults.into_iter().chain(typed) {
        let Some(Some(name)) = name else { continue };
        if let (Some(other), Some(at)) = (seen.insert(name.to_ascii_lowercase(), key), at) {
            cx.error(
                &at.place,
                format!("`{name}` carries `{other}` already"),
                "give each its own header, or write `off` for the one that is not needed",
            );
        }
    }
}
