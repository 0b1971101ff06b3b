//! `torhaus profile list|show`.
use super::out::Out;
use super::{Answer, Failure};
use clap::Subcommand;
use torhaus_config::{profile as text_of, profile_names};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Name the applications that are known.
    List,
    /// Print what a profile stands for, and what is to be done at the application.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// As in `profile: NAME` of a route.
    name: String,
}

pub fn profile(verb: &Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::List => {
            for name in profile_names() {
                out.line(name)?;
            }
        }
        Verb::Show(args) => {
            let known: Vec<&str> = profile_names().collect();
            let text = text_of(&args.name).ok_or_else(|| {
                Failure::Usage(format!("there is no profile `{}`; known are {}", args.name, known.join(", ")))
            })?;
            for line in text.lines() {
                out.line(line)?;
            }
        }
    }
    Ok(Answer::Yes)
}
