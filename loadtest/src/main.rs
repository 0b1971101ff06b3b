//! `torhaus-loadtest`: load against Torhaus and its peers, and one report that compares them.
//!
//! ```text
//! bench  starts the peers, and for each measurement ->  run (a child pinned to its core)  -> JSON -> report
//! ```
//!
//! Never loads another machine, never retries: what fails is counted and fails the run.

mod authoriser;
mod bench;
mod body;
mod cli;
mod connection;
mod cpu;
mod error;
mod load;
mod outcome;
mod sink;
mod stats;
mod tally;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use cli::{Cli, Command, RunArgs};
use error::{Doing, Result};
use load::Load;
use outcome::Outcome;

/// The generator shares a core with the application: what it saves, the peers under test get as load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Another provider may be compiled in by feature unification; then rustls refuses to guess.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match start(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "torhaus-loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<ExitCode> {
    // One thread: `taskset` from outside says where it runs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing("runtime")?;
    match command {
        Command::Run(args) => runtime.block_on(run(&args)),
        Command::Bench(args) => runtime.block_on(bench::run(&args)),
        Command::Authoriser(args) => runtime.block_on(authoriser::serve(&args)),
        Command::Sink(args) => runtime.block_on(sink::serve(&args)),
    }
}

async fn run(args: &RunArgs) -> Result<ExitCode> {
    if args.turns {
        return take_turns(args).await;
    }
    let outcome = load::run(args.plan()?, args.turn()).await?;
    if args.json {
        print_line(&outcome)?;
    } else {
        write!(std::io::stdout().lock(), "{outcome}").doing("output")?;
    }
    let failed = outcome.fault_count() > 0 && !args.allow_faults;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Until the input ends.
async fn take_turns(args: &RunArgs) -> Result<ExitCode> {
    let mut load = Load::start(args.plan()?).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut faults = 0;
    while let Some(line) = lines.next_line().await.doing("input")? {
        let outcome = load.turn(line.parse()?).await?;
        faults += outcome.fault_count();
        print_line(&outcome)?;
    }
    load.stop().await;
    Ok(if faults > 0 && !args.allow_faults { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_line(outcome: &Outcome) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, outcome).doing("output")?;
    writeln!(out).doing("output")
}
