//! `torhaus posture report`: what this machine can say of itself, printed or sent to the gate.
use super::out::Out;
use super::{Answer, Failure};
use crate::clock;
use crate::posture::linux::Machine;
use crate::posture::send::{SendError, To, send};
use clap::Subcommand;
use std::path::PathBuf;
use url::Url;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Read the state of this machine: disk encryption, firewall, updates, malware protection, secure boot. Prints it, or
    /// sends it to the gate with the machine's client certificate. What cannot be read is left out; run it as root.
    Report(ReportArgs),
}

#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// An address of the gate, on any host that takes certificates of devices; without it the report is printed.
    #[arg(long, value_name = "URL", requires = "cert", requires = "key")]
    to: Option<Url>,
    /// PEM: the machine's certificate, then those that signed it.
    #[arg(long, value_name = "FILE", requires = "to")]
    cert: Option<PathBuf>,
    /// PEM: its key.
    #[arg(long, value_name = "FILE", requires = "to")]
    key: Option<PathBuf>,
    /// PEM: the authority of the gate's certificate, if the system does not know it.
    #[arg(long, value_name = "FILE", requires = "to")]
    ca_file: Option<PathBuf>,
}

pub fn posture(verb: &Verb, out: &mut Out) -> Result<Answer, Failure> {
    let Verb::Report(args) = verb;
    let report = Machine::this().report(clock::now());
    let (Some(gate), Some(certificate), Some(key)) = (&args.to, &args.cert, &args.key) else {
        out.json(&report)?;
        return Ok(Answer::Yes);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    match runtime.block_on(send(&report, &To { gate, certificate, key, ca_file: args.ca_file.as_deref() })) {
        Ok(()) => {
            out.line("the gate took the report")?;
            Ok(Answer::Yes)
        }
        Err(error @ SendError::Unreachable(_)) => Err(Failure::Unreachable(error.to_string())),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}
