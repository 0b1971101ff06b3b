//! haproxy with mTLS: what many people put at the door. One thread, because it gets one core.

use std::path::Path;

use super::child::{Child, pinned};
use super::nginx::Place;
use super::pki::{Pki, private_file};
use crate::error::{Doing, Result};
use crate::target::Loopback;

/// Requires a client certificate and forwards, as [`super::nginx::mutual_tls`] does.
pub async fn mutual_tls(place: Place<'_>, pki: &Pki, application: Loopback) -> Result<Child> {
    let read = |file: &Path| std::fs::read_to_string(file).doing(format!("file `{}`", file.display()));
    // It wants both in one file.
    let both = format!("{}{}", read(&pki.server.cert)?, read(&pki.server.key)?);
    let both = private_file(place.folder, "haproxy.pem", &both)?;
    let config = format!(
        "global
  nbthread 1
  maxconn 8000
  tune.ssl.cachesize 100000
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend public
  bind {listen} ssl crt {both} ca-file {ca} verify required alpn h2,http/1.1
  http-request set-header X-Client-DN %[ssl_c_s_dn]
  default_backend application
backend application
  http-reuse always
  server one {application} pool-max-conn 128
",
        listen = place.listen.address(),
        both = both.display(),
        ca = pki.ca.display(),
        application = application.address(),
    );
    let file = place.folder.join("haproxy.cfg");
    std::fs::write(&file, config).doing(format!("file `{}`", file.display()))?;
    let mut command = pinned(place.core, Path::new("haproxy"));
    command.arg("-db").arg("-f").arg(&file);
    Child::start("haproxy", command, place.folder, place.listen).await
}
