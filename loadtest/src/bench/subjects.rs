//! The peers of one benchmark, each with the credentials its callers show.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::child::{Child, free_port, pinned};
use super::measure::Scenario;
use super::nginx::{self, Place};
use super::pki::{self, DOMAIN, KeyPair, Pki};
use super::{Programs, torhaus};
use crate::cli::{BenchArgs, Part};
use crate::error::{Doing, Result};
use crate::outcome::PROXY;
use crate::target::Loopback;

/// Names of the rows. The report's ratios are made of them.
pub const NGINX: &str = "nginx mTLS";
pub const NGINX_AUTH: &str = "nginx auth_request, session";
pub const BARE_EDGE: &str = "bare edge";
pub const TORHAUS_CERTIFICATE: &str = "torhaus, certificate";
pub const TORHAUS_SESSION: &str = "torhaus, session";

/// The application's process in an outcome; every other one belongs to the subject.
pub const APPLICATION: &str = "application";

/// A cookie for the peer whose authoriser knows it; as long as the one Torhaus sets.
const PEER_SESSION: &str = "__Host-session=0123456789abcdef0123456789abcdef0123456789a";

const KEEP_ALIVE: &[Scenario] = &[Scenario::Http1, Scenario::Http2];
const EVERYTHING: &[Scenario] =
    &[Scenario::Http1, Scenario::Http2, Scenario::FullHandshakes, Scenario::ResumedHandshakes];

/// One row: an address and what to show there.
#[derive(Debug)]
pub struct Subject {
    pub name: &'static str,
    pub address: Loopback,
    pub host: String,
    pub with_certificate: bool,
    pub cookie_file: Option<PathBuf>,
    pub scenarios: &'static [Scenario],
    pub pids: Vec<(&'static str, u32)>,
}

/// Everything that runs; stopped when dropped.
#[derive(Debug)]
pub struct Subjects {
    pub this: PathBuf,
    pub ca: PathBuf,
    pub client: KeyPair,
    pub rows: Vec<Subject>,
    _children: Vec<Child>,
}

impl Subjects {
    pub async fn start(args: &BenchArgs, programs: &Programs, folder: &Path) -> Result<Self> {
        let pki = pki::write(folder, OffsetDateTime::now_utc())?;
        let application = free_port()?;
        let place = Place { folder, core: args.load_core, listen: application };
        let mut starting = Starting {
            proxy_core: args.proxy_core,
            folder,
            pki: &pki,
            application,
            children: vec![nginx::application(place).await?],
            rows: Vec::new(),
        };
        if !args.without.contains(&Part::Nginx) {
            starting.nginx().await?;
            starting.nginx_auth(&programs.this).await?;
        }
        if let Some(program) = &programs.bare_edge {
            starting.bare_edge(program).await?;
        }
        if let Some(program) = &programs.torhaus {
            starting.torhaus(program, &args.torhaus_arg).await?;
        }
        let Starting { children, mut rows, .. } = starting;
        let application = children.first().map(Child::pid);
        for row in &mut rows {
            row.pids.extend(application.map(|pid| (APPLICATION, pid)));
        }
        Ok(Self { this: programs.this.clone(), ca: pki.ca, client: pki.client, rows, _children: children })
    }
}

struct Starting<'a> {
    proxy_core: u32,
    folder: &'a Path,
    pki: &'a Pki,
    application: Loopback,
    children: Vec<Child>,
    rows: Vec<Subject>,
}

impl Starting<'_> {
    fn place(&self) -> Result<Place<'_>> {
        Ok(Place { folder: self.folder, core: self.proxy_core, listen: free_port()? })
    }

    async fn nginx(&mut self) -> Result<()> {
        let place = self.place()?;
        let listen = place.listen;
        let child = nginx::mutual_tls(place, self.pki, self.application).await?;
        self.rows.push(Subject::with_certificate(NGINX, listen, &child));
        self.children.push(child);
        Ok(())
    }

    async fn nginx_auth(&mut self, this: &Path) -> Result<()> {
        let session_file = self.folder.join("peer-session");
        std::fs::write(&session_file, PEER_SESSION).doing("session file")?;
        let asked = free_port()?;
        let mut command = pinned(self.proxy_core, this);
        command.args(["authoriser", "--listen", &asked.address().to_string()]).arg("--session-file").arg(&session_file);
        let authoriser = Child::start("authoriser", command, self.folder, asked).await?;
        let place = self.place()?;
        let listen = place.listen;
        let child = nginx::auth_request(place, self.pki, self.application, asked).await?;
        let mut row = Subject::with_session(NGINX_AUTH, listen, &child, session_file);
        row.pids.push(("authoriser", authoriser.pid()));
        self.rows.push(row);
        self.children.extend([authoriser, child]);
        Ok(())
    }

    async fn bare_edge(&mut self, program: &Path) -> Result<()> {
        let listen = free_port()?;
        let mut command = pinned(self.proxy_core, program);
        command.args(["--listen", &listen.address().to_string()]);
        command.args(["--upstream", &self.application.address().to_string()]);
        command.arg("--cert").arg(&self.pki.server.cert).arg("--key").arg(&self.pki.server.key);
        command.arg("--client-ca").arg(&self.pki.ca);
        let child = Child::start("bare-edge", command, self.folder, listen).await?;
        self.rows.push(Subject::with_certificate(BARE_EDGE, listen, &child));
        self.children.push(child);
        Ok(())
    }

    async fn torhaus(&mut self, program: &Path, more_args: &[String]) -> Result<()> {
        let started =
            torhaus::start(program, more_args, self.folder, self.proxy_core, self.pki, self.application).await?;
        let torhaus::Started { child, listen, cookie_file } = started;
        let service = Subject::with_certificate(TORHAUS_CERTIFICATE, listen, &child);
        self.rows.push(Subject { host: torhaus::SERVICE_HOST.to_owned(), ..service });
        let person = Subject::with_session(TORHAUS_SESSION, listen, &child, cookie_file);
        self.rows.push(Subject { host: torhaus::PERSON_HOST.to_owned(), ..person });
        self.children.push(child);
        Ok(())
    }
}

impl Subject {
    /// Shows a client certificate and no cookie.
    fn with_certificate(name: &'static str, address: Loopback, child: &Child) -> Self {
        Self {
            name,
            address,
            host: format!("peer.{DOMAIN}"),
            with_certificate: true,
            cookie_file: None,
            scenarios: EVERYTHING,
            pids: vec![(PROXY, child.pid())],
        }
    }

    /// Shows a cookie and no client certificate. Handshakes are not measured twice.
    fn with_session(name: &'static str, address: Loopback, child: &Child, cookie_file: PathBuf) -> Self {
        Self {
            with_certificate: false,
            cookie_file: Some(cookie_file),
            scenarios: KEEP_ALIVE,
            ..Self::with_certificate(name, address, child)
        }
    }
}
