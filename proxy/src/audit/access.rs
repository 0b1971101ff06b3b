//! The access log: one JSON line per request, for operators. Not evidence: when it cannot keep up it drops lines and
//! counts them, and never holds a request. Never carries a cookie, a token, a header or a query value.
use prometheus_client::metrics::counter::Counter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use torhaus_authz::{Identity, Name, Reason, Timestamp};

/// Lines that may wait for the writer: about 4 MB.
const QUEUE: usize = 16 * 1024;
/// Written in one piece when lines wait.
const BATCH_BYTES: usize = 64 * 1024;
/// Longest path, host or method in a line; the rest is cut.
const MAX_VALUE_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Off,
    Stdout,
    /// Created 0600, appended to; [`AccessLog::reopen`] after a rotation.
    File(PathBuf),
}

/// One request that was answered. What is shared is an `Arc`, so that making one costs two small allocations.
#[derive(Clone, Debug)]
pub struct Access {
    pub time: Timestamp,
    pub listener: Name,
    pub client: Option<IpAddr>,
    pub method: Name,
    pub host: Name,
    /// A query that is still there is cut off.
    pub path: Box<str>,
    pub status: u16,
    /// Of the body sent to the client.
    pub bytes: u64,
    pub duration: Duration,
    pub route: Option<Name>,
    pub identity: Identity,
    pub decision: Option<Name>,
    pub reason: Option<Reason>,
    /// Until the upstream's first byte.
    pub upstream: Option<Duration>,
}

/// The sending end; cheap to clone. The line is made and written by a thread of its own.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Message>>,
    dropped: Counter,
}

/// Joins the thread once every [`AccessLog`] is gone.
#[derive(Debug)]
pub struct AccessWriter(Option<JoinHandle<()>>);

#[derive(Debug)]
enum Message {
    Line(Box<Access>),
    Reopen,
}

impl AccessLog {
    /// # Errors
    /// The file cannot be opened.
    pub fn start(target: Target) -> io::Result<(Self, AccessWriter)> {
        let sink = match &target {
            Target::Off => {
                return Ok((Self { queue: None, dropped: Counter::default() }, AccessWriter(None)));
            }
            Target::Stdout => Sink::Stdout,
            Target::File(path) => Sink::File(open(path)?, path.clone()),
        };
        let (queue, messages) = sync_channel(QUEUE);
        let dropped = Counter::default();
        let lost = dropped.clone();
        let thread =
            std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(sink, &messages, &lost))?;
        Ok((Self { queue: Some(queue), dropped }, AccessWriter(Some(thread))))
    }

    /// False: do not bother to make an [`Access`].
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Never waits: a line for which there is no room is dropped and counted.
    pub fn log(&self, access: Access) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(Message::Line(Box::new(access))).is_err() {
            self.dropped.inc();
        }
    }

    /// Opens the file again, after somebody moved it away.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            // A full queue means that the thread is behind; the next rotation comes.
            let _ = queue.try_send(Message::Reopen);
        }
    }

    pub fn dropped(&self) -> &Counter {
        &self.dropped
    }
}

impl AccessWriter {
    /// Waits until what was queued is written. Blocks until every [`AccessLog`] is dropped.
    pub fn finish(mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

enum Sink {
    Stdout,
    File(File, PathBuf),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File(file, _) => file.write_all(bytes),
        }
    }

    fn reopen(&mut self) {
        if let Self::File(file, path) = self {
            match open(path) {
                Ok(new) => *file = new,
                Err(error) => {
                    tracing::warn!(%error, "the access log cannot be opened again; going on with the old file")
                }
            }
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn write_all(mut sink: Sink, messages: &Receiver<Message>, lost: &Counter) {
    let mut text = Vec::with_capacity(BATCH_BYTES + 4096);
    let mut next = messages.recv().ok();
    while next.is_some() {
        let mut lines = 0;
        let mut reopen = false;
        text.clear();
        while let Some(message) = next.take() {
            match message {
                Message::Line(access) => {
                    line(&mut text, &access);
                    lines += 1;
                }
                Message::Reopen => reopen = true,
            }
            if reopen || text.len() >= BATCH_BYTES {
                break;
            }
            next = messages.try_recv().ok();
        }
        if sink.write(&text).is_err() {
            // A full disk or a closed pipe: requests go on, the loss is counted.
            lost.inc_by(lines);
        }
        if reopen {
            sink.reopen();
        }
        next = messages.recv().ok();
    }
}

fn line(out: &mut Vec<u8>, access: &Access) {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        time: String,
        listener: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        method: &'a str,
        host: &'a str,
        path: &'a str,
        status: u16,
        bytes: u64,
        duration_us: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<&'a str>,
        identity: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        decision: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        upstream_us: Option<u64>,
    }
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    let (identity, name) = match &access.identity {
        Identity::Anonymous => ("anonymous", None),
        Identity::User(user) => ("user", Some(&*user.name)),
        Identity::Service(service) => ("service", Some(service.id.as_str())),
    };
    let line = Line {
        time: access.time.to_string(),
        listener: &access.listener,
        client: access.client,
        method: bounded(&access.method),
        host: bounded(&access.host),
        path: bounded(access.path.split(['?', '#']).next().unwrap_or_default()),
        status: access.status,
        bytes: access.bytes,
        duration_us: micros(access.duration),
        route: access.route.as_deref(),
        identity,
        name: name.map(bounded),
        decision: access.decision.as_deref(),
        reason: access.reason,
        upstream_us: access.upstream.map(micros),
    };
    let begin = out.len();
    if serde_json::to_writer(&mut *out, &line).is_err() {
        out.truncate(begin);
        return;
    }
    // serde_json escapes C0 controls. DEL and the C1 controls (in UTF-8: 0xc2 0x80..=0x9f) it leaves, and a terminal
    // may obey them.
    if out.iter().skip(begin).any(|b| *b == 0x7f || *b == 0xc2) {
        let text = String::from_utf8_lossy(out.get(begin..).unwrap_or_default()).into_owned();
        out.truncate(begin);
        for c in text.chars() {
            if c.is_control() {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    out.push(b'\n');
}

fn bounded(value: &str) -> &str {
    // At most three bytes back, to the start of a character.
    (0..4).find_map(|back| value.get(..MAX_VALUE_BYTES - back)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use torhaus_authz::User;

    fn access(path: &str) -> Access {
        Access {
            time: Timestamp::from_seconds(1_800_000_000),
            listener: "public".into(),
            client: Some([203, 0, 113, 5].into()),
            method: "GET".into(),
            host: "wiki.example.test".into(),
            path: path.into(),
            status: 200,
            bytes: 12,
            duration: Duration::from_micros(1500),
            route: Some("wiki".into()),
            identity: Identity::User(Arc::new(User {
                name: "alice".into(),
                provider: "corp".into(),
                issuer: "https://idp".into(),
                subject: "1".into(),
                federated: false,
            })),
            decision: Some("d-1".into()),
            reason: Some(Reason::Allowed),
            upstream: Some(Duration::from_micros(900)),
        }
    }

    fn written(path: &str) -> String {
        let mut out = Vec::new();
        line(&mut out, &access(path));
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
    fn lines_reach_the_file_and_follow_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, writer) = AccessLog::start(Target::File(path.clone())).unwrap();
        for _ in 0..100 {
            log.log(access("/a"));
        }
        log.reopen();
        drop(log);
        writer.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_drops_lines_and_counts_them() {
        let (log, writer) = AccessLog::start(Target::File("/dev/full".into())).unwrap();
        for _ in 0..10 {
            log.log(access("/a"));
        }
        let dropped = log.dropped().clone();
        drop(log);
        writer.finish();
        assert_eq!(dropped.get(), 10);
    }
}
