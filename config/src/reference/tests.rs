//! The reference is complete, and true.
use super::*;
use crate::at::AT;
use crate::check::{default, store, telemetry};
use crate::file::Torhaus;
use crate::file::policy::Policy;
use crate::units;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn docs_config_md_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    if std::env::var_os("TORHAUS_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == reference(), "docs/config.md is stale: run `TORHAUS_WRITE_DOCS=1 cargo test -p torhaus-config`");
}

#[test]
fn every_key_of_the_files_stands_in_the_reference() {
    for file in [FileId::Main, FileId::Policy] {
        let keys = keys_of_mirror(file);
        let missing: Vec<_> = keys.iter().filter(|path| find(file, path).is_none()).collect();
        assert!(missing.is_empty(), "not in config/src/reference: {missing:#?}");
    }
}

#[test]
fn every_key_of_the_reference_exists() {
    for file in [FileId::Main, FileId::Policy] {
        let keys = keys_of_mirror(file);
        let listed = sections(file).iter().flat_map(|section| section.keys);
        let gone: Vec<_> = listed
            .map(|key| key.path.replace("CONDITION.", "table[].require[]."))
            // Names are no keys of ours.
            .filter(|path| !path.ends_with('*') && !keys.contains(path))
            .collect();
        assert!(gone.is_empty(), "not in config/src/file: {gone:#?}");
    }
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_code() {
    let of = |path: &str| find(FileId::Main, path).unwrap().default.trim_matches('`');
    for (path, duration) in [
        ("hsts", default::HSTS),
        ("sessions.idle", default::SESSION_IDLE),
        ("sessions.absolute", default::SESSION_ABSOLUTE),
        ("limits.handshake_timeout", default::HANDSHAKE_TIMEOUT),
        ("limits.header_timeout", default::HEADER_TIMEOUT),
        ("limits.idle_timeout", default::IDLE_TIMEOUT),
        ("limits.drain", default::DRAIN),
        ("lookups.posture.max_age", default::POSTURE_MAX_AGE),
        ("routes[].connect_timeout", default::CONNECT_TIMEOUT),
        ("routes[].response_timeout", default::RESPONSE_TIMEOUT),
    ] {
        assert_eq!(units::duration(of(path)), Ok(duration), "{path}");
    }
    assert_eq!(units::size(of("limits.max_header_bytes")), Ok(default::MAX_HEADER_BYTES));
    assert_eq!(of("limits.max_connections"), default::MAX_CONNECTIONS.to_string());
    for (path, number) in [
        ("limits.max_connections_per_address", default::MAX_CONNECTIONS_PER_ADDRESS),
        ("limits.max_handshakes", default::MAX_HANDSHAKES),
        ("limits.logins_per_minute", default::LOGINS_PER_MINUTE),
        ("limits.reports_per_minute", default::REPORTS_PER_MINUTE),
    ] {
        assert_eq!(of(path), number.to_string(), "{path}");
    }
    assert_eq!(units::size(of("limits.max_body")), Ok(default::MAX_BODY));
    assert_eq!(units::size(of("limits.min_body_rate")), Ok(default::MIN_BODY_RATE));
    assert_eq!(of("limits.max_headers"), default::MAX_HEADERS.to_string());
    assert_eq!(units::share(of("telemetry.traces.sample")), Ok(telemetry::default::SAMPLE));
    assert_eq!(of("telemetry.traces.service_name"), telemetry::default::SERVICE_NAME);
    assert_eq!(of("store.postgres.connections"), store::default::CONNECTIONS.to_string());
    assert_eq!(units::duration(of("store.postgres.live_without")), Ok(store::default::LIVE_WITHOUT));
    assert_eq!(of("state_dir"), default::STATE_DIR);
    assert_eq!(of("policy_file"), default::POLICY_FILE);
    assert_eq!(of("branding.organisation"), default::ORGANISATION);
}

#[test]
fn every_limit_says_why() {
    let keys = torhaus::SECTIONS.iter().flat_map(|section| section.keys);
    let limits = keys.filter(|key| key.path.starts_with("limits.") || key.path.ends_with("_timeout"));
    assert!(limits.into_iter().all(|key| key.reason.is_some()));
}

/// Paths of all keys that the mirror of a file knows, found by letting serde read a file that has every one of them.
fn keys_of_mirror(file: FileId) -> BTreeSet<String> {
    let found = RefCell::new(BTreeSet::new());
    let walker = Walker { path: String::new(), found: &found, inside: Vec::new() };
    match file {
        FileId::Main => drop(Torhaus::deserialize(walker).map_err(drop)),
        FileId::Policy => drop(Policy::deserialize(walker).map_err(drop)),
    }
    found.into_inner()
}

#[derive(Clone)]
struct Walker<'a> {
    path: String,
    found: &'a RefCell<BTreeSet<String>>,
    /// Structs we are in: a condition inside of a condition ends the walk.
    inside: Vec<&'static str>,
}

impl Walker<'_> {
    fn below(&self, part: &str) -> Self {
        Self { path: format!("{}{part}", self.path), ..self.clone() }
    }
}

type Stop = de::value::Error;

impl<'de> Deserializer<'de> for Walker<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str("text")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_bool(true)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_u64(1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_seq(One(Some(self.below("[]"))))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_map(Fields { names: ["*"].iter(), last: "", of: self })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        assert_eq!(name, AT);
        visitor.visit_seq(Parts { step: 0, of: self })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if self.inside.contains(&name) {
            return Err(de::Error::custom("seen"));
        }
        self.inside.push(name);
        visitor.visit_map(Fields { names: fields.iter(), last: "", of: self })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        // Of the forms a value may have, the one with keys.
        let name = variants.iter().find(|name| **name == "$map").or(variants.first());
        visitor.visit_enum(Form { name: name.unwrap(), of: self })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        tuple identifier
    }
}

struct One<'a>(Option<Walker<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.0.take().map(|walker| seed.deserialize(walker)).transpose()
    }
}

struct Fields<'a> {
    names: std::slice::Iter<'static, &'static str>,
    last: &'static str,
    of: Walker<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.last = name;
        if *name == "*" {
            return seed.deserialize(self.of.clone()).map(Some);
        }
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let dot = if self.of.path.is_empty() { "" } else { "." };
        let walker = self.of.below(&format!("{dot}{}", self.last));
        if self.last != "*" {
            walker.found.borrow_mut().insert(walker.path.clone());
        }
        seed.deserialize(walker)
    }
}

/// The parts of an `At`; as the decoder, it goes on when its value cannot be read.
struct Parts<'a> {
    step: u8,
    of: Walker<'a>,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.step += 1;
        match self.step {
            1 => seed.deserialize(false.into_deserializer()).map(Some),
            2..=4 => seed.deserialize(1u32.into_deserializer()).map(Some),
            5 => seed.deserialize("".into_deserializer()).map(Some),
            _ => Ok(seed.deserialize(self.of.clone()).ok()),
        }
    }
}

struct Form<'a> {
    name: &'static str,
    of: Walker<'a>,
}

impl<'de> EnumAccess<'de> for Form<'_> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Stop> {
        Ok((seed.deserialize(StrDeserializer::<Stop>::new(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Form<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self.of)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Stop> {
        Err(de::Error::custom("no such variant"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _visitor: V) -> Result<V::Value, Stop> {
        Err(de::Error::custom("no such variant"))
    }
}
