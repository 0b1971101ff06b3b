//! `make demo`.
use clap::Parser;
use std::process::ExitCode;
use torhaus_demo::arguments::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    // Both providers of rustls may be compiled in; the first one installed counts, and only this one ever is.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match torhaus_demo::run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}
