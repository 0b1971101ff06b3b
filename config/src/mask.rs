//! Keeps secrets out of excerpts and messages, also those that should never have stood in the file.
use crate::yaml::{Kind, Node};

/// The text as it may be shown: what stands under a key that names a secret, in a PEM block, or before the `@` of a
/// URL is starred out. `tree` is missing when the text is no YAML; then lines are judged by how they look.
pub(crate) fn text(text: &str, tree: Option<&Node>) -> String {
    let mut hidden = Vec::new();
    if let Some(node) = tree {
        secret_values(node, false, &mut hidden);
    }
    hidden.sort_unstable();
    let mut shown = String::with_capacity(text.len());
    let mut ranges = hidden.into_iter().peekable();
    for (byte, c) in text.char_indices() {
        while ranges.next_if(|(_, end)| *end <= byte).is_some() {}
        let inside = ranges.peek().is_some_and(|(start, end)| (*start..*end).contains(&byte));
        shown.push(if inside && !c.is_whitespace() { '*' } else { c });
    }
    let mut goes_on = GoesOn::Not;
    let lines: Vec<String> = shown.split('\n').map(|line| masked(line, &mut goes_on)).collect();
    lines.join("\n")
}

/// Whether the lines that follow belong to a secret.
enum GoesOn {
    Not,
    /// As long as they are indented further than this.
    Below(usize),
    /// Until this closes it.
    Until(&'static str),
}

fn masked(line: &str, goes_on: &mut GoesOn) -> String {
    let indentation = line.len() - line.trim_start().len();
    match goes_on {
        GoesOn::Below(column) if line.trim().is_empty() || indentation > *column => return stars(line),
        GoesOn::Until(end) => {
            if line.contains(*end) {
                *goes_on = GoesOn::Not;
            }
            return stars(line);
        }
        GoesOn::Not | GoesOn::Below(_) => *goes_on = GoesOn::Not,
    }
    if line.contains("-----BEGIN") && !line.contains("-----END") {
        *goes_on = GoesOn::Until("-----END");
    }
    userinfo(&after_secret_key(line, goes_on))
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
        && ["secret", "password", "passwd", "passphrase", "token", "api_key", "apikey", "private_key", "credential"]
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
fn after_secret_key(line: &str, goes_on: &mut GoesOn) -> String {
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
            let value = after.trim_start();
            let quote = ["\"", "'"].into_iter().find(|quote| value.starts_with(quote));
            let end = match quote {
                // To the last quote; a secret may hold a comma.
                Some(quote) if value.matches(quote).count() > 1 => after.rfind(quote).map(|at| at + 1),
                Some(quote) => {
                    *goes_on = GoesOn::Until(quote);
                    None
                }
                None => after.find([',', '}']),
            };
            if value.is_empty() || value.starts_with(['|', '>', '#']) {
                *goes_on = GoesOn::Below(line.len() - line.trim_start().len());
            }
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
        assert_eq!(text("client_secret_file: secrets/oidc", None), "client_secret_file: secrets/oidc");
        assert!(text(harmless, None).contains("groups_claim: a:b, url: \"http://*@b\""));
        let block = "a:\n  password: |\n    line one\n    line two\nb: x\n";
        let shown = text(block, crate::yaml::parse(block).ok().as_ref());
        assert!(!shown.contains("line") && shown.ends_with("b: x\n"), "{shown}");
        for broken in ["secret: \"hunter2\nx: [", "secret: |\n  hunter2\nx: [", "a: [\nsecret: 'a\n  hunter2'\n"] {
            let shown = text(broken, None);
            assert!(!shown.contains("hunter2") && shown.contains("secret: "), "{shown}");
        }
        let pem = "key: |\n  -----BEGIN PRIVATE KEY-----\n  MIIabc\n  -----END PRIVATE KEY-----\n";
        assert!(!text(pem, None).contains("MIIabc"));
    }
}
