//! `torhaus policy rollback`: the running process returns to a policy that ran before.
use super::out::Out;
use super::process::{ask_reloaded, short};
use super::{Answer, Failure, Output, Reach};
use crate::admin::Rollback;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// The kept policy whose version begins like this; by default the one that ran before.
    #[arg(long, value_name = "VERSION", conflicts_with = "clear")]
    to: Option<String>,
    /// Let go of a rollback: the file in place counts again.
    #[arg(long)]
    clear: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub fn rollback(args: &Args, out: &mut Out) -> Result<Answer, Failure> {
    let asked = Rollback { to: args.to.clone(), clear: args.clear };
    let done = match ask_reloaded(&args.reach.client()?, "/policy/rollback", &asked)? {
        Ok(done) => done,
        Err(failed) => {
            match args.output {
                Output::Json => out.json(&failed)?,
                Output::Text => out.line(format!("{}\nnothing was changed", failed.errors))?,
            }
            return Ok(Answer::No);
        }
    };
    if args.output == Output::Json {
        out.json(&done)?;
        return Ok(Answer::Yes);
    }
    match &done.rolled_back {
        Some(pinned) => out.line(format!(
            "policy {} runs again, instead of {}\nthe file in place is not used until it is this policy again: revert the \
             change in Git, or let go with `torhaus policy rollback --clear`",
            short(&pinned.to),
            short(&pinned.from)
        ))?,
        None => out.line(format!("the file in place counts again; policy {}", short(&done.policy_version)))?,
    }
    Ok(Answer::Yes)
}
