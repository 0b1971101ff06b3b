//! YAML tree -> the typed mirror of a file, reporting every mistake and not only the first.
//!
//! serde stops at the first error. So each [`crate::at::At`] is a place where we recover: what goes wrong inside is
//! reported, the value is left out, and reading goes on behind it. Unknown keys, keys given twice, missing keys and
//! what is not built yet are reported here; what values mean is the business of `check`.
use crate::at::AT;
use crate::file::unbuilt;
use crate::findings::Findings;
use crate::mask;
use crate::place::{FileId, Place, Span};
use crate::reference;
use crate::suggest;
use crate::units::Mistake;
use crate::yaml::{Kind, Node};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

/// Reads `T` (an `At<…>`) from the tree of one file.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, file: FileId, findings: &mut Findings) -> Option<T> {
    let cx = Context { file, findings: RefCell::new(findings) };
    let root = Decoder { spot: Spot::Node(node), path: String::new(), cx: &cx };
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
    path: String,
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

    fn child(&self, node: &'a Node, path: String) -> Self {
        Self { spot: Spot::Node(node), path, cx: self.cx }
    }
}

const A_LIST: &str = "a list";
const A_MAPPING: &str = "keys with values";
const A_NUMBER: &str = "a whole number";
const SOME_TEXT: &str = "a text";

/// The last part of a path in backticks, for messages.
fn name_of(path: &str) -> String {
    format!("`{}`", path.rsplit('.').next().unwrap_or(path))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key as it was typed, whatever its kind.
fn key_text(key: &Node) -> &str {
    match &key.kind {
        Kind::Text(text) | Kind::Number(text) => text,
        Kind::Bool(true) => "true",
        Kind::Bool(false) => "false",
        Kind::Null | Kind::List(_) | Kind::Map(_) => "",
    }
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
            _ => Err(self.expected("`true` or `false`")),
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
                visitor.visit_seq(ListAccess { items: items.iter().enumerate(), list: self })
            }
            Spot::Node(_) | Spot::Absent { .. } => Err(self.expected(A_LIST)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = match self.spot {
            Spot::Node(Node { kind: Kind::Map(entries), .. }) => once_each(entries, &self.path, self.cx),
            Spot::Node(_) | Spot::Absent { .. } => return Err(self.expected(A_MAPPING)),
        };
        visitor.visit_map(Entries {
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
        let mut entries = once_each(entries, &self.path, self.cx);
        let mut excused = Vec::new();
        entries.retain(|(key, _)| self.is_usable(key, fields, &mut excused));
        visitor.visit_map(Entries {
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
        visitor.visit_seq(AtAccess { step: 0, of: self })
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
            return visitor.visit_enum(Variant { name: shape, of: self });
        }
        let text = match &self.node()?.kind {
            Kind::Text(text) | Kind::Number(text) => text,
            _ => return Err(self.expected(SOME_TEXT)),
        };
        match variants.iter().find(|variant| *variant == text) {
            Some(name) => visitor.visit_enum(Variant { name, of: self }),
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

impl Decoder<'_> {
    /// Known, and built; otherwise reported. What an unknown key was meant to be is `excused` from being missing.
    fn is_usable(&self, key: &Node, fields: &'static [&'static str], excused: &mut Vec<&'static str>) -> bool {
        let name = key_text(key);
        let path = join(&self.path, name);
        if !fields.contains(&name) {
            let meant = meant_by(name, fields);
            excused.extend(meant);
            self.cx.report(&self.cx.place(key.span, &self.path), unknown_key(name, meant, fields));
            return false;
        }
        match unbuilt::refuse(self.cx.file, &path) {
            Some(mistake) => {
                self.cx.report(&self.cx.place(key.span, &path), mistake);
                false
            }
            None => true,
        }
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

/// The entries of a mapping, the second and later ones of the same key reported and left out.
fn once_each<'a>(entries: &'a [(Node, Node)], path: &str, cx: &Context<'_>) -> Vec<(&'a Node, &'a Node)> {
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

struct ListAccess<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    list: Decoder<'a>,
}

impl<'de> SeqAccess<'de> for ListAccess<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        match self.items.next() {
            Some((index, node)) => {
                seed.deserialize(self.list.child(node, format!("{}[{index}]", self.list.path))).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The entries of a mapping, then its absent keys, so that their types say whether they are needed.
struct Entries<'a> {
    entries: std::vec::IntoIter<(&'a Node, &'a Node)>,
    absent: std::slice::Iter<'static, &'static str>,
    excused: Vec<&'static str>,
    value: Option<Decoder<'a>>,
    map: Decoder<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        if let Some((key, value)) = self.entries.next() {
            let path = join(&self.map.path, key_text(key));
            self.value = Some(self.map.child(value, path.clone()));
            return seed.deserialize(self.map.child(key, path)).map(Some);
        }
        let Spot::Node(Node { span: parent, kind: Kind::Map(given) }) = self.map.spot else {
            return Ok(None);
        };
        let Some(key) = self.absent.find(|field| !given.iter().any(|(key, _)| key_text(key) == **field)) else {
            return Ok(None);
        };
        let spot = Spot::Absent { parent: *parent, key, excused: self.excused.contains(key) };
        self.value = Some(Decoder { spot, path: self.map.path.clone(), cx: self.map.cx });
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let value = self.value.take().ok_or_else(|| de::Error::custom("a value before its key"))?;
        seed.deserialize(value)
    }
}

/// The parts of an [`crate::at::At`], the value last: if it cannot be read that is reported, and there is none.
struct AtAccess<'a> {
    step: u8,
    of: Decoder<'a>,
}

impl<'de> SeqAccess<'de> for AtAccess<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let span = match self.of.spot {
            Spot::Node(node) => node.span,
            Spot::Absent { parent, .. } => parent,
        };
        self.step += 1;
        match self.step {
            1 => seed.deserialize((self.of.cx.file == FileId::Policy).into_deserializer()).map(Some),
            2 => seed.deserialize(span.line.into_deserializer()).map(Some),
            3 => seed.deserialize(span.column.into_deserializer()).map(Some),
            4 => seed.deserialize(span.chars.into_deserializer()).map(Some),
            5 => seed.deserialize(self.of.path.as_str().into_deserializer()).map(Some),
            6 => {
                let place = self.of.cx.place(span, &self.of.path);
                let value = Decoder { spot: self.of.spot, path: self.of.path.clone(), cx: self.of.cx };
                match seed.deserialize(value) {
                    Ok(value) => Ok(Some(value)),
                    Err(DecodeError(mistake)) => {
                        if !matches!(self.of.spot, Spot::Absent { excused: true, .. }) {
                            self.of.cx.report(&place, mistake);
                        }
                        Ok(None)
                    }
                }
            }
            _ => Ok(None),
        }
    }
}

struct Variant<'a> {
    name: &'static str,
    of: Decoder<'a>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let name = seed.deserialize(StrDeserializer::<DecodeError>::new(self.name))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.of)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.of.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.of.deserialize_struct("", fields, visitor)
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
