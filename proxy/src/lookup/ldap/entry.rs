//! One entry of a search result, decoded without trust: what is not as RFC 4511 says is an error and never a panic.
use crate::lookup::directory::Failure;
use ldap3::ResultEntry;

/// Values of one entry, and of one attribute with ranges: far above what a directory holds of one person.
pub(super) const MAX_VALUES: usize = 20_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// The rest of a list of values that came in part (MS-ADTS 3.1.1.3.1.3.3): `member;range=0-1499`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub attribute: String,
    pub next: usize,
}

impl Entry {
    pub fn read(entry: ResultEntry) -> Result<Self, Failure> {
        Self::parse(entry).ok_or_else(|| Failure::Garbage("an entry is not as LDAP says".to_owned()))
    }

    fn parse(entry: ResultEntry) -> Option<Self> {
        let mut parts = entry.0.match_id(4)?.expect_constructed()?.into_iter();
        let dn = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
        let mut attributes = Vec::new();
        let mut count = 0;
        for attribute in parts.next()?.expect_constructed()? {
            let mut parts = attribute.expect_constructed()?.into_iter();
            let name = String::from_utf8(parts.next()?.expect_primitive()?).ok()?;
            let values = parts.next()?.expect_constructed()?;
            count += values.len();
            if count > MAX_VALUES {
                return None;
            }
            attributes.push((name, values.into_iter().map(|v| v.expect_primitive()).collect::<Option<_>>()?));
        }
        Some(Self { dn, attributes })
    }

    /// Names of attributes have no case (RFC 4512 s2.5).
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        let found = self.attributes.iter().find(|(own, values)| own.eq_ignore_ascii_case(name) && !values.is_empty());
        found.map_or(&[], |(_, values)| values)
    }

    /// The first value, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values(name).first().and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    pub fn bytes(&self) -> usize {
        let attributes =
            self.attributes.iter().map(|(name, values)| name.len() + values.iter().map(Vec::len).sum::<usize>());
        self.dn.len() + attributes.sum::<usize>()
    }

    /// Puts the part of a list of values where the whole would be, and says what is missing.
    pub fn take_range(&mut self) -> Option<Range> {
        let (index, attribute, last) = self.attributes.iter().enumerate().find_map(|(index, (name, _))| {
            let (attribute, range) = name.split_once(";range=")?;
            let (_, last) = range.split_once('-')?;
            Some((index, attribute.to_owned(), last.to_owned()))
        })?;
        let (_, values) = self.attributes.swap_remove(index);
        match self.attributes.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(&attribute)) {
            Some((_, own)) => own.extend(values),
            None => self.attributes.push((attribute.clone(), values)),
        }
        // `*`: that was the end.
        let next = last.parse::<usize>().ok()?.checked_add(1)?;
        Some(Range { attribute, next })
    }

    /// Adds the values that came later.
    pub fn extend(&mut self, other: Self) {
        for (name, values) in other.attributes {
            match self.attributes.iter_mut().find(|(own, _)| own.eq_ignore_ascii_case(&name)) {
                Some((_, own)) => own.extend(values),
                None => self.attributes.push((name, values)),
            }
        }
    }

    #[cfg(test)]
    pub fn of(dn: &str, attributes: &[(&str, &[&str])]) -> Self {
        let bytes = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let attributes = attributes.iter().map(|(name, values)| ((*name).to_owned(), bytes(values))).collect();
        Self { dn: dn.to_owned(), attributes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_parts_becomes_one_list() {
        let mut entry = Entry::of("cn=a", &[("memberOf", &[]), ("memberOf;range=0-1", &["x", "y"])]);
        assert_eq!(entry.take_range(), Some(Range { attribute: "memberOf".into(), next: 2 }));
        let mut rest = Entry::of("cn=a", &[("memberOf;range=2-*", &["z"])]);
        assert_eq!(rest.take_range(), None, "that was the end");
        entry.extend(rest);
        assert_eq!(entry.values("MEMBEROF"), [b"x".to_vec(), b"y".to_vec(), b"z".to_vec()]);
    }
}
