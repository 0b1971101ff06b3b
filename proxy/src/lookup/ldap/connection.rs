//! Connections to the servers of one directory: TLS with the configured authority and no other, a bind, a pool, the
//! next server when one does not answer, and searches with bounds.
//!
//! Never chases a referral: it would send our password to whoever is named in it.
use super::entry::{Entry, MAX_VALUES};
use crate::lookup::directory::Failure;
use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use futures::future::BoxFuture;
use ldap3::controls::{Control, ControlType, PagedResults};
use ldap3::{Ldap as Handle, LdapConnAsync, LdapConnSettings, LdapError, Scope};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use torhaus_config::{Ldap, Secret};
use url::Url;

/// Connections at once: four of the poll, and one for somebody who is signing in.
const CONNECTIONS: usize = super::AT_ONCE + 1;
/// Active Directory closes idle connections after 15 minutes (`MaxConnIdleTime`); ours are renewed before.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// Active Directory gives 1,000 at most (`MaxPageSize`).
const PAGE: i32 = 500;
/// Entries of one search. Nobody is in more groups: Active Directory itself stops at 1,015.
const MAX_ENTRIES: usize = 10_000;
/// Bytes of one search. 10,000 groups with long names are 2 MiB.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Result codes (RFC 4511 appendix A.1).
const SUCCESS: u32 = 0;
const REFERRAL: u32 = 10;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_CREDENTIALS: u32 = 49;

/// All servers of a directory, as one.
pub(super) struct Servers {
    pool: Pool<Connector>,
    connector: Arc<Shared>,
}

struct Connector(Arc<Shared>);

struct Shared {
    urls: Vec<Url>,
    tls: Arc<ClientConfig>,
    bind_dn: String,
    bind_password: Secret,
    timeout: Duration,
    /// The server that answered last; the others are asked when it does not.
    current: AtomicUsize,
}

/// A bound connection.
pub(super) struct Connection {
    handle: Handle,
    server: usize,
    opened: Instant,
    timeout: Duration,
    /// For messages.
    name: String,
}

/// What one search is about.
pub(super) struct Search<'a> {
    pub base: &'a str,
    pub scope: Scope,
    pub filter: &'a str,
    pub attributes: &'a [&'a str],
}

impl Servers {
    /// # Errors
    /// The CA file cannot be read any more, or holds no certificate.
    pub fn new(settings: &Ldap, timeout: Duration) -> Result<Self, String> {
        let connector = Arc::new(Shared {
            urls: settings.urls.clone(),
            tls: Arc::new(tls(&settings.ca_file)?),
            bind_dn: settings.bind_dn.clone(),
            bind_password: settings.bind_password.clone(),
            timeout,
            current: AtomicUsize::new(0),
        });
        let pool = Pool::builder(Connector(connector.clone()))
            .max_size(CONNECTIONS)
            .wait_timeout(Some(timeout))
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { pool, connector })
    }

    /// Asks with a connection; on a connection that turns out dead, once more with each server.
    pub async fn with_connection<T>(
        &self,
        question: impl for<'c> Fn(&'c mut Connection) -> BoxFuture<'c, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut attempts = 0;
        loop {
            let mut connection = self.connection().await?;
            let failure = match question(&mut connection).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Refused(_) | Failure::BindRefused(_) | Failure::Unusable(_)) {
                return Err(failure);
            }
            // What may still come on this connection belongs to nobody.
            let dead = Object::take(connection);
            self.connector.leave(dead.server);
            attempts += 1;
            if attempts > self.connector.urls.len() {
                return Err(failure);
            }
        }
    }

    async fn connection(&self) -> Result<Object<Connector>, Failure> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(failure) => failure,
            PoolError::Timeout(_) => Failure::Timeout("every connection to the directory is busy; it".to_owned()),
            error => Failure::Unreachable(error.to_string()),
        })
    }

    /// Tries each server by itself: its name, and whether it can be used.
    pub async fn try_each(&self) -> Vec<(String, Result<(), Failure>)> {
        let mut found = Vec::new();
        for (index, url) in self.connector.urls.iter().enumerate() {
            found.push((url.to_string(), self.connector.connect(index).await.map(drop)));
        }
        found
    }
}

impl managed::Manager for Connector {
    type Type = Connection;
    type Error = Failure;

    async fn create(&self) -> Result<Connection, Failure> {
        let first = self.0.current.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for step in 0..self.0.urls.len() {
            let index = (first + step) % self.0.urls.len();
            match self.0.connect(index).await {
                Ok(connection) => {
                    self.0.current.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(failure @ Failure::BindRefused(_)) => return Err(failure),
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        Err(Failure::Unreachable(failures.join("; ")))
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Failure> {
        let left = connection.server != self.0.current.load(Ordering::Relaxed);
        if left || connection.handle.is_closed() || connection.opened.elapsed() > MAX_AGE {
            return Err(RecycleError::message("of yesterday"));
        }
        Ok(())
    }
}

impl Shared {
    /// Goes on to the next server, unless somebody did already.
    fn leave(&self, server: usize) {
        let next = (server + 1) % self.urls.len();
        // If it was not the current one any more, there is nothing to do.
        let _ = self.current.compare_exchange(server, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn connect(&self, index: usize) -> Result<Connection, Failure> {
        let url = self.urls.get(index).ok_or_else(|| Failure::Unreachable("no server is configured".to_owned()))?;
        let name = format!("`{}`", url.as_str().trim_end_matches('/'));
        let settings = LdapConnSettings::new().set_config(self.tls.clone()).set_conn_timeout(self.timeout);
        let opened = LdapConnAsync::from_url_with_settings(settings, url).await;
        let (driver, mut handle) = opened.map_err(|error| explain(&name, error))?;
        let server = name.clone();
        tokio::spawn(async move {
            if let Err(error) = driver.drive().await {
                tracing::debug!(server, %error, "a connection to the directory ended");
            }
        });
        let password = self.bind_password.expose();
        if password.is_empty() {
            // "Succeeds" as nobody (RFC 4513 s5.1.2).
            return Err(Failure::BindRefused("its password is empty".to_owned()));
        }
        let bound = timeout(self.timeout, handle.simple_bind(&self.bind_dn, password)).await;
        let bound = bound.map_err(|_| Failure::Timeout(name.clone()))?.map_err(|error| explain(&name, error))?;
        match bound.rc {
            SUCCESS => {}
            INVALID_CREDENTIALS => {
                return Err(Failure::BindRefused(format!("{name} does not accept `bind_dn` with this password")));
            }
            code => return Err(Failure::Unreachable(format!("{name} refuses the bind with code {code}"))),
        }
        Ok(Connection { handle, server: index, opened: Instant::now(), timeout: self.timeout, name })
    }
}

impl Connection {
    /// All entries that a search finds, page by page, with all values.
    ///
    /// # Errors
    /// 1. no answer in time; 2. the server refuses; 3. the answer is more than a directory holds, or no LDAP.
    pub async fn search(&mut self, search: &Search<'_>) -> Result<Vec<Entry>, Failure> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut cookie = Vec::new();
        loop {
            let page = timeout(self.timeout, self.page(search, cookie, &mut found, &mut bytes)).await;
            cookie = page.map_err(|_| Failure::Timeout(self.name.clone()))??;
            if cookie.is_empty() {
                break;
            }
        }
        for entry in &mut found {
            self.complete(entry, &mut bytes).await?;
        }
        Ok(found)
    }

    /// The entry with this name; none if there is none.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub async fn read(&mut self, dn: &str, filter: &str, attributes: &[&str]) -> Result<Option<Entry>, Failure> {
        let search = Search { base: dn, scope: Scope::Base, filter, attributes };
        Ok(self.search(&search).await?.pop())
    }

    /// Something that a search finds, of its first page.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub async fn first(&mut self, search: &Search<'_>) -> Result<Option<Entry>, Failure> {
        let mut found = Vec::new();
        let page = timeout(self.timeout, self.page(search, Vec::new(), &mut found, &mut 0)).await;
        page.map_err(|_| Failure::Timeout(self.name.clone()))??;
        Ok(found.into_iter().next())
    }

    /// One page; the cookie of the next one.
    async fn page(
        &mut self,
        search: &Search<'_>,
        cookie: Vec<u8>,
        found: &mut Vec<Entry>,
        bytes: &mut usize,
    ) -> Result<Vec<u8>, Failure> {
        if search.scope != Scope::Base {
            self.handle.with_controls(vec![PagedResults { size: PAGE, cookie }.into()]);
        }
        let attributes: Vec<String> = search.attributes.iter().map(|name| (*name).to_owned()).collect();
        let stream = self.handle.streaming_search(search.base, search.scope, search.filter, attributes).await;
        let mut stream = stream.map_err(|error| explain(&self.name, error))?;
        while let Some(item) = stream.next().await.map_err(|error| explain(&self.name, error))? {
            if item.is_ref() || item.is_intermediate() {
                continue;
            }
            let entry = Entry::read(item)?;
            *bytes += entry.bytes();
            if *bytes > MAX_BYTES || found.len() >= MAX_ENTRIES {
                return Err(Failure::Garbage(format!("{} answers with more than it can hold", self.name)));
            }
            found.push(entry);
        }
        let result = stream.finish().await;
        match result.rc {
            SUCCESS => {}
            NO_SUCH_OBJECT if search.scope == Scope::Base => return Ok(Vec::new()),
            NO_SUCH_OBJECT => return Err(Failure::Refused(format!("there is no `{}` in {}", search.base, self.name))),
            REFERRAL => return Err(Failure::Refused(format!("`{}` is not in {}", search.base, self.name))),
            code => return Err(Failure::Refused(format!("{} answers a search with code {code}", self.name))),
        }
        let next = result.ctrls.into_iter().find_map(|control| match control {
            Control(Some(ControlType::PagedResults), raw) => Some(raw.parse::<PagedResults>().cookie),
            Control(..) => None,
        });
        Ok(next.unwrap_or_default())
    }

    /// Reads the rest of lists that came in part.
    async fn complete(&mut self, entry: &mut Entry, bytes: &mut usize) -> Result<(), Failure> {
        let mut asked = 0;
        while let Some(range) = entry.take_range() {
            // One that does not go on, or never ends, would be asked for ever.
            if range.next <= asked || range.next > MAX_VALUES {
                return Err(Failure::Garbage(format!("{} gives a list without an end", self.name)));
            }
            asked = range.next;
            let attribute = format!("{};range={}-*", range.attribute, range.next);
            let mut more = Vec::new();
            let search = Search {
                base: &entry.dn.clone(),
                scope: Scope::Base,
                filter: "(objectClass=*)",
                attributes: &[&attribute],
            };
            let page = timeout(self.timeout, self.page(&search, Vec::new(), &mut more, bytes)).await;
            page.map_err(|_| Failure::Timeout(self.name.clone()))??;
            let more = more.pop().filter(|more| more.bytes() > more.dn.len());
            entry.extend(more.ok_or_else(|| Failure::Garbage(format!("{} ends a list too early", self.name)))?);
        }
        Ok(())
    }
}

/// Believes the configured authority and no other; an error here is never an occasion to believe more.
fn tls(ca_file: &Path) -> Result<ClientConfig, String> {
    let shown = ca_file.display();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| format!("ca file `{shown}`: {error}"))? {
        let certificate = certificate.map_err(|error| format!("ca file `{shown}`: {error}"))?;
        roots.add(certificate).map_err(|error| format!("ca file `{shown}`: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("ca file `{shown}` holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn explain(server: &str, error: LdapError) -> Failure {
    match error {
        LdapError::Timeout { .. } => Failure::Timeout(server.to_owned()),
        LdapError::Io { source } => Failure::Unreachable(format!("{server}: {source}")),
        LdapError::FilterParsing => Failure::Refused("a filter of the configuration is none".to_owned()),
        LdapError::ResultRecv { .. } | LdapError::EndOfStream | LdapError::OpSend { .. } => {
            Failure::Unreachable(format!("{server} closed the connection"))
        }
        error => Failure::Unreachable(format!("{server}: {error}")),
    }
}
