//! What an application can take, and what it is sent besides: limits of its server, headers it must not see, secrets of
//! its own.
use super::settings::{default, positive};
use super::{Cx, headers};
use crate::at::{At, Keyed};
use crate::config::{SentHeader, Takes};
use crate::file::route as typed;
use crate::secret::Secret;
use crate::units::{self, Mistake};
use base64::{Engine as _, prelude::BASE64_STANDARD};

pub(crate) fn check(route: &typed::Route, cx: &mut Cx<'_>) -> Option<Takes> {
    let keep_alive = positive(route.keep_alive.as_ref(), default::KEEP_ALIVE, cx);
    let sent = sent(&route.send, cx);
    let mut takes = Takes { keep_alive: keep_alive?, sent: sent?, ..Takes::default() };
    let Some(at) = &route.request else { return Some(takes) };
    let typed = at.get()?;
    takes.max_headers = match &typed.max_headers {
        None => None,
        Some(at) => match usize::try_from(*at.get()?) {
            Ok(number) if number >= LEAST_HEADERS => Some(number),
            _ => {
                cx.error(&at.place, "a browser sends more than that", format!("write at least {LEAST_HEADERS}"));
                return None;
            }
        },
    };
    takes.max_header_bytes = match &typed.max_header_bytes {
        None => None,
        Some(at) => Some(cx.parse(at, units::size)?),
    };
    takes.content_length = typed.content_length.as_ref().is_some_and(|at| at.get() == Some(&true));
    let mut whole = typed.strip.whole;
    for at in &typed.strip.items {
        match cx.parse(at, |text| name(text, NEVER_STRIPPED)) {
            Some(name) => takes.strip.push(name),
            None => whole = false,
        }
    }
    whole.then_some(takes)
}

/// Fewer than a browser's usual ones and ours would refuse everybody.
const LEAST_HEADERS: usize = 20;
/// Without these a request is another one.
const NEVER_STRIPPED: &[&str] = &["host", "connection", "content-length", "transfer-encoding", "upgrade", "te"];
/// What a request is made of, and what only the gate says about a caller.
const NEVER_SENT: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "te",
    "cookie",
    "forwarded",
    "x-torhaus-assertion",
];

/// Headers with a secret, each from a file.
pub(super) fn sent(list: &Keyed<typed::Sent>, cx: &mut Cx<'_>) -> Option<Vec<SentHeader>> {
    let mut whole = list.whole;
    let mut found = Vec::new();
    for (key, at) in &list.entries {
        let header = cx.parse(key, |text| name(text, NEVER_SENT));
        let value = at.get().and_then(|typed| value(at, typed, cx));
        match (header, value) {
            (Some(name), Some(value)) => found.push(SentHeader { name, value }),
            _ => whole = false,
        }
    }
    whole.then_some(found)
}

fn value(at: &At<typed::Sent>, typed: &typed::Sent, cx: &mut Cx<'_>) -> Option<Secret> {
    let secret = cx.secret(&typed.file, "secret file")?;
    let prefix = typed.prefix.as_ref().and_then(At::text);
    let value = match (&typed.basic_user, prefix) {
        (Some(_), Some(_)) => {
            cx.error(&at.place, "`basic_user` and `prefix` say different things", "keep one of them");
            return None;
        }
        // RFC 7617 section 2.
        (Some(user), None) => {
            let user = cx.parse(user, |text| match text.contains(':') {
                true => Err(Mistake::new("a user name of Basic has no colon").hint("RFC 7617 section 2")),
                false => Ok(text.to_owned()),
            })?;
            Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", secret.expose()))))
        }
        (None, prefix) => Secret::new(format!("{}{}", prefix.unwrap_or_default(), secret.expose())),
    };
    if !value.expose().bytes().all(|b| (0x20..0x7f).contains(&b)) {
        cx.error(&typed.file.place, "this secret cannot stand in a header", "use printable ASCII characters only");
        return None;
    }
    Some(value)
}

fn name(text: &str, never: &[&str]) -> Result<String, Mistake> {
    let lower = text.to_ascii_lowercase();
    if never.contains(&lower.as_str()) || lower.starts_with("x-forwarded-") {
        return Err(
            Mistake::new(format!("`{text}` is the gate's own business")).hint("name a header of the application")
        );
    }
    headers::plain_name(text)
}
