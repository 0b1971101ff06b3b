//! `torhaus ca status|rotate|export|import`: asks the running process about its authority.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::ca::status::{CaStatus, Export, Import};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the authorities, which of them signs, and their revocation lists.
    Status(StatusArgs),
    /// Make another issuing authority that signs from now on; those before are believed until they end.
    Rotate(RotateArgs),
    /// Print the root certificate, or all authorities' certificates. Never a key.
    Export(ExportArgs),
    /// Bring an issuing authority that an offline root signed; it signs from now on.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    reach: Reach,
    /// The issuing authorities, too, the one that signs first.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    reach: Reach,
    /// PEM: the root's certificate.
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// PEM: the issuing authority's certificate.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// PEM: its PKCS #8 key. Torhaus keeps it sealed; remove the file afterwards.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub fn ca(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Status(args) => status(&args, out),
        Verb::Rotate(args) => {
            let id: String = ask(args.reach.client()?.post("/ca/rotate", &()))?;
            out.line(format!("authority {id} signs from now on"))?;
            Ok(Answer::Yes)
        }
        Verb::Export(args) => {
            let export: Export = ask(args.reach.client()?.get("/ca/export"))?;
            out.line(export.root_pem.trim_end())?;
            if args.all {
                export.issuing_pem.iter().try_for_each(|pem| out.line(pem.trim_end()))?;
            }
            Ok(Answer::Yes)
        }
        Verb::Import(args) => import(&args, out),
    }
}

fn status(args: &StatusArgs, out: &mut Out) -> Result<Answer, Failure> {
    let status: CaStatus = ask(args.reach.client()?.get("/ca"))?;
    if args.output == Output::Json {
        out.json(&status)?;
        return Ok(Answer::Yes);
    }
    out.line(format!("root key      {}", if status.root_is_here { "here, sealed" } else { "elsewhere" }))?;
    out.line(format!("valid         {} certificates", status.valid))?;
    out.line(format!("revoked       {} known to the gate", status.revoked))?;
    let head = ["authority", "", "ends", "list", "entries", "next list by"].map(str::to_owned).to_vec();
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = status.authorities.iter().map(|line| {
        vec![
            line.id.clone(),
            if line.active { "signs" } else { "believed" }.to_owned(),
            line.ends.to_string(),
            shown(line.crl_number.map(|number| number.to_string())),
            shown(line.crl_entries.map(|number| number.to_string())),
            shown(line.crl_next_update.map(|at| at.to_string())),
        ]
    });
    out.line(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
    Ok(Answer::Yes)
}

fn import(args: &ImportArgs, out: &mut Out) -> Result<Answer, Failure> {
    let read = |path: &PathBuf| {
        let failed = |error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
        std::fs::read_to_string(path).map_err(failed)
    };
    let import = Import { root_pem: read(&args.root)?, certificate_pem: read(&args.cert)?, key_pem: read(&args.key)? };
    let id: String = ask(args.reach.client()?.post("/ca/import", &import))?;
    out.line(format!("authority {id} signs from now on; its key is sealed, `{}` can go", args.key.display()))?;
    Ok(Answer::Yes)
}
