//! One file: read, hashed, parsed; what goes wrong is reported.
use crate::findings::Findings;
use crate::place::{FileId, Place, Span};
use crate::signature::Signer;
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
    /// The lines of a policy count through its files: the number of the line before the first one of this file.
    pub lines_before: u32,
    /// Path and text of the signature that was verified.
    pub signature: Option<(PathBuf, String)>,
}

impl Read {
    /// `blamed`: where the file is named, should it be missing.
    pub fn new(path: PathBuf, file: FileId, blamed: &Place, findings: &mut Findings) -> Self {
        Self::any(path, (file, 0), blamed, None, findings)
    }

    /// A file of a policy. Where a signature is asked for, one that does not fit is not parsed.
    pub fn of_policy(
        path: PathBuf,
        blamed: &Place,
        lines_before: u32,
        signer: Option<&Signer>,
        findings: &mut Findings,
    ) -> Self {
        Self::any(path, (FileId::Policy, lines_before), blamed, signer, findings)
    }

    fn any(
        path: PathBuf,
        (file, lines_before): (FileId, u32),
        blamed: &Place,
        signer: Option<&Signer>,
        findings: &mut Findings,
    ) -> Self {
        let nothing =
            |path| Self { path, text: None, tree: None, sha256: String::new(), lines_before, signature: None };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                findings.error(blamed, unreadable(&path, file, lines_before > 0, &error));
                return nothing(path);
            }
        };
        let signature = signer.map(|signer| signer.verify(&path, text.as_bytes(), blamed, findings));
        if matches!(signature, Some(None)) {
            return nothing(path);
        }
        let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        let tree = match yaml::parse(&text) {
            Ok(mut tree) => {
                tree.count_from(lines_before);
                Some(tree)
            }
            Err(error) => {
                let mistake = Mistake::new(format!("this is not YAML: {}", error.message)).hint(error.hint);
                let span = Span { line: error.span.line + lines_before, ..error.span };
                findings.error(&Place::new(file, span, ""), mistake);
                None
            }
        };
        Self { path, text: Some(text), tree, sha256, lines_before, signature: signature.flatten() }
    }

    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// At least one: a mistake of an empty file stands on its first line.
    pub fn lines(&self) -> u32 {
        u32::try_from(self.text().lines().count()).unwrap_or(u32::MAX / 2).max(1)
    }

    /// What may be shown of it.
    pub fn into_source(self) -> Source {
        Source::new(self.path, self.text.as_deref().unwrap_or_default(), self.tree.as_ref(), self.lines_before)
    }
}

fn unreadable(path: &Path, file: FileId, included: bool, error: &std::io::Error) -> Mistake {
    let what = if file == FileId::Main { "configuration" } else { "policy" };
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Mistake::new(format!("{what} file `{shown}` does not exist")).hint(match file {
                FileId::Main => "name it with `--config`",
                FileId::Policy if included => {
                    "create it, or remove it from `include`; relative paths begin at the folder of the policy"
                }
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
