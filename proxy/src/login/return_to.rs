//! Where to send a person after login: a place on the host they came from, or nowhere. The address travels through
//! the browser, so it is an attacker's until it was parsed here.
use std::fmt;

/// Longer addresses do not survive all browsers and proxies; the person lands on `/` instead.
const MAX_BYTES: usize = 2048;

/// A path and query on our own host: `/wiki/Page?x=1`. Cannot lead anywhere else, however a browser reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReturnTo {
    #[error("the return address is longer than 2048 bytes")]
    TooLong,
    #[error("the return address does not begin with a single `/`")]
    NotAPath,
    #[error("the return address holds a control character, a space, a backslash, `#`, or something that is not ASCII")]
    Character,
    #[error("the path of the return address has an empty or dot segment")]
    Segment,
    #[error("the return address is one of Torhaus' own")]
    Own,
}

impl ReturnTo {
    /// # Errors
    /// As [`BadReturnTo`]: whatever is not plainly a path on our own host. Browsers read `//x` and `/\x` as another
    /// host, drop tabs and line breaks anywhere, and take `\` for `/` (WHATWG URL).
    pub fn parse(path_and_query: &str) -> Result<Self, BadReturnTo> {
        if path_and_query.len() > MAX_BYTES {
            return Err(BadReturnTo::TooLong);
        }
        if !path_and_query.starts_with('/') {
            return Err(BadReturnTo::NotAPath);
        }
        let plain = |b: u8| matches!(b, 0x21..=0x7e) && b != b'\\' && b != b'#';
        if !path_and_query.bytes().all(plain) {
            return Err(BadReturnTo::Character);
        }
        let (path, _query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        check_path(path)?;
        // Once more as an application or an old proxy might decode it, which then redirects to the result.
        check_path(&decode_separators(path))?;
        Ok(Self(path_and_query.to_owned()))
    }

    /// The root of the host: where to go when there is nothing better.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_path(path: &str) -> Result<(), BadReturnTo> {
    let inner = path.strip_prefix('/').ok_or(BadReturnTo::NotAPath)?;
    if inner.starts_with(['/', '\\']) {
        return Err(BadReturnTo::NotAPath);
    }
    if inner.contains('\\') {
        return Err(BadReturnTo::Character);
    }
    // A trailing slash is the one empty segment that a path may have.
    let segments = inner.strip_suffix('/').unwrap_or(inner);
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if !segments.is_empty() && segments.split('/').any(odd) {
        return Err(BadReturnTo::Segment);
    }
    // Else a return address could sign people out, or hand over a stranger's login.
    match inner.split('/').next() {
        Some(first) if first.eq_ignore_ascii_case(".torhaus") => Err(BadReturnTo::Own),
        _ => Ok(()),
    }
}

/// Percent-decodes (repeatedly: `%252f`) the characters that can change where a path leads.
fn decode_separators(path: &str) -> String {
    let mut text = path.to_owned();
    loop {
        let lower = text.to_ascii_lowercase();
        let next = [("%25", "%"), ("%2f", "/"), ("%5c", "\\"), ("%2e", "."), ("%09", ""), ("%0a", ""), ("%0d", "")]
            .into_iter()
            .fold(lower, |text, (encoded, plain)| text.replace(encoded, plain));
        if next.len() == text.len() {
            return text;
        }
        text = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use url::Url;

    /// Open redirects in the spellings that fooled others.
    #[test]
    fn a_return_address_that_leads_elsewhere_is_refused() {
        use BadReturnTo::{Character, NotAPath, Own, Segment, TooLong};
        let long = format!("/{}", "a".repeat(MAX_BYTES));
        for (text, reason) in [
            ("", NotAPath),
            ("https://evil.test/", NotAPath),
            ("https:evil.test", NotAPath),
            ("javascript:alert(1)", NotAPath),
            ("evil.test", NotAPath),
            ("?x", NotAPath),
            ("//evil.test", NotAPath),
            ("///evil.test", NotAPath),
            ("/\\evil.test", Character),
            ("\\\\evil.test", NotAPath),
            ("/a\\..\\b", Character),
            ("/\t/evil.test", Character),
            ("\t//evil.test", NotAPath),
            (" //evil.test", NotAPath),
            ("/\n/evil.test", Character),
            ("/\r\nSet-Cookie: a=b", Character),
            ("/\u{0}", Character),
            ("/ü", Character),
            ("/\u{2028}", Character),
            ("/a b", Character),
            ("/a#@evil.test", Character),
            ("/%2fevil.test", NotAPath),
            ("/%2Fevil.test", NotAPath),
            ("/%5cevil.test", NotAPath),
            ("/%255cevil.test", NotAPath),
            ("/%25252fevil.test", NotAPath),
            ("/%09/evil.test", NotAPath),
            ("/a%5cb", Character),
            ("/.//evil.test", Segment),
            ("/a//b", Segment),
            ("/a%2f%2fb", Segment),
            ("/a/../..//evil.test", Segment),
            ("/%2e%2e/evil.test", Segment),
            ("/.torhaus/logout", Own),
            ("/.Torhaus/logout", Own),
            ("/%2etorhaus/logout", Own),
            ("/.torhaus", Own),
            (long.as_str(), TooLong),
        ] {
            assert_eq!(ReturnTo::parse(text), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn a_place_on_the_own_host_is_kept_as_it_is() {
        for text in [
            "/",
            "/wiki/Page?x=1&y=%20z",
            "/a/",
            "/a/b.c/..d/e..",
            "/search?next=https://evil.test//x",
            "/?u=//evil.test",
            "/m%C3%BCnchen",
            "/@user:x/;v=1",
            "/100%25",
        ] {
            assert_eq!(ReturnTo::parse(text).expect(text).as_str(), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_accepted_stays_on_the_host(text in "[/\\\\.a%25fFcCeE:@?#\t\n\r ü0x]{0,24}") {
            let base = Url::parse("https://wiki.example.test/login?x").expect("a base");
            for text in [text.clone(), format!("/{text}")] {
                if let Ok(accepted) = ReturnTo::parse(&text) {
                    let joined = base.join(accepted.as_str()).expect("joins");
                    prop_assert_eq!(joined.origin(), base.origin());
                    prop_assert!(!joined.path().starts_with("//"));
                    prop_assert!(joined.username().is_empty());
                    // Printed into a `Location` header or a page it is the same text.
                    prop_assert_eq!(accepted.as_str(), text.as_str());
                }
            }
        }
    }
}
