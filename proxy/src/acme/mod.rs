//! The ACME server on the portal's host: what `torhaus_certs::acme` asks of a process around it.
//!
//! ```text
//! answer        a request below /acme -> Server::handle on a task of its own -> metrics, record
//! issuer.rs     profile + enrolment -> ca::issue, ca::revoke: one way for every certificate
//! standing.rs   may this owner have one now?
//! leaver.rs     what those hold who may not any more
//! probe.rs      what a challenge shows, from allowed networks only; dns.rs asks the name server
//! solver.rs     passes on what solvers of others answer, on the plain listener
//! enrolment.rs  one-time keys: made, listed, withdrawn, by people (the portal) and by operators (operator.rs)
//! ```
//!
//! Over TLS only: the plain listener never comes here.
pub mod dns;
pub mod enrolment;
mod issuer;
pub mod leaver;
mod operator;
mod probe;
pub mod solver;
mod standing;

#[cfg(test)]
mod tests;

use crate::ca::{CaError, moment};
use crate::gate::Gate;
use crate::recording;
use crate::request::Request;
use crate::response::Response;
use arc_swap::ArcSwapOption;
use http::header::{CONTENT_LENGTH, HOST, LOCATION};
use http::{HeaderMap, StatusCode};
use std::sync::{Arc, OnceLock, Weak};
use torhaus_authz::{Entry, Kind, Reason, Timestamp};
use torhaus_certs::LedgerError;
use torhaus_certs::acme::{
    AccountChange, AccountStatus, Changed, Config, DnsName, Kind as Problem, Nonces, Parts, Rate, Rates, Server, Store,
    Told,
};

/// Where the server begins on the portal's host; the directory is `/acme/directory`.
pub const PATH: &str = "/acme";

pub struct Acme {
    pub store: Arc<dyn Store>,
    /// What nonces are made with, where several replicas take each other's.
    nonce_key: Option<[u8; 32]>,
    gate: OnceLock<Weak<Gate>>,
    serving: ArcSwapOption<Serving>,
}

/// A server and what it was built from.
struct Serving {
    config: torhaus_config::Acme,
    origin: String,
    server: Arc<Server>,
}

impl Acme {
    /// `nonce_key`: shared by all replicas; none: there is one process.
    pub fn new(store: Arc<dyn Store>, nonce_key: Option<[u8; 32]>) -> Self {
        Self { store, nonce_key, gate: OnceLock::new(), serving: ArcSwapOption::empty() }
    }

    /// Once, when the gate is complete: certificates are issued and revoked through it.
    pub fn belongs_to(&self, gate: &Arc<Gate>) {
        // A second call changes nothing.
        let _ = self.gate.set(Arc::downgrade(gate));
    }

    /// The server of the current configuration; none: there is no `acme`. One that was built is kept until its
    /// settings change, because it holds nonces and the counters of limits.
    pub fn server(&self) -> Option<Arc<Server>> {
        let gate = self.gate.get()?;
        let snapshot = gate.upgrade()?.snapshot.load_full();
        let config = snapshot.config.acme.as_ref()?;
        let origin = snapshot.config.portal.url.origin().ascii_serialization();
        if let Some(serving) = &*self.serving.load()
            && serving.config == *config
            && serving.origin == origin
        {
            return Some(serving.server.clone());
        }
        let built = build(config, &origin, gate, self.store.clone(), self.nonce_key.as_ref());
        let server = match built {
            Ok(server) => Arc::new(server),
            Err(why) => {
                tracing::error!(why, "the ACME server cannot be built");
                return None;
            }
        };
        let serving = Serving { config: config.clone(), origin, server: server.clone() };
        self.serving.store(Some(Arc::new(serving)));
        Some(server)
    }

    /// Ends again what was ended since the backup that the database was restored from, if it was: the journal of
    /// revocations knows. Call it before anybody is served.
    ///
    /// # Errors
    /// The journal or the store cannot be used: a device that was revoked could come back.
    pub async fn settle(&self, gate: &Gate) -> Result<(), CaError> {
        for revoked_by in gate.ca.revokers().await? {
            let Some(account) = revoked_by.strip_prefix(issuer::WITHDRAWN) else { continue };
            let ended = self.store.change_account(account, AccountChange::End(AccountStatus::Revoked)).await;
            if ended.map_err(|error| LedgerError::Unavailable(error.to_string()))? == Changed::Yes {
                tracing::warn!(account, "the database did not know that this ACME account has ended; was it restored?");
            }
        }
        Ok(())
    }

    /// Forgets what is past. Call it every few minutes.
    pub async fn sweep(&self, now: Timestamp) {
        match self.store.sweep(moment(now)).await {
            Ok(0) => {}
            Ok(records) => tracing::debug!(records, "the ACME server forgot what is past"),
            Err(error) => tracing::error!(%error, "the ACME server's records could not be swept"),
        }
    }
}

fn build(
    config: &torhaus_config::Acme,
    origin: &str,
    gate: &Weak<Gate>,
    store: Arc<dyn Store>,
    nonce_key: Option<&[u8; 32]>,
) -> Result<Server, String> {
    let parts = Parts {
        store,
        issuer: Arc::new(issuer::OwnIssuer::new(gate.clone())),
        standing: Arc::new(standing::Owners::new(gate.clone())),
        probe: Arc::new(probe::Network::new(config.probe.clone())),
    };
    let zone = DnsName::parse(&config.client_zone).map_err(|problem| problem.detail)?;
    let limits = &config.limits;
    let hourly = |count| Rate { count, window: time::Duration::HOUR };
    let config = Config {
        origins: vec![origin.to_owned()],
        path: PATH.to_owned(),
        terms_of_service: None,
        website: None,
        portal: Some(format!("{origin}/devices")),
        client_zone: Some(zone),
        rates: Rates {
            new_accounts: hourly(limits.new_accounts),
            new_orders: hourly(limits.new_orders),
            failed_validations: hourly(limits.failed_validations),
            finalizes: hourly(limits.finalizes),
        },
    };
    let nonces = match nonce_key {
        Some(key) => Nonces::shared(key),
        None => Nonces::alone().map_err(|error| error.to_string())?,
    };
    Server::new(config, parts, nonces).map_err(|error| error.to_string())
}

/// Whether a path of the portal's host is the ACME server's.
pub fn serves(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.starts_with('/'))
}

/// Answers one request. None: there is no ACME server.
pub async fn answer(gate: &Gate, request: &Request<'_>, now: Timestamp) -> Option<Response> {
    let server = gate.acme.server()?;
    let address = request.connection.client.ip();
    let asked = asked(request)?;
    // On a task of its own: when the client hangs up, a certificate that is being signed still reaches its order.
    let handled = tokio::spawn(async move { server.handle(&asked, address, moment(now)).await });
    let answered = match handled.await {
        Ok(answered) => answered,
        Err(error) => {
            tracing::error!(%error, "the ACME server broke off");
            return Some(Response::empty(StatusCode::INTERNAL_SERVER_ERROR));
        }
    };
    if let Some(told) = answered.extensions().get::<Told>() {
        let location = answered.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let made = location.filter(|_| told.action == "new-account" && answered.status() == StatusCode::CREATED);
        note(gate, request, told, made.and_then(|url| url.rsplit('/').next()), now).await;
    }
    let (parts, body) = answered.into_parts();
    let headers = parts.headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH);
    let headers = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
    Some(Response { status: parts.status, headers, body: body.into(), trailers: HeaderMap::new(), close: false })
}

fn asked(request: &Request<'_>) -> Option<http::Request<Vec<u8>>> {
    let mut asked = http::Request::new(request.body.to_vec());
    *asked.method_mut() = request.method.clone();
    *asked.uri_mut() = request.path_and_query().parse().ok()?;
    *asked.headers_mut() = request.headers.clone();
    // Checked by the engine, from wherever it was said.
    asked.headers_mut().insert(HOST, request.authority().parse().ok()?);
    Some(asked)
}

/// Counts it. What enrols, and what is refused, stands in the audit log; certificates and revocations are recorded
/// where they are made.
async fn note(gate: &Gate, request: &Request<'_>, told: &Told, made: Option<&str>, now: Timestamp) {
    gate.metrics.acme(told.action, told.problem.map_or("ok", Problem::name));
    let refused = |problem: &Problem| {
        matches!(problem, Problem::Unauthorized | Problem::RejectedIdentifier | Problem::UserActionRequired)
    };
    let entry =
        |detail: String| Entry { detail: Some(detail.into()), ..recording::of_request(request, Kind::Enrolment, now) };
    let recorded = match (told.problem.filter(refused), made) {
        (Some(problem), _) => {
            let (account, why) = (told.account.as_deref(), told.detail.as_deref().unwrap_or_default());
            let account_shown = account.unwrap_or("-");
            let detail = format!("ACME {} of account {account_shown} refused ({}): {why}", told.action, problem.name());
            if account.is_some() && matches!(told.action, "new-order" | "finalize") {
                // An account makes few of them: its limits see to it.
                gate.audit.event(entry(detail)).await.map(drop)
            } else {
                // Counted per network: trying cannot fill the disk.
                let address = request.connection.client.ip();
                gate.audit.refusal(Some(address), Reason::NotAllowed, now, || entry(detail)).await.map(drop)
            }
        }
        (None, Some(account)) => gate.audit.event(entry(format!("ACME account {account} was made"))).await.map(drop),
        (None, None) => return,
    };
    if let Err(error) = recorded {
        // Evidence and no condition: without a record no certificate leaves (`ca::issue`).
        tracing::error!(%error, "what the ACME server did could not be recorded");
    }
}
