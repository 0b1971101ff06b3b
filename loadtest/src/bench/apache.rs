//! Apache with mod_auth_openidc: the peer that keeps sessions itself. Its session here is a real login, as Torhaus's is.

use std::path::{Path, PathBuf};

use super::child::{Child, pinned};
use super::idp::Provider;
use super::login::Browser;
use super::nginx::Place;
use super::pki::{DOMAIN, Pki, private_file};
use crate::error::{Doing, Result};
use crate::target::Loopback;

/// Where Debian keeps its modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// `module` and file, in the order that they need each other.
const LOADED: &[&str] = &[
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "ssl",
    "http2",
    "proxy",
    "proxy_http",
    "headers",
    "auth_openidc",
];

pub struct Started {
    pub child: Child,
    /// What the browser of the logged-in person sends.
    pub cookie_file: PathBuf,
}

pub async fn openidc(place: Place<'_>, pki: &Pki, application: Loopback) -> Result<Started> {
    let provider = Provider::start().await?;
    let home = place.folder.join("apache");
    std::fs::create_dir_all(&home).doing("folder of Apache")?;
    let file = home.join("apache.conf");
    std::fs::write(&file, configuration(&home, place.listen, &provider, pki, application))
        .doing(format!("file `{}`", file.display()))?;
    let mut command = pinned(place.core, Path::new("apache2"));
    command.args(["-DFOREGROUND", "-f"]).arg(&file);
    let child = Child::start("apache", command, place.folder, place.listen).await?;
    let cookie = Browser::new(place.listen, &pki.ca)?.session(&host()).await?;
    let cookie_file = private_file(&home, "cookie", &cookie)?;
    Ok(Started { child, cookie_file })
}

fn host() -> String {
    format!("peer.{DOMAIN}")
}

fn configuration(home: &Path, listen: Loopback, provider: &Provider, pki: &Pki, application: Loopback) -> String {
    let modules: String =
        LOADED.iter().map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).collect();
    format!(
        "ServerRoot {home}
ServerName {host}
PidFile {home}/httpd.pid
Mutex file:{home}
DefaultRuntimeDir {home}
ErrorLog /dev/stderr
CustomLog {home}/access.log \"%h %u %t \\\"%r\\\" %>s %b\"
LogLevel warn
Listen {listen}
{modules}
<IfModule mpm_event_module>
  StartServers 1
  ServerLimit 2
  ThreadsPerChild 128
  MaxRequestWorkers 256
</IfModule>
User www-data
Group www-data
Protocols h2 http/1.1
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 3600
<VirtualHost {listen}>
  SSLEngine on
  SSLProtocol -all +TLSv1.3
  SSLCertificateFile {cert}
  SSLCertificateKeyFile {key}
  OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
  OIDCClientID {client}
  OIDCClientSecret {secret}
  OIDCRedirectURI https://{host}:{port}/oidc/callback
  OIDCCryptoPassphrase {secret}
  OIDCScope \"openid profile groups\"
  OIDCPKCEMethod S256
  OIDCRemoteUserClaim preferred_username
  OIDCCacheType shm
  OIDCSessionInactivityTimeout 86400
  OIDCPassClaimsAs headers
  <Location />
    AuthType openid-connect
    Require claim groups:load
  </Location>
  <Location /oidc/>
    ProxyPass !
  </Location>
  RequestHeader set X-Remote-User expr=%{{REMOTE_USER}}
  ProxyPass / http://{application}/
</VirtualHost>
",
        home = home.display(),
        host = host(),
        listen = listen.address(),
        port = listen.address().port(),
        cert = pki.server.cert.display(),
        key = pki.server.key.display(),
        issuer = provider.issuer(),
        client = Provider::CLIENT,
        secret = provider.client_secret(),
        application = application.address(),
    )
}
