//! Path -> checked configuration, or everything that is wrong with it.
use crate::at::At;
use crate::check::{self, Cx, PolicySource, Tests};
use crate::config::{Config, Warning};
use crate::decode::decode;
use crate::file;
use crate::findings::{Finding, Findings};
use crate::place::{FileId, Place};
use crate::read::Read;
use crate::report::Errors;
use crate::units::Mistake;
use std::path::Path;
use torhaus_authz::{Problem, Suite, Timestamp};

/// Reads `torhaus.yaml` and the policy it names, and every file that these name.
///
/// # Errors
/// Every mistake of both files at once, each with file, line, excerpt and hint.
pub fn load(path: &Path, now: Timestamp) -> Result<Config, Errors> {
    check_all(path, now, Tests::MustPass).map(|(config, _)| config)
}

/// Runs the policy's tests and nothing else. Never gives a configuration: a policy whose tests fail is not to be used.
///
/// # Errors
/// Every mistake of both files at once; a failing test is none here.
pub fn run_policy_tests(path: &Path, now: Timestamp) -> Result<Suite, Errors> {
    let (config, suite) = check_all(path, now, Tests::AreAskedFor)?;
    Ok(suite.unwrap_or_else(|| config.policy.run_tests(&[], now)))
}

fn check_all(path: &Path, now: Timestamp, tests: Tests) -> Result<(Config, Option<Suite>), Errors> {
    let mut findings = Findings::default();
    let base = path.parent().unwrap_or(Path::new(""));

    let main = Read::new(path.to_owned(), FileId::Main, &Place::file(FileId::Main), &mut findings);
    let tree: Option<At<file::Torhaus>> = main.tree.as_ref().and_then(|node| decode(node, FileId::Main, &mut findings));
    let tree = tree.as_ref().and_then(At::get);

    let policy = read_policy(base, tree, &mut findings);
    let policy_node = policy.as_ref().and_then(|read| read.tree.as_ref());
    let policy_tree: Option<At<file::policy::Policy>> =
        policy_node.and_then(|node| decode(node, FileId::Policy, &mut findings));

    let config = tree.zip(policy.as_ref()).and_then(|(tree, policy)| {
        let source = PolicySource {
            file: policy.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            version: policy.sha256.clone(),
        };
        let checked = policy_tree.as_ref().and_then(At::get).map(|policy| (policy, source));
        let files = [path.to_owned(), policy.path.clone()].into();
        check::check(
            tree,
            checked,
            path,
            Cx {
                base,
                now,
                findings: &mut findings,
                files,
                named_networks: Vec::new(),
                posture_max_age: check::default::POSTURE_MAX_AGE,
                knows_devices: false,
                tests,
                suite: None,
            },
        )
    });
    match config {
        Some((config, suite)) if findings.errors.is_empty() => {
            Ok((with_warnings(config, findings.warnings, policy.as_ref()), suite))
        }
        _ => Err(errors(findings, main, policy)),
    }
}

/// Without the main file nobody knows where the policy is; if it is where it usually is, it is checked all the same.
fn read_policy(base: &Path, tree: Option<&file::Torhaus>, findings: &mut Findings) -> Option<Read> {
    let named = tree.and_then(|tree| tree.policy_file.as_ref());
    let path = check::resolve(base, named.and_then(At::text).unwrap_or(check::default::POLICY_FILE));
    if tree.is_none() && !path.is_file() {
        return None;
    }
    let blamed = named.map_or_else(|| Place::file(FileId::Main), |at| at.place.clone());
    Some(Read::new(path, FileId::Policy, &blamed, findings))
}

fn with_warnings(mut config: Config, mut warnings: Vec<Finding>, policy: Option<&Read>) -> Config {
    warnings.sort_by_key(order);
    let warning = |finding: Finding| Warning {
        file: match (finding.place.file, policy) {
            (FileId::Policy, Some(policy)) => policy.path.clone(),
            _ => config.file.clone(),
        },
        problem: Problem { line: finding.place.line, message: finding.message, hint: finding.hint },
    };
    config.warnings = warnings.into_iter().map(warning).collect();
    config
}

fn errors(mut findings: Findings, main: Read, policy: Option<Read>) -> Errors {
    if findings.errors.is_empty() {
        // Must not happen; but if it does, nothing is loaded, and somebody hears of it.
        let mistake = Mistake::new("some part could not be checked, and torhaus did not say which");
        findings.error(&Place::file(FileId::Main), mistake.hint("this is a mistake of torhaus: please report it"));
    }
    findings.errors.sort_by_key(order);
    let (main, policy) = (main.into_source(), policy.map(Read::into_source));
    let mistake = |finding: Finding| match (finding.place.file, &policy) {
        (FileId::Policy, Some(policy)) => policy.mistake(finding),
        _ => main.mistake(finding),
    };
    Errors { errors: findings.errors.into_iter().map(mistake).collect() }
}

fn order(finding: &Finding) -> (FileId, u32, u32) {
    (finding.place.file, finding.place.line, finding.place.column)
}
