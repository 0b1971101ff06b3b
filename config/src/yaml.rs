//! YAML text -> a tree whose every node knows where it stands. Knows no key of ours.
use crate::place::Span;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};
use std::fmt;

#[derive(Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub kind: Kind,
}

impl Node {
    /// Counts the lines of this file on from those of another one.
    pub fn count_from(&mut self, lines_before: u32) {
        self.span.line = self.span.line.saturating_add(lines_before);
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.count_from(lines_before)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.count_from(lines_before);
                value.count_from(lines_before);
            }),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        }
    }
}

#[derive(Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// As it was typed, so that `client_id: 007` is not 7.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Key by key in the file's order, duplicates included.
    Map(Vec<(Node, Node)>),
}

impl Kind {
    /// What a person calls it.
    pub fn describe(&self) -> String {
        /// Longer values are cut: the excerpt below shows them anyway.
        const SHOWN: usize = 60;
        let text = match self {
            Self::Null => return "nothing".to_owned(),
            Self::List(_) => return "a list".to_owned(),
            Self::Map(_) => return "a mapping (`key: value`)".to_owned(),
            Self::Bool(value) => return format!("`{value}`"),
            Self::Number(text) | Self::Text(text) => text,
        };
        let line = text.lines().next().unwrap_or("");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("`{}…`", line.get(..end).unwrap_or("")),
            None => format!("`{line}`"),
        }
    }
}

/// Why a text is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub message: String,
    pub hint: &'static str,
    pub span: Span,
}

/// # Errors
/// 1. not YAML; 2. more than one document; 3. larger or deeper than any configuration (alias bombs).
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    // Duplicates are passed on: we report every one of them, and not only the first.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        emit_comments: false,
        // Room for tens of thousands of routes and rows, not for alias bombs.
        budget: serde_saphyr::budget! { max_events: 10_000_000, max_nodes: 5_000_000, max_documents: 1 },
    };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Ok(raw.into_node(text)),
        Err(error) => {
            let error = error.without_snippet();
            let message = without_position(&error.to_string());
            let span = error.location().map_or(Span::START, span);
            Err(match tab(text, &message, span.line) {
                Some(span) => {
                    SyntaxError { message: "a tab in the indentation".to_owned(), hint: "indent with spaces", span }
                }
                None => SyntaxError {
                    message,
                    hint: "look at this line and the one before: a bracket, a quote or the indentation is not right",
                    span,
                },
            })
        }
    }
}

/// The parser stops where it no longer understands; a tab is the usual reason and stands a line or two further on.
fn tab(text: &str, message: &str, from: u32) -> Option<Span> {
    if !message.contains("tab") {
        return None;
    }
    let lines = (1..).zip(text.lines()).skip_while(|(line, _)| *line < from);
    let indented =
        |line: &str| line.find(|c| c != ' ').filter(|at| line.get(*at..).is_some_and(|rest| rest.starts_with('\t')));
    lines.into_iter().find_map(|(line, text)| {
        let column = u32::try_from(indented(text)? + 1).ok()?;
        Some(Span { line, column, chars: 1, ..Span::START })
    })
}

/// The parser's own words without its "at line 3, column 4": that stands before our message already.
fn without_position(message: &str) -> String {
    let first = message.lines().next().unwrap_or("");
    let cut = first.find(" at line ").or_else(|| first.find(" (line "));
    let words = first.get(..cut.unwrap_or(first.len())).unwrap_or(first);
    match words.strip_prefix("error: ").unwrap_or(words).trim_end_matches([',', '.', ':']) {
        "" => first.to_owned(),
        words => words.to_owned(),
    }
}

fn span(location: Location) -> Span {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let bytes = location.span();
    Span {
        line: narrow(location.line()).max(1),
        column: narrow(location.column()).max(1),
        chars: narrow(bytes.len()),
        byte: bytes.byte_offset().map_or(0, |byte| usize::try_from(byte).unwrap_or(0)),
        bytes: bytes.byte_len().map_or(0, |len| usize::try_from(len).unwrap_or(0)),
    }
}

/// What the parser hands us, before numbers get their typed form back.
struct Raw(Spanned<RawKind>);

enum RawKind {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl Raw {
    fn into_node(self, text: &str) -> Node {
        let span = span(self.0.referenced);
        let kind = match self.0.value {
            RawKind::Null => Kind::Null,
            RawKind::Bool(value) => Kind::Bool(value),
            RawKind::Number => {
                let defined = self::span(self.0.defined);
                Kind::Number(text.get(defined.byte..defined.byte + defined.bytes).unwrap_or("").trim().to_owned())
            }
            RawKind::Text(value) => Kind::Text(value),
            RawKind::List(items) => Kind::List(items.into_iter().map(|item| item.into_node(text)).collect()),
            RawKind::Map(entries) => Kind::Map(
                entries.into_iter().map(|(key, value)| (key.into_node(text), value.into_node(text))).collect(),
            ),
        };
        Node { span, kind }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = RawKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RawKind, E> {
        Ok(RawKind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RawKind, E> {
        Ok(RawKind::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<RawKind, E> {
        Ok(RawKind::Number)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RawKind, E> {
        Ok(RawKind::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<RawKind, E> {
        Ok(RawKind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawKind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawKind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawKind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[(Node, Node)] {
        match &node.kind {
            Kind::Map(entries) => entries,
            _ => panic!("not a map"),
        }
    }

    #[test]
    fn every_node_knows_its_line_and_column() {
        let node = parse("a: 1\nb:\n  - { c: x, c: 007 }\n").unwrap();
        let [(a, one), (b, list)] = entries(&node) else { panic!("two keys") };
        assert_eq!((a.span.line, a.span.column, a.span.chars), (1, 1, 1));
        assert_eq!((one.span.line, one.span.column), (1, 4));
        assert_eq!(b.span.line, 2);
        let Kind::List(items) = &list.kind else { panic!("a list") };
        let [(first, _), (second, value)] = entries(&items[0]) else { panic!("two keys, both kept") };
        assert_eq!((first.span.line, first.span.column), (3, 7));
        assert_eq!((second.span.line, second.span.column), (3, 13));
        assert!(matches!(&value.kind, Kind::Number(text) if text == "007"));
    }

    #[test]
    fn norway_and_off_are_words() {
        let node = parse("{ a: NO, b: off, c: yes, d: 10.0.0.1:80, e: 2026-12-01 }").unwrap();
        assert!(entries(&node).iter().all(|(_, value)| matches!(value.kind, Kind::Text(_))));
    }

    #[test]
    fn broken_yaml_says_where() {
        let error = parse("a: [1, 2\nb: 3\n").err().unwrap();
        assert!(error.span.line >= 1 && !error.message.contains("at line"), "{}", error.message);
    }
}
