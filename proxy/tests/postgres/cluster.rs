//! Three gates on one database, behind a balancer that knows nothing of HTTP.
use crate::harness::browser::Gates;
use crate::harness::client::{self, Tls};
use crate::harness::pki::{Identity, replace, write_secret};
use crate::harness::raw::ask;
use crate::harness::world::Process;
use crate::harness::{Browser, Door, Setup};
use crate::server::Server;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpStream;
use torhaus::admin::{Client, SOCKET};

pub struct Cluster {
    pub setup: Setup,
    pub database: Arc<Server>,
    pub replicas: Vec<Replica>,
    balancer: SocketAddr,
}

pub struct Replica {
    pub folder: TempDir,
    office: SocketAddr,
    root: Vec<u8>,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    pub async fn start(size: usize) -> Self {
        Self::of(Setup::new().await, size).await
    }

    pub async fn of(setup: Setup, size: usize) -> Self {
        let database = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
        let mut replicas = Vec::new();
        for _ in 0..size {
            let folder = tempfile::tempdir().unwrap();
            for name in
                ["web.pem", "web.key", "devices-ca.pem", "services-ca.pem", "devices.crl", "services.crl", "secret"]
            {
                std::fs::copy(setup.folder.path().join(name), folder.path().join(name)).unwrap();
            }
            write_secret(&folder.path().join("url"), &database.url());
            write_secret(&folder.path().join("key"), "a secret that all replicas were given");
            std::fs::copy(&database.ca, folder.path().join("database-ca.pem")).unwrap();
            let office = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let own = "name: office, address: \"127.0.0.1:0\"";
            assert!(setup.config.contains(own));
            let config = setup.config.replace(own, &format!("name: office, address: \"{office}\"")).replace(
                "state_dir: state\n",
                "state_dir: state\nstore:\n  postgres: { url_file: url, ca_file: database-ca.pem, seal_file: key }\n",
            );
            replace(&folder.path().join("torhaus.yaml"), &config);
            replace(&folder.path().join("policy.yaml"), &setup.policy);
            let root = setup.pki.web.root_der().to_vec();
            replicas.push(Replica { folder, office, root, process: Mutex::new(None) });
        }
        // All at once, on an empty database: one of them makes it.
        futures::future::join_all(replicas.iter().map(Replica::start)).await;
        let balancer = balance(replicas.iter().map(|replica| replica.office).collect()).await;
        Self { setup, database, replicas, balancer }
    }

    /// A browser that the balancer sends anywhere.
    pub fn browser(&self) -> Browser<'_> {
        Browser::new(self, Door::Inside)
    }
}

impl Gates for Cluster {
    fn address(&self, _door: Door) -> SocketAddr {
        self.balancer
    }

    fn tls(&self, identity: Option<&Identity>, alpn: &[&str]) -> Tls {
        client::tls(self.setup.pki.web.root_der(), identity, alpn)
    }

    fn tries(&self) -> usize {
        5
    }
}

impl Gates for Replica {
    fn address(&self, _door: Door) -> SocketAddr {
        self.office
    }

    fn tls(&self, identity: Option<&Identity>, alpn: &[&str]) -> Tls {
        client::tls(&self.root, identity, alpn)
    }
}

impl Replica {
    pub async fn start(&self) {
        let (process, _) = Process::start(&self.folder, &[], None).await;
        *self.process.lock().unwrap() = Some(process);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        drop(self.process.lock().unwrap().take());
    }

    /// A browser that comes to this replica alone, with the cookies of another one.
    pub fn browser_like<'a>(&'a self, other: &Browser<'_>) -> Browser<'a> {
        let mut browser = Browser::new(self, Door::Inside);
        browser.jar.clone_from(&other.jar);
        browser
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser::new(self, Door::Inside)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn admin(&self) -> Client {
        Client::new(&self.path("state").join(SOCKET))
    }

    /// What a monitoring gets.
    pub async fn scrape(&self) -> String {
        ask(&self.path("state").join(SOCKET), "/metrics").await.1
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap()
    }

    /// Runs `torhaus … --config torhaus.yaml`: its code, standard output and standard error.
    pub async fn torhaus(&self, arguments: &[&str]) -> (i32, String, String) {
        let file = self.path("torhaus.yaml").display().to_string();
        self.torhaus_alone(&[arguments, &["--config", &file]].concat()).await
    }

    /// The same without a configuration.
    pub async fn torhaus_alone(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(crate::harness::world::binary());
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

/// In turns; one that does not answer is passed over.
async fn balance(behind: Vec<SocketAddr>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let turn = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (behind, turn) = (behind.clone(), turn.clone());
            tokio::spawn(async move {
                for _ in 0..behind.len() {
                    let next = behind[turn.fetch_add(1, Ordering::Relaxed) % behind.len()];
                    if let Ok(mut gate) = TcpStream::connect(next).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut gate).await;
                        return;
                    }
                }
            });
        }
    });
    address
}
