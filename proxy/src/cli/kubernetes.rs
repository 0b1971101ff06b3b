//! `torhaus kubernetes`: what concerns a cluster and asks no cluster.
use super::out::Out;
use super::{Answer, Failure, Output};
use crate::kubernetes::migrate;
use std::io::Read as _;
use std::path::PathBuf;

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Turn manifests for ingress-nginx into ours, and say what is not done or done otherwise, and why.
    Migrate(MigrateArgs),
}

#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Manifests in YAML or JSON, lists among them (`kubectl get ingress -A -o yaml`); `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The class that they get.
    #[arg(long, value_name = "NAME", default_value = "torhaus")]
    class: String,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub fn kubernetes(verb: &Verb, out: &mut Out) -> Result<Answer, Failure> {
    let Verb::Migrate(args) = verb;
    let mut text = String::new();
    for file in &args.files {
        let failed = |error: std::io::Error| Failure::Failed(format!("`{}` cannot be read: {error}", file.display()));
        let read = match file.to_str() {
            Some("-") => {
                let mut read = String::new();
                std::io::stdin().read_to_string(&mut read).map_err(failed)?;
                read
            }
            _ => std::fs::read_to_string(file).map_err(failed)?,
        };
        // Each by itself: a mistake has a file and a line.
        if let Err(why) = migrate::migrate(&read, &args.class) {
            return Err(Failure::Failed(format!("`{}` cannot be read: {why}", file.display())));
        }
        text.push_str("\n---\n");
        text.push_str(&read);
    }
    let migration = migrate::migrate(&text, &args.class).map_err(Failure::Failed)?;
    if args.output == Output::Json {
        out.json(&migration)?;
    } else {
        out.line(migrate::text(&migration).trim_end())?;
    }
    Ok(Answer::from(!migration.ingresses.is_empty()))
}
