//! The reference of both files, from one table: `docs/config.md` is generated from it, and errors about missing keys
//! quote it.
mod policy;
mod torhaus;

use crate::pattern;
use crate::place::FileId;
use std::fmt::Write;

struct Section {
    title: &'static str,
    text: &'static str,
    keys: &'static [Key],
}

struct Key {
    /// `routes[].upstream`; `*` is any name.
    path: &'static str,
    kind: &'static str,
    /// As it is written in the file; `required` if there is none.
    default: &'static str,
    meaning: &'static str,
    /// Why the default is what it is.
    reason: Option<&'static str>,
}

const fn key(path: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind, default, meaning, reason: None }
}

impl Key {
    const fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

fn sections(file: FileId) -> &'static [Section] {
    match file {
        FileId::Main => torhaus::SECTIONS,
        FileId::Policy => policy::SECTIONS,
    }
}

/// What a key is for, for the hint that it is missing.
pub(crate) fn meaning(file: FileId, path: &str) -> Option<String> {
    let key = find(file, path)?;
    Some(format!("add `{}`: {}", key.path.rsplit('.').next()?, key.meaning))
}

fn find(file: FileId, path: &str) -> Option<&'static Key> {
    let mut keys = sections(file).iter().flat_map(|section| section.keys);
    let listed = keys.find(|key| pattern::matches(key.path, path));
    let in_condition = || policy::CONDITIONS.iter().any(|start| pattern::generic(path).starts_with(start));
    listed.or_else(|| if file == FileId::Policy && in_condition() { policy::of_condition(path) } else { None })
}

/// The text of `docs/config.md`.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    for (file, name, example) in [
        (FileId::Main, "torhaus.yaml", include_str!("../../tests/good/torhaus.yaml")),
        (FileId::Policy, "policy.yaml", include_str!("../../tests/good/policy.yaml")),
    ] {
        let example = example.replace("../material/", "files/");
        let _ = write!(text, "\n## {name}\n\n```yaml\n{example}```\n");
        for section in sections(file) {
            section_text(&mut text, section);
        }
    }
    text
}

fn section_text(text: &mut String, section: &Section) {
    let _ = write!(text, "\n### {}\n\n", section.title);
    if !section.text.is_empty() {
        let _ = write!(text, "{}\n\n", section.text);
    }
    text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in section.keys {
        let reason = key.reason.map(|reason| format!(" *Why:* {reason}.")).unwrap_or_default();
        let path = key.path.strip_prefix(policy::CONDITION).unwrap_or(key.path);
        let _ = writeln!(text, "| `{path}` | {} | {} | {}.{reason} |", key.kind, key.default, key.meaning);
    }
}

const INTRODUCTION: &str = "# Configuration reference

<!-- Generated from config/src/reference/. Do not edit: `TORHAUS_WRITE_DOCS=1 cargo test -p torhaus-config` writes it. -->

Two files: `torhaus.yaml` says what there is, `policy.yaml` says who may go where. `torhaus check --config torhaus.yaml`
names every mistake of both at once, with its line and what to do. Unknown keys, keys given twice and names that refer to
nothing are mistakes. A change of either file, or of a file they name, is taken over as a whole or not at all.

- `[]` in a key is an item of a list, `*` is a name of your choice.
- **Durations** are a whole number and a unit: `500ms`, `30s`, `15m`, `12h`, `30d`. **Sizes**: `512B`, `32KiB`, `10MiB`.
- **Files** are named relative to the folder of `torhaus.yaml`.
- **Secrets** stand in files of their own, one line each, readable by torhaus alone (`chmod 600`); never in these two.
- A key that begins with `danger_` opens something that should be closed; `check` and the log name each that is set.
";

#[cfg(test)]
mod tests;
