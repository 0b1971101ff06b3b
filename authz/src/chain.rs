//! The hash chain of the audit log: numbers lines, links each to the one before, and finds what was tampered with.
//!
//! A line is `{"seq":N, <entry>, "prev":"<hash of the line before>","hash":"<own>"}`, where the own hash is SHA-256 over
//! the bytes of the same object without its `hash`. Nothing is parsed and written again to verify it.
use crate::record::Entry;
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;

/// Longest value in a line; the rest is cut and counted.
pub const MAX_VALUE_BYTES: usize = 4096;

const HASH_KEY: &str = ",\"hash\":\"";
const HEX_BYTES: usize = 64;

/// SHA-256 of a line. Displayed as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the first line of the first segment names as the one before it.
    pub const GENESIS: Self = Self([0; 32]);

    pub fn parse(hex: &str) -> Option<Self> {
        // `u8::from_str_radix` would take signs and upper case.
        if hex.len() != HEX_BYTES || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// Where the next line goes. 40 bytes and cheap to clone: append to a clone, and keep the clone once the line is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    next: u64,
    previous: LineHash,
}

/// One finished line, without its line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub sequence: u64,
    pub hash: LineHash,
    pub text: String,
}

/// A line read back.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Record {
    #[serde(rename = "seq")]
    pub sequence: u64,
    #[serde(flatten)]
    pub entry: Entry,
    #[serde(rename = "prev")]
    pub previous: LineHash,
    pub hash: LineHash,
}

/// What [`verify`] found in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub lines: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// What the first line names as the one before it; `GENESIS` at the very beginning.
    pub before_first: LineHash,
    /// Compare it with a copy that was kept elsewhere: a chain cannot know that its end was cut off.
    pub last: LineHash,
}

/// The first line that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenAt {
    /// From 1.
    pub line: u64,
    pub why: Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nothing to verify, although a start was expected to be continued.
    Empty,
    NotARecord,
    /// Its bytes are not those that were hashed.
    Altered,
    /// It does not continue the line before it: lines are missing, inserted or in another order.
    NotNext {
        expected: u64,
        found: u64,
    },
    /// Its number is right, but it was written after another line than the one before it.
    OtherPast,
    /// The first line does not continue the segment before.
    NotTheStart,
}

impl Default for Chain {
    fn default() -> Self {
        Self { next: 1, previous: LineHash::GENESIS }
    }
}

impl Chain {
    /// Goes on after a line that was written before.
    pub fn after(sequence: u64, hash: LineHash) -> Self {
        Self { next: sequence.saturating_add(1), previous: hash }
    }

    /// # Errors
    /// When the entry cannot be serialised, which no entry of this crate's making does; then nothing is appended.
    pub fn append(&mut self, entry: &Entry) -> Result<Line, serde_json::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            seq: u64,
            #[serde(flatten)]
            entry: &'a Entry,
            prev: LineHash,
        }
        let sequence = self.next;
        let body = Body { seq: sequence, entry, prev: self.previous };
        let mut bytes = Vec::with_capacity(1024);
        body.serialize(&mut Serializer::with_formatter(&mut bytes, OneLine::default()))?;
        let hash = LineHash::of(&bytes);
        let mut text = String::from_utf8(bytes).map_err(serde::ser::Error::custom)?;
        text.pop();
        text.push_str(HASH_KEY);
        text.push_str(&hash.to_string());
        text.push_str("\"}");
        self.next = self.next.saturating_add(1);
        self.previous = hash;
        Ok(Line { sequence, hash, text })
    }

    /// Hash of the last line.
    pub fn last(&self) -> LineHash {
        self.previous
    }

    pub fn next_sequence(&self) -> u64 {
        self.next
    }
}

impl Record {
    /// # Errors
    /// When the line is no record. Its hash is not checked; [`verify`] does that.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// Verifies lines in constant memory. With `start`, the first line must continue that hash (of the segment before, or
/// `LineHash::GENESIS`); without, whatever the first line names is believed and reported.
///
/// # Errors
/// The first line that does not fit: altered, removed, inserted, reordered, or cut off at a segment's border.
pub fn verify<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    start: Option<LineHash>,
) -> Result<Summary, BrokenAt> {
    let mut summary: Option<Summary> = None;
    for (number, line) in (1..).zip(lines) {
        let broken = |why| BrokenAt { line: number, why };
        let link = Link::read(line.as_ref()).map_err(broken)?;
        summary = Some(match summary {
            None => {
                if start.is_some_and(|start| start != link.previous) {
                    return Err(broken(Broken::NotTheStart));
                }
                Summary {
                    lines: 1,
                    first_sequence: link.sequence,
                    last_sequence: link.sequence,
                    before_first: link.previous,
                    last: link.hash,
                }
            }
            Some(so_far) => {
                let expected = so_far.last_sequence.saturating_add(1);
                if link.sequence != expected {
                    return Err(broken(Broken::NotNext { expected, found: link.sequence }));
                }
                if link.previous != so_far.last {
                    return Err(broken(Broken::OtherPast));
                }
                Summary { lines: so_far.lines + 1, last_sequence: link.sequence, last: link.hash, ..so_far }
            }
        });
    }
    summary.ok_or(BrokenAt { line: 1, why: Broken::Empty })
}

/// What ties a line to the others, its hash checked.
struct Link {
    sequence: u64,
    previous: LineHash,
    hash: LineHash,
}

impl Link {
    fn read(line: &[u8]) -> Result<Self, Broken> {
        #[derive(serde::Deserialize)]
        struct Ends {
            seq: u64,
            prev: LineHash,
        }
        let text = std::str::from_utf8(line).map_err(|_| Broken::NotARecord)?;
        let body = text.strip_suffix("\"}").ok_or(Broken::NotARecord)?;
        let (body, hex) =
            body.len().checked_sub(HEX_BYTES).and_then(|at| body.split_at_checked(at)).ok_or(Broken::NotARecord)?;
        let body = body.strip_suffix(HASH_KEY).ok_or(Broken::NotARecord)?;
        let hash = LineHash::parse(hex).ok_or(Broken::NotARecord)?;
        let mut hasher = Sha256::new();
        hasher.update(body);
        hasher.update(b"}");
        if hasher.finalize().as_slice() != hash.0 {
            return Err(Broken::Altered);
        }
        // serde refuses a second `seq` or `prev`, so there is one reading.
        let ends: Ends = serde_json::from_str(text).map_err(|_| Broken::NotARecord)?;
        Ok(Self { sequence: ends.seq, previous: ends.prev, hash })
    }
}

/// Compact JSON that bounds each string and escapes what a terminal or a line-based tool could take for more than text.
#[derive(Default)]
struct OneLine {
    written: usize,
    cut: usize,
}

impl Formatter for OneLine {
    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        (self.written, self.cut) = (0, 0);
        CompactFormatter.begin_string(writer)
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.cut > 0 {
            write!(writer, "… {} bytes cut", self.cut)?;
        }
        CompactFormatter.end_string(writer)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Almost every value is short and plain.
        let short = self.cut == 0 && self.written + fragment.len() <= MAX_VALUE_BYTES;
        if short && fragment.bytes().all(|byte| byte < 0x7f) {
            self.written += fragment.len();
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if !self.fits(c.len_utf8()) {
                continue;
            }
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        if self.fits(1) { CompactFormatter.write_char_escape(writer, escape) } else { Ok(()) }
    }
}

impl OneLine {
    /// Once something is cut, everything after it is.
    fn fits(&mut self, bytes: usize) -> bool {
        if self.cut > 0 || self.written + bytes > MAX_VALUE_BYTES {
            self.cut += bytes;
            return false;
        }
        self.written += bytes;
        true
    }
}

/// DEL and C1 controls (a terminal may obey them), line and paragraph separators, marks that reorder text, and the BOM.
pub(crate) fn is_unsafe(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LineHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for LineHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a SHA-256 hash in lower-case hex"))
    }
}

impl fmt::Display for BrokenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match self.why {
            Broken::Empty => f.write_str("there is no line"),
            Broken::NotARecord => write!(f, "line {line} is not a record"),
            Broken::Altered => write!(f, "line {line} was altered: its hash does not fit its text"),
            Broken::NotNext { expected, found } => {
                write!(
                    f,
                    "line {line} is record {found}, but record {expected} comes here: lines were removed, inserted or reordered"
                )
            }
            Broken::OtherPast => write!(f, "line {line} was written after another line than the one before it"),
            Broken::NotTheStart => write!(f, "line {line} does not continue the segment before it"),
        }
    }
}

impl std::error::Error for BrokenAt {}
