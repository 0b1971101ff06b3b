//! The benchmark: starts everything, measures in turns, stops everything, reports. One run, one table of ratios.
//!
//! Turn by turn (A B A B ...), because a machine drifts: only figures of the same minute may be divided.

mod apache;
mod caddy;
mod child;
mod decisions;
mod haproxy;
mod idle;
mod idp;
mod latency;
mod login;
mod machine;
mod measure;
mod nginx;
mod pki;
mod reload;
mod report;
mod sessions;
mod soak;
mod subjects;
mod torhaus;
mod trouble;

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{BenchArgs, Length, Part};
use crate::error::{Doing, Error, Result};
use idle::Idle;
use latency::Latency;
use measure::{Measured, Scenario};
use reload::Reloads;
use report::Report;
use serde::Serialize;
use sessions::Sessions;
use soak::Soak;
use subjects::Subjects;
use trouble::Trouble;

/// How much of everything one benchmark does.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Of thousands of operations a second: many short turns, because a machine's weather changes within seconds.
    pub short: Turns,
    /// Turns of one body of 1 GiB each.
    pub bodies: u32,
    pub scenarios: &'static [Scenario],
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Turns {
    pub count: u32,
    #[serde(skip)]
    pub warm_up: Duration,
    #[serde(rename = "milliseconds", serialize_with = "millis")]
    pub duration: Duration,
}

fn millis<S: serde::Serializer>(duration: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_u128(duration.as_millis())
}

/// Connections are open already, so this is for caches.
const WARM_UP: Duration = Duration::from_millis(30);
const MEASURED: Duration = Duration::from_millis(200);

/// Of the open loop.
const LATENCY_TURNS: u32 = 12;

impl Extent {
    fn of(length: Length) -> Self {
        let turns = |count| Turns { count, warm_up: WARM_UP, duration: MEASURED };
        match length {
            Length::Quick => Self {
                short: turns(25),
                bodies: 0,
                scenarios: &[Scenario::Http1, Scenario::Http2, Scenario::FullHandshakes],
            },
            Length::Full => Self { short: turns(80), bodies: 15, scenarios: subjects::EVERYTHING },
        }
    }
}

/// Ends early on Ctrl-C; everything started is stopped either way.
pub async fn run(args: &BenchArgs) -> Result<ExitCode> {
    tokio::select! {
        result = measure_all(args) => result,
        _ = tokio::signal::ctrl_c() => Err(Error::new("interrupted; nothing was written")),
    }
}

async fn measure_all(args: &BenchArgs) -> Result<ExitCode> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 || args.proxy_core == args.load_core {
        return Err(Error::new("two cores are needed: one for the proxy, one for the load and the application"));
    }
    let programs = Programs::find(args)?;
    let mut extent = Extent::of(args.length);
    if let Some(turns) = args.turns {
        extent.short.count = turns;
        extent.bodies = turns.min(extent.bodies);
    }
    let scratch = tempfile::Builder::new()
        .prefix("torhaus-bench-")
        .permissions(Permissions::from_mode(0o755)) // nginx's worker is another user when we are root
        .tempdir()
        .doing("temporary folder")?;

    let decisions = if args.without.contains(&Part::Decisions) {
        Vec::new()
    } else {
        say("decisions: cargo bench -p torhaus-authz --bench decide");
        decisions::measure(args.proxy_core, &programs.target_dir, args.length == Length::Quick).await?
    };
    let subjects = Subjects::start(args, &programs, scratch.path()).await?;
    let measured = measure::in_turns(&subjects, extent, args.load_core).await?;
    let more = match args.length {
        Length::Quick => More::default(),
        Length::Full => More::measure(args, &programs, &subjects, (&measured, extent), scratch.path()).await?,
    };
    drop(subjects);

    let mut faults: u64 = measured.iter().map(Measured::faults).sum();
    faults += more.faults();
    let report = Report::new(
        machine::describe(programs.torhaus.as_deref(), args.length == Length::Full),
        extent,
        decisions,
        &measured,
        more,
    );
    report.write(&args.results)?;
    write!(std::io::stdout().lock(), "{}", report.markdown()).doing("output")?;
    if faults > 0 {
        return Err(Error::new(format!("{faults} faults; the rows that have some say which")));
    }
    Ok(ExitCode::SUCCESS)
}

/// What only the long benchmark measures.
#[derive(Debug, Default, Serialize)]
pub struct More {
    latency: Vec<Latency>,
    idle: Vec<Idle>,
    reloads: Option<Reloads>,
    sessions: Option<Sessions>,
    trouble: Vec<Trouble>,
    soak: Option<Soak>,
}

impl More {
    async fn measure(
        args: &BenchArgs,
        programs: &Programs,
        subjects: &Subjects,
        (measured, extent): (&[Measured], Extent),
        folder: &Path,
    ) -> Result<Self> {
        let core = args.load_core;
        // First: sessions stay, and what was freed before would hide what they take.
        let sessions = sessions::growth(subjects, folder, extent.short, core).await?;
        let latency =
            latency::in_turns(subjects, measured, args.turns.unwrap_or(LATENCY_TURNS).min(LATENCY_TURNS), core).await?;
        let reloads = match &programs.torhaus {
            Some(program) => reload::under_load(subjects, program, core).await?,
            None => None,
        };
        let soak = if args.without.contains(&Part::Soak) { None } else { soak::ten_minutes(subjects, core).await? };
        // Last: ten thousand connections leave their mark on an allocator.
        let trouble = trouble::each(subjects, measured, core).await?;
        let idle = idle::each(subjects, core).await?;
        Ok(Self { latency, idle, reloads, sessions, trouble, soak })
    }

    fn faults(&self) -> u64 {
        let latency = self.latency.iter().map(|row| row.faults);
        let idle = self.idle.iter().map(|row| row.faults);
        let trouble = self.trouble.iter().map(|row| row.faults);
        let once = [
            self.reloads.as_ref().map(|found| found.faults),
            self.sessions.as_ref().map(|found| found.faults),
            self.soak.as_ref().map(|found| found.faults),
        ];
        latency.chain(idle).chain(trouble).chain(once.into_iter().flatten()).sum()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        latency::write(&self.latency, out)?;
        idle::write(&self.idle, out)?;
        sessions::write(self.sessions.as_ref(), out)?;
        reload::write(self.reloads.as_ref(), out)?;
        trouble::write(&self.trouble, out)?;
        soak::write(self.soak.as_ref(), out)
    }
}

/// What was built before. A missing one is an error, never a silently shorter report.
#[derive(Debug)]
pub struct Programs {
    pub this: PathBuf,
    pub torhaus: Option<PathBuf>,
    pub bare_edge: Option<PathBuf>,
    pub target_dir: PathBuf,
}

impl Programs {
    fn find(args: &BenchArgs) -> Result<Self> {
        let this = std::env::current_exe().doing("own path")?;
        let profile = this.parent().ok_or_else(|| Error::new("own path has no folder"))?.to_owned();
        let target_dir = profile.parent().unwrap_or(&profile).to_owned();
        let find = |part: Part, given: &Option<PathBuf>, built: &str, how: &str| {
            if args.without.contains(&part) {
                return Ok(None);
            }
            let path = given.clone().unwrap_or_else(|| profile.join(built));
            if !path.is_file() {
                return Err(Error::new(format!("`{}` is missing; build it with `{how}`", path.display())));
            }
            Ok(Some(path))
        };
        Ok(Self {
            torhaus: find(Part::Torhaus, &args.torhaus, "torhaus", "cargo build --release -p torhaus")?,
            bare_edge: find(
                Part::BareEdge,
                &args.bare_edge,
                "examples/bare-edge",
                "cargo build --release -p torhaus --example bare-edge",
            )?,
            this,
            target_dir,
        })
    }
}

/// Progress goes to the error stream, the report to the output.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
