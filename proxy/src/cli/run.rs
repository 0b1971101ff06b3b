//! `torhaus run`.
use super::{Answer, Failure};
use crate::audit::lines::Target;
use crate::{logging, server};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// The form of the program log on stderr. `RUST_LOG` says how much it tells.
    #[arg(long, value_enum, default_value_t)]
    log: logging::Format,
    /// Where the access log goes: `stdout`, `off`, or a file.
    #[arg(long, value_name = "TARGET", default_value = "stdout", value_parser = target)]
    access_log: Target,
    /// Where a copy of each line of the audit log goes once it is on disk: `stdout`, `off`, or a file. Kept where the
    /// gate's administrators cannot write, it shows what was cut off (`torhaus audit verify --against`).
    #[arg(long, value_name = "TARGET", default_value = "off", value_parser = target)]
    audit_copy: Target,
}

pub fn run(args: Args) -> Result<Answer, Failure> {
    let filter = std::env::var("RUST_LOG").ok();
    logging::init(args.log, filter.as_deref()).map_err(|e| Failure::Usage(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    let served = runtime.block_on(server::run(&args.config, args.access_log, args.audit_copy));
    served.map(|()| Answer::Yes).map_err(|e| Failure::Failed(e.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "the form that clap asks for")]
fn target(text: &str) -> Result<Target, String> {
    Ok(match text {
        "off" => Target::Off,
        "stdout" => Target::Stdout,
        file => Target::File(file.into()),
    })
}
