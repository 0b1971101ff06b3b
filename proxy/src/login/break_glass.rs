//! The way in on the day on which nobody can sign in: a grant for one named administrator, made in quiet times on this
//! machine, worth something only here, once, and for hours.
//!
//! ```text
//! make   grant file = sealed under the gate's key ( sealed under a key of its own, in another file ( who, what, until ) )
//! use    both files, over the machine's admin socket -> recorded -> spent -> a link, good once and for 5 minutes
//! enter  the link, in a browser -> recorded -> a session of PROVIDER, with the proofs and groups of the grant
//! ```
//!
//! The policy still decides: a grant proves a tier and names groups, nothing else. The identity provider and the directory
//! are not asked. Loud while it lasts: an error in the program log every minute, a line in the audit log at each step, the
//! metric `torhaus_break_glass_live`, and the provider's name in every record.
use crate::admin::{BreakGlassAnswer, BreakGlassOrder, Caller};
use crate::clock;
use crate::gate::Gate;
use crate::login::seal::{SealError, SealKey};
use crate::login::session::{Purpose, Session, Ticket, Tokens, Unavailable, Which};
use crate::login::{cookie, handover};
use crate::recording;
use crate::request::Request;
use crate::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Entry, Fact, Identity, Kind, Proof, ProofNote, Reason, Timestamp, User, Who, Why};

/// What stands where the identity provider's name would: in records, in headers, in `session list --provider`.
pub const PROVIDER: &str = "break-glass";
/// No identity provider has this issuer: only this file makes sessions of it.
pub const ISSUER: &str = "urn:torhaus:break-glass";
/// The page that a link leads to.
pub const PATH: &str = "/break-glass";
/// Longest life of a session by a grant.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// How long a grant may lie in its safe; then a new one is due.
pub const MOST_DAYS: u32 = 366;
/// How long somebody may take from the machine to the browser.
const LINK_LIFE: Duration = Duration::from_secs(5 * 60);
/// How often it is said that somebody is in by a grant.
const EVERY: Duration = Duration::from_secs(60);
const SEAL_PURPOSE: &str = "break-glass";

/// What a grant says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: String,
    /// As `user:NAME` in the policy.
    pub user: String,
    pub groups: Vec<String>,
    pub tier: String,
    /// How long a session by it lives.
    pub seconds: u64,
    /// Until when it can be used.
    pub not_after: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum BreakGlassError {
    #[error("this is no grant of this gate, or the other file is not its key")]
    NotOurs,
    #[error("the grant has ended; make another one")]
    Ended,
    #[error("the grant was used before")]
    Used,
    #[error("the tier `{0}` is not in the policy any more; make another grant")]
    NoTier(String),
    #[error("nothing is opened without a record: {0}")]
    Record(#[from] crate::audit::Unavailable),
    #[error(transparent)]
    Store(#[from] Unavailable),
}

impl Grant {
    /// The text of the grant's file. `gate`: what seals the state of this machine; `own`: the key in the other file.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn seal(&self, gate: &SealKey, own: &SealKey) -> Result<String, SealError> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        gate.seal_text(SEAL_PURPOSE, &own.seal(SEAL_PURPOSE, &json)?, self.not_after)
    }

    /// # Errors
    /// 1. one of the two keys is not the one it was sealed with; 2. it has ended.
    pub fn open(text: &str, gate: &SealKey, own: &SealKey, now: Timestamp) -> Result<Self, BreakGlassError> {
        let inner = gate.open_text(SEAL_PURPOSE, text.trim(), now).map_err(|error| match error {
            SealError::Expired => BreakGlassError::Ended,
            _ => BreakGlassError::NotOurs,
        })?;
        let plain = own.open(SEAL_PURPOSE, &inner).map_err(|_| BreakGlassError::NotOurs)?;
        serde_json::from_slice(&plain).map_err(|_| BreakGlassError::NotOurs)
    }

    fn life(&self) -> Duration {
        Duration::from_secs(self.seconds).min(LONGEST)
    }
}

/// Spends a grant; the link that it is worth.
///
/// # Errors
/// It is not good, was used before, or could not be recorded.
pub async fn spend(
    gate: &Gate,
    order: &BreakGlassOrder,
    by: Caller,
    now: Timestamp,
) -> Result<BreakGlassAnswer, BreakGlassError> {
    let own = SealKey::parse(&order.key).ok_or(BreakGlassError::NotOurs);
    let opened = own.and_then(|own| Grant::open(&order.grant, &gate.sealer, &own, now));
    let grant = match opened {
        Ok(grant) => grant,
        Err(error) => {
            tracing::error!(%by, %error, "BREAK GLASS: a grant was tried and refused");
            note(gate, format!("BREAK GLASS tried by {by} and refused: {error}"), now).await?;
            return Err(error);
        }
    };
    let snapshot = gate.snapshot.load_full();
    if !snapshot.policy.tiers().any(|tier| *tier.name == *grant.tier) {
        return Err(BreakGlassError::NoTier(grant.tier));
    }
    // No record, no session. The line comes first: a grant that is spent without one would be worse than one too many.
    let what = format!("BREAK GLASS: grant {} for {}, tier {}, used by {by}", grant.id, grant.user, grant.tier);
    note(gate, what.clone(), now).await?;
    if !gate.sessions.store.spend_grant(&grant.id, &by.to_string(), now).await? {
        note(gate, format!("BREAK GLASS refused: grant {} was used before", grant.id), now).await?;
        return Err(BreakGlassError::Used);
    }
    gate.metrics.break_glass_used.inc();
    tracing::error!("{what}");
    let ticket = Ticket::new()?;
    let value = serde_json::to_vec(&grant).unwrap_or_default();
    gate.sessions.store.put_once(Purpose::BreakGlass, ticket.hash(), &value, now.plus(LINK_LIFE)).await?;
    Ok(BreakGlassAnswer {
        url: format!("{}{PATH}?code={}", handover::portal_origin(&snapshot), ticket.expose()),
        user: grant.user.clone(),
        session_seconds: grant.life().as_secs(),
    })
}

/// At the portal: a link for a session.
///
/// # Errors
/// 1. the link is unknown, used or too old; 2. the store could not be asked; 3. it could not be recorded.
pub async fn enter(gate: &Gate, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let code = request.query_parameter("code").and_then(|code| Ticket::parse(&code)).ok_or(Reason::LoginInvalid)?;
    let taken = gate.sessions.store.take_once(Purpose::BreakGlass, code.hash(), now).await;
    let value = taken.map_err(|_| Reason::StoreUnavailable)?.ok_or(Reason::LoginInvalid)?;
    let grant: Grant = serde_json::from_slice(&value).map_err(|_| Reason::LoginInvalid)?;
    let session = session_of(&grant, request, now);
    let handle = Ticket::new().map_err(|_| Reason::StoreUnavailable)?;
    let entry = Entry {
        who: Some(Who::from(&Identity::User(session.user.clone()))),
        session: Some(session.id.clone()),
        proofs: ProofNote::of(&session.proofs),
        detail: Some(format!("BREAK GLASS: {} is in by grant {}", grant.user, grant.id).into()),
        ..recording::of_request(request, Kind::Login, now)
    };
    // No record, no session.
    gate.audit.event(entry).await.map_err(|_| Reason::RecordUnavailable)?;
    let created = gate.sessions.create(&session, handle.hash(), request.host).await;
    created.map_err(|_| Reason::StoreUnavailable)?;
    tracing::error!(user = grant.user, until = %session.expires, "BREAK GLASS: somebody is in without an identity provider");
    Ok(Response::redirect("/").with_cookie(&cookie::set(cookie::SESSION, handle.expose())))
}

fn session_of(grant: &Grant, request: &Request<'_>, now: Timestamp) -> Session {
    let proof = Proof { tier: grant.tier.as_str().into(), proven_at: now, provider: PROVIDER.into() };
    Session {
        id: format!("s-{:016x}", rand::random::<u64>()).into(),
        user: Arc::new(User {
            name: grant.user.as_str().into(),
            provider: PROVIDER.into(),
            issuer: ISSUER.into(),
            subject: grant.id.as_str().into(),
            federated: false,
        }),
        display_name: Some(format!("{} (break glass)", grant.user)),
        email: None,
        groups: Fact::Known(Arc::new(grant.groups.iter().map(String::as_str).collect())),
        device: Fact::Unknown(Why::NotConfigured),
        proofs: [proof].into(),
        provider_session: None,
        tokens: Tokens::default(),
        created: now,
        expires: now.plus(grant.life()),
        last_seen: now,
        opened_from: request.connection.client.ip().to_string(),
        user_agent: request.header("user-agent").unwrap_or_default().chars().take(200).collect(),
    }
}

/// Says who is in by a grant, again and again, for as long as somebody is.
pub async fn watch(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        // Nobody knows while the store is lost; the number stays what it was.
        let Ok(live) = gate.sessions.store.list(&Which::Provider(PROVIDER.into())).await else { continue };
        let live: Vec<_> = live.into_iter().filter(|session| session.expires > clock::now()).collect();
        gate.metrics.break_glass_live.set(i64::try_from(live.len()).unwrap_or(i64::MAX));
        for session in live {
            let (user, until) = (&session.user.name, session.expires);
            tracing::error!(session = %session.id, %user, %until, "BREAK GLASS: somebody is in without an identity provider");
        }
    }
}

async fn note(gate: &Gate, detail: String, now: Timestamp) -> Result<(), BreakGlassError> {
    let entry = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Admin) };
    Ok(gate.audit.event(entry).await.map(drop)?)
}

/// An id that two grants never share.
pub fn new_id() -> String {
    format!("bg-{:032x}", rand::random::<u128>())
}
