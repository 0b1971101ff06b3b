//! Events of the parser -> the tree: aliases repeated, merge keys merged, and never larger or deeper than a configuration is.
use super::{Kind, Node, SyntaxError, scalar};
use crate::place::Span;
use granit_parser::{Event, Marker, ScalarStyle, Tag};
use std::collections::HashMap;
use std::rc::Rc;

/// Room for tens of thousands of routes and rows, not for alias bombs.
const MAX_WEIGHT: usize = 5_000_000;
/// Whoever walks through the tree goes down one call for each.
const MAX_DEPTH: usize = 64;

#[derive(Default)]
pub(super) struct Builder {
    /// The collections that have begun and not ended, outermost first.
    open: Vec<Collection>,
    root: Option<Node>,
    /// What aliases may name. What is still open is not here.
    anchors: HashMap<usize, (Rc<Node>, Size)>,
    /// Of everything so far, aliases as often as they are used.
    weight: usize,
}

#[derive(Clone, Copy)]
struct Size {
    /// Values, a long text for as many as it has room for.
    weight: usize,
    /// Collections inside of each other.
    depth: usize,
}

struct Collection {
    span: Span,
    anchor: usize,
    weight_before: usize,
    /// Of what it holds.
    depth: usize,
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
                let size = Size { weight: 1 + text.len() / 64, depth: 0 };
                self.weigh(size, span)?;
                let kind = if plain { scalar::resolve(&text) } else { Kind::Text(text.into_owned()) };
                self.node(Node { span, kind }, anchor, size)
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
                let Some((named, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(
                        "an alias inside of what it names",
                        "name something that has ended before",
                        span,
                    ));
                };
                // Before it is copied.
                self.weigh(size, span)?;
                let mut node = (*named).clone();
                node.stand_at(span);
                self.node(node, 0, size)
            }
            _ => Ok(()),
        }
    }

    /// The tree; of an empty text a node without a value.
    pub fn finish(self) -> Node {
        self.root.unwrap_or(Node { span: Span::START, kind: Kind::Null })
    }

    /// Whether there is room for one more of this size here.
    fn weigh(&mut self, size: Size, span: Span) -> Result<(), SyntaxError> {
        self.weight = self.weight.saturating_add(size.weight);
        if self.weight > MAX_WEIGHT {
            return Err(error("more than five million values", "is an alias repeated inside of aliases?", span));
        }
        if self.open.len() + size.depth > MAX_DEPTH {
            return Err(error("more than 64 lists and mappings inside of each other", "no key needs that many", span));
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), SyntaxError> {
        let weight_before = self.weight;
        self.weigh(Size { weight: 1, depth: 1 }, span)?;
        self.open.push(Collection { span, anchor, weight_before, depth: 0, content });
        Ok(())
    }

    fn end(&mut self, collection: Collection) -> Result<(), SyntaxError> {
        let Collection { span, anchor, weight_before, depth, content } = collection;
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
        self.node(Node { span, kind }, anchor, Size { weight: self.weight - weight_before, depth: depth + 1 })
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
    fn node(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.weigh(size, node.span)?;
            self.anchors.insert(anchor, (Rc::new(node.clone()), size));
        }
        let Some(collection) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        collection.depth = collection.depth.max(size.depth);
        match &mut collection.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, key, merged } => match key.take() {
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
