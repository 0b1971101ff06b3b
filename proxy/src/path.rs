//! One canonical path, shared by routing, policy and the application: what is forwarded is what was decided.
//!
//! | in the request target                                   | becomes                                   |
//! |---------------------------------------------------------|-------------------------------------------|
//! | `%61` and other encoded unreserved characters           | the character (RFC 3986 section 6.2.2.2)  |
//! | `%5C`, `%3B`, `%00`, control characters, `%25xx`          | 400: two readers would read two paths     |
//! | `%2F`                                                   | 400, unless both readings are one route that allows it |
//! | lower-case hex (`%c3`)                                  | upper case (RFC 3986 section 6.2.2.1)     |
//! | encoded bytes that are not UTF-8 (overlong forms too)   | 400                                       |
//! | `.` and `..` segments, also encoded                     | resolved; above the root: 400             |
//! | empty segments (`//`)                                   | merged                                    |
//! | `;`, `\`, `#`, control characters, spaces, bytes > 126  | 400                                       |
//!
//! Case is kept: `/Admin` and `/admin` are two paths, and a path that no row opens is closed.
use std::borrow::Cow;

/// Longest path we look at; servers in this field stop at 8 KiB for the whole request line.
const MAX_PATH: usize = 8 * 1024;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPath {
    TooLong,
    NotAbsolute,
    /// A character that servers disagree about.
    Character,
    /// An encoded separator, control character, or double encoding.
    Encoding,
    NotUtf8,
    AboveRoot,
}

impl InvalidPath {
    pub fn sentence(self) -> &'static str {
        match self {
            Self::TooLong => "the path is too long",
            Self::NotAbsolute => "the path does not begin with a slash",
            Self::Character => "the path holds a character that is not allowed in it",
            Self::Encoding => "the path holds an encoded separator, control character, or is encoded twice",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::AboveRoot => "the path leads above the root",
        }
    }
}

/// The canonical form of a path (without its query); borrowed where it already is. `%2F` is refused.
///
/// # Errors
/// The table above.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    match canonical_with_slashes(path)? {
        path if has_encoded_slash(&path) => Err(InvalidPath::Encoding),
        path => Ok(path),
    }
}

/// Whether a canonical path holds a `%2F`.
pub fn has_encoded_slash(path: &str) -> bool {
    path.contains("%2F")
}

/// How an application would read a canonical path that takes `%2F` for a slash.
///
/// # Errors
/// It would find dot segments in it: then its reading is not ours to guess.
pub fn slashes_decoded(path: &str) -> Result<String, InvalidPath> {
    let decoded = path.replace("%2F", "/");
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(InvalidPath::Encoding);
    }
    canonical(&decoded).map(Cow::into_owned)
}

/// As [`canonical`], with `%2F` kept as it is: part of a segment.
///
/// # Errors
/// The table above.
pub fn canonical_with_slashes(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if path.len() > MAX_PATH {
        return Err(InvalidPath::TooLong);
    }
    if !path.starts_with('/') {
        return Err(InvalidPath::NotAbsolute);
    }
    let plain = |b: u8| !matches!(b, 0..=0x20 | 0x7f.. | b';' | b'\\' | b'#' | b'%');
    let bytes = path.as_bytes();
    if bytes.iter().all(|b| plain(*b)) && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.") {
        return Ok(Cow::Borrowed(path));
    }
    decode_unreserved(bytes).and_then(|decoded| resolve(&decoded)).map(Cow::Owned)
}

/// Decodes what need not be encoded, checks the rest.
fn decode_unreserved(bytes: &[u8]) -> Result<String, InvalidPath> {
    let mut out = String::with_capacity(bytes.len());
    let mut octets = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let octet = hex(rest.next())? << 4 | hex(rest.next())?;
                match octet {
                    0..=0x1f | 0x7f | b'\\' | b';' => return Err(InvalidPath::Encoding),
                    // `%25` and two hex digits is a path encoded twice; some servers decode twice.
                    b'%' if is_hex_pair(rest.clone()) => return Err(InvalidPath::Encoding),
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(octet)),
                    _ => out.push_str(&format!("%{octet:02X}")),
                }
                octets.push(octet);
            }
            0..=0x20 | 0x7f.. | b';' | b'\\' | b'#' => return Err(InvalidPath::Character),
            _ => {
                out.push(char::from(byte));
                octets.push(byte);
            }
        }
    }
    // Overlong forms (`%C0%AE` for `.`) are not UTF-8 (RFC 3629 section 3).
    std::str::from_utf8(&octets).map_err(|_| InvalidPath::NotUtf8)?;
    // `%25%36%31` has become `%2561`: twice encoded after all.
    let twice = |w: &[u8]| matches!(w, [b'%', b'2', b'5', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    if out.as_bytes().windows(5).any(twice) {
        return Err(InvalidPath::Encoding);
    }
    Ok(out)
}

fn hex(byte: Option<u8>) -> Result<u8, InvalidPath> {
    byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok()).ok_or(InvalidPath::Encoding)
}

fn is_hex_pair(mut rest: impl Iterator<Item = u8>) -> bool {
    hex(rest.next()).is_ok() && hex(rest.next()).is_ok()
}

/// Removes dot segments (RFC 3986 section 5.2.4) and empty ones; a trailing slash stays.
fn resolve(path: &str) -> Result<String, InvalidPath> {
    let mut segments: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in path.split('/').skip(1) {
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                let left = segments.pop().ok_or(InvalidPath::AboveRoot)?;
                // Whoever takes `%2F` for a slash would leave another folder.
                if has_encoded_slash(left) {
                    return Err(InvalidPath::Encoding);
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if directory || segments.is_empty() {
        out.push('/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_holds() {
        use InvalidPath::*;
        for (path, expected) in [
            ("/", Ok("/")),
            ("/a/b", Ok("/a/b")),
            ("/a/b/", Ok("/a/b/")),
            ("/.torhaus/session", Ok("/.torhaus/session")),
            ("/%61dmin", Ok("/admin")),
            ("/%41/%7e", Ok("/A/~")),
            ("/a/../admin", Ok("/admin")),
            ("/a/%2e%2e/admin", Ok("/admin")),
            ("/a/.%2E/admin", Ok("/admin")),
            ("/a/./b", Ok("/a/b")),
            ("/a/.", Ok("/a/")),
            ("/a/..", Ok("/")),
            ("//a///b//", Ok("/a/b/")),
            ("/%c3%a4", Ok("/%C3%A4")),
            ("/100%25", Ok("/100%25")),
            ("/a%20b", Ok("/a%20b")),
            ("/..", Err(AboveRoot)),
            ("/a/../../b", Err(AboveRoot)),
            ("/%2e%2e/", Err(AboveRoot)),
            ("/a%2fb", Err(Encoding)),
            ("/a%2Fb", Err(Encoding)),
            ("/a%5cb", Err(Encoding)),
            ("/a%3Bb", Err(Encoding)),
            ("/a/..%3b/x", Err(Encoding)),
            ("/a%00", Err(Encoding)),
            ("/a%0d%0ab", Err(Encoding)),
            ("/%252e%252e/", Err(Encoding)),
            ("/%2561dmin", Err(Encoding)),
            ("/%25%36%31dmin", Err(Encoding)),
            ("/%25%361dmin", Err(Encoding)),
            ("/a%", Err(Encoding)),
            ("/a%g0", Err(Encoding)),
            ("/%c0%ae%c0%ae/", Err(NotUtf8)),
            ("/%ff", Err(NotUtf8)),
            ("/admin;x", Err(Character)),
            ("/a/..;/admin", Err(Character)),
            ("/a\\b", Err(Character)),
            ("/a#b", Err(Character)),
            ("/a b", Err(Character)),
            ("/ä", Err(Character)),
            ("admin", Err(NotAbsolute)),
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
        ] {
            assert_eq!(canonical(path).as_deref(), expected.as_ref().map(|s| *s), "{path}");
        }
        assert_eq!(canonical(&format!("/{}", "a".repeat(MAX_PATH))), Err(TooLong));
    }

    #[test]
    fn an_encoded_slash_is_kept_only_where_it_is_asked_for() {
        let kept = |path: &str| canonical_with_slashes(path).map(Cow::into_owned);
        assert_eq!(kept("/%61/x/../b%2fc").as_deref(), Ok("/a/b%2Fc"));
        assert_eq!(kept("/@scope%2fname").as_deref(), Ok("/@scope%2Fname"));
        for wrong in ["/a%5cb", "/a%252fb", "/a%3bb", "/a%00", "/..%2f/../..", "/admin/%2f/..", "/a/b%2fc/../d"] {
            assert!(kept(wrong).is_err(), "{wrong}");
        }
        assert_eq!(slashes_decoded("/@scope%2Fname").as_deref(), Ok("/@scope/name"));
        assert_eq!(slashes_decoded("/a%2F%2Fb").as_deref(), Ok("/a/b"));
        for wrong in ["/a/..%2Fb", "/a%2F..", "/a%2F.%2Fb", "/..%2Fadmin", "/x/%2F../admin"] {
            assert_eq!(slashes_decoded(wrong), Err(InvalidPath::Encoding), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own_canonical_form(path in "/[a-c./%235678eEfF;~\\\\]{0,24}") {
            if let Ok(once) = canonical(&path) {
                let again = canonical(&once);
                prop_assert_eq!(again.as_deref(), Ok(&*once));
                prop_assert!(!once.contains("//") && !once.split('/').any(|s| s == "." || s == ".."));
            }
        }
    }
}
