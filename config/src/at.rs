//! A typed value with the place it was typed at, or the fact that it could not be read.
use crate::place::{FileId, Place};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// A required value of the file tree. `Option<At<T>>` is an optional one, [`List`] and [`Keyed`] are
/// optional lists and mappings.
///
/// `get` is `None` when the value was missing or of the wrong kind: the decoder has reported that already, and
/// whoever checks goes on with what is left, so that all mistakes come at once.
#[derive(Clone)]
pub(crate) struct At<T> {
    pub place: Place,
    value: Option<T>,
}

/// Name by which the decoder recognises an [`At`].
pub(crate) const AT: &str = "$At";

impl<T> At<T> {
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub fn into_value(self) -> Option<T> {
        self.value
    }

    pub fn line(&self) -> u32 {
        self.place.line
    }
}

impl At<String> {
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

/// `[ value, ... ]`; empty when absent.
pub(crate) struct List<T> {
    /// Where the list stands, if it was typed at all.
    pub place: Option<Place>,
    pub items: Vec<At<T>>,
    /// False when something of it could not be read.
    pub whole: bool,
}

/// `{ NAME: value, ... }` in the order of the file; empty when absent.
pub(crate) struct Keyed<T> {
    pub place: Option<Place>,
    pub entries: Vec<(At<String>, At<T>)>,
    pub whole: bool,
}

impl<T> List<T> {
    /// The items that could be read.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &T)> {
        self.items.iter().filter_map(|item| Some((&item.place, item.get()?)))
    }
}

impl<T> List<T> {
    /// Puts another list behind this one.
    pub fn append(&mut self, other: Self) {
        self.place = self.place.take().or(other.place);
        self.items.extend(other.items);
        self.whole &= other.whole;
    }
}

impl<T> Keyed<T> {
    /// The entries that could be read: name, where it stands, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Place, &At<T>)> {
        self.entries.iter().filter_map(|(key, value)| Some((key.text()?, &key.place, value)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The decoder answers with file, line, column, length, path and the value, if it could be read.
        deserializer.deserialize_tuple_struct(AT, 6, AtVisitor(PhantomData))
    }
}

struct AtVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
    type Value = At<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<At<T>, A::Error> {
        let file = if seq.next_element::<bool>()?.unwrap_or(false) { FileId::Policy } else { FileId::Main };
        let line = seq.next_element()?.unwrap_or(1);
        let column = seq.next_element()?.unwrap_or(1);
        let chars = seq.next_element()?.unwrap_or(0);
        let path = seq.next_element::<Path>()?.map_or_else(|| "".into(), |path| path.0);
        Ok(At { place: Place { file, line, column, chars, path }, value: seq.next_element()? })
    }
}

struct Path(Arc<str>);

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PathVisitor)
    }
}

struct PathVisitor;

impl Visitor<'_> for PathVisitor {
    type Value = Path;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    fn visit_str<E>(self, path: &str) -> Result<Path, E> {
        Ok(Path(path.into()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(list) = Option::<At<Vec<At<T>>>>::deserialize(deserializer)? else {
            return Ok(Self { place: None, items: Vec::new(), whole: true });
        };
        let whole = list.get().is_some_and(|items| items.iter().all(|item| item.get().is_some()));
        Ok(Self { place: Some(list.place), items: list.value.unwrap_or_default(), whole })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(map) = Option::<At<Entries<T>>>::deserialize(deserializer)? else {
            return Ok(Self { place: None, entries: Vec::new(), whole: true });
        };
        let whole = map.get().is_some_and(|map| map.0.iter().all(|(key, _)| key.get().is_some()));
        let entries = map.value.map(|map| map.0).unwrap_or_default();
        Ok(Self { place: Some(map.place), entries, whole })
    }
}

struct Entries<T>(Vec<(At<String>, At<T>)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// A key whose value nobody looks at: it is refused before.
pub(crate) struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(serde::de::IgnoredAny).map(|_| Self)
    }
}
