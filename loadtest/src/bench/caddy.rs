//! Caddy with `forward_auth`: the same job as nginx with `auth_request`, with the same small authoriser on its core.

use std::path::Path;

use super::child::{Child, pinned};
use super::nginx::Place;
use super::pki::{DOMAIN, Pki};
use crate::error::{Doing, Result};
use crate::target::Loopback;

/// Asks the authoriser at every request, tells the application who it is, and writes an access log.
pub async fn forward_auth(place: Place<'_>, pki: &Pki, application: Loopback, authoriser: Loopback) -> Result<Child> {
    let config = format!(
        "{{
  admin off
  auto_https off
  log {{
    output discard
  }}
  servers {{
    protocols h1 h2
  }}
}}
https://peer.{DOMAIN}:{port} {{
  bind 127.0.0.1
  tls {cert} {key} {{
    protocols tls1.3
  }}
  log {{
    output file {folder}/caddy.access.log
  }}
  forward_auth {authoriser} {{
    uri /authorise
    copy_headers X-Auth-User
  }}
  reverse_proxy {application} {{
    header_up -Cookie
    transport http {{
      keepalive_idle_conns_per_host 128
    }}
  }}
}}
",
        port = place.listen.address().port(),
        cert = pki.server.cert.display(),
        key = pki.server.key.display(),
        authoriser = authoriser.address(),
        application = application.address(),
        folder = place.folder.display(),
    );
    let file = place.folder.join("Caddyfile");
    std::fs::write(&file, config).doing(format!("file `{}`", file.display()))?;
    let mut command = pinned(place.core, Path::new("caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", place.folder);
    Child::start("caddy", command, place.folder, place.listen).await
}
