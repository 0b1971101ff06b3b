//! Which policy may come to run, and how far it counts already.
use super::{Cx, resolve};
use crate::at::At;
use crate::file;
use crate::place::Place;
use crate::units::Mistake;
use std::path::PathBuf;
use torhaus_authz::{CandidateMode, Policy};

pub(crate) struct CandidateFile {
    pub path: PathBuf,
    pub mode: CandidateMode,
    /// Where it is named.
    pub place: Place,
}

/// Why both policies cannot decide for the same people, if so: a step-up to a tier that only one of them knows would
/// send people round in circles.
pub(crate) fn unlike(running: &Policy, candidate: &Policy, mode: CandidateMode) -> Option<Mistake> {
    let tiers = |policy: &Policy| policy.tiers().map(|tier| tier.name.clone()).collect::<Vec<_>>();
    let differ = mode != CandidateMode::Shadow && tiers(running) != tiers(candidate);
    differ.then(|| {
        Mistake::new("the candidate has other tiers than the running policy, so both cannot count for the same people")
            .hint("watch it with `policy_candidate_mode: shadow`, and change the tiers in a step of their own")
    })
}

pub(crate) fn check(tree: &file::Torhaus, cx: &mut Cx<'_>) -> Option<CandidateFile> {
    let mode = cx.parse_or(tree.policy_candidate_mode.as_ref(), CandidateMode::Shadow, mode);
    let Some(file) = &tree.policy_candidate_file else {
        if let Some(at) = &tree.policy_candidate_mode {
            cx.error(&at.place, "there is no candidate to which this applies", "name it in `policy_candidate_file`");
        }
        return None;
    };
    let path = resolve(cx.base, file.text()?);
    if !path.is_file() {
        cx.error(
            &file.place,
            format!("candidate policy `{}` does not exist, or is no file", path.display()),
            "create it, or remove the line; relative paths begin at the folder of this file",
        );
        return None;
    }
    let running = tree.policy_file.as_ref().and_then(At::text).unwrap_or(super::default::POLICY_FILE);
    if path == resolve(cx.base, running) {
        cx.error(&file.place, "this is the running policy itself", "name another file, or remove the line");
        return None;
    }
    Some(CandidateFile { path, mode: mode?, place: file.place.clone() })
}

/// `shadow`, or `10%`.
fn mode(text: &str) -> Result<CandidateMode, Mistake> {
    if text == "shadow" {
        return Ok(CandidateMode::Shadow);
    }
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok());
    percent.filter(|percent| (1..=100).contains(percent)).map(CandidateMode::Share).ok_or_else(|| {
        Mistake::new(format!("`{text}` is not how far a candidate counts"))
            .hint("write `shadow` to watch it, or the share of people for whom the stricter answer counts: `10%`")
    })
}
