//! An address a page may link to. HTML escaping alone does not stop `javascript:`; this type does.
use std::fmt;

/// Only `https:`, `http:`, `mailto:` and paths on the same host. Everything else becomes `#`, a link to nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

impl Link {
    /// A prepared message; `message` is its subject and body (RFC 6068).
    pub(super) fn mailto(address: &str, message: Option<(&str, &str)>) -> Self {
        let to = encode(address, b"@+");
        Self(match message {
            Some((subject, body)) => format!("mailto:{to}?subject={}&body={}", encode(subject, b""), encode(body, b"")),
            None => format!("mailto:{to}"),
        })
    }

    /// A path on the host the page is on, never another host's (`//host`, `/\host`).
    pub(super) fn is_local_path(&self) -> bool {
        is_local_path(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Link {
    fn from(text: &str) -> Self {
        let scheme_is_ours = ["https://", "http://", "mailto:"]
            .iter()
            .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        // Browsers drop tabs and line ends inside an address before they read its scheme.
        let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if plain && (scheme_is_ours || is_local_path(text)) { Self(text.to_owned()) } else { Self("#".to_owned()) }
    }
}

impl From<String> for Link {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_local_path(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//") && !text.contains('\\')
}

/// Percent-encodes all but RFC 3986's unreserved characters and `also`. A line end becomes CRLF, as RFC 6068 s5 asks.
fn encode(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\r' => {}
            b'\n' => out.push_str("%0D%0A"),
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_runs_anything_and_never_hides_another_host() {
        for fine in [
            "https://wiki.example.test/a?b=c#d",
            "http://127.0.0.1:1/",
            "mailto:a@b.test",
            "/login?to=%2F",
            "HTTPS://a.test",
        ] {
            assert_eq!(Link::from(fine).as_str(), fine);
        }
        for bad in [
            "javascript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,x",
            "//evil.test/",
            "/\\evil.test",
            "/\t/evil.test",
            "https://a.test/\r\nx",
            "",
            "x",
            "vbscript:x",
            "https:evil",
        ] {
            assert_eq!(Link::from(bad).as_str(), "#", "{bad:?}");
        }
    }

    #[test]
    fn a_prepared_message_cannot_add_recipients_or_headers() {
        let link = Link::mailto("it@example.test?cc=x@evil.test", Some(("a&bcc=b", "1\r\n2\n3 ü")));
        assert_eq!(
            link.as_str(),
            "mailto:it@example.test%3Fcc%3Dx@evil.test?subject=a%26bcc%3Db&body=1%0D%0A2%0D%0A3%20%C3%BC"
        );
    }
}
