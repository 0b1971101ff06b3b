//! Identifiers of orders (RFC 8555 s9.7.7, RFC 8738): one spelling each, or refused. Nothing is repaired, because a
//! client compares the order with what it asked for.
use super::problem::{Kind, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;

/// What a certificate is ordered for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Identifier {
    Dns(DnsName),
    Ip(IpAddr),
}

/// A host name in lower case without a trailing dot, perhaps with `*.` in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DnsName(String);

/// RFC 1035 s2.3.4.
const MAX_LABEL: usize = 63;
/// RFC 1035 s2.3.4: 255 octets on the wire are 253 characters.
const MAX_NAME: usize = 253;

impl Identifier {
    /// # Errors
    /// 1. `unsupportedIdentifier`: neither `dns` nor `ip`; 2. `malformed`: not in the one accepted spelling.
    pub fn parse(kind: &str, value: &str) -> Result<Self, Problem> {
        match kind {
            "dns" => Ok(Self::Dns(DnsName::parse(value)?)),
            "ip" => match value.parse::<IpAddr>() {
                // RFC 8738 s3: the canonical text, RFC 5952 for IPv6.
                Ok(address) if address.to_string() == value => Ok(Self::Ip(address)),
                _ => Err(Problem::malformed(format!("`{}` is not an address in its usual spelling", shown(value)))),
            },
            other => Err(Problem::new(
                Kind::UnsupportedIdentifier,
                format!("identifiers of type `{}` are not supported; use `dns` or `ip`", shown(other)),
            )),
        }
    }

    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.is_wildcard())
    }

    /// As an authorization names it: without `*.` (RFC 8555 s7.1.4).
    pub(super) fn base(&self) -> Self {
        match self {
            Self::Dns(name) => Self::Dns(name.base()),
            Self::Ip(address) => Self::Ip(*address),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let kind = match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
        };
        json!({"type": kind, "value": self.to_string()})
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(&name.0),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl DnsName {
    /// # Errors
    /// `malformed`, with the reason.
    pub fn parse(value: &str) -> Result<Self, Problem> {
        match flaw(value) {
            None => Ok(Self(value.to_owned())),
            Some(why) => Err(Problem::malformed(format!("`{}` is not a usable DNS name: {why}", shown(value)))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    pub(super) fn base(&self) -> Self {
        Self(self.0.strip_prefix("*.").unwrap_or(&self.0).to_owned())
    }

    /// Where dns-01 looks (RFC 8555 s8.4).
    pub(super) fn challenge_record(&self) -> Self {
        Self(format!("_acme-challenge.{}", self.0))
    }

    /// True for `a.b.example` below `b.example`, not for `b.example` itself.
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

fn flaw(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        return Some("it is empty");
    }
    if value.len() > MAX_NAME {
        return Some("it is longer than 253 characters");
    }
    if !value.is_ascii() {
        return Some("write international names in their xn-- form");
    }
    if value.ends_with('.') {
        return Some("leave out the dot at the end");
    }
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("write it in lower case");
    }
    let base = value.strip_prefix("*.").unwrap_or(value);
    if value != base && !base.contains('.') {
        return Some("a wildcard needs at least two labels after it");
    }
    if let Some(why) = base.split('.').find_map(label_flaw) {
        return Some(why);
    }
    // WHATWG URL: a last label of digits makes the whole an address.
    let last = base.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit()).then_some("its last label is a number; order addresses as type `ip`")
}

fn label_flaw(label: &str) -> Option<&'static str> {
    if label.is_empty() {
        return Some("it has an empty label");
    }
    if label.len() > MAX_LABEL {
        return Some("a label is longer than 63 characters");
    }
    if !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Some("only letters, digits and hyphens may stand in it, and `*` only as the whole first label");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some("a label begins or ends with a hyphen");
    }
    // RFC 5891 s4.2.3.1: hyphens in the third and fourth place are reserved for A-labels.
    if label.get(2..4) == Some("--") && (!label.starts_with("xn--") || label.len() == 4) {
        return Some("`--` in third place is only for international names (xn--)");
    }
    None
}

/// A client's text for an error: short, without control characters.
pub(super) fn shown(text: &str) -> String {
    /// Enough to recognise a name.
    const MAX_SHOWN: usize = 80;
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_SHOWN).collect()
}
