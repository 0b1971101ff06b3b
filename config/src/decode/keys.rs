//! The keys of a mapping: each once, and known; what is not is reported.
use super::{Context, Decoder, join};
use crate::mask;
use crate::suggest;
use crate::units::Mistake;
use crate::yaml::{Kind, Node};
use std::collections::HashMap;

impl Decoder<'_> {
    /// Known; otherwise reported. What an unknown key was meant to be is `excused` from being missing.
    pub(super) fn is_known(
        &self,
        key: &Node,
        fields: &'static [&'static str],
        excused: &mut Vec<&'static str>,
    ) -> bool {
        let name = key_text(key);
        if fields.contains(&name) {
            return true;
        }
        let meant = meant_by(name, fields);
        excused.extend(meant);
        self.cx.report(&self.cx.place(key.span, &self.path), unknown_key(name, meant, fields));
        false
    }
}

/// The entries of a mapping, the second and later ones of the same key reported and left out.
pub(super) fn once_each<'a>(entries: &'a [(Node, Node)], path: &str, cx: &Context<'_>) -> Vec<(&'a Node, &'a Node)> {
    let mut first: HashMap<&str, u32> = HashMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let name = key_text(key);
        if name.is_empty() {
            cx.report(&cx.place(key.span, path), Mistake::new(format!("{} cannot be a key", key.kind.describe())));
        } else if let Some(line) = first.get(name) {
            let mistake = Mistake::new(format!("`{name}` is given twice, first on line {line}"));
            cx.report(&cx.place(key.span, &join(path, name)), mistake.hint("remove one of them"));
        } else {
            first.insert(name, key.span.line);
            kept.push((key, value));
        }
    }
    kept
}

/// A key as it was typed, whatever its kind.
pub(super) fn key_text(key: &Node) -> &str {
    match &key.kind {
        Kind::Text(text) | Kind::Number(text) => text,
        Kind::Bool(true) => "true",
        Kind::Bool(false) => "false",
        Kind::Null | Kind::List(_) | Kind::Map(_) => "",
    }
}

/// The key that was probably meant.
fn meant_by(name: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    if mask::names_secret(name) {
        let in_a_file = format!("{name}_file");
        let file = fields.iter().find(|field| **field == in_a_file);
        return file.or_else(|| fields.iter().find(|field| field.ends_with("secret_file"))).copied();
    }
    let same = fields.iter().find(|field| SYNONYMS.contains(&(name, **field)));
    same.copied().or_else(|| suggest::nearest(name, fields.iter().copied()))
}

fn unknown_key(name: &str, meant: Option<&str>, fields: &'static [&'static str]) -> Mistake {
    let mistake = Mistake::new(format!("unknown key `{name}`"));
    if mask::names_secret(name) {
        return mistake.hint(match meant {
            Some(key) => format!(
                "secrets stand in files of their own: write it into one that only torhaus can read, and name that: \
                 `{key}: PATH`; change the secret, it was exposed here"
            ),
            None => "secrets stand in files of their own: remove it, and change it, it was exposed here".into(),
        });
    }
    let hint = match meant {
        Some(key) if key.starts_with("danger_") => Some(format!(
            "that is spelled `{key}` here, and opens what should be closed; the other keys beside it do not"
        )),
        Some(key) => Some(format!("did you mean `{key}`?")),
        None => suggest::hint(name, fields.iter().copied()),
    };
    Mistake { hint, ..mistake }
}

/// What other proxies call it.
const SYNONYMS: &[(&str, &str)] = &[
    ("listen", "address"),
    ("bind", "address"),
    ("backend", "upstream"),
    ("target", "upstream"),
    ("to", "upstream"),
    ("hostname", "host"),
    ("domain", "host"),
    ("domains", "host"),
    ("hosts", "host"),
    ("cert", "cert_file"),
    ("certificate", "cert_file"),
    ("key", "key_file"),
    ("certificate_key", "key_file"),
    ("ca", "ca_file"),
    ("crl", "crl_file"),
    ("insecure_skip_verify", "danger_skip_verification"),
    ("skip_verification", "danger_skip_verification"),
    ("groups", "allow"),
    ("users", "allow"),
    ("rules", "table"),
    ("policy", "policy_file"),
    ("expiry", "expires"),
    ("expires_at", "expires"),
    ("prefix", "path"),
];
