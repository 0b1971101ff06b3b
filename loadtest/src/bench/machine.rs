//! Where and with what a benchmark ran: a figure without it is a rumour.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub taken_at: String,
    pub command: String,
    pub commit: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub versions: Vec<String>,
}

pub fn describe(torhaus: Option<&Path>, all_peers: bool) -> Machine {
    let mut versions = vec![first_line("rustc", &["--version"]), first_line("nginx", &["-v"])];
    if all_peers {
        let peers = [("haproxy", "-v"), ("caddy", "version"), ("apache2", "-v")];
        versions.extend(peers.map(|(program, ask)| first_line(program, &[ask])));
    }
    if let Some(torhaus) = torhaus {
        versions.push(first_line(&torhaus.to_string_lossy(), &["--version"]));
    }
    if cfg!(debug_assertions) {
        // The authoriser is this program, too: its row would be worthless.
        versions.push("DEBUG BUILD of torhaus-loadtest: the figures mean nothing".to_owned());
    }
    Machine {
        taken_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        command: command(),
        commit: first_line("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
        processor: processor(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        versions,
    }
}

/// Without the folder that the program lies in, which is this machine's own affair.
fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Of whichever stream it speaks on (nginx tells its version on the second). "unknown" rather than an error: a missing
/// version is no reason to lose the figures.
fn first_line(program: &str, args: &[&str]) -> String {
    let line = Command::new(program).args(args).output().ok().and_then(|output| {
        let text = String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
        text.lines().next().map(str::to_owned)
    });
    line.unwrap_or_else(|| format!("{program}: unknown"))
}
