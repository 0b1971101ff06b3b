//! One of the two files: read, hashed, parsed; what goes wrong is reported.
use crate::findings::Findings;
use crate::place::{FileId, Place};
use crate::source::Source;
use crate::units::Mistake;
use crate::yaml::{self, Node};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A file, as far as it could be read.
pub(crate) struct Read {
    pub path: PathBuf,
    text: Option<String>,
    pub tree: Option<Node>,
    /// Of the text, lower-case hex; empty without one.
    pub sha256: String,
}

impl Read {
    /// `blamed`: where the file is named, should it be missing.
    pub fn new(path: PathBuf, file: FileId, blamed: &Place, findings: &mut Findings) -> Self {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                findings.error(blamed, unreadable(&path, file, &error));
                return Self { path, text: None, tree: None, sha256: String::new() };
            }
        };
        let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        let tree = match yaml::parse(&text) {
            Ok(tree) => Some(tree),
            Err(error) => {
                let mistake = Mistake::new(format!("this is not YAML: {}", error.message)).hint(error.hint);
                findings.error(&Place::new(file, error.span, ""), mistake);
                None
            }
        };
        Self { path, text: Some(text), tree, sha256 }
    }

    /// What may be shown of it.
    pub fn into_source(self) -> Source {
        Source::new(self.path, self.text.as_deref().unwrap_or_default(), self.tree.as_ref())
    }
}

fn unreadable(path: &Path, file: FileId, error: &std::io::Error) -> Mistake {
    let what = if file == FileId::Main { "configuration" } else { "policy" };
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Mistake::new(format!("{what} file `{shown}` does not exist")).hint(match file {
                FileId::Main => "name it with `--config`",
                FileId::Policy => {
                    "create it, or name it in `policy_file`; relative paths begin at the folder of this file"
                }
            })
        }
        std::io::ErrorKind::PermissionDenied => {
            Mistake::new(format!("{what} file `{shown}` may not be read by this user"))
                .hint("let the user that runs torhaus read it")
        }
        std::io::ErrorKind::InvalidData => {
            Mistake::new(format!("{what} file `{shown}` is not UTF-8 text")).hint("save it as UTF-8")
        }
        _ => Mistake::new(format!("{what} file `{shown}` cannot be read: {error}")),
    }
}
