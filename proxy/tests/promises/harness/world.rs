//! Everything that one test needs, started; and the gate's own process.
use crate::harness::client::{self, Call, Connection, Tls};
use crate::harness::echo::Echo;
use crate::harness::idp::Idp;
use crate::harness::pki::{Identity, Pki, replace, write_secret};
use crate::harness::{Answer, Browser, files, until};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use torhaus::admin::{Client, SOCKET, Status};

/// The binary under test; `TORHAUS_BINARY` names another one (a release build, or a copy that nobody overwrites).
pub fn binary() -> String {
    std::env::var("TORHAUS_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_torhaus").to_owned())
}

/// By which listener somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `office`, the internal zone.
    Inside,
    /// `internet`, the external zone.
    Outside,
    Plain,
    /// `mesh`, where a test adds it.
    Mesh,
}

impl Door {
    pub const BOTH: [Self; 2] = [Self::Inside, Self::Outside];

    pub fn listener(self) -> &'static str {
        match self {
            Self::Inside => "office",
            Self::Outside => "internet",
            Self::Plain => "plain",
            Self::Mesh => "mesh",
        }
    }

    pub fn zone(self) -> &'static str {
        if self == Self::Inside { "internal" } else { "external" }
    }
}

/// What is there before the gate starts: change it, then [`Setup::start`].
pub struct Setup {
    pub config: String,
    pub policy: String,
    /// More environment for the gate's process.
    pub environment: Vec<(&'static str, String)>,
    /// Opened by a service manager, and handed on to every process of the gate.
    pub socket: Option<TcpListener>,
    pub folder: TempDir,
    pub pki: Pki,
    pub idp: Idp,
    pub echo: Echo,
}

pub struct World {
    pub pki: Pki,
    pub idp: Idp,
    pub echo: Echo,
    socket: Option<TcpListener>,
    gate: Process,
    pub folder: TempDir,
    status: Status,
    environment: Vec<(&'static str, String)>,
}

/// Ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Setup {
    pub async fn new() -> Self {
        Self::with_secret("a secret of two parties").await
    }

    /// With these limits, too: `idle_timeout: 5s, ...`.
    pub fn limit(&mut self, limits: &str) {
        self.config = self.config.replace("limits: { drain: 1s }", &format!("limits: {{ drain: 1s, {limits} }}"));
    }

    pub async fn with_secret(secret: &str) -> Self {
        let (pki, idp, echo) = (Pki::new(), Idp::start(secret), Echo::start().await);
        let folder = tempfile::tempdir().unwrap();
        let hosts: Vec<String> = files::HOSTS.iter().map(ToString::to_string).collect();
        pki.write(folder.path(), &hosts);
        write_secret(&folder.path().join("secret"), secret);
        let config = files::config(&idp.issuer, echo.port);
        Self { config, policy: files::POLICY.to_owned(), environment: Vec::new(), socket: None, folder, pki, idp, echo }
    }

    /// A row for everybody who is signed in, from these `zones`, and its route below `apps.test`, where a device may show
    /// its certificate. `more`: further keys of the row.
    pub fn row(&mut self, resource: &str, zones: &str, more: &str) {
        let row = format!("  - {{ resource: {resource}, allow: [authenticated], zones: {{ {zones} }}, {more} }}\n");
        self.policy = self.policy.replace("exceptions:\n", &(row + "exceptions:\n"));
        let up = format!("http://127.0.0.1:{}", self.echo.port);
        self.config.push_str(&format!(
            "  - {{ name: {resource}, host: apps.test, path: /{resource}, upstream: \"{up}\", resource: {resource}, \
             client_auth: {{ mode: optional, trust_domains: [devices] }} }}\n"
        ));
    }

    /// Gives the listener of the office an address that stays, for whoever comes while nobody listens.
    pub fn stays_at_its_address(&mut self) -> std::net::SocketAddr {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let own = "name: office, address: \"127.0.0.1:0\"";
        assert!(self.config.contains(own));
        self.config = self.config.replace(own, &format!("name: office, address: \"{address}\""));
        address
    }

    pub async fn start(self) -> World {
        let Self { config, policy, environment, socket, folder, pki, idp, echo } = self;
        replace(&folder.path().join("torhaus.yaml"), &config);
        replace(&folder.path().join("policy.yaml"), &policy);
        let (gate, status) = Process::start(&folder, &environment, socket.as_ref()).await;
        World { pki, idp, echo, socket, gate, folder, status, environment }
    }
}

impl Process {
    pub async fn start(
        folder: &TempDir,
        environment: &[(&'static str, String)],
        socket: Option<&TcpListener>,
    ) -> (Self, Status) {
        let gate = command(socket)
            .args(["run", "--config"])
            .arg(folder.path().join("torhaus.yaml"))
            .envs(environment.iter().cloned())
            .stdout(File::create(folder.path().join("stdout.log")).unwrap())
            .stderr(File::create(folder.path().join("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        let mut gate = Process(gate);
        let admin = Client::new(&folder.path().join("state").join(SOCKET));
        let mut status = None;
        until("the gate answers", async || {
            if let Some(ended) = gate.0.try_wait().unwrap() {
                panic!("the gate ended ({ended}): {}", read(folder.path(), "stderr.log"));
            }
            status = admin.get::<Status>("/status").await.ok();
            status.as_ref().is_some_and(|status| status.listeners.len() >= 3)
        })
        .await;
        (gate, status.unwrap())
    }
}

impl World {
    pub async fn start() -> Self {
        Setup::new().await.start().await
    }

    /// Kills the gate as a power failure does, does `between` with its folder, and starts it again.
    pub async fn killed_and_started(mut self, between: impl AsyncFnOnce(&Path)) -> Self {
        self.kill();
        between(self.folder.path()).await;
        self.restart().await;
        self
    }

    /// Ends the gate as a power failure would: SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.gate.0.kill();
        let _ = self.gate.0.wait();
    }

    /// Starts it again, on the folder as it lies there. Ports are new.
    pub async fn restart(&mut self) {
        self.kill();
        (self.gate, self.status) = Process::start(&self.folder, &self.environment, self.socket.as_ref()).await;
    }

    pub fn pid(&self) -> u32 {
        self.gate.0.id()
    }

    /// What the gate's process has resident: `VmRSS:` of all, `RssAnon:` without pages of the program itself.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        found.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn address(&self, door: Door) -> SocketAddr {
        let found = self.status.listeners.iter().find(|l| l.name == door.listener());
        found.unwrap().address.parse().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        read(self.folder.path(), name)
    }

    /// Replaces a file of the configuration in one step.
    pub fn write(&self, name: &str, text: &str) {
        replace(&self.path(name), text);
    }

    /// Changes one place of a file.
    pub fn change(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "`{from}` is not in {name}");
        self.write(name, &text.replace(from, to));
    }

    pub fn tls(&self, identity: Option<&Identity>, alpn: &[&str]) -> Tls {
        client::tls(self.pki.web.root_der(), identity, alpn)
    }

    pub fn browser(&self, door: Door) -> Browser<'_> {
        Browser::new(self, door)
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// There was no answer; why.
    pub async fn call(&self, door: Door, identity: Option<&Identity>, call: &Call) -> Result<Answer, String> {
        let tls = self.tls(identity, &["http/1.1"]);
        Connection::open(self.address(door), &call.host, &tls).await?.send(call).await
    }

    pub fn admin(&self) -> Client {
        Client::new(&self.path("state").join(SOCKET))
    }

    pub async fn status(&self) -> Status {
        self.admin().get("/status").await.unwrap()
    }

    /// Loads the configuration again.
    ///
    /// # Errors
    /// Why it did not.
    pub async fn reload(&self) -> Result<(), String> {
        let done = self.admin().post::<Value>("/reload", &()).await;
        done.map(drop).map_err(|error| error.to_string())
    }

    /// Runs `torhaus … --config torhaus.yaml`: its code, standard output and standard error.
    pub async fn torhaus(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(binary());
        command.args(arguments).arg("--config").arg(self.path("torhaus.yaml")).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub async fn signal(&self, name: &str) {
        let done = tokio::process::Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(done.await.unwrap().success());
    }

    /// The lines of the audit log, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("state/audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect();
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line of a decision.
    pub fn recorded(&self, decision: &str) -> Value {
        let found = self.audit().into_iter().rfind(|line| line["decision"] == decision);
        found.unwrap_or_else(|| panic!("no line for decision {decision}"))
    }

    /// Lines with these values.
    pub fn recorded_with(&self, values: &[(&str, &str)]) -> Vec<Value> {
        let fits = |line: &Value| values.iter().all(|(name, value)| line[*name] == **value);
        self.audit().into_iter().filter(fits).collect()
    }
}

/// The gate's command, with a socket as systemd hands it on (`sd_listen_fds(3)`): descriptor 3 of this very process.
fn command(socket: Option<&TcpListener>) -> Command {
    let Some(socket) = socket else {
        let mut command = Command::new(binary());
        command.stdin(Stdio::null());
        return command;
    };
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    command.args(["-c", script, "sh", &binary()]).stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}
