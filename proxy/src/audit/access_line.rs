//! One line of the access log: a JSON object. Its keys are ours and its values short, so it is put together by hand: most
//! of a serializer's time would go into looking at each byte of them.
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;
use torhaus_authz::{Identity, Reason, Timestamp};

/// Longest path, host or method in a line; the rest is cut.
const MAX_VALUE_BYTES: usize = 1024;

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    pub time: Timestamp,
    pub listener: &'a str,
    pub client: Option<IpAddr>,
    pub method: &'a str,
    pub host: &'a str,
    /// A query that is still there is cut off.
    pub path: &'a str,
    pub status: u16,
    /// Of the body sent to the client.
    pub bytes: u64,
    pub duration: Duration,
    pub route: Option<&'a str>,
    pub identity: &'a Identity,
    pub decision: Option<&'a str>,
    pub reason: Option<Reason>,
    /// Until the upstream's first byte.
    pub upstream: Option<Duration>,
}

impl Access<'_> {
    /// With its line break.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        self.time.append_to(out);
        out.push(b'"');
        text(out, "listener", self.listener);
        if let Some(client) = self.client {
            key(out, "client");
            out.push(b'"');
            address(out, client);
            out.push(b'"');
        }
        text(out, "method", self.method);
        text(out, "host", self.host);
        text(out, "path", self.path.split(['?', '#']).next().unwrap_or_default());
        number(out, "status", self.status.into());
        number(out, "bytes", self.bytes);
        number(out, "duration_us", micros(self.duration));
        optional(out, "route", self.route);
        let (identity, name) = match self.identity {
            Identity::Anonymous => ("anonymous", None),
            Identity::User(user) => ("user", Some(&*user.name)),
            Identity::Service(service) => ("service", Some(service.id.as_str())),
        };
        text(out, "identity", identity);
        optional(out, "name", name);
        optional(out, "decision", self.decision);
        optional(out, "reason", self.reason.map(Reason::as_str));
        if let Some(upstream) = self.upstream {
            number(out, "upstream_us", micros(upstream));
        }
        out.extend_from_slice(b"}\n");
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn optional(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    out.push(b'"');
    escaped(out, bounded(value));
    out.push(b'"');
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else { return shown(out, address) };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

fn shown(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Memory takes whatever is written to it.
    let _ = write!(out, "{value}");
}

/// Controls, DEL and C1 among them, would be obeyed by a terminal: none of them stays what it is.
fn escaped(out: &mut Vec<u8>, value: &str) {
    // Without a way out in the middle, so that many bytes are looked at together.
    let plain = value.bytes().fold(true, |all, b| all & (0x20..0x7f).contains(&b) & (b != b'"') & (b != b'\\'));
    if plain {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    for c in value.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if c.is_control() => shown(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn bounded(value: &str) -> &str {
    // At most three bytes back, to the start of a character.
    (0..4).find_map(|back| value.get(..MAX_VALUE_BYTES - back)).unwrap_or(value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, LazyLock};
    use torhaus_authz::User;

    static ALICE: LazyLock<Identity> = LazyLock::new(|| {
        Identity::User(Arc::new(User {
            name: "alice".into(),
            provider: "corp".into(),
            issuer: "https://idp".into(),
            subject: "1".into(),
            federated: false,
        }))
    });

    pub fn access(path: &str) -> Access<'_> {
        Access {
            time: Timestamp::from_seconds(1_800_000_000),
            listener: "public",
            client: Some([203, 0, 113, 5].into()),
            method: "GET",
            host: "wiki.example.test",
            path,
            status: 200,
            bytes: 12,
            duration: Duration::from_micros(1500),
            route: Some("wiki"),
            identity: &ALICE,
            decision: Some("d-1"),
            reason: Some(Reason::Allowed),
            upstream: Some(Duration::from_micros(900)),
        }
    }

    pub fn written(path: &str) -> String {
        let mut out = Vec::new();
        access(path).append_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_says_who_asked_for_what_and_how_it_ended() {
        assert_eq!(
            written("/a"),
            concat!(
                r#"{"time":"2027-01-15T08:00:00Z","listener":"public","client":"203.0.113.5","method":"GET","#,
                r#""host":"wiki.example.test","path":"/a","status":200,"bytes":12,"duration_us":1500,"route":"wiki","#,
                r#""identity":"user","name":"alice","decision":"d-1","reason":"allowed","upstream_us":900}"#,
                "
"
            )
        );
    }

    #[test]
    fn a_request_is_one_line_without_query_and_controls() {
        for path in
            ["/a?token=marked-secret", "/a#marked-secret", "/a\nb", "/\u{1b}[31m", "/\u{7f}", "/\u{9b}31m", "/ä"]
        {
            let text = written(path);
            assert_eq!(text.lines().count(), 1, "{path:?}");
            assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
            assert!(!text.contains("marked-secret"), "{text}");
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["path"], path.split(['?', '#']).next().unwrap());
        }
        assert!(written(&"ä".repeat(100_000)).len() < 2048, "values are bounded");
    }

    #[test]
    fn every_value_comes_back_as_it_was() {
        for path in ["/a\"b", "/a\\b", "/\u{0}\u{1f}", "/\u{7f}\u{85}", "/\u{2028}", "/\u{1f600}", "/é\""] {
            let value: serde_json::Value = serde_json::from_str(&written(path)).unwrap();
            assert_eq!(value["path"], path);
        }
        let nobody =
            Access { identity: &Identity::Anonymous, client: None, route: None, upstream: None, ..access("/") };
        let mut out = Vec::new();
        nobody.append_to(&mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["identity"], value.as_object().unwrap().len()), (&"anonymous".into(), 11));
    }
}
