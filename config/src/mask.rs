//! Keeps secrets out of excerpts and messages, also those that should never have stood in the file.
use crate::yaml::{Kind, Node};

/// The text as it may be shown: what stands under a key that names a secret, in a PEM block, or before the `@` of a
/// URL is starred out. `tree` is missing when the text is no YAML; then lines are judged by how they look.
pub(crate) fn text(text: &str, tree: Option<&Node>) -> String {
    let mut hidden = Vec::new();
    if let Some(node) = tree {
        secret_values(node, false, &mut hidden);
    }
    let mut shown: Vec<char> = Vec::with_capacity(text.len());
    let mut ranges = hidden.into_iter().peekable();
    for (byte, c) in text.char_indices() {
        while ranges.next_if(|(_, end)| *end <= byte).is_some() {}
        let inside = ranges.peek().is_some_and(|(start, end)| (*start..*end).contains(&byte));
        shown.push(if inside && !c.is_whitespace() { '*' } else { c });
    }
    let shown: String = shown.into_iter().collect();
    let mut in_pem = false;
    let lines: Vec<String> = shown
        .split('\n')
        .map(|line| {
            let starts = line.contains("-----BEGIN");
            let ends = line.contains("-----END");
            let masked = if in_pem && !ends {
                stars(line)
            } else {
                userinfo(&after_secret_key(line))
            };
            in_pem = (in_pem || starts) && !ends;
            masked
        })
        .collect();
    lines.join("\n")
}

/// `https://user:password@host` -> `https://****@host`; everything else unchanged.
pub(crate) fn userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '`' | '"' | '\'' | '?' | '#'));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or("");
        match authority.rfind('@') {
            Some(at) => {
                shown.push_str(&stars(authority.get(..at).unwrap_or("")));
                rest = after.get(at..).unwrap_or("");
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// Does a value under this key look like a secret itself? `client_secret_file` names a file and does not.
pub(crate) fn names_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let harmless = ["_file", "_claim", "_endpoint"].iter().any(|end| key.ends_with(end));
    !harmless
        && [
            "secret",
            "password",
            "passwd",
            "passphrase",
            "token",
            "api_key",
            "apikey",
            "private_key",
            "credential",
        ]
        .iter()
        .any(|word| key.contains(word))
}

fn secret_values(node: &Node, secret: bool, hidden: &mut Vec<(usize, usize)>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| secret_values(item, secret, hidden)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                let named = matches!(&key.kind, Kind::Text(name) if names_secret(name));
                secret_values(value, secret || named, hidden);
            }
        }
        _ if secret => hidden.push((node.span.byte, node.span.byte + node.span.bytes)),
        _ => {}
    }
}

/// `client_secret: hunter2, x: y` -> `client_secret: *******, x: y`.
fn after_secret_key(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon + 1);
        shown.push_str(before);
        let is_key_char = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let name = before.trim_end_matches(':').trim_end_matches(['"', '\'', ' ']);
        let name = name.rsplit(|c: char| !is_key_char(c)).next().unwrap_or("");
        let is_mapping = after.is_empty() || after.starts_with([' ', '"', '\'', '\t']);
        if is_mapping && names_secret(name) {
            let quote = after.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''));
            let end = match quote {
                // To the closing quote; a secret may hold a comma.
                Some(quote) => after.rfind(quote).map(|at| at + 1),
                None => after.find([',', '}']),
            };
            let (secret, others) = after.split_at(end.unwrap_or(after.len()));
            shown.push_str(&stars(secret));
            rest = others;
        } else {
            rest = after;
        }
    }
    shown.push_str(rest);
    shown
}

fn stars(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_starred_out() {
        for line in [
            "client_secret: hunter2",
            "{ id: a, client_secret: hunter2, x: y }",
            "{ client_secret: \"hunter2,b\", x: y }",
            "{ \"password\": hunter2 }",
            "issuer: https://me:hunter2@idp.test/x",
        ] {
            for tree in [None, crate::yaml::parse(line).ok()] {
                let shown = text(line, tree.as_ref());
                assert!(!shown.contains("hunter2") && shown.len() == line.len(), "{shown}");
            }
        }
        let harmless = "{ client_secret_file: secrets/oidc, groups_claim: a:b, url: \"http://a@b\" }";
        assert_eq!(
            text("client_secret_file: secrets/oidc", None),
            "client_secret_file: secrets/oidc"
        );
        assert!(text(harmless, None).contains("groups_claim: a:b, url: \"http://*@b\""));
        let block = "a:\n  password: |\n    line one\n    line two\nb: x\n";
        let shown = text(block, crate::yaml::parse(block).ok().as_ref());
        assert!(!shown.contains("line") && shown.ends_with("b: x\n"), "{shown}");
        let pem = "key: |\n  -----BEGIN PRIVATE KEY-----\n  MIIabc\n  -----END PRIVATE KEY-----\n";
        assert!(!text(pem, None).contains("MIIabc"));
    }
}
