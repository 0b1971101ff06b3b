//! Dispatch: a request in, a response out. No sockets, no clock, no decision: each resource has a file of its own.
use super::certificate::Asking;
use super::identifier::DnsName;
use super::issuer::Issuer;
use super::limits::{Counters, Rates};
use super::nonce::Nonces;
use super::probe::Probe;
use super::problem::Problem;
use super::reply::{Common, Reply, Told};
use super::request::{Call, Signed};
use super::standing::Standing;
use super::store::Store;
use http::{Method, Request, Response, header};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use time::OffsetDateTime;

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://ca.example`, without a path: the names under which clients reach the server. Every URL in an answer
    /// begins with the one the client used; other `Host` headers are refused.
    pub origins: Vec<String>,
    /// Where the server begins, for example `/acme`; the directory is `{path}/directory`.
    pub path: String,
    pub terms_of_service: Option<String>,
    pub website: Option<String>,
    /// The page where a person signs in and enrols.
    pub portal: Option<String>,
    /// Names in it belong to enrolled devices; no challenge proves one.
    pub client_zone: Option<DnsName>,
    pub rates: Rates,
}

/// What the server talks to.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub issuer: Arc<dyn Issuer>,
    pub standing: Arc<dyn Standing>,
    pub probe: Arc<dyn Probe>,
}

/// The ACME server. Keep one for the life of the process: it holds spent nonces and the counters of limits.
pub struct Server {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) standing: Arc<dyn Standing>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) nonces: Nonces,
    pub(super) limits: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    #[error("an ACME server needs at least one origin, for example `https://ca.example`")]
    NoOrigin,
    #[error("an origin is `https://` and a host name in lower case, perhaps with a port, without a path")]
    Origin,
    #[error("the path begins with `/` and does not end with one, for example `/acme`")]
    Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Directory,
    NewNonce,
    NewAccount,
    NewOrder,
    RevokeCert,
    KeyChange,
    Account(&'a str),
    Orders(&'a str),
    Order(&'a str),
    Finalize(&'a str),
    Authorization(&'a str),
    Challenge(&'a str, &'a str),
    Certificate(&'a str, Option<usize>),
    RenewalInfo(&'a str),
}

impl Config {
    fn check(&self) -> Result<(), BadConfig> {
        if self.origins.is_empty() {
            return Err(BadConfig::NoOrigin);
        }
        let good = |origin: &String| {
            let host = origin.strip_prefix("https://").unwrap_or_default();
            !host.is_empty()
                && !host.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii_graphic() || b"/?#@".contains(&b))
        };
        if !self.origins.iter().all(good) {
            return Err(BadConfig::Origin);
        }
        if !self.path.starts_with('/') || self.path.ends_with('/') {
            return Err(BadConfig::Path);
        }
        Ok(())
    }

    pub(super) fn bases(&self) -> impl Iterator<Item = String> {
        self.origins.iter().map(|origin| format!("{origin}{}", self.path))
    }

    /// The origin that a client named in `Host` or in the request line. Compared, never copied.
    fn origin(&self, request: &Request<Vec<u8>>) -> Option<&str> {
        let host = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request.headers().get(header::HOST)?.to_str().ok()?,
        };
        let is_it =
            |origin: &&String| origin.strip_prefix("https://").is_some_and(|own| own.eq_ignore_ascii_case(host));
        self.origins.iter().find(is_it).map(String::as_str)
    }
}

impl Server {
    /// # Errors
    /// As [`BadConfig`].
    pub fn new(config: Config, parts: Parts, nonces: Nonces) -> Result<Self, BadConfig> {
        config.check()?;
        let limits = Counters::new(config.rates);
        let Parts { store, issuer, standing, probe } = parts;
        Ok(Self { config, store, issuer, standing, probe, nonces, limits })
    }

    /// Answers one request of a client at `address`. A [`Told`] in the extensions says what happened. Drive it on a
    /// task of its own: when a client hangs up, a certificate that is being signed still reaches its order.
    pub async fn handle(&self, request: &Request<Vec<u8>>, address: IpAddr, now: OffsetDateTime) -> Response<Vec<u8>> {
        let mut told = Told { action: "unknown", account: None, problem: None, detail: None };
        let origin = self.config.origin(request).map(str::to_owned);
        let base = origin.as_ref().map(|origin| format!("{origin}{}", self.config.path));
        let route = request.uri().path().strip_prefix(self.config.path.as_str()).and_then(Route::parse);
        let outcome = match (&origin, &base, route) {
            (Some(origin), Some(base), Some(route)) => {
                told.action = route.action();
                let url = format!("{origin}{}", request.uri().path());
                let mut call = Call { base: base.clone(), url, payload: vec![], address, now };
                self.dispatch(request, route, &mut call, &mut told).await
            }
            (Some(_), _, _) => Err(Problem::malformed("nothing stands at this path").status(404)),
            (None, _, _) => Err(Problem::malformed("this server has another name than the request says").status(421)),
        };
        let is_directory = route == Some(Route::Directory) && outcome.is_ok();
        let index = base.filter(|_| !is_directory).map(|base| format!("{base}/directory"));
        let wants_nonce = request.method() == Method::POST || route == Some(Route::NewNonce);
        let nonce = wants_nonce.then(|| self.nonces.fresh(now)).and_then(Result::ok);
        let common = Common {
            directory: index,
            nonce,
            terms: self.config.terms_of_service.as_deref(),
            portal: self.config.portal.as_deref(),
        };
        let reply = outcome.unwrap_or_else(|problem| {
            told.problem = Some(problem.kind);
            told.detail = Some(problem.detail.clone());
            Reply::problem(&problem, &common)
        });
        let mut response = reply.into_response(&common);
        if request.method() == Method::HEAD {
            response.body_mut().clear();
        }
        response.extensions_mut().insert(told);
        response
    }

    async fn dispatch(
        &self,
        request: &Request<Vec<u8>>,
        route: Route<'_>,
        call: &mut Call,
        told: &mut Told,
    ) -> Result<Reply, Problem> {
        let method = request.method();
        if !route.allows(method) {
            return Err(Problem::malformed(format!("this path takes {} only", route.allow()))
                .status(405)
                .allow(route.allow()));
        }
        // A signed URL has no query, and none of ours needs one.
        if request.uri().query().is_some() {
            return Err(Problem::malformed("URLs of this server have no query").status(404));
        }
        match route {
            Route::Directory => return Ok(Reply::json(self.directory(&call.base))),
            Route::NewNonce => return Ok(Reply::empty(if method == Method::HEAD { 200 } else { 204 })),
            Route::RenewalInfo(id) => return self.renewal_info(id).await,
            _ => {}
        }
        let signed = self.open(request, call).await?;
        let call = &*call;
        let account = match (route, signed) {
            (Route::NewAccount, Signed::Key(key)) => return self.new_account(call, key).await,
            (Route::RevokeCert, Signed::Key(key)) => return self.revoke(call, &Asking::Key(key)).await,
            (Route::NewAccount, Signed::Account(_)) => {
                return Err(Problem::malformed("a new account signs with `jwk`"));
            }
            (_, Signed::Key(_)) => return Err(Problem::malformed("this path takes `kid`, the URL of an account")),
            (_, Signed::Account(account)) => account,
        };
        told.account = Some(account.id.clone());
        if route.is_read_only() && !call.payload.is_empty() {
            return Err(Problem::malformed("this path is only read: the payload must be empty (POST-as-GET)"));
        }
        match route {
            Route::NewOrder => self.new_order(call, &account).await,
            Route::RevokeCert => self.revoke(call, &Asking::Account(account)).await,
            Route::KeyChange => self.key_change(call, *account).await,
            Route::Account(id) | Route::Orders(id) if id != account.id => Err(Problem::not_yours("account")),
            Route::Account(_) => self.account(call, *account).await,
            Route::Orders(_) => self.orders(call, &account).await,
            Route::Order(id) => self.order(call, &account, id).await,
            Route::Finalize(id) => self.finalize(call, &account, id).await,
            Route::Authorization(id) => self.authorization(call, &account, id).await,
            Route::Challenge(id, kind) => self.challenge(call, &account, id, kind).await,
            Route::Certificate(id, alternate) => self.certificate(call, &account, id, alternate).await,
            Route::Directory | Route::NewNonce | Route::NewAccount | Route::RenewalInfo(_) => {
                Err(Problem::malformed("nothing stands at this path").status(404))
            }
        }
    }

    /// RFC 8555 s7.1.1, RFC 9773 s3, profiles draft s3.
    fn directory(&self, base: &str) -> Value {
        let mut meta = json!({"externalAccountRequired": true, "profiles": self.issuer.profiles()});
        let optional = [("termsOfService", &self.config.terms_of_service), ("website", &self.config.website)];
        for (name, value) in optional {
            if let (Some(value), Some(members)) = (value, meta.as_object_mut()) {
                members.insert(name.into(), value.clone().into());
            }
        }
        json!({
            "newNonce": format!("{base}/new-nonce"),
            "newAccount": format!("{base}/new-account"),
            "newOrder": format!("{base}/new-order"),
            "revokeCert": format!("{base}/revoke-cert"),
            "keyChange": format!("{base}/key-change"),
            "renewalInfo": format!("{base}/renewal-info"),
            "meta": meta,
        })
    }
}

impl<'a> Route<'a> {
    /// From what follows the configured path.
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let parts = (parts.next()?, parts.next(), parts.next(), parts.next());
        Some(match parts {
            ("directory", None, ..) => Self::Directory,
            ("new-nonce", None, ..) => Self::NewNonce,
            ("new-account", None, ..) => Self::NewAccount,
            ("new-order", None, ..) => Self::NewOrder,
            ("revoke-cert", None, ..) => Self::RevokeCert,
            ("key-change", None, ..) => Self::KeyChange,
            ("account", Some(id), None, _) => Self::Account(id),
            ("account", Some(id), Some("orders"), None) => Self::Orders(id),
            ("order", Some(id), None, _) => Self::Order(id),
            ("order", Some(id), Some("finalize"), None) => Self::Finalize(id),
            ("authorization", Some(id), None, _) => Self::Authorization(id),
            ("challenge", Some(id), Some(kind), None) => Self::Challenge(id, kind),
            ("certificate", Some(id), None, _) => Self::Certificate(id, None),
            ("certificate", Some(id), Some(index), None) => Self::Certificate(id, Some(index.parse().ok()?)),
            ("renewal-info", Some(id), None, _) => Self::RenewalInfo(id),
            _ => return None,
        })
    }

    fn action(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::NewNonce => "new-nonce",
            Self::NewAccount => "new-account",
            Self::NewOrder => "new-order",
            Self::RevokeCert => "revoke-cert",
            Self::KeyChange => "key-change",
            Self::Account(_) => "account",
            Self::Orders(_) => "orders",
            Self::Order(_) => "order",
            Self::Finalize(_) => "finalize",
            Self::Authorization(_) => "authorization",
            Self::Challenge(..) => "challenge",
            Self::Certificate(..) => "certificate",
            Self::RenewalInfo(_) => "renewal-info",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Self::Directory | Self::NewNonce | Self::RenewalInfo(_) => "GET, HEAD",
            _ => "POST",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| method.as_str() == allowed)
    }

    fn is_read_only(self) -> bool {
        matches!(self, Self::Orders(_) | Self::Order(_) | Self::Certificate(..))
    }
}
