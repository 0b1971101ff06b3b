//! The command line of the demo.
use clap::Parser;
use std::path::PathBuf;

/// Torhaus with a small OpenID provider and sample applications, on this machine only. Runs until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "torhaus-demo")]
pub struct Arguments {
    /// The `torhaus` program. Without it only the provider and the applications run.
    #[arg(long, value_name = "PATH")]
    pub torhaus: Option<PathBuf>,
    /// Use ten ports in a row from this one, instead of 8443, 8444 and 9480 to 9487.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub base_port: Option<u16>,
    /// Where certificates, secrets, configuration, state and logs go. Emptied at each start, but for the demo CA.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/run"))]
    pub folder: PathBuf,
    /// Run every printed command, say what it did, and stop. Fails if one does not do what it says.
    #[arg(long, requires = "torhaus")]
    pub check: bool,
}
