//! Path -> checked configuration, or everything that is wrong with it.
use crate::at::At;
use crate::check::{self, Cx, PolicySource};
use crate::config::{Config, Warning};
use crate::decode::decode;
use crate::file;
use crate::findings::Findings;
use crate::place::{FileId, Place};
use crate::report::Errors;
use crate::source::Source;
use crate::units::Mistake;
use crate::yaml::{self, Node};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use torhaus_authz::{Problem, Timestamp};

/// Reads `torhaus.yaml` and the policy it names, and every file that these name.
///
/// # Errors
/// Every mistake of both files at once, each with file, line, excerpt and hint.
pub fn load(path: &Path, now: Timestamp) -> Result<Config, Errors> {
    let mut findings = Findings::default();
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let main = Read::new(path.to_owned(), FileId::Main, &Place::file(FileId::Main), &mut findings);
    let tree: Option<At<file::Torhaus>> = main.tree.as_ref().and_then(|node| decode(node, FileId::Main, &mut findings));
    let tree = tree.as_ref().and_then(At::get);

    let named = tree.and_then(|tree| tree.policy_file.as_ref());
    let policy_path = check::resolve(&base, named.and_then(At::text).unwrap_or(check::default::POLICY_FILE));
    // Without the main file nobody knows where the policy is; if it is where it usually is, it is checked all the same.
    let policy = (tree.is_some() || policy_path.is_file()).then(|| {
        let blamed = named.map_or_else(|| Place::file(FileId::Main), |at| at.place.clone());
        Read::new(policy_path.clone(), FileId::Policy, &blamed, &mut findings)
    });
    let policy_node = policy.as_ref().and_then(|read| read.tree.as_ref());
    let policy_tree: Option<At<file::policy::Policy>> =
        policy_node.and_then(|node| decode(node, FileId::Policy, &mut findings));

    let mut config = tree.and_then(|tree| {
        let source = PolicySource {
            file: policy_path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            version: policy.as_ref().map(|read| read.sha256.clone()).unwrap_or_default(),
        };
        let policy = policy_tree.as_ref().and_then(At::get).map(|policy| (policy, source));
        let files = vec![path.to_owned(), policy_path.clone()];
        check::check(tree, policy, path, Cx { base: &base, now, findings: &mut findings, files })
    });

    if config.is_none() && findings.errors.is_empty() {
        // Must not happen; but if it does, nothing is loaded, and somebody hears of it.
        let mistake = Mistake::new("some part could not be checked, and torhaus did not say which");
        findings.error(&Place::file(FileId::Main), mistake.hint("this is a mistake of torhaus: please report it"));
    }
    let sources = (main.source, policy.map_or_else(|| Source::unread(policy_path), |read| read.source));
    let source = |file: FileId| if file == FileId::Main { &sources.0 } else { &sources.1 };
    let key = |place: &Place| (place.file, place.line, place.column);
    findings.errors.sort_by_key(|finding| key(&finding.place));
    findings.warnings.sort_by_key(|finding| key(&finding.place));
    match config.take() {
        Some(mut config) if findings.errors.is_empty() => {
            config.warnings = findings
                .warnings
                .into_iter()
                .map(|finding| Warning {
                    file: source(finding.place.file).path.clone(),
                    problem: Problem { line: finding.place.line, message: finding.message, hint: finding.hint },
                })
                .collect();
            Ok(config)
        }
        _ => Err(Errors {
            errors: findings.errors.into_iter().map(|finding| source(finding.place.file).mistake(finding)).collect(),
        }),
    }
}

struct Read {
    source: Source,
    tree: Option<Node>,
    sha256: String,
}

impl Read {
    /// `blamed`: where the file is named, should it be missing.
    fn new(path: PathBuf, file: FileId, blamed: &Place, findings: &mut Findings) -> Self {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                findings.error(blamed, unreadable(&path, file, &error));
                return Self { source: Source::unread(path), tree: None, sha256: String::new() };
            }
        };
        let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        match yaml::parse(&text) {
            Ok(tree) => Self { source: Source::new(path, &text, Some(&tree)), tree: Some(tree), sha256 },
            Err(error) => {
                let mistake = Mistake::new(format!("this is not YAML: {}", error.message)).hint(error.hint);
                findings.error(&Place::new(file, error.span, ""), mistake);
                Self { source: Source::new(path, &text, None), tree: None, sha256 }
            }
        }
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
