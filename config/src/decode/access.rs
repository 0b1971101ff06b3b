//! How serde is led through lists, mappings and enums, and where it recovers from a mistake.
use super::{DecodeError, Decoder, Spot, keys};
use crate::place::FileId;
use crate::yaml::{Kind, Node};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::rc::Rc;

pub(super) struct ListAccess<'a> {
    pub items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    pub list: Decoder<'a>,
}

impl<'de> SeqAccess<'de> for ListAccess<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        match self.items.next() {
            Some((index, node)) => {
                seed.deserialize(self.list.child(node, format!("{}[{index}]", self.list.path).into())).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The entries of a mapping, then its absent keys, so that their types say whether they are needed.
pub(super) struct Entries<'a> {
    pub entries: std::vec::IntoIter<(&'a Node, &'a Node)>,
    pub absent: std::slice::Iter<'static, &'static str>,
    pub excused: Vec<&'static str>,
    pub value: Option<Decoder<'a>>,
    pub map: Decoder<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        if let Some((key, value)) = self.entries.next() {
            let path = Rc::<str>::from(super::join(&self.map.path, keys::key_text(key)));
            self.value = Some(self.map.child(value, path.clone()));
            return seed.deserialize(self.map.child(key, path)).map(Some);
        }
        let Spot::Node(Node { span: parent, kind: Kind::Map(given) }) = self.map.spot else {
            return Ok(None);
        };
        let Some(key) = self.absent.find(|field| !given.iter().any(|(key, _)| keys::key_text(key) == **field)) else {
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
pub(super) struct AtAccess<'a> {
    pub step: u8,
    pub of: Decoder<'a>,
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
            5 => seed.deserialize((*self.of.path).into_deserializer()).map(Some),
            6 => {
                let value = Decoder { spot: self.of.spot, path: self.of.path.clone(), cx: self.of.cx };
                match seed.deserialize(value) {
                    Ok(value) => Ok(Some(value)),
                    Err(DecodeError(mistake)) => {
                        if !matches!(self.of.spot, Spot::Absent { excused: true, .. }) {
                            self.of.cx.report(&self.of.cx.place(span, &self.of.path), mistake);
                        }
                        Ok(None)
                    }
                }
            }
            _ => Ok(None),
        }
    }
}

pub(super) struct Variant<'a> {
    pub name: &'static str,
    pub of: Decoder<'a>,
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
