//! YAML tree -> the typed mirror of a file, reporting every mistake and not only the first.
//!
//! serde stops at the first error. So each [`crate::at::At`] is a place where we recover: what goes wrong inside is
//! reported, the value is left out, and reading goes on behind it. Unknown keys, keys given twice and missing keys are
//! reported here; what values mean is the business of `check`.
mod access;
mod keys;

use crate::at::AT;
use crate::findings::Findings;
use crate::place::{FileId, Place, Span};
use crate::reference;
use crate::suggest;
use crate::units::Mistake;
use crate::yaml::{Kind, Node};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// Reads `T` (an `At<…>`) from the tree of one file.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, file: FileId, findings: &mut Findings) -> Option<T> {
    let cx = Context { file, findings: RefCell::new(findings) };
    let root = Decoder { spot: Spot::Node(node), path: "".into(), cx: &cx };
    match T::deserialize(root) {
        Ok(value) => Some(value),
        Err(error) => {
            cx.report(&Place::file(file), error.0);
            None
        }
    }
}

struct Context<'a> {
    file: FileId,
    findings: RefCell<&'a mut Findings>,
}

impl Context<'_> {
    fn report(&self, place: &Place, mistake: Mistake) {
        self.findings.borrow_mut().error(place, mistake);
    }

    fn place(&self, span: Span, path: &str) -> Place {
        Place::new(self.file, span, path)
    }
}

#[derive(Clone, Copy)]
enum Spot<'a> {
    Node(&'a Node),
    /// A key that the mapping starting here does not have.
    /// `excused`: a misspelled key was meant to be it, which is reported; its value counts as unreadable.
    Absent {
        parent: Span,
        key: &'static str,
        excused: bool,
    },
}

struct Decoder<'a> {
    spot: Spot<'a>,
    path: Rc<str>,
    cx: &'a Context<'a>,
}

impl<'a> Decoder<'a> {
    fn node(&self) -> Result<&'a Node, DecodeError> {
        match self.spot {
            Spot::Node(node) => Ok(node),
            Spot::Absent { key, .. } => Err(self.missing(key)),
        }
    }

    fn missing(&self, key: &str) -> DecodeError {
        let hint = reference::meaning(self.cx.file, &join(&self.path, key));
        DecodeError(Mistake { hint, ..Mistake::new(format!("`{key}` is missing")) })
    }

    fn expected(&self, what: &str) -> DecodeError {
        match self.spot {
            Spot::Absent { key, .. } => self.missing(key),
            Spot::Node(_) if self.path.is_empty() && matches!(self.node(), Ok(Node { kind: Kind::Null, .. })) => {
                DecodeError(
                    Mistake::new("the file is empty").hint("begin with `version: 1`; docs/config.md has an example"),
                )
            }
            Spot::Node(node) => match &node.kind {
                Kind::Null => DecodeError(
                    Mistake::new(format!("{} has no value", name_of(&self.path)))
                        .hint("give it a value, or remove the line"),
                ),
                found => {
                    let mistake = Mistake::new(format!("expected {what}, found {}", found.describe()));
                    DecodeError(match (what, found) {
                        (A_LIST, Kind::Text(_) | Kind::Number(_) | Kind::Bool(_) | Kind::Map(_)) => {
                            mistake.hint("put it in brackets: `[ … ]`")
                        }
                        (SOME_TEXT, Kind::List(_)) => mistake.hint("write one value, without brackets"),
                        (YES_OR_NO, _) => mistake.hint("write `true` or `false`, without quotes"),
                        (A_NUMBER, _) => mistake.hint("write digits only, without quotes: `100`"),
                        (A_MAPPING, Kind::List(_)) => mistake.hint("write `{ key: value }`, without brackets or `-`"),
                        (SOME_TEXT, Kind::Bool(_)) => mistake.hint("put it in quotes if it is a name"),
                        (A_MAPPING, Kind::Text(text)) if text.contains(':') => {
                            mistake.hint("a space belongs behind the colon: `key: value`")
                        }
                        (A_MAPPING, _) => mistake.hint("write `{ key: value }`"),
                        _ => mistake,
                    })
                }
            },
        }
    }

    fn child(&self, node: &'a Node, path: Rc<str>) -> Self {
        Self { spot: Spot::Node(node), path, cx: self.cx }
    }
}

const A_LIST: &str = "a list";
const YES_OR_NO: &str = "`true` or `false`";
const A_MAPPING: &str = "keys with values";
const A_NUMBER: &str = "a whole number";
const SOME_TEXT: &str = "a text";

/// The last part of a path in backticks, for messages.
fn name_of(path: &str) -> String {
    format!("`{}`", path.rsplit('.').next().unwrap_or(path))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { [path, ".", key].concat() }
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let node = self.node()?;
        match &node.kind {
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Null => visitor.visit_unit(),
            Kind::Text(text) | Kind::Number(text) => visitor.visit_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node()?.kind {
            Kind::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.expected(YES_OR_NO)),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let number = match &self.node()?.kind {
            Kind::Number(text) => text.parse().ok(),
            _ => None,
        };
        visitor.visit_u64(number.ok_or_else(|| self.expected(A_NUMBER))?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node()?.kind {
            Kind::Text(text) if text.trim().is_empty() => Err(DecodeError(
                Mistake::new(format!("{} is empty", name_of(&self.path))).hint("give it a value, or remove the line"),
            )),
            Kind::Text(text) | Kind::Number(text) => visitor.visit_str(text),
            _ => Err(self.expected(SOME_TEXT)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.spot {
            Spot::Absent { excused: false, .. } => visitor.visit_none(),
            Spot::Absent { excused: true, .. } | Spot::Node(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.spot {
            Spot::Node(Node { kind: Kind::List(items), .. }) => {
                visitor.visit_seq(access::ListAccess { items: items.iter().enumerate(), list: self })
            }
            Spot::Node(_) | Spot::Absent { .. } => Err(self.expected(A_LIST)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = match self.spot {
            Spot::Node(Node { kind: Kind::Map(entries), .. }) => keys::once_each(entries, &self.path, self.cx),
            Spot::Node(_) | Spot::Absent { .. } => return Err(self.expected(A_MAPPING)),
        };
        visitor.visit_map(access::Entries {
            entries: entries.into_iter(),
            absent: [].iter(),
            excused: Vec::new(),
            value: None,
            map: self,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Kind::Map(entries) = &self.node()?.kind else {
            return Err(self.expected(A_MAPPING));
        };
        let mut entries = keys::once_each(entries, &self.path, self.cx);
        let mut excused = Vec::new();
        entries.retain(|(key, _)| self.is_known(key, fields, &mut excused));
        visitor.visit_map(access::Entries {
            entries: entries.into_iter(),
            absent: fields.iter(),
            excused,
            value: None,
            map: self,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        debug_assert_eq!(name, AT, "the file tree has no other tuple structs");
        visitor.visit_seq(access::AtAccess { step: 0, of: self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let shape = match &self.node()?.kind {
            Kind::Map(_) => "$map",
            Kind::List(_) => "$list",
            _ => "$text",
        };
        if variants.contains(&shape) {
            return visitor.visit_enum(access::Variant { name: shape, of: self });
        }
        let text = match &self.node()?.kind {
            Kind::Text(text) | Kind::Number(text) => text,
            _ => return Err(self.expected(SOME_TEXT)),
        };
        match variants.iter().find(|variant| *variant == text) {
            Some(name) => visitor.visit_enum(access::Variant { name, of: self }),
            None => {
                let mistake = Mistake::new(format!("`{text}` is not a value of {}", name_of(&self.path)));
                Err(DecodeError(Mistake { hint: suggest::hint(text, variants.iter().copied()), ..mistake }))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct tuple identifier
    }
}

struct DecodeError(Mistake);

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Mistake::new(message.to_string()))
    }
}
