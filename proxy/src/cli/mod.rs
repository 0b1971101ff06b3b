//! The command line: `torhaus <noun> <verb>`. Reads what was typed, asks, prints. Exit codes: 0 yes, 1 the answer is
//! no (errors found, access refused, a broken chain), 2 usage, 3 the process cannot be reached.
mod audit;
mod backup;
mod break_glass;
mod ca;
mod cert;
mod check;
mod decided;
mod device;
mod eab;
mod enroll;
mod explain;
mod headscale;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod online;
mod out;
mod policy;
mod posture;
mod process;
mod profile;
mod replay;
mod rollback;
mod run;
mod session;
mod shell;

use crate::admin::{self, Client, ClientError};
use crate::clock;
use clap::{Parser, Subcommand, ValueEnum};
use out::Out;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use torhaus_config::Config;

/// The gatehouse: an identity-aware reverse proxy with mTLS.
#[derive(Debug, Parser)]
#[command(name = "torhaus", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate in the foreground.
    Run(run::Args),
    /// Read the configuration and report every mistake in it.
    Check(check::Args),
    /// Look at the policy table.
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Look at what `profile: NAME` of a route stands for.
    #[command(subcommand)]
    Profile(profile::Verb),
    /// Read the audit log.
    #[command(subcommand)]
    Audit(audit::Verb),
    /// See and end sessions of the running process.
    #[command(subcommand)]
    Session(session::Verb),
    /// The way in on the day on which nobody can sign in.
    #[command(subcommand)]
    Breakglass(break_glass::Verb),
    /// Back the state up, check a backup, restore it.
    #[command(subcommand)]
    Backup(backup::Verb),
    /// The authority of the running process: its certificates, its rotation.
    #[command(subcommand)]
    Ca(ca::Verb),
    /// See, issue and revoke certificates of the running process.
    #[command(subcommand)]
    Cert(cert::Verb),
    /// One-time keys for ACME clients of the running process, and what was enrolled with them.
    #[command(subcommand)]
    Eab(eab::Verb),
    /// A certificate for this machine, bound to who signs in; on a person's or a service's machine.
    Enroll(enroll::Args),
    /// Devices that came to the running process.
    #[command(subcommand)]
    Device(device::Verb),
    /// What of the configuration belongs into Headscale's policy.
    #[command(subcommand)]
    Headscale(headscale::Verb),
    /// The state of this machine, for the gate.
    #[command(subcommand)]
    Posture(posture::Verb),
    /// Ingresses of a cluster.
    #[cfg(feature = "kubernetes")]
    #[command(subcommand)]
    Kubernetes(kubernetes::Verb),
    /// Show what the running process does.
    Status(process::StatusArgs),
    /// Let the running process load its configuration again, whole or not at all.
    Reload(process::ReloadArgs),
    /// Print completions for a shell.
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write all of them to a folder.
    Man(shell::ManArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// What a command answers, once it has printed why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// It could not be done.
    Failed(String),
    /// It was not asked properly.
    Usage(String),
    /// The running process cannot be reached.
    Unreachable(String),
    /// Whoever read our output has left: `torhaus audit query | head`.
    ReaderGone,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable(..) | ClientError::Strange(..) => Self::Unreachable(error.to_string()),
            ClientError::Refused(..) => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}

/// Runs what the arguments of this process say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with 0, mistakes to stderr with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Out::stdout();
    let answer = dispatch(cli.command, &mut out).and_then(|answer| out.flush().map(|()| answer));
    let (code, words) = match answer {
        Ok(Answer::Yes) | Err(Failure::ReaderGone) => (0, None),
        Ok(Answer::No) => (1, None),
        Err(Failure::Failed(words)) => (1, Some(words)),
        Err(Failure::Usage(words)) => (2, Some(words)),
        Err(Failure::Unreachable(words)) => (3, Some(words)),
    };
    if let Some(words) = words {
        // What was printed before comes first.
        let _ = out.flush();
        let _ = Out::stderr().line(format!("torhaus: {words}"));
    }
    ExitCode::from(code)
}

fn dispatch(command: Command, out: &mut Out) -> Result<Answer, Failure> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args, out),
        Command::Policy(verb) => policy::policy(verb, out),
        Command::Profile(verb) => profile::profile(&verb, out),
        Command::Audit(verb) => audit::audit(verb, out),
        Command::Session(verb) => session::session(verb, out),
        Command::Breakglass(verb) => break_glass::break_glass(verb, out),
        Command::Backup(verb) => backup::backup(verb, out),
        Command::Ca(verb) => ca::ca(verb, out),
        Command::Cert(verb) => cert::cert(verb, out),
        Command::Eab(verb) => eab::eab(verb, out),
        Command::Enroll(args) => enroll::enroll(args, out),
        Command::Device(verb) => device::device(verb, out),
        Command::Headscale(verb) => headscale::headscale(&verb, out),
        Command::Posture(verb) => posture::posture(&verb, out),
        #[cfg(feature = "kubernetes")]
        Command::Kubernetes(verb) => kubernetes::kubernetes(&verb, out),
        Command::Status(args) => process::status(&args, out),
        Command::Reload(args) => process::reload(&args, out),
        Command::Completions(args) => shell::completions(&args, out),
        Command::Man(args) => shell::man(&args, out),
    }
}

/// The configuration, or all that is wrong with it.
fn load(file: &std::path::Path) -> Result<Config, Failure> {
    torhaus_config::load(file, clock::now()).map_err(|errors| Failure::Failed(errors.to_string()))
}

/// How to find the running process.
#[derive(Debug, clap::Args)]
struct Reach {
    /// The configuration it runs on; it names the state folder.
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// Its admin socket, if the configuration cannot be read.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Reach {
    fn client(&self) -> Result<Client, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(Client::new(socket));
        }
        // Not the whole: who rolls back a broken policy must find the process.
        match torhaus_config::state_dir(&self.config) {
            Some(state_dir) => Ok(Client::new(&state_dir.join(admin::SOCKET))),
            None => Err(Failure::Usage(format!(
                "`{}` cannot be read, so it does not say where the process is (`torhaus check` says why); \
                 name its socket: --socket STATE_DIR/{}",
                self.config.display(),
                admin::SOCKET
            ))),
        }
    }
}

/// Runs one question to the process.
fn ask<T>(question: impl Future<Output = Result<T, ClientError>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    Ok(runtime.block_on(question)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
