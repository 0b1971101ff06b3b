//! The peers of one benchmark, each with the credentials its callers show.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::child::{Child, free_port, pinned};
use super::idp::Provider;
use super::measure::Scenario;
use super::nginx::{self, Place};
use super::pki::{self, DOMAIN, KeyPair, Pki};
use super::{Programs, apache, caddy, haproxy, torhaus};
use crate::cli::{BenchArgs, Length, Part};
use crate::error::{Doing, Result};
use crate::outcome::PROXY;
use crate::target::Loopback;

/// Names of the rows. The report's ratios are made of them.
pub const NGINX: &str = "nginx mTLS";
pub const NGINX_AUTH: &str = "nginx auth_request, session";
pub const HAPROXY: &str = "haproxy mTLS";
pub const CADDY_AUTH: &str = "Caddy forward_auth, session";
pub const APACHE_OIDC: &str = "Apache mod_auth_openidc";
pub const BARE_EDGE: &str = "bare edge";
pub const TORHAUS_CERTIFICATE: &str = "torhaus, certificate";
pub const TORHAUS_SESSION: &str = "torhaus, session";
pub const TORHAUS_BEARER: &str = "torhaus, bearer token";
/// The session row once more, in a table of [`torhaus::LARGE_ROWS`].
pub const TORHAUS_LARGE: &str = "torhaus, session, 10,000 rows";

/// Those that identify and decide at each request.
pub const SAME_JOB: &[&str] =
    &[NGINX_AUTH, CADDY_AUTH, APACHE_OIDC, TORHAUS_CERTIFICATE, TORHAUS_SESSION, TORHAUS_BEARER];

/// The application's process in an outcome; every other one belongs to the subject.
pub const APPLICATION: &str = "application";

/// A cookie for the peer whose authoriser knows it; as long as the one Torhaus sets.
const PEER_SESSION: &str = "__Host-session=0123456789abcdef0123456789abcdef0123456789a";

const KEEP_ALIVE: &[Scenario] = &[Scenario::Http1, Scenario::Http2];
pub const EVERYTHING: &[Scenario] = &[
    Scenario::Http1,
    Scenario::Http2,
    Scenario::FullHandshakes,
    Scenario::ResumedHandshakes,
    Scenario::Mebibyte,
    Scenario::Gibibyte,
    Scenario::UploadGibibyte,
];

/// One row: an address and what to show there.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: &'static str,
    pub address: Loopback,
    pub host: String,
    pub with_certificate: bool,
    pub cookie_file: Option<PathBuf>,
    pub bearer_file: Option<PathBuf>,
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
    /// The configuration of the process with the large table.
    pub large_config: Option<PathBuf>,
    /// What the process with the small table depends on.
    pub depends: Option<Depends>,
    _children: Vec<Child>,
}

/// What can be slow, or not there.
#[derive(Debug)]
pub struct Depends {
    pub provider: Provider,
    /// The SQLite file.
    pub store: PathBuf,
}

impl Subjects {
    pub async fn start(args: &BenchArgs, programs: &Programs, folder: &Path) -> Result<Self> {
        let pki = pki::write(folder, OffsetDateTime::now_utc())?;
        let application = free_port()?;
        let place = Place { folder, core: args.load_core, listen: application };
        let sink = free_port()?;
        let mut command = pinned(args.load_core, &programs.this);
        command.args(["sink", "--listen", &sink.address().to_string()]);
        let sink_process = Child::start("sink", command, folder, sink).await?;
        let mut starting = Starting {
            proxy_core: args.proxy_core,
            folder,
            pki: &pki,
            application,
            children: vec![nginx::application(place, sink).await?, sink_process],
            rows: Vec::new(),
            large_config: None,
            depends: None,
        };
        if !args.without.contains(&Part::Nginx) {
            starting.nginx().await?;
            starting.nginx_auth(&programs.this).await?;
        }
        let all = args.length == Length::Full;
        if all && !args.without.contains(&Part::Haproxy) {
            starting.haproxy().await?;
        }
        if all && !args.without.contains(&Part::Caddy) {
            starting.caddy(&programs.this).await?;
        }
        if all && !args.without.contains(&Part::Apache) {
            starting.apache().await?;
        }
        if let Some(program) = &programs.bare_edge {
            starting.bare_edge(program).await?;
        }
        if let Some(program) = &programs.torhaus {
            starting.torhaus(program, &args.torhaus_arg).await?;
            if all {
                starting.torhaus_large(program, &args.torhaus_arg).await?;
            }
        }
        let Starting { children, mut rows, large_config, depends, .. } = starting;
        let application = children.first().map(Child::pid);
        for row in &mut rows {
            row.pids.extend(application.map(|pid| (APPLICATION, pid)));
        }
        Ok(Self {
            this: programs.this.clone(),
            ca: pki.ca,
            client: pki.client,
            rows,
            large_config,
            depends,
            _children: children,
        })
    }
}

struct Starting<'a> {
    proxy_core: u32,
    folder: &'a Path,
    pki: &'a Pki,
    application: Loopback,
    children: Vec<Child>,
    rows: Vec<Subject>,
    large_config: Option<PathBuf>,
    depends: Option<Depends>,
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
        let asked = self.authoriser(this).await?;
        let place = self.place()?;
        let listen = place.listen;
        let child = nginx::auth_request(place, self.pki, self.application, asked.address).await?;
        self.asks_an_authoriser(NGINX_AUTH, listen, child, asked);
        Ok(())
    }

    async fn caddy(&mut self, this: &Path) -> Result<()> {
        let asked = self.authoriser(this).await?;
        let place = self.place()?;
        let listen = place.listen;
        let child = caddy::forward_auth(place, self.pki, self.application, asked.address).await?;
        self.asks_an_authoriser(CADDY_AUTH, listen, child, asked);
        Ok(())
    }

    /// One for each peer, so that its time counts with the right one.
    async fn authoriser(&self, this: &Path) -> Result<Authoriser> {
        let session_file = self.folder.join("peer-session");
        std::fs::write(&session_file, PEER_SESSION).doing("session file")?;
        let address = free_port()?;
        let mut command = pinned(self.proxy_core, this);
        command.args(["authoriser", "--listen", &address.address().to_string()]);
        command.arg("--session-file").arg(&session_file);
        let child = Child::start("authoriser", command, self.folder, address).await?;
        Ok(Authoriser { child, address, session_file })
    }

    fn asks_an_authoriser(&mut self, name: &'static str, listen: Loopback, child: Child, asked: Authoriser) {
        let mut row = Subject::with_session(name, listen, &child, asked.session_file);
        row.pids.push(("authoriser", asked.child.pid()));
        self.rows.push(row);
        self.children.extend([asked.child, child]);
    }

    async fn haproxy(&mut self) -> Result<()> {
        let place = self.place()?;
        let listen = place.listen;
        let child = haproxy::mutual_tls(place, self.pki, self.application).await?;
        self.rows.push(Subject::with_certificate(HAPROXY, listen, &child));
        self.children.push(child);
        Ok(())
    }

    async fn apache(&mut self) -> Result<()> {
        let place = self.place()?;
        let listen = place.listen;
        let apache::Started { child, cookie_file } = apache::openidc(place, self.pki, self.application).await?;
        self.rows.push(Subject::with_session(APACHE_OIDC, listen, &child, cookie_file));
        self.children.push(child);
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
        let table = ("torhaus", torhaus::SMALL_ROWS);
        let started = torhaus::start(program, more_args, self.place()?, self.pki, self.application, table).await?;
        let torhaus::Started { child, listen, cookie_file, token_file, provider, store, .. } = started;
        self.depends = Some(Depends { provider, store });
        let service = Subject::with_certificate(TORHAUS_CERTIFICATE, listen, &child);
        self.rows.push(Subject { host: torhaus::SERVICE_HOST.to_owned(), ..service });
        let person = Subject::with_session(TORHAUS_SESSION, listen, &child, cookie_file);
        self.rows.push(Subject { host: torhaus::PERSON_HOST.to_owned(), ..person });
        let caller = Subject::with_certificate(TORHAUS_BEARER, listen, &child);
        self.rows.push(Subject {
            host: torhaus::CALLER_HOST.to_owned(),
            with_certificate: false,
            bearer_file: Some(token_file),
            scenarios: KEEP_ALIVE,
            ..caller
        });
        self.children.push(child);
        Ok(())
    }

    async fn torhaus_large(&mut self, program: &Path, more_args: &[String]) -> Result<()> {
        let table = ("torhaus-large", torhaus::LARGE_ROWS);
        let started = torhaus::start(program, more_args, self.place()?, self.pki, self.application, table).await?;
        let torhaus::Started { child, listen, cookie_file, config, .. } = started;
        let person = Subject::with_session(TORHAUS_LARGE, listen, &child, cookie_file);
        let scenarios = &[Scenario::Http1];
        self.rows.push(Subject { host: torhaus::PERSON_HOST.to_owned(), scenarios, ..person });
        self.large_config = Some(config);
        self.children.push(child);
        Ok(())
    }
}

struct Authoriser {
    child: Child,
    address: Loopback,
    session_file: PathBuf,
}

impl Subject {
    /// The same server, asked by somebody who shows nothing.
    pub fn without_credentials(&self) -> Self {
        Self { with_certificate: false, cookie_file: None, bearer_file: None, ..self.clone() }
    }

    /// Processes that are the subject's own.
    pub fn own_pids(&self) -> impl Iterator<Item = u32> {
        self.pids.iter().filter(|(name, _)| *name != APPLICATION).map(|(_, pid)| *pid)
    }

    /// Shows a client certificate and no cookie.
    fn with_certificate(name: &'static str, address: Loopback, child: &Child) -> Self {
        Self {
            name,
            address,
            host: format!("peer.{DOMAIN}"),
            with_certificate: true,
            cookie_file: None,
            bearer_file: None,
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
