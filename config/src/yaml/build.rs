//! Events of the parser -> the tree: aliases repeated, merge keys merged, and never more nodes than a configuration has.
use super::{Kind, Node, SyntaxError, scalar};
use crate::place::Span;
use granit_parser::{Event, Marker, ScalarStyle, Tag};
use std::collections::HashMap;

/// Room for tens of thousands of routes and rows, not for alias bombs.
const MAX_NODES: usize = 5_000_000;

#[derive(Default)]
pub(super) struct Builder {
    /// The collections that have begun and not ended, outermost first.
    open: Vec<Collection>,
    root: Option<Node>,
    /// What aliases may name, with the number of its nodes. One that is still open is not here.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

struct Collection {
    span: Span,
    anchor: usize,
    /// How many nodes there were before it.
    nodes_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<(Node, Node)>,
        /// Whose value is next.
        key: Option<Key>,
        /// What merge keys brought.
        merged: Vec<(Node, Node)>,
    },
}

enum Key {
    Named(Node),
    /// An unquoted `<<`.
    Merge,
}

impl Builder {
    pub fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(error(
                "a second document begins here",
                "one file is one document: put everything into it, and remove `---`",
                span,
            )),
            Event::Scalar(text, style, anchor, tag) => {
                allowed(tag.as_deref(), "str", span)?;
                let plain = style == ScalarStyle::Plain && tag.is_none();
                if plain && text == "<<" && self.begins_merge() {
                    return Ok(());
                }
                let kind = if plain { scalar::resolve(&text) } else { Kind::Text(text.into_owned()) };
                self.count(1, span)?;
                self.node(Node { span, kind }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                allowed(tag.as_deref(), "seq", span)?;
                self.begin(span, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                allowed(tag.as_deref(), "map", span)?;
                self.begin(span, anchor, Content::Map { entries: Vec::new(), key: None, merged: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(collection) => self.end(collection),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor) else {
                    return Err(error(
                        "an alias inside of what it names",
                        "name something that has ended before",
                        span,
                    ));
                };
                let (nodes, mut node) = (*nodes, node.clone());
                node.stand_at(span);
                self.count(nodes, span)?;
                self.node(node, 0, nodes)
            }
            _ => Ok(()),
        }
    }

    /// The tree; of an empty text a node without a value.
    pub fn finish(self) -> Node {
        self.root.unwrap_or(Node { span: Span::START, kind: Kind::Null })
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(error("more than five million values", "is an alias repeated inside of aliases?", span));
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), SyntaxError> {
        let nodes_before = self.nodes;
        self.open.push(Collection { span, anchor, nodes_before, content });
        self.count(1, span)
    }

    fn end(&mut self, Collection { span, anchor, nodes_before, content }: Collection) -> Result<(), SyntaxError> {
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map { mut entries, merged, .. } => {
                // What the mapping says itself goes before what is merged, and what is merged first before the rest.
                for (key, value) in merged {
                    if !entries.iter().any(|(known, _)| same_key(known, &key)) {
                        entries.push((key, value));
                    }
                }
                Kind::Map(entries)
            }
        };
        self.node(Node { span, kind }, anchor, self.nodes - nodes_before)
    }

    /// Whether `<<` stands where a key is due, and so begins a merge.
    fn begins_merge(&mut self) -> bool {
        match self.open.last_mut().map(|collection| &mut collection.content) {
            Some(Content::Map { key: key @ None, .. }) => {
                *key = Some(Key::Merge);
                true
            }
            _ => false,
        }
    }

    /// A node is complete: it belongs to the innermost collection.
    fn node(&mut self, node: Node, anchor: usize, nodes: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), nodes));
            self.count(nodes, node.span)?;
        }
        match self.open.last_mut().map(|collection| &mut collection.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, merged }) => match key.take() {
                None => *key = Some(Key::Named(node)),
                Some(Key::Named(key)) => entries.push((key, node)),
                Some(Key::Merge) => merge(node, merged)?,
            },
        }
        Ok(())
    }
}

/// <https://yaml.org/type/merge.html>: a mapping, or a list of them.
fn merge(node: Node, merged: &mut Vec<(Node, Node)>) -> Result<(), SyntaxError> {
    match node.kind {
        Kind::Map(entries) => merged.extend(entries),
        Kind::List(items) if items.iter().all(|item| matches!(item.kind, Kind::Map(_))) => {
            for item in items {
                merge(item, merged)?;
            }
        }
        _ => return Err(error("`<<` takes a mapping or a list of mappings", "write `<<: *name`", node.span)),
    }
    Ok(())
}

fn same_key(one: &Node, other: &Node) -> bool {
    match (&one.kind, &other.kind) {
        (Kind::Text(one) | Kind::Number(one), Kind::Text(other) | Kind::Number(other)) => one == other,
        (Kind::Bool(one), Kind::Bool(other)) => one == other,
        _ => false,
    }
}

/// Tags ask for types that a configuration does not have (`!env`, `!include`, `!vault`): to read past one would be to
/// take its text for a value.
fn allowed(tag: Option<&Tag>, implied: &str, span: Span) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(implied) => Err(error(
            &format!("the tag `{}` means nothing here", tag.original()),
            "remove it: values are written as they are, secrets in files that `…_file` names",
            span,
        )),
        _ => Ok(()),
    }
}

fn error(message: &str, hint: &'static str, span: Span) -> SyntaxError {
    SyntaxError { message: message.to_owned(), hint, span }
}

pub(super) fn span(span: &granit_parser::Span) -> Span {
    let bytes = span.byte_range().map_or(0, |range| range.len());
    Span { chars: narrow(span.len()), bytes, ..position(&span.start) }
}

pub(super) fn position(marker: &Marker) -> Span {
    let (line, column) = (narrow(marker.line()).max(1), narrow(marker.col()).saturating_add(1));
    Span { line, column, chars: 0, byte: marker.byte_offset().unwrap_or(0), bytes: 0 }
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
