//! What can be typed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Doing, Error, Result};
use crate::load::{Plan, Shape, Turn};
use crate::target::{Credentials, Expected, Loopback, Target, Version};
use crate::tls::{self, KeyExchange, Tickets};

/// Load against Torhaus and its peers, on this machine only.
#[derive(Debug, Parser)]
#[command(name = "torhaus-loadtest", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// One measurement of one server.
    Run(RunArgs),
    /// Start Torhaus and its peers, measure them in turns, write the report.
    Bench(BenchArgs),
    /// The smallest authoriser there is, for peers that ask one (nginx `auth_request`): a map lookup.
    Authoriser(AuthoriserArgs),
    /// An application that reads what is uploaded.
    Sink(SinkArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Address of the server; loopback only.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    connect: Loopback,
    /// Name for SNI, certificate check and Host.
    #[arg(long)]
    host: String,
    #[arg(long, default_value = "/")]
    path: String,
    #[arg(long, value_enum, default_value_t = Protocol::H1)]
    protocol: Protocol,
    /// Authority that the server's certificate must be signed by (PEM).
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Client certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// File with values of the Cookie header, one a line; each request shows the next.
    #[arg(long, value_name = "FILE")]
    cookie_file: Option<PathBuf>,
    /// File with a bearer token.
    #[arg(long, value_name = "FILE")]
    bearer_file: Option<PathBuf>,
    /// Send a body of so many bytes with each request, by POST.
    #[arg(long, default_value_t = 0)]
    upload_bytes: u64,
    /// `closed` finds capacity, `open` needs --rate and finds latency, `full` and `resumed` count handshakes, `idle`
    /// opens connections and leaves them alone.
    #[arg(long, value_enum, default_value_t = Mode::Closed)]
    mode: Mode,
    /// Arrivals per second of the open loop.
    #[arg(long, required_if_eq("mode", "open"))]
    rate: Option<u32>,
    /// Connections, or concurrent callers when counting handshakes.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Concurrent streams on each h2 connection.
    #[arg(long, default_value_t = 16)]
    streams: usize,
    #[arg(long, value_parser = duration, default_value = "1s")]
    warm_up: Duration,
    #[arg(long, value_parser = duration, default_value = "5s")]
    duration: Duration,
    /// Take turns: each line of the input begins one, `for 50ms 200ms` (warm-up, then measured) or `operations 3`, and is
    /// answered by a line of JSON. Connections stay open between turns. Only of the closed loop and of handshakes.
    #[arg(long, conflicts_with_all = ["warm_up", "duration", "rate"])]
    pub turns: bool,
    #[arg(long, value_enum, default_value_t = KeyExchange::X25519)]
    key_exchange: KeyExchange,
    /// Take the CPU time of this process and its children, e.g. `proxy=4711`. Repeatable.
    #[arg(long, value_name = "NAME=PID", value_parser = named_pid)]
    pid: Vec<(String, u32)>,
    #[arg(long, default_value_t = 200)]
    expect_status: u16,
    #[arg(long)]
    expect_bytes: Option<u64>,
    /// Report faults, but do not fail because of them.
    #[arg(long)]
    pub allow_faults: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Protocol {
    H1,
    H2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Closed,
    Open,
    Full,
    Resumed,
    Idle,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// `quick` takes under three minutes, `full` has longer and more turns.
    #[arg(value_enum)]
    pub length: Length,
    /// Where `latest.json` and `latest.md` go.
    #[arg(long, default_value = "loadtest/results")]
    pub results: PathBuf,
    /// Default: `torhaus` beside this program.
    #[arg(long, value_name = "FILE")]
    pub torhaus: Option<PathBuf>,
    /// One more argument for `torhaus run`. Repeatable; stands in the report's command line.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub torhaus_arg: Vec<String>,
    /// Default: `examples/bare-edge` beside this program.
    #[arg(long, value_name = "FILE")]
    pub bare_edge: Option<PathBuf>,
    /// Leave something out; the report says so. Repeatable.
    #[arg(long, value_enum)]
    pub without: Vec<Part>,
    /// Core of the proxy under test and its authoriser.
    #[arg(long, default_value_t = 0)]
    pub proxy_core: u32,
    /// Core of the load generator and the application.
    #[arg(long, default_value_t = 1)]
    pub load_core: u32,
    /// Turns instead of the length's own number.
    #[arg(long)]
    pub turns: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Length {
    Quick,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Torhaus,
    BareEdge,
    Nginx,
    Haproxy,
    Caddy,
    Apache,
    Decisions,
    Soak,
}

#[derive(Debug, Args)]
pub struct SinkArgs {
    #[arg(long)]
    pub listen: Loopback,
}

#[derive(Debug, Args)]
pub struct AuthoriserArgs {
    #[arg(long)]
    pub listen: Loopback,
    /// File with the session cookie that is let in, as the Cookie header carries it.
    #[arg(long, value_name = "FILE")]
    pub session_file: PathBuf,
}

impl RunArgs {
    /// Reads the named files.
    pub fn plan(&self) -> Result<Plan> {
        let version = match self.protocol {
            Protocol::H1 => Version::Http1,
            Protocol::H2 => Version::Http2,
        };
        let streams = if version == Version::Http2 { self.streams } else { 1 };
        if self.connections == 0 || streams == 0 {
            return Err(Error::new("--connections and --streams must be at least 1"));
        }
        if self.turns && matches!(self.mode, Mode::Open | Mode::Idle) {
            return Err(Error::new("--turns is for the modes closed, full and resumed"));
        }
        let shape = match (self.mode, self.rate) {
            (Mode::Full | Mode::Resumed, _) => Shape::Handshakes { callers: self.connections },
            (Mode::Idle, _) => Shape::Idle { connections: self.connections },
            (Mode::Closed, _) => Shape::Closed { connections: self.connections, streams },
            (Mode::Open, Some(per_second)) => Shape::Open { connections: self.connections, streams, per_second },
            (Mode::Open, None) => return Err(Error::new("--mode open needs --rate")),
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(tls::identity(cert, key)?),
            _ => None,
        };
        let tickets = if self.mode == Mode::Resumed { Tickets::Used } else { Tickets::Refused };
        let read = |file: &PathBuf| std::fs::read_to_string(file).doing(format!("file `{}`", file.display()));
        let cookies = self.cookie_file.as_ref().map(read).transpose()?.unwrap_or_default();
        let credentials = Credentials {
            cookies: cookies.lines().map(str::to_owned).collect(),
            bearer: self.bearer_file.as_ref().map(read).transpose()?,
        };
        let expected = Expected { status: self.expect_status, body_bytes: self.expect_bytes };
        let mut target = Target::new(self.connect, &self.host, &self.path, version, &credentials, expected)?;
        target.upload = self.upload_bytes;
        Ok(Plan {
            target,
            tls: tls::client(tls::certificates(&self.ca)?, identity, version, self.key_exchange, tickets)?,
            shape,
            processes: self.pid.clone(),
        })
    }
}

impl RunArgs {
    pub fn turn(&self) -> Turn {
        Turn::For { warm_up: self.warm_up, duration: self.duration }
    }
}

impl FromStr for Turn {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            ["for", warm_up, measured] => Ok(Self::For { warm_up: duration(warm_up)?, duration: duration(measured)? }),
            ["operations", count] => Ok(Self::Operations(count.parse().doing(format!("`{count}`"))?)),
            _ => Err(Error::new(format!("`{line}` is no turn; write `for 50ms 200ms` or `operations 3`"))),
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For { warm_up, duration } => write!(f, "for {}ms {}ms", warm_up.as_millis(), duration.as_millis()),
            Self::Operations(count) => write!(f, "operations {count}"),
        }
    }
}

/// `3s` or `500ms`.
fn duration(text: &str) -> Result<Duration> {
    let parsed = text
        .strip_suffix("ms")
        .map(|number| number.parse().map(Duration::from_millis))
        .or_else(|| text.strip_suffix('s').map(|number| number.parse().map(Duration::from_secs)));
    match parsed {
        Some(Ok(duration)) => Ok(duration),
        _ => Err(Error::new(format!("`{text}` is not a duration; write `3s` or `500ms`"))),
    }
}

fn named_pid(text: &str) -> Result<(String, u32)> {
    let parsed = text.split_once('=').and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
    parsed.ok_or_else(|| Error::new(format!("`{text}` is not NAME=PID")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_carry_a_unit() {
        assert_eq!(duration("3s").unwrap(), Duration::from_secs(3));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["3", "s", "1m", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_turn_is_read_as_it_is_written() {
        let spans = (Duration::from_millis(50), Duration::from_millis(1200));
        for turn in [Turn::For { warm_up: spans.0, duration: spans.1 }, Turn::Operations(3)] {
            assert_eq!(turn.to_string().parse::<Turn>().unwrap(), turn);
        }
        for wrong in ["", "for 1s", "operations", "operations x", "ever"] {
            assert!(wrong.parse::<Turn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_while_parsing() {
        let words = ["torhaus-loadtest", "run", "--connect", "192.0.2.1:443", "--host", "a", "--ca", "f"];
        let message = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(message.contains("not a loopback address"), "{message}");
    }
}
