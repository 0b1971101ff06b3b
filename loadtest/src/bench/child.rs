//! Programs that a benchmark starts and stops: each on its core, each ended by its own process id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::error::{Doing, Error, Result};
use crate::target::Loopback;

/// A server that does not listen by then has a problem that its log tells.
const START: Duration = Duration::from_secs(20);

/// A server that is not gone by then is killed.
const STOP: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(25);

/// How much of a failed program's log stands in the error.
const LOG_LINES: usize = 15;

/// A running program; stopped when dropped.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

/// A command that runs on one core and does not outlive us, however we end.
pub fn pinned(core: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    // Both replace themselves by the program, so its process id is the child's.
    command.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]).arg(program);
    command
}

impl Child {
    /// Starts `command`, its output in `{name}.log`, and waits until it listens on `address`.
    pub async fn start(name: &'static str, mut command: Command, logs: &Path, address: Loopback) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let output = File::create(&log).doing(format!("log file `{}`", log.display()))?;
        let errors = output.try_clone().doing("log file")?;
        let process =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().doing(format!("start {name}"))?;
        let mut child = Self { name, process, log };
        child.listening(address).await?;
        Ok(child)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    async fn listening(&mut self, address: Loopback) -> Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(address.address()).await.is_err() {
            if let Some(status) = self.ended()? {
                return Err(self.failed(&format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("does not listen on {} after {START:?}", address.address())));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().doing(self.name)
    }

    fn failed(&self, how: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        Error::new(format!("{} {how}; the end of its log:\n{end}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Not reaped yet, so the id is still this child's. TERM first: nginx's master takes its worker along.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        }
        let deadline = Instant::now() + STOP;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A port that nobody listens on right now.
pub fn free_port() -> Result<Loopback> {
    let listener = std::net::TcpListener::bind(Loopback::port(0).address()).doing("free port")?;
    Loopback::new(listener.local_addr().doing("free port")?)
}
