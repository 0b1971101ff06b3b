//! `torhaus completions` and `torhaus man`: made from the one definition of the command line.
use super::out::Out;
use super::{Answer, Cli, Failure};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page per command to this folder.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<Answer, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "torhaus", &mut script);
    out.bytes(&script)?;
    Ok(Answer::Yes)
}

pub fn man(args: &ManArgs, out: &mut Out) -> Result<Answer, Failure> {
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            clap_mangen::generate_to(Cli::command(), dir)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            out.bytes(&page)?;
        }
    }
    Ok(Answer::Yes)
}
