//! The `torhaus` process: starts it, waits until it answers, stops it.
use crate::ports::Ports;
use crate::run_folder::{Failure, RunFolder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

pub struct Gate {
    child: Child,
    log: std::path::PathBuf,
}

/// A debug build on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

impl Gate {
    /// Starts it and waits until both doors answer over TLS.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not answer in time; with the end of its log.
    pub async fn start(torhaus: &Path, folder: &RunFolder, ports: &Ports) -> Result<Self, Failure> {
        let log = folder.path.join("logs/torhaus.stderr.log");
        let child = Command::new(torhaus)
            .arg("run")
            .arg("--config")
            .arg(folder.config())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path.join("logs/torhaus.stdout.log"))?)
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", torhaus.display()))?;
        let mut gate = Self { child, log };
        let tls = connector(&folder.path.join("ca.pem"))?;
        let deadline = Instant::now() + READY_WITHIN;
        for port in [ports.office, ports.internet] {
            while !answers(&tls, port).await {
                if let Some(status) = gate.child.try_wait()? {
                    return Err(gate.explain(&format!("torhaus ended ({status})")));
                }
                if Instant::now() > deadline {
                    let why = gate.explain("torhaus does not answer");
                    gate.stop().await;
                    return Err(why);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(gate)
    }

    /// Waits until it ends by itself, which it should not.
    pub async fn ended(&mut self) -> Failure {
        let how =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
        self.explain(&format!("torhaus ended ({how})"))
    }

    /// Asks it to end, and ends it if it does not.
    pub async fn stop(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // Gone already is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn explain(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
        format!("{what}; the end of {}:\n{tail}", self.log.display()).into()
    }
}

fn connector(ca: &Path) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Any answer will do: what it says is the stories' business.
async fn answers(tls: &TlsConnector, port: u16) -> bool {
    let attempt = async {
        let name = ServerName::try_from("auth.localhost").ok()?;
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut stream = tls.connect(name, tcp).await.ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: auth.localhost:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        (&start == b"HTTP/").then_some(())
    };
    timeout(Duration::from_secs(5), attempt).await.ok().flatten().is_some()
}
