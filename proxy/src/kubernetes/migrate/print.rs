//! Manifests that can be applied as they are; all else is a comment in them.
use super::suggest::{Row, Suggestions};
use super::{Difference, Kind, Migration};
use serde_json::Value;
use std::fmt::Write as _;

pub fn text(migration: &Migration) -> String {
    let mut out = String::new();
    for ingress in &migration.ingresses {
        out.push_str("---\n");
        yaml(&mut out, ingress, 0);
    }
    suggestions(&mut out, &migration.suggestions);
    differences(&mut out, &migration.differences);
    out
}

fn suggestions(out: &mut String, found: &Suggestions) {
    if !found.trust_domains.is_empty() {
        out.push_str("\n# For torhaus.yaml; each file from the secret:\n# trust_domains:\n");
        for (domain, secret) in &found.trust_domains {
            let (namespace, name) = secret.split_once('/').unwrap_or(("default", secret));
            let _ =
                writeln!(out, "#   {domain}: {{ ca_file: {domain}.pem, proves: standard, spiffe_trust_domains: [] }}");
            let _ = writeln!(
                out,
                "#     kubectl -n {namespace} get secret {name} -o go-template='{{{{index .data \"ca.crt\" | base64decode}}}}' > {domain}.pem"
            );
        }
    }
    if !found.zones.is_empty() {
        out.push_str("\n# For policy.yaml:\n# zones:\n");
        for (zone, networks) in &found.zones {
            let _ = writeln!(out, "#   {zone}: {{ networks: [{}] }}", quoted(networks));
        }
    }
    if !found.table.is_empty() {
        out.push_str("\n# For policy.yaml, once somebody has said who may:\n# table:\n");
        for row in &found.table {
            row_line(out, row);
        }
    }
}

fn row_line(out: &mut String, row: &Row) {
    let cells: Vec<String> = row.zones.iter().map(|(zone, cell)| format!("{zone}: {cell}")).collect();
    let open = if row.was_open { "   # open to everybody so far" } else { "" };
    let _ = writeln!(
        out,
        "#   - {{ resource: {}, allow: [{}], zones: {{ {} }} }}{open}",
        row.resource,
        quoted(&row.allow),
        cells.join(", ")
    );
}

fn quoted(texts: &[String]) -> String {
    texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

fn differences(out: &mut String, found: &[Difference]) {
    for (kind, title) in [
        (Kind::NotDone, "Not done, and why"),
        (Kind::Otherwise, "Done otherwise"),
        (Kind::Policy, "Said by the central files from now on"),
        (Kind::Always, "Always so here"),
    ] {
        let of_kind: Vec<&Difference> = found.iter().filter(|difference| difference.outcome == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = write!(out, "\n# {title}:\n");
        for difference in of_kind {
            // A value of somebody else ends no comment.
            let what = difference.what.replace(['\n', '\r'], " ");
            let why = difference.why.replace(['\n', '\r'], " ");
            let _ = writeln!(out, "#   {}, {what}: {why}", difference.ingress);
        }
    }
}

/// Block style, every text that could be read as something else in quotes.
fn yaml(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{indent}{}:", scalar(&Value::String(key.clone())));
                below(out, value, depth);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut inner = String::new();
                match item {
                    Value::Object(map) if !map.is_empty() => yaml(&mut inner, item, depth + 1),
                    item => {
                        let _ = writeln!(inner, "{indent}  {}", scalar(item));
                    }
                }
                let _ = write!(out, "{indent}- {}", inner.trim_start());
            }
        }
        other => {
            let _ = writeln!(out, "{indent}{}", scalar(other));
        }
    }
}

fn below(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            yaml(out, value, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            yaml(out, value, depth);
        }
        other => {
            let _ = writeln!(out, " {}", scalar(other));
        }
    }
}

fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];
    let is_word = word.iter().any(|word| text.eq_ignore_ascii_case(word));
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    if starts && !is_word && text.bytes().all(plain) { text.clone() } else { Value::String(text.clone()).to_string() }
}
