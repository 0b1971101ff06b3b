//! Torhaus as a subject: its two files, its process, and a session that was really logged in.

use std::path::{Path, PathBuf};

use super::child::{Child, free_port, pinned};
use super::idp::Provider;
use super::login;
use super::pki::{DOMAIN, Pki, SERVICE, private_file};
use crate::error::{Doing, Result};
use crate::target::Loopback;

/// A service with a client certificate calls this one.
pub const SERVICE_HOST: &str = "service.bench.test";

/// A person with a session cookie calls this one; it asks for no certificate.
pub const PERSON_HOST: &str = "person.bench.test";

/// Routes, each with its row, beside the two that are used: a small company's table.
const OTHER_ROWS: usize = 50;

#[derive(Debug)]
pub struct Started {
    pub child: Child,
    pub listen: Loopback,
    /// What the browser of the logged-in person sends to [`PERSON_HOST`].
    pub cookie_file: PathBuf,
}

pub async fn start(
    program: &Path,
    more_args: &[String],
    folder: &Path,
    core: u32,
    pki: &Pki,
    application: Loopback,
) -> Result<Started> {
    let listen = free_port()?;
    let provider = Provider::start().await?;
    let home = folder.join("torhaus");
    std::fs::create_dir_all(&home).doing("folder of torhaus")?;
    let write = |name: &str, content: &str| {
        let file = home.join(name);
        std::fs::write(&file, content).doing(format!("file `{}`", file.display()))
    };
    private_file(&home, "client-secret", provider.client_secret())?;
    write("policy.yaml", &policy())?;
    write("torhaus.yaml", &configuration(listen, &provider, pki, application))?;
    let mut command = pinned(core, program);
    command.args(["run", "--config"]).arg(home.join("torhaus.yaml")).args(more_args);
    let child = Child::start("torhaus", command, folder, listen).await?;
    let cookie = login::session(listen, &pki.ca, PERSON_HOST).await?;
    let cookie_file = private_file(&home, "cookie", &cookie)?;
    Ok(Started { child, listen, cookie_file })
}

fn configuration(listen: Loopback, provider: &Provider, pki: &Pki, application: Loopback) -> String {
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
"#,
        listen = listen.address(),
        port = listen.address().port(),
        cert = pki.server.cert.display(),
        key = pki.server.key.display(),
        ca = pki.ca.display(),
        issuer = provider.issuer(),
        client = Provider::CLIENT,
        application = application.address(),
    );
    for n in 0..OTHER_ROWS {
        text += &format!(
            "  - {{ name: other-{n}, host: other-{n}.{DOMAIN}, upstream: http://{}, resource: other-{n} }}\n",
            application.address()
        );
    }
    text
}

fn policy() -> String {
    let mut text = format!(
        r#"version: 1
zones:
  internal: {{ networks: [127.0.0.0/8] }}
tiers:
  - {{ name: standard, max_age: 12h, factors: "password" }}
table:
  - {{ resource: service, allow: ["service:{SERVICE}"], zones: {{ internal: standard, external: deny }} }}
  - {{ resource: person, allow: ["group:load"], zones: {{ internal: standard, external: deny }} }}
"#
    );
    for n in 0..OTHER_ROWS {
        text += &format!(
            "  - {{ resource: other-{n}, allow: [\"group:team-{n}\"], zones: {{ internal: standard, external: deny }} }}\n"
        );
    }
    text
}
