//! Path -> checked configuration, or everything that is wrong with it.
use crate::at::At;
use crate::check::{self, Cx, PolicySource, Tests};
use crate::config::{Config, Warning};
use crate::decode::decode;
use crate::file;
use crate::findings::{Finding, Findings};
use crate::place::{FileId, Place};
use crate::policy_files::PolicyFiles;
use crate::profile;
use crate::read::Read;
use crate::report::Errors;
use crate::source::Source;
use crate::units::Mistake;
use std::path::{Path, PathBuf};
use torhaus_authz::{Candidate, Problem, Suite, Timestamp};

/// Reads `torhaus.yaml` and the policy it names, and every file that these name.
///
/// # Errors
/// Every mistake of all files at once, each with file, line, excerpt and hint.
pub fn load(path: &Path, now: Timestamp) -> Result<Config, Errors> {
    let (found, candidate) = check_all(path, now, Tests::MustPass, None);
    let Some(candidate) = candidate else {
        return found.map(|(config, _)| config);
    };
    // A candidate is checked as the policy it may become: against the same configuration, with its own tests.
    let (beside, _) = check_all(path, now, Tests::MustPass, Some(&candidate.path));
    match (found, beside) {
        (Ok((mut config, _)), Ok((beside, _))) => {
            if let Some(mistake) = check::unlike(&config.policy, &beside.policy, candidate.mode) {
                let mut findings = Findings::default();
                findings.error(&candidate.place, mistake);
                let main = Read::new(path.to_owned(), FileId::Main, &candidate.place, &mut findings);
                return Err(errors(findings, main, None));
            }
            let of_candidate = |warning: &Warning| beside.policy_texts.iter().any(|text| text.path == warning.file);
            config.warnings.extend(beside.warnings.iter().filter(|warning| of_candidate(warning)).cloned());
            config.files.extend(beside.files);
            config.files.sort();
            config.files.dedup();
            config.candidate = Some(Candidate { policy: beside.policy, mode: candidate.mode });
            Ok(config)
        }
        (Ok(_), Err(errors)) | (Err(errors), Ok(_)) => Err(errors),
        (Err(mut errors), Err(beside)) => {
            // What is wrong with the configuration itself was found twice.
            let new: Vec<_> = beside.errors.into_iter().filter(|mistake| !errors.errors.contains(mistake)).collect();
            errors.errors.extend(new);
            Err(errors)
        }
    }
}

/// The same with another policy than the one that the configuration names, and without a candidate beside it: to replay
/// one, or to return to one that was kept.
///
/// # Errors
/// As [`load`].
pub fn load_with_policy(path: &Path, policy: &Path, now: Timestamp) -> Result<Config, Errors> {
    check_all(path, now, Tests::MustPass, Some(policy)).0.map(|(config, _)| config)
}

/// Runs the policy's tests and nothing else. Never gives a configuration: a policy whose tests fail is not to be used.
/// `policy`: another one than the configuration names.
///
/// # Errors
/// Every mistake of all files at once; a failing test is none here.
pub fn run_policy_tests(path: &Path, policy: Option<&Path>, now: Timestamp) -> Result<Suite, Errors> {
    let (config, suite) = check_all(path, now, Tests::AreAskedFor, policy).0?;
    Ok(suite.unwrap_or_else(|| config.policy.run_tests(&[], now)))
}

/// Where state is kept, as far as the configuration can be read: to find a kept policy while the one in place is broken.
pub fn state_dir(path: &Path) -> Option<PathBuf> {
    let mut findings = Findings::default();
    let main = Read::new(path.to_owned(), FileId::Main, &Place::file(FileId::Main), &mut findings);
    let tree: At<file::Torhaus> = decode(main.tree.as_ref()?, FileId::Main, &mut findings)?;
    let tree = tree.get()?;
    // What another version of the format means by it, nobody knows.
    tree.version.get().filter(|version| **version == 1)?;
    let typed = tree.state_dir.as_ref().map_or(Some(check::default::STATE_DIR), At::text)?;
    Some(check::resolve(path.parent().unwrap_or(Path::new("")), typed))
}

type Checked = Result<(Config, Option<Suite>), Errors>;

/// `policy`: another one than the configuration names. The candidate that it names is given back, not read.
fn check_all(
    path: &Path,
    now: Timestamp,
    tests: Tests,
    policy: Option<&Path>,
) -> (Checked, Option<check::CandidateFile>) {
    let mut findings = Findings::default();
    let base = path.parent().unwrap_or(Path::new(""));

    let mut main = Read::new(path.to_owned(), FileId::Main, &Place::file(FileId::Main), &mut findings);
    if let Some(tree) = &mut main.tree {
        profile::expand(tree, &mut findings);
    }
    let tree: Option<At<file::Torhaus>> = main.tree.as_ref().and_then(|node| decode(node, FileId::Main, &mut findings));
    let tree = tree.as_ref().and_then(At::get);

    let policy_files = PolicyFiles::read(base, tree, policy, &mut findings);
    let mut candidate = None;
    let config = tree.zip(policy_files.as_ref()).and_then(|(tree, files)| {
        let source = PolicySource { file: files.name(), version: files.version(), projects: files.projects() };
        let checked = files.tree.as_ref().map(|policy| (policy, source));
        let mut cx = Cx {
            base,
            now,
            findings: &mut findings,
            files: files.paths().chain([path.to_owned()]).collect(),
            named_networks: Vec::new(),
            posture_max_age: check::default::POSTURE_MAX_AGE,
            knows_devices: false,
            knows_posture: false,
            projects: files.projects(),
            tests,
            suite: None,
        };
        candidate = check::candidate(tree, &mut cx);
        check::check(tree, checked, path, cx)
    });
    let candidate = candidate.filter(|_| policy.is_none());
    let checked = match config {
        Some((mut config, suite)) if findings.errors.is_empty() => {
            config.policy_texts = policy_files.as_ref().map(PolicyFiles::texts).unwrap_or_default();
            Ok((with_warnings(config, findings.warnings, policy_files.as_ref()), suite))
        }
        _ => Err(errors(findings, main, policy_files)),
    };
    (checked, candidate)
}

fn with_warnings(mut config: Config, mut warnings: Vec<Finding>, policy: Option<&PolicyFiles>) -> Config {
    warnings.sort_by_key(order);
    let warning = |finding: Finding| {
        let line = finding.place.line;
        let (file, line) = match (finding.place.file, policy) {
            (FileId::Policy, Some(policy)) => policy.place(line),
            _ => (config.file.clone(), line),
        };
        Warning { file, problem: Problem { line, message: finding.message, hint: finding.hint } }
    };
    config.warnings = warnings.into_iter().map(warning).collect();
    config
}

fn errors(mut findings: Findings, main: Read, policy: Option<PolicyFiles>) -> Errors {
    if findings.errors.is_empty() {
        // Must not happen; but if it does, nothing is loaded, and somebody hears of it.
        let mistake = Mistake::new("some part could not be checked, and torhaus did not say which");
        findings.error(&Place::file(FileId::Main), mistake.hint("this is a mistake of torhaus: please report it"));
    }
    findings.errors.sort_by_key(order);
    // A route that a profile adds has the mistakes of the one that it was made from.
    findings.errors.dedup_by(|one, other| order(one) == order(other) && one.message == other.message);
    let (main, policy) = (main.into_source(), policy.map(PolicyFiles::into_sources).unwrap_or_default());
    let mistake = |finding: Finding| {
        let of_policy = policy.iter().rfind(|source| source.begins_before(finding.place.line));
        let source: &Source = of_policy.filter(|_| finding.place.file == FileId::Policy).unwrap_or(&main);
        source.mistake(finding)
    };
    Errors { errors: findings.errors.into_iter().map(mistake).collect() }
}

fn order(finding: &Finding) -> (FileId, u32, u32) {
    (finding.place.file, finding.place.line, finding.place.column)
}
