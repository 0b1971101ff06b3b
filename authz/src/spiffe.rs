//! SPIFFE IDs: `spiffe://trust-domain/path` (SPIFFE-ID section 2).
use std::fmt;
use std::sync::Arc;

/// A valid SPIFFE ID. The only constructor is [`SpiffeId::parse`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// Longest SPIFFE ID an implementation must support (SPIFFE-ID section 2.3).
const MAX_BYTES: usize = 2048;
/// Longest trust domain name (SPIFFE-ID section 2.1).
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSpiffeId {
    TooLong,
    Scheme,
    TrustDomain,
    Path,
}

impl SpiffeId {
    /// # Errors
    /// 1. longer than 2,048 bytes; 2. not `spiffe://`; 3. a trust domain that is empty, too long or not of
    ///    `a-z0-9.-_`; 4. no path, an empty, `.` or `..` segment, or a character outside `a-zA-Z0-9.-_`.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > MAX_BYTES {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = rest.split_once('/').ok_or(InvalidSpiffeId::Path)?;
        let domain_byte = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if domain.is_empty() || domain.len() > MAX_TRUST_DOMAIN_BYTES || !domain.bytes().all(domain_byte) {
            return Err(InvalidSpiffeId::TrustDomain);
        }
        let path_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(path_byte);
        if !path.split('/').all(segment) {
            return Err(InvalidSpiffeId::Path);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `example.test` of `spiffe://example.test/backup`.
    pub fn trust_domain(&self) -> &str {
        self.0.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or("")
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvalidSpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "longer than 2048 bytes",
            Self::Scheme => "does not begin with `spiffe://`",
            Self::TrustDomain => "its trust domain must be lower case letters, digits, `.`, `-`, `_`",
            Self::Path => "its path must be segments of letters, digits, `.`, `-`, `_`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text_or_nothing() {
        let id = SpiffeId::parse("spiffe://example.test/ns/prod/backup").unwrap();
        assert_eq!(id.trust_domain(), "example.test");
        assert_eq!((id.as_str(), id.to_string().as_str()), ("spiffe://example.test/ns/prod/backup", id.as_str()));
        for (text, why) in [
            ("https://example.test/backup", InvalidSpiffeId::Scheme),
            ("spiffe://example.test", InvalidSpiffeId::Path),
            ("spiffe://example.test/", InvalidSpiffeId::Path),
            ("spiffe://Example.test/a", InvalidSpiffeId::TrustDomain),
            ("spiffe:///a", InvalidSpiffeId::TrustDomain),
            ("spiffe://u@example.test/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://example.test:1/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://example.test/a/../b", InvalidSpiffeId::Path),
            ("spiffe://example.test/a%2fb", InvalidSpiffeId::Path),
            ("spiffe://example.test/a?b", InvalidSpiffeId::Path),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn the_longest_ones_are_those_of_the_specification() {
        // SPIFFE-ID section 2.1 and 2.3: 255 bytes of trust domain, 2,048 of all.
        let domain = |bytes: usize| SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(bytes))).err();
        assert_eq!((domain(255), domain(256)), (None, Some(InvalidSpiffeId::TrustDomain)));
        let whole = |bytes: usize| SpiffeId::parse(&format!("spiffe://d/{}", "p".repeat(bytes - 11))).err();
        assert_eq!((whole(2048), whole(2049)), (None, Some(InvalidSpiffeId::TooLong)));
    }
}
