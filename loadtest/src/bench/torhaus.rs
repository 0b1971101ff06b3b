//! Torhaus as a subject: its two files, its process, and a session that was really logged in.

use std::path::{Path, PathBuf};

use super::child::{Child, free_port, pinned};
use super::idp::Provider;
use super::login::Browser;
use super::nginx::Place;
use super::pki::{DOMAIN, Pki, SERVICE, private_file};
use crate::error::{Doing, Result};
use crate::target::Loopback;
use tokio::net::TcpListener;

/// A service with a client certificate calls this one.
pub const SERVICE_HOST: &str = "service.bench.test";

/// A person with a session cookie calls this one; it asks for no certificate.
pub const PERSON_HOST: &str = "person.bench.test";

/// An API caller with a bearer token calls this one.
pub const CALLER_HOST: &str = "caller.bench.test";

/// A service calls these two: nobody listens at the one's application, the other's never answers.
pub const DEAD_HOST: &str = "dead.bench.test";
pub const SILENT_HOST: &str = "silent.bench.test";

/// Routes, each with its row, beside those that are used: a small company's table, and the largest that is promised.
pub const SMALL_ROWS: usize = 50;
pub const LARGE_ROWS: usize = 10_000;

#[derive(Debug)]
pub struct Started {
    pub child: Child,
    pub listen: Loopback,
    pub provider: Provider,
    /// Its SQLite file.
    pub store: PathBuf,
    /// What the browser of the logged-in person sends to [`PERSON_HOST`].
    pub cookie_file: PathBuf,
    pub token_file: PathBuf,
    pub config: PathBuf,
}

/// `name`: of the process, its folder and its log. `rows`: how many routes and rows nobody uses.
pub async fn start(
    program: &Path,
    more_args: &[String],
    place: Place<'_>,
    pki: &Pki,
    application: Loopback,
    (name, rows): (&'static str, usize),
) -> Result<Started> {
    let Place { folder, core, listen } = place;
    let provider = Provider::start().await?;
    let home = folder.join(name);
    std::fs::create_dir_all(&home).doing("folder of torhaus")?;
    let write = |name: &str, content: &str| {
        let file = home.join(name);
        std::fs::write(&file, content).doing(format!("file `{}`", file.display()))
    };
    private_file(&home, "client-secret", provider.client_secret())?;
    write("policy.yaml", &policy(rows))?;
    let config = home.join("torhaus.yaml");
    let applications = Applications { real: application, dead: free_port()?, silent: silent().await? };
    write("torhaus.yaml", &configuration(listen, &provider, pki, applications, rows))?;
    let mut command = pinned(core, program);
    command.args(["run", "--config"]).arg(&config).args(more_args);
    let child = Child::start(name, command, folder, listen).await?;
    let cookie = Browser::new(listen, &pki.ca)?.session(PERSON_HOST).await?;
    let cookie_file = private_file(&home, "cookie", &cookie)?;
    let token_file = private_file(&home, "token", &provider.access_token()?)?;
    Ok(Started { child, listen, provider, store: home.join("state/torhaus.db"), cookie_file, token_file, config })
}

struct Applications {
    real: Loopback,
    dead: Loopback,
    silent: Loopback,
}

/// Takes connections and keeps them, until the program ends.
async fn silent() -> Result<Loopback> {
    let listener = TcpListener::bind(Loopback::port(0).address()).await.doing("port of a silent application")?;
    let address = Loopback::new(listener.local_addr().doing("port of a silent application")?)?;
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    Ok(address)
}

fn configuration(
    listen: Loopback,
    provider: &Provider,
    pki: &Pki,
    Applications { real: application, dead, silent }: Applications,
    rows: usize,
) -> String {
    let mut text = format!(
        r#"version: 1
state_dir: ./state
policy_file: policy.yaml
listeners:
  - name: public
    address: {listen}
    tls: {{ certificates: [{{ cert_file: "{cert}", key_file: "{key}" }}] }}
portal: {{ url: "https://portal.{DOMAIN}:{port}" }}
trust_domains:
  bench: {{ ca_file: "{ca}", proves: standard }}
identity:
  providers:
    - name: bench
      issuer: {issuer}
      danger_allow_http: true
      client_id: {client}
      client_secret_file: client-secret
      scopes: [openid, profile, groups]
      user_claim: preferred_username
      groups_claim: groups
      tiers: {{ standard: {{}} }}
  bearer: [{{ issuer: "{issuer}", danger_allow_http: true, audience: {client}, tiers: {{ standard: {{}} }} }}]
# One address makes all of the load.
limits:
  max_connections: 20000
  max_connections_per_address: 20000
  logins_per_minute: 1000000
  max_body: 2GiB
  idle_timeout: 1h
routes:
  - name: service
    host: {SERVICE_HOST}
    upstream: http://{application}
    resource: service
    client_auth: {{ mode: required, trust_domains: [bench] }}
  - name: person
    host: {PERSON_HOST}
    upstream: http://{application}
    resource: person
  - name: caller
    host: {CALLER_HOST}
    upstream: http://{application}
    resource: caller
  - name: dead
    host: {DEAD_HOST}
    upstream: http://{dead}
    resource: service
    client_auth: {{ mode: required, trust_domains: [bench] }}
  - name: silent
    host: {SILENT_HOST}
    upstream: http://{silent}
    resource: service
    client_auth: {{ mode: required, trust_domains: [bench] }}
"#,
        listen = listen.address(),
        port = listen.address().port(),
        cert = pki.server.cert.display(),
        key = pki.server.key.display(),
        ca = pki.ca.display(),
        issuer = provider.issuer(),
        client = Provider::CLIENT,
        application = application.address(),
        dead = dead.address(),
        silent = silent.address(),
    );
    for n in 0..rows {
        text += &format!(
            "  - {{ name: other-{n}, host: other-{n}.{DOMAIN}, upstream: http://{}, resource: other-{n} }}\n",
            application.address()
        );
    }
    text
}

fn policy(rows: usize) -> String {
    let mut text = format!(
        r#"version: 1
zones:
  internal: {{ networks: [127.0.0.0/8] }}
tiers:
  - {{ name: standard, max_age: 12h, factors: "password" }}
table:
  - {{ resource: service, allow: ["service:{SERVICE}"], zones: {{ internal: standard, external: deny }} }}
  - {{ resource: person, allow: ["group:load"], zones: {{ internal: standard, external: deny }} }}
  - {{ resource: caller, allow: ["group:load"], zones: {{ internal: standard, external: deny }} }}
"#
    );
    for n in 0..rows {
        text += &format!(
            "  - {{ resource: other-{n}, allow: [\"group:team-{n}\"], zones: {{ internal: standard, external: deny }} }}\n"
        );
    }
    text
}
