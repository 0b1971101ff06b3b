//! A PostgreSQL server of a test's own, on loopback, over TLS, with a password.
use crate::harness::pki::{Identity, write_secret};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use torhaus::store::{OpenError, Reach, SqlStore};
use torhaus_certs::{Authority, LeafRequest};

const PASSWORD: &str = "a password for tests";
/// Its folder, and what it calls itself.
const STANDBY: &str = "standby";

pub struct Server {
    /// A standby has the one of its primary.
    folder: Arc<TempDir>,
    data: PathBuf,
    port: u16,
    /// Who vouches for it.
    pub ca: PathBuf,
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Its own user has to come by.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let now = OffsetDateTime::now_utc();
        let authority = Authority::new("database", now, Duration::days(2)).unwrap();
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, authority.root_pem()).unwrap();
        let request = LeafRequest::server(["localhost".to_owned()]).valid_for(Duration::days(1));
        let identity = Identity::from(authority.issue(&request, now).unwrap());
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let password = folder.path().join("password");
        write_secret(&password, PASSWORD);
        own(folder.path());
        let initdb = run("initdb")
            .args(["--username=torhaus", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"])
            .arg(format!("--pwfile={}", password.display()))
            .args(["--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("PostgreSQL is installed; tests/peers/install.sh does it");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        fs::write(data.join("server.crt"), &identity.cert_pem).unwrap();
        write_secret(&data.join("server.key"), &identity.key_pem);
        // Over TLS only.
        let hba = "local all all trust\nlocal replication all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), hba).unwrap();
        own(folder.path());
        let server = Self { folder: Arc::new(folder), data, port: free_port(), ca };
        server.begin();
        server.psql("postgres", "CREATE DATABASE torhaus");
        server
    }

    /// A copy that is kept up to date from now on, and whose disk every commit waits for once [`Self::wait_for`] was said.
    pub fn standby(&self) -> Self {
        let (folder, data) = (self.folder.clone(), self.folder.path().join(STANDBY));
        let from =
            format!("host={} port={} user=torhaus application_name={STANDBY}", folder.path().display(), self.port);
        let copied =
            run("pg_basebackup").args(["-R", "-X", "stream", "-c", "fast", "-d", &from, "-D"]).arg(&data).output();
        let copied = copied.unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let standby = Self { folder, data, port: free_port(), ca: self.ca.clone() };
        standby.begin();
        standby
    }

    /// From now on a commit is acknowledged when the standby has it.
    pub fn wait_for_standby(&self) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'"));
        self.sql("SELECT pg_reload_conf()");
    }

    pub fn promote(&self) {
        let promoted = run("pg_ctl").args(["promote", "-w", "-D"]).arg(&self.data).stdout(Stdio::null()).status();
        assert!(promoted.unwrap().success());
    }

    /// SIGKILL: nothing is said, nothing is finished.
    pub fn kill(&self) {
        let pid = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let killed = Command::new("kill").args(["-9", pid.lines().next().unwrap()]).status();
        assert!(killed.unwrap().success());
    }

    /// Starts it, on the data that is there.
    pub fn begin(&self) {
        let folder = self.folder.path();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -p {} -k {} -c ssl=on -c fsync=off -c max_connections=80 \
             -c shared_buffers=32MB -c synchronous_commit=off",
            self.port,
            folder.display()
        );
        let started = run("pg_ctl")
            .args(["start", "-w", "-t", "60", "-D"])
            .arg(&self.data)
            .arg("-l")
            .arg(self.data.join("server.log"))
            .args(["-o", &options])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(started.success(), "{}", fs::read_to_string(self.data.join("server.log")).unwrap_or_default());
    }

    /// Stops it as a power failure does: nothing is said, nothing is finished.
    pub fn stop(&self) {
        let stop = ["stop", "-m", "immediate", "-w", "-D"];
        let stopped = run("pg_ctl").args(stop).arg(&self.data).stdout(Stdio::null()).status();
        assert!(stopped.unwrap().success());
    }

    pub fn url(&self) -> String {
        self.url_with(&[])
    }

    /// This one and others, of which one is the primary.
    pub fn url_with(&self, others: &[&Self]) -> String {
        let hosts: Vec<String> = std::iter::once(self)
            .chain(others.iter().copied())
            .map(|server| format!("localhost:{}", server.port))
            .collect();
        format!("postgres://torhaus:{}@{}/torhaus", PASSWORD.replace(' ', "%20"), hosts.join(","))
    }

    pub async fn open(&self, key: &str) -> Result<SqlStore, OpenError> {
        self.open_believing(key, Some(&self.ca)).await
    }

    pub async fn open_believing(&self, key: &str, ca: Option<&Path>) -> Result<SqlStore, OpenError> {
        let seal = std::sync::Arc::new(torhaus::login::seal::SealKey::derived(key).unwrap());
        SqlStore::postgres(Reach::new(&self.url(), ca, 5)?, seal).await.map(|(store, _)| store)
    }

    /// All of the database, as `pg_dump` writes it.
    pub fn dump(&self) -> Vec<u8> {
        let dumped = self.client("pg_dump").args(["--format=custom", "torhaus"]).output().unwrap();
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }

    /// Nothing of it is left.
    pub fn recreate(&self) {
        self.psql("postgres", "DROP DATABASE torhaus WITH (FORCE)");
        self.psql("postgres", "CREATE DATABASE torhaus");
    }

    pub fn restore(&self, dump: &[u8]) {
        let file = self.folder.path().join("dump");
        fs::write(&file, dump).unwrap();
        let restored =
            self.client("pg_restore").args(["--exit-on-error", "--dbname=torhaus"]).arg(&file).output().unwrap();
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(binaries().join(program));
        command.args(["-U", "torhaus", "-h"]).arg(self.folder.path()).args(["-p", &self.port.to_string()]);
        command
    }

    /// Runs SQL as its owner; rows of text.
    pub fn sql(&self, text: &str) -> String {
        self.psql("torhaus", text)
    }

    fn psql(&self, database: &str, text: &str) -> String {
        let (code, said, why) = self.try_psql(database, text);
        assert!(code, "{text}: {why}");
        said
    }

    pub fn try_sql(&self, text: &str) -> Result<String, String> {
        let (worked, said, why) = self.try_psql("torhaus", text);
        if worked { Ok(said) } else { Err(why) }
    }

    fn try_psql(&self, database: &str, text: &str) -> (bool, String, String) {
        let done = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "torhaus", "-h"])
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-d", database, "-c", text])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (done.status.success(), text(&done.stdout), text(&done.stderr))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = ["stop", "-m", "immediate", "-D"];
        let _ = run("pg_ctl").args(stop).arg(&self.data).stdout(Stdio::null()).status();
    }
}

/// A program of the server, as a user that it accepts: it does not run as root.
fn run(program: &str) -> Command {
    let path = binaries().join(program);
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path).current_dir("/");
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn own(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).status();
        assert!(done.unwrap().success());
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Debian puts each version into a folder of its own; the newest.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).unwrap_or_default()
}
