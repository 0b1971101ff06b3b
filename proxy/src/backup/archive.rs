//! The file of a backup: a stream of sealed frames. It is written and read in order, so that it can go through a pipe;
//! a frame that is missing, moved, altered, or added after the end does not pass. Knows nothing of what is in it.
//!
//! ```text
//! "torhaus-backup-1\n" | id, 16 bytes | frame 0 | frame 1 | ... | end frame
//! frame: length, 4 bytes big-endian | sealed for "backup:ID:NUMBER" (the end for "backup-end:ID:NUMBER")
//! plain: 'F' and JSON { path, bytes } | 'D' and up to 1 MiB of the file named last
//! ```
use crate::login::seal::{SealError, SealKey};
use rand::TryRng as _;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};

const MAGIC: &[u8] = b"torhaus-backup-1\n";
/// Plain bytes of one frame: memory stays small whatever the files are.
const CHUNK: usize = 1024 * 1024;
/// A frame with its kind, version, nonce and tag, rounded up; a longer one is no frame of ours.
const MAX_FRAME: u32 = 1024 * 1024 + 1024;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("this is no backup of torhaus")]
    NotABackup,
    #[error("part {0} does not open: another key, or it was altered")]
    NotOurs(u64),
    #[error("the backup is cut off after part {0}")]
    CutOff(u64),
    #[error("there is something after its end")]
    Trailing,
    #[error("part {0} is not what should stand there")]
    Strange(u64),
    #[error("there is no randomness to be had")]
    NoRandomness,
}

impl From<SealError> for ArchiveError {
    fn from(_: SealError) -> Self {
        Self::NoRandomness
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    path: String,
    bytes: u64,
}

pub struct Writer<'a, W> {
    to: W,
    key: &'a SealKey,
    id: String,
    next: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    /// # Errors
    /// 1. the target takes nothing; 2. no randomness.
    pub fn begin(mut to: W, key: &'a SealKey) -> Result<Self, ArchiveError> {
        let mut id = [0u8; 16];
        rand::rngs::SysRng.try_fill_bytes(&mut id).map_err(|_| ArchiveError::NoRandomness)?;
        to.write_all(MAGIC)?;
        to.write_all(&id)?;
        Ok(Self { to, key, id: hex(&id), next: 0 })
    }

    /// Adds a file of exactly `bytes` bytes under a relative path. What `from` holds beyond that is left out: a log
    /// grows while it is read.
    ///
    /// # Errors
    /// It is shorter, or cannot be read; the target takes no more.
    pub fn file(&mut self, path: &str, bytes: u64, from: impl Read) -> Result<(), ArchiveError> {
        let head = serde_json::to_vec(&Head { path: path.to_owned(), bytes }).map_err(io::Error::other)?;
        self.frame(b'F', &head)?;
        let mut from = from.take(bytes);
        let mut left = bytes;
        let mut chunk = Vec::with_capacity(CHUNK);
        while left > 0 {
            chunk.clear();
            (&mut from).take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("`{path}` became shorter")).into());
            }
            left = left.saturating_sub(chunk.len() as u64);
            self.frame(b'D', &chunk)?;
        }
        Ok(())
    }

    /// Without this end the archive does not pass.
    ///
    /// # Errors
    /// The target takes no more.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        let sealed = self.key.seal(&format!("backup-end:{}:{}", self.id, self.next), b"")?;
        self.write(&sealed)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn frame(&mut self, kind: u8, plain: &[u8]) -> Result<(), ArchiveError> {
        let sealed = self.key.seal(&format!("backup:{}:{}", self.id, self.next), &[&[kind], plain].concat())?;
        self.next += 1;
        self.write(&sealed)
    }

    fn write(&mut self, sealed: &[u8]) -> Result<(), ArchiveError> {
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        self.to.write_all(&length.to_be_bytes())?;
        Ok(self.to.write_all(sealed)?)
    }
}

/// What [`read`] hands out, in order.
pub trait Sink {
    /// A file begins; its path is relative, and goes nowhere but down.
    ///
    /// # Errors
    /// It cannot be kept.
    fn begin(&mut self, path: &Path, bytes: u64) -> io::Result<()>;
    /// More of the file that began last.
    ///
    /// # Errors
    /// It cannot be kept.
    fn data(&mut self, data: &[u8]) -> io::Result<()>;
}

/// Reads all of it, to the sealed end.
///
/// # Errors
/// As [`ArchiveError`], at the first part that does not pass. What the sink has by then does not count.
pub fn read(mut from: impl Read, key: &SealKey, sink: &mut impl Sink) -> Result<(), ArchiveError> {
    let (mut magic, mut id) = ([0u8; MAGIC.len()], [0u8; 16]);
    from.read_exact(&mut magic).and_then(|()| from.read_exact(&mut id)).map_err(|_| ArchiveError::NotABackup)?;
    if magic != MAGIC {
        return Err(ArchiveError::NotABackup);
    }
    let id = hex(&id);
    let mut left = 0u64;
    let mut began = false;
    for number in 0.. {
        let sealed = read_frame(&mut from, number)?;
        let Ok(plain) = key.open(&format!("backup:{id}:{number}"), &sealed) else {
            key.open(&format!("backup-end:{id}:{number}"), &sealed).map_err(|_| ArchiveError::NotOurs(number))?;
            let mut more = [0u8; 1];
            return match (left, from.read(&mut more)?) {
                (0, 0) => Ok(()),
                (0, _) => Err(ArchiveError::Trailing),
                _ => Err(ArchiveError::Strange(number)),
            };
        };
        match plain.split_first() {
            Some((b'F', head)) if left == 0 => {
                let head: Head = serde_json::from_slice(head).map_err(|_| ArchiveError::Strange(number))?;
                let path = downward(&head.path).ok_or(ArchiveError::Strange(number))?;
                left = head.bytes;
                began = true;
                sink.begin(&path, head.bytes)?;
            }
            Some((b'D', data)) if began && !data.is_empty() && data.len() as u64 <= left => {
                left -= data.len() as u64;
                sink.data(data)?;
            }
            _ => return Err(ArchiveError::Strange(number)),
        }
    }
    Ok(())
}

fn read_frame(from: &mut impl Read, number: u64) -> Result<Vec<u8>, ArchiveError> {
    let cut_off = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => ArchiveError::CutOff(number),
        _ => ArchiveError::Io(error),
    };
    let mut length = [0u8; 4];
    from.read_exact(&mut length).map_err(cut_off)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(ArchiveError::Strange(number));
    }
    let mut sealed = vec![0u8; usize::try_from(length).map_err(|_| ArchiveError::Strange(number))?];
    from.read_exact(&mut sealed).map_err(cut_off)?;
    Ok(sealed)
}

/// Whoever has the key can write an archive, but not outside the folder that it is restored to.
fn downward(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some()).then(|| path.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, PartialEq, Debug)]
    struct Kept(Vec<(PathBuf, Vec<u8>)>);

    impl Sink for Kept {
        fn begin(&mut self, path: &Path, _: u64) -> io::Result<()> {
            self.0.push((path.to_owned(), Vec::new()));
            Ok(())
        }

        fn data(&mut self, data: &[u8]) -> io::Result<()> {
            self.0.last_mut().unwrap().1.extend_from_slice(data);
            Ok(())
        }
    }

    fn key(folder: &Path, name: &str) -> SealKey {
        SealKey::create(&folder.join(name)).unwrap();
        SealKey::load(&folder.join(name)).unwrap()
    }

    fn archive(key: &SealKey) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), key).unwrap();
        writer.file("torhaus.db", 5, &b"12345"[..]).unwrap();
        writer.file("audit/1.jsonl", 3, &b"abc and what was written since"[..]).unwrap();
        writer.file("empty", 0, &b""[..]).unwrap();
        writer.file("big", 2_500_000, io::repeat(7)).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_went_in_comes_out_and_nothing_of_it_is_readable_outside() {
        let folder = tempfile::tempdir().unwrap();
        let key = key(folder.path(), "key");
        let bytes = archive(&key);
        let mut kept = Kept::default();
        read(&bytes[..], &key, &mut kept).unwrap();
        let small: Vec<_> =
            kept.0.iter().take(3).map(|(path, data)| (path.to_str().unwrap(), data.as_slice())).collect();
        assert_eq!(small, [("torhaus.db", &b"12345"[..]), ("audit/1.jsonl", b"abc"), ("empty", b"")]);
        assert_eq!(kept.0[3].1, vec![7; 2_500_000]);
        for secret in ["torhaus.db", "12345", "jsonl"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        assert!(Writer::begin(Vec::new(), &key).unwrap().file("x", 9, &b"short"[..]).is_err());
    }

    #[test]
    fn an_archive_that_was_touched_anywhere_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let (key, other) = (key(folder.path(), "key"), key(folder.path(), "other"));
        let bytes = archive(&key);
        let fails = |bytes: &[u8], key: &SealKey| read(bytes, key, &mut Kept::default()).unwrap_err().to_string();
        assert!(fails(&bytes, &other).contains("part 0 does not open"));
        assert!(fails(b"PK\x03\x04 something else altogether, long enough", &key).contains("no backup"));
        for cut in [0, 20, 40, bytes.len() / 2, bytes.len() - 1] {
            let why = fails(&bytes[..cut], &key);
            assert!(why.contains("cut off") || why.contains("no backup"), "{cut}: {why}");
        }
        // A whole number of frames, but without the end.
        let mut writer = Writer::begin(Vec::new(), &key).unwrap();
        writer.file("a", 1, &b"x"[..]).unwrap();
        assert!(fails(&writer.to, &key).contains("cut off after part 2"));
        assert!(fails(&[&bytes[..], b"x"].concat(), &key).contains("after its end"));
        for at in [18, 34, 60, bytes.len() / 2, bytes.len() - 3] {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            fails(&altered, &key);
        }
    }

    #[test]
    fn a_path_leads_nowhere_but_down() {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert_eq!(downward(bad), None, "{bad}");
        }
        assert_eq!(downward("keys/seal.key"), Some(PathBuf::from("keys/seal.key")));
    }
}
