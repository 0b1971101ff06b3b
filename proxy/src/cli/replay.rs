//! `torhaus policy replay`: what a candidate would have answered to what the log holds, and who would notice.
use super::audit::{Place, when};
use super::out::Out;
use super::{Answer, Failure, Output};
use crate::audit::decisions::{entries, size};
use crate::{clock, policies};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::path::PathBuf;
use torhaus_authz::{Effect, Replay, ReplayReport};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The policy to try; by default the one that `policy_candidate_file` names.
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// Only what was decided from then on: `30d`, or 2026-11-23T08:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Exit code 1 if somebody gains, loses, or anything changes at all. What cannot be told counts for each.
    #[arg(long, value_enum)]
    fail_on: Option<FailOn>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Gain,
    Loss,
    Any,
}

pub fn replay(args: &Args, out: &mut Out) -> Result<Answer, Failure> {
    let now = clock::now();
    let failed = |errors: torhaus_config::Errors| Failure::Failed(errors.to_string());
    let since = args.since.as_deref().map(|text| when(text, now)).transpose()?;
    let running = policies::load(&args.place.config, now).map_err(failed)?.config;
    let candidate = match (&args.candidate, &running.candidate) {
        (Some(file), _) => torhaus_config::load_with_policy(&args.place.config, file, now).map_err(failed)?.policy,
        (None, Some(candidate)) => candidate.policy.clone(),
        (None, None) => return Err(Failure::Usage("name the policy to try: --candidate FILE".into())),
    };
    let folder = args.place.folder()?;
    let bar = progress(size(&folder).map_err(|e| Failure::Failed(e.to_string()))?);
    let mut replay = Replay::new(&running.policy, &candidate);
    let read = entries(&folder, |entry, groups, bytes| {
        bar.inc(bytes);
        if since.is_none_or(|since| entry.time >= since) {
            replay.add(entry, groups);
        }
        ControlFlow::Continue(())
    });
    bar.finish_and_clear();
    read.map_err(|e| Failure::Failed(e.to_string()))?;
    let report = replay.finish();
    match args.output {
        Output::Text => out.line(&report)?,
        Output::Json => out.json(&report)?,
    }
    Ok((!fails(&report, args.fail_on)).into())
}

fn fails(report: &ReplayReport, on: Option<FailOn>) -> bool {
    match on {
        None => false,
        Some(FailOn::Gain) => report.has(Effect::Gain),
        Some(FailOn::Loss) => report.has(Effect::Loss),
        Some(FailOn::Any) => Effect::ALL.iter().any(|effect| report.has(*effect)),
    }
}

/// On a terminal only: it draws nothing where standard error is a file.
fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::new(bytes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
