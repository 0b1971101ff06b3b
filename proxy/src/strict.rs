//! What the engine's parser forgives in the head of an h1 request, and a gate must not: another server behind us might
//! read it in another way (RFC 9112 sections 2.2, 3.2, 5.2, 6.1; pingora CVE-2026-2833, -2835).
use crate::request::Malformed;

/// Looks at the head as it came, before anything of it was repaired.
///
/// # Errors
/// 1. a line that ends with LF alone, or a CR within one; 2. a request line that is not `METHOD target HTTP/1.x`, or a
///    target that is neither a path nor an http(s) URL, or that has a fragment; 3. a folded line; 4. a length beside
///    chunks, which the engine would settle by dropping the length.
pub fn check_head(head: &[u8]) -> Result<(), Malformed> {
    let mut lines =
        head.split_inclusive(|b| *b == b'\n').map(|line| match line.strip_suffix(b"\n").and_then(<[u8]>::split_last) {
            Some((b'\r', text)) if !text.contains(&b'\r') => Ok(text),
            _ => Err(Malformed::Header),
        });
    check_request_line(lines.next().ok_or(Malformed::Target)??)?;
    let (mut length, mut coding) = (false, false);
    for line in lines {
        let line = line?;
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(Malformed::Header);
        }
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        length |= name.eq_ignore_ascii_case(b"content-length");
        coding |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    if length && coding { Err(Malformed::Framing) } else { Ok(()) }
}

fn check_request_line(line: &[u8]) -> Result<(), Malformed> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(_), Some(target), Some(_), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(Malformed::Target);
    };
    let begins = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let form = target.starts_with(b"/") || begins(b"http://") || begins(b"https://");
    if form && !target.contains(&b'#') { Ok(()) } else { Err(Malformed::Target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_forgives_is_refused() {
        use Malformed::{Framing, Header, Target};
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET /a?b=c HTTP/1.1\r\n\r\n", Ok(())),
            ("GET HTTPS://a/b HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\nHost: a\n\n", Err(Header)),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Err(Header)),
            ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", Err(Header)),
            ("GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", Err(Header)),
            ("GET /#a HTTP/1.1\r\n\r\n", Err(Target)),
            ("GET admin HTTP/1.1\r\n\r\n", Err(Target)),
            ("GET a:b://c/admin HTTP/1.1\r\n\r\n", Err(Target)),
            ("GET ?a HTTP/1.1\r\n\r\n", Err(Target)),
            ("GET  / HTTP/1.1\r\n\r\n", Err(Target)),
            ("GET / a HTTP/1.1\r\n\r\n", Err(Target)),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Framing)),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", Err(Framing)),
        ] {
            assert_eq!(check_head(head.as_bytes()), expected, "{head:?}");
        }
    }
}
