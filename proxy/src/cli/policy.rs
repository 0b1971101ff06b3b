//! `torhaus policy table|matrix|rbac|test|explain|replay|review|rollback`.
use super::audit::Place;
use super::out::Out;
use super::{Answer, Failure, Output, explain, load, replay, rollback};
use crate::audit::decisions::entries;
use crate::audit::read::ReadError;
use crate::clock;
use clap::{Subcommand, ValueEnum};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;
use torhaus_authz::Usage;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the table, as it would stand on paper.
    Table(TableArgs),
    /// Print who can open what from where: for each group, person and service that the policy names.
    Matrix(TableArgs),
    /// Write the policy as a document for auditors (Markdown): roles, owners, reviews, exceptions.
    Rbac(RbacArgs),
    /// List what deserves a look: reviews that are due, rows and exceptions that nobody uses, rows without an owner. Exit
    /// code 1 if there is anything.
    Review(ReviewArgs),
    /// Decide what the audit log holds once more by a candidate: who gains, who loses, who has to prove more.
    Replay(replay::Args),
    /// Let the running process return to the policy before, until the file in place is that one again.
    Rollback(rollback::Args),
    /// Run the policy's own tests. Exit code 1 if one fails; such a policy does not load.
    Test(TestArgs),
    /// Say line by line what the gate would answer, and why. Exit code 0 only if it would allow.
    Explain(Box<explain::Args>),
}

#[derive(Debug, clap::Args)]
pub struct TableArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

#[derive(Debug, clap::Args)]
pub struct TestArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// Another policy than the one that the configuration names, such as a candidate.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RbacArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct ReviewArgs {
    #[command(flatten)]
    place: Place,
    /// What let nobody in for so long counts as unused.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = |text: &str| {
        explain::duration(text).ok_or_else(|| format!("`{text}` is not a time like `90d`"))
    })]
    unused: Duration,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    #[default]
    Markdown,
    Json,
}

pub fn policy(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Table(args) => table(&args, out),
        Verb::Matrix(args) => matrix(&args, out),
        Verb::Rbac(args) => {
            out.line(load(&args.config)?.policy.rbac(clock::now()))?;
            Ok(Answer::Yes)
        }
        Verb::Review(args) => review(&args, out),
        Verb::Replay(args) => replay::replay(&args, out),
        Verb::Rollback(args) => rollback::rollback(&args, out),
        Verb::Test(args) => test(&args, out),
        Verb::Explain(args) => explain::explain(&args, out),
    }
}

fn table(args: &TableArgs, out: &mut Out) -> Result<Answer, Failure> {
    let table = load(&args.config)?.policy.table();
    match args.output {
        Form::Markdown => out.line(table.to_markdown())?,
        Form::Json => out.json(&table)?,
    }
    Ok(Answer::Yes)
}

fn matrix(args: &TableArgs, out: &mut Out) -> Result<Answer, Failure> {
    let matrix = load(&args.config)?.policy.matrix(clock::now());
    match args.output {
        Form::Markdown => out.line(matrix.to_markdown())?,
        Form::Json => out.json(&matrix)?,
    }
    Ok(Answer::Yes)
}

fn review(args: &ReviewArgs, out: &mut Out) -> Result<Answer, Failure> {
    let policy = load(&args.place.config)?.policy;
    let mut usage = Usage::default();
    let read = entries(&args.place.folder()?, |entry, _, _| {
        usage.add(entry);
        ControlFlow::Continue(())
    });
    match read {
        // A gate that never ran has no log, and its policy can be reviewed all the same.
        Err(ReadError::Folder(_, error)) if error.kind() == std::io::ErrorKind::NotFound => {}
        read => read.map_err(|e| Failure::Failed(e.to_string()))?,
    }
    let review = policy.review(&usage, args.unused, clock::now());
    match args.output {
        Output::Text => out.line(&review)?,
        Output::Json => out.json(&review)?,
    }
    Ok(review.findings.is_empty().into())
}

fn test(args: &TestArgs, out: &mut Out) -> Result<Answer, Failure> {
    let suite = torhaus_config::run_policy_tests(&args.config, args.policy.as_deref(), clock::now());
    let suite = suite.map_err(|errors| Failure::Failed(errors.to_string()))?;
    match args.output {
        Output::Text => out.line(&suite)?,
        Output::Json => out.json(&suite)?,
    }
    Ok(suite.passed().into())
}
