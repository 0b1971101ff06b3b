//! `torhaus check`: everything that is wrong with a configuration, and what only deserves a look.
use super::online::{self, Finding};
use super::out::Out;
use super::{Answer, Failure, Output};
use crate::clock;
use serde::Serialize;
use std::path::PathBuf;
use torhaus_config::{Mistake, Warning};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// Also ask the sources of facts (each server of the directory, and one person in it), and look at the database.
    #[arg(long)]
    online: bool,
    /// Whom to ask the directory about.
    #[arg(long, value_name = "NAME", requires = "online")]
    user: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    online: Vec<Finding>,
    errors: Vec<Mistake>,
    warnings: Vec<WarningLine>,
}

#[derive(Serialize)]
struct WarningLine {
    file: PathBuf,
    line: u32,
    message: String,
    hint: Option<String>,
}

impl From<&Warning> for WarningLine {
    fn from(warning: &Warning) -> Self {
        Self {
            file: warning.file.clone(),
            line: warning.problem.line,
            message: warning.problem.message.clone(),
            hint: warning.problem.hint.clone(),
        }
    }
}

pub fn check(args: &Args, out: &mut Out) -> Result<Answer, Failure> {
    let loaded = torhaus_config::load(&args.config, clock::now());
    let online = match &loaded {
        Ok(config) if args.online => online::check(config, args.user.as_deref())?,
        _ => Vec::new(),
    };
    let ok = loaded.is_ok() && online.iter().all(|finding| finding.ok);
    let warnings: Vec<WarningLine> =
        loaded.as_ref().map(|config| config.warnings.iter().map(Into::into).collect()).unwrap_or_default();
    if args.output == Output::Json {
        let errors = loaded.err().map(|e| e.errors).unwrap_or_default();
        out.json(&Report { ok, online, errors, warnings })?;
        return Ok(ok.into());
    }
    for warning in &warnings {
        let hint = warning.hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
        out.line(format!("{}:{}: warning: {}{hint}", warning.file.display(), warning.line, warning.message))?;
    }
    match loaded {
        Err(errors) => out.line(errors)?,
        Ok(config) => out.line(format!(
            "{}: ok ({}, {}, {}, {})",
            args.config.display(),
            count(config.listeners.len(), "listener"),
            count(config.routes.len(), "route"),
            count(config.policy.rows().len(), "row"),
            count(warnings.len(), "warning"),
        ))?,
    }
    for finding in &online {
        out.line(format!("{}: {}", finding.what, finding.words))?;
    }
    Ok(ok.into())
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
