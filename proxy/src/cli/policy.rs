//! `torhaus policy table|matrix|test|explain`.
use super::out::Out;
use super::{Answer, Failure, Output, explain, load};
use crate::clock;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the table, as it would stand on paper.
    Table(TableArgs),
    /// Print who can open what from where: for each group, person and service that the policy names.
    Matrix(TableArgs),
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

fn test(args: &TestArgs, out: &mut Out) -> Result<Answer, Failure> {
    let suite = torhaus_config::run_policy_tests(&args.config, clock::now());
    let suite = suite.map_err(|errors| Failure::Failed(errors.to_string()))?;
    match args.output {
        Output::Text => out.line(&suite)?,
        Output::Json => out.json(&suite)?,
    }
    Ok(suite.passed().into())
}
