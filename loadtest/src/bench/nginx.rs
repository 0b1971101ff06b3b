//! nginx in three roles: the application behind every proxy, a proxy with mTLS, and one that asks an authoriser.
//!
//! One worker each, because each gets one core. Upstream connections are kept, logs are off, as anybody would who
//! wants nginx to look good.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{Child, pinned};
use super::pki::Pki;
use crate::error::{Doing, Result};
use crate::target::Loopback;

/// The answer of the application.
pub const BODY_BYTES: u64 = 1024;

pub const PATH: &str = "/bench";

/// Answers of other sizes: path and bytes.
pub const MEBIBYTE: (&str, u64) = ("/mebibyte", 1 << 20);
pub const GIBIBYTE: (&str, u64) = ("/gibibyte", 1 << 30);

/// Takes a body of any size.
pub const SINK: &str = "/sink";

/// Where a benchmark's nginx runs and keeps its files.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub folder: &'a Path,
    pub core: u32,
    pub listen: Loopback,
}

/// A static file over plain HTTP: fast enough not to be what is measured.
pub async fn application(place: Place<'_>, sink: Loopback) -> Result<Child> {
    let root = place.folder.join("www");
    std::fs::create_dir_all(&root).doing("folder of the application")?;
    let body = vec![b'x'; usize::try_from(BODY_BYTES).doing("body")?];
    std::fs::write(root.join(PATH.trim_start_matches('/')), body).doing("answer of the application")?;
    for (name, bytes) in [MEBIBYTE, GIBIBYTE] {
        let file = std::fs::File::create(root.join(name.trim_start_matches('/'))).doing("answer of the application")?;
        file.set_len(bytes).doing("answer of the application")?; // holes: they take no room on the disk
    }
    let server = format!(
        "open_file_cache max=10; sendfile on;
  {sink}
  server {{
    listen {listen} backlog=4096; root {root}; default_type text/plain;
    location = {SINK} {{
      client_max_body_size 0; proxy_request_buffering off;
      proxy_pass http://sink; proxy_http_version 1.1; proxy_set_header Connection '';
    }}
  }}",
        sink = upstream("sink", sink),
        listen = place.listen.address(),
        root = root.display()
    );
    start("application", place, &server).await
}

/// Requires a client certificate and forwards; no identity, no decision, no record.
pub async fn mutual_tls(place: Place<'_>, pki: &Pki, application: Loopback) -> Result<Child> {
    let server = format!(
        "{upstream}
  server {{
    {tls}
    ssl_verify_client on;
    client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
    location / {{
      proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection '';
      proxy_set_header Host $host; proxy_set_header X-Client-DN $ssl_client_s_dn;
    }}
  }}",
        upstream = upstream("application", application),
        tls = tls(place.listen, pki),
    );
    start("nginx", place, &server).await
}

/// The same job as Torhaus: asks the authoriser at every request, tells the application who it is, and writes an access
/// log: gathered, as ours is, so that no disk is measured.
pub async fn auth_request(place: Place<'_>, pki: &Pki, application: Loopback, authoriser: Loopback) -> Result<Child> {
    let server = format!(
        "{application}
  {authoriser}
  server {{
    {tls}
    ssl_verify_client optional;
    access_log {folder}/nginx-auth.access.log combined buffer=64k flush=1s;
    location / {{
      auth_request /authorise; auth_request_set $user $upstream_http_x_auth_user;
      proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection '';
      proxy_set_header Host $host; proxy_set_header X-Auth-User $user; proxy_set_header Cookie '';
    }}
    location = /authorise {{
      internal;
      proxy_pass http://authoriser; proxy_http_version 1.1; proxy_set_header Connection '';
      proxy_pass_request_body off; proxy_set_header Content-Length '';
      proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Client-DN $ssl_client_s_dn;
    }}
  }}",
        application = upstream("application", application),
        authoriser = upstream("authoriser", authoriser),
        tls = tls(place.listen, pki),
        folder = place.folder.display(),
    );
    start("nginx-auth", place, &server).await
}

fn upstream(name: &str, address: Loopback) -> String {
    format!(
        "upstream {name} {{ server {}; keepalive 128; keepalive_requests 1000000000; keepalive_time 1d; }}",
        address.address()
    )
}

fn tls(listen: Loopback, pki: &Pki) -> String {
    format!(
        "listen {listen} ssl http2 backlog=4096;
    ssl_certificate {cert}; ssl_certificate_key {key};
    ssl_protocols TLSv1.3; ssl_session_cache shared:sessions:10m;
    ssl_client_certificate {ca}; ssl_verify_depth 2;",
        listen = listen.address(),
        cert = pki.server.cert.display(),
        key = pki.server.key.display(),
        ca = pki.ca.display(),
    )
}

async fn start(name: &'static str, place: Place<'_>, server: &str) -> Result<Child> {
    let folder = place.folder.display();
    let config = format!(
        "daemon off; pid {folder}/{name}.pid; error_log stderr; worker_processes 1;
worker_rlimit_nofile 60000;
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_timeout 1h; keepalive_requests 1000000000; keepalive_time 1d;
  client_body_temp_path {folder}/{name}-1; proxy_temp_path {folder}/{name}-2; fastcgi_temp_path {folder}/{name}-3;
  uwsgi_temp_path {folder}/{name}-4; scgi_temp_path {folder}/{name}-5;
  {server}
}}
"
    );
    let file: PathBuf = place.folder.join(format!("{name}.conf"));
    std::fs::write(&file, config).doing(format!("file `{}`", file.display()))?;
    let mut command: Command = pinned(place.core, Path::new("nginx"));
    command.arg("-c").arg(&file).args(["-e", "stderr"]);
    Child::start(name, command, place.folder, place.listen).await
}
