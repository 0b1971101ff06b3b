//! The program log: what the process has to say about itself, on stderr. Not the audit log, not the access log.
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line, for collectors.
    #[default]
    Json,
    /// For people at a terminal.
    Text,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(
        "the log filter `{filter}` is not understood: {why}; write for example `info` or `warn,torhaus::login=debug`"
    )]
    Filter { filter: String, why: String },
    #[error("the program log was set up twice")]
    Twice,
}

/// Sets the process's log. `filter` is what `RUST_LOG` says; by default `info`, with the engine's chatter at `warn`.
///
/// # Errors
/// 1. the filter is not understood; 2. it was called before.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), InitError> {
    let filter = parse(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        // tracing escapes control characters in both forms, so what a client sent stays inside its line.
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        Format::Text => builder.with_target(false).with_ansi(io::stderr().is_terminal()).try_init(),
    }
    .map_err(|_| InitError::Twice)
}

fn parse(filter: Option<&str>) -> Result<EnvFilter, InitError> {
    /// pingora reports each broken client connection as an error of its own, ldap3 each connection that a directory
    /// closed, and sqlx each statement; and at `debug`
    /// the libraries write whole requests, cookies and all. A bare level is for our own code; who wants to hear a
    /// library names it.
    const LIBRARIES: &str = "pingora_core=off,pingora_proxy=off,ldap3=off,sqlx=warn,hyper=warn,hyper_util=warn,\
        h2=warn,reqwest=warn,rustls=warn";
    let wanted = filter.map(str::trim).filter(|f| !f.is_empty()).unwrap_or("info");
    let text = &format!("{LIBRARIES},{wanted}");
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(text)
        .map_err(|e| InitError::Filter { filter: wanted.to_owned(), why: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_understood_or_named() {
        for good in [None, Some(""), Some("debug"), Some("warn,torhaus::login=trace")] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        let error = parse(Some("torhaus=loud")).unwrap_err().to_string();
        assert!(error.contains("`torhaus=loud`"), "{error}");
    }
}
