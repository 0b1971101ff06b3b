//! A session: one per login, at the portal, with a handle per host. What a session is, and what the gate asks of
//! the store that keeps it.
//!
//! The browser holds only a handle: 256 random bits in a `__Host-torhaus` cookie. The store keeps its SHA-256, so a
//! stolen store opens nothing. Groups and tokens stay on the server, so the cookie never grows.
use super::device_claim::DeviceClaim;
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng as _;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use torhaus_authz::{Fact, Groups, Name, Proof, Timestamp, User};
use zeroize::Zeroizing;

/// Public name of a session: shown in `session list` and the audit log; opens nothing.
pub type SessionId = Arc<str>;

/// What is known about one login. Immutable: a change makes a new value.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub user: Arc<User>,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub groups: Fact<Arc<Groups>>,
    /// The device that the person signed in with, as the provider has it.
    pub device: DeviceClaim,
    pub proofs: Arc<[Proof]>,
    /// The provider's own session (`sid` of the ID token), for back-channel logout.
    pub provider_session: Option<String>,
    pub tokens: Tokens,
    pub created: Timestamp,
    /// The absolute end.
    pub expires: Timestamp,
    pub last_seen: Timestamp,
    /// Where it was opened from, for the person's own list of sessions.
    pub opened_from: String,
    pub user_agent: String,
}

/// Kept for refresh and for RP-initiated logout. Sealed at rest, never shown.
#[derive(Clone, Default)]
pub struct Tokens {
    /// `id_token_hint` of the logout request.
    pub id_token: Option<Zeroizing<String>>,
    pub refresh_token: Option<Zeroizing<String>>,
    /// Kept only where a route hands it on.
    pub access_token: Option<AccessToken>,
}

#[derive(Clone)]
pub struct AccessToken {
    /// For an application that asks for it, and nobody else.
    pub secret: Zeroizing<String>,
    pub expires: Timestamp,
}

impl Tokens {
    /// The same, for a gate that hands no access tokens on: a secret that is not there is not stolen.
    #[must_use]
    pub fn without_access_token(self) -> Self {
        Self { access_token: None, ..self }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// 256 random bits: the value of a cookie, a state, a hand-over code. Shown only to the browser it is for.
#[derive(Clone)]
pub struct Ticket(Zeroizing<String>);

/// SHA-256 of a ticket: what the store keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TicketHash(pub [u8; 32]);

impl Ticket {
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn new() -> Result<Self, Unavailable> {
        let mut bits = [0u8; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut bits).map_err(|_| Unavailable("no randomness".into()))?;
        Ok(Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bits))))
    }

    /// A ticket as a browser sent it: 43 characters of base64url, or none.
    pub fn parse(text: &str) -> Option<Self> {
        let plausible = text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        plausible.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub fn hash(&self) -> TicketHash {
        TicketHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The ticket itself. Call it where it is sent, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

impl fmt::Debug for TicketHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl TicketHash {
    pub fn same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The store could not be asked, or did not take what it was given.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store is not available: {0}")]
pub struct Unavailable(pub String);

/// What a one-time value is for; a code for one purpose never serves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A login under way: `state` of the authorization request.
    LoginState,
    /// A hand-over from the portal to a host.
    HandOver,
    /// A person's word for a command that waits for its one-time key.
    Enrolment,
    /// A link that a grant was spent for.
    BreakGlass,
}

/// Which sessions a revocation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Session(SessionId),
    /// A few hundred at most: each is a value of the question to the database.
    These(Vec<SessionId>),
    User(Name),
    /// All of one person.
    Subject {
        issuer: Name,
        subject: Name,
    },
    /// What a logout at the provider means.
    LoggedOut(ProviderLogout),
    Provider(Name),
    /// Those that this provider vouched for while it had this issuer.
    VouchedFor {
        provider: Name,
        issuer: Name,
    },
    /// Those that were used with this device: a name that it has among our records or in its certificate, or the
    /// certificate's SHA-256 in hex.
    Device(Name),
    /// Those that were used at one of these hosts; `*.name` is every host below `name`.
    Hosts(Vec<Name>),
    All,
}

/// Who was signed out at an identity provider. With both names: the session with this `sid`, if it is this subject's,
/// and those of the subject of which no `sid` is known, as each of them may be the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderLogout {
    pub issuer: Name,
    pub subject: Option<Name>,
    pub sid: Option<String>,
    /// When Torhaus heard of it first: sessions that began later are not meant.
    pub heard: Timestamp,
}

/// A handle, and the host that it is for.
pub type AtHost = (TicketHash, Arc<str>);
/// A handle, and the session that it was found to be of.
pub type Found = (TicketHash, Session);

/// What is known of others who may write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody has written since this was last asked.
    Silent,
    /// Somebody has, or it is asked for the first time.
    Wrote,
    /// The store cannot tell: others share it.
    Untold,
}

/// Keeps sessions. Every method may fail with [`Unavailable`], and then nothing may be opened.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Keeps a new session and its first handle, for `host`.
    async fn create(&self, session: &Session, handle: TicketHash, host: &str) -> Result<(), Unavailable>;
    /// The live session of a handle at `host`; none if the handle is unknown, for another host, or its session ended.
    async fn find(&self, handle: TicketHash, host: &str) -> Result<Option<Session>, Unavailable>;
    /// The same for many handles at once, in no order. Those of which nothing is known are not in the answer; one that
    /// cannot be read is an error of its own.
    async fn find_all(&self, handles: &[AtHost]) -> Result<Vec<Found>, Unavailable>;
    /// Adds a handle at `host` to a live session, dropping `replaces`. False: the session is not live any more.
    async fn add_handle(
        &self,
        session: &SessionId,
        handle: TicketHash,
        host: &str,
        replaces: Option<TicketHash>,
    ) -> Result<bool, Unavailable>;
    /// Replaces what is known of a live session (proofs, groups, tokens). False: it is not live any more.
    async fn update(&self, session: &Session) -> Result<bool, Unavailable>;
    /// Notes that sessions were used, so that idle ones can be told.
    async fn touch(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), Unavailable>;
    /// Notes devices that a live session was used with, by all names they have. False: it is not live any more.
    async fn used_with(&self, session: &SessionId, devices: &[Name]) -> Result<bool, Unavailable>;
    /// Ends sessions and forgets their handles and tokens; the ids of those that were live.
    async fn end(&self, which: &Which, now: Timestamp) -> Result<Vec<SessionId>, Unavailable>;
    /// Live sessions, newest first.
    async fn list(&self, which: &Which) -> Result<Vec<Session>, Unavailable>;
    /// Who vouches for live sessions: provider and issuer, each pair once.
    async fn vouchers(&self) -> Result<Vec<(Name, Name)>, Unavailable>;
    /// Whether anybody but this process has written to the store since the last call.
    async fn others(&self) -> Result<Others, Unavailable>;
    /// How many sessions are live.
    async fn count(&self) -> Result<u64, Unavailable>;
    /// Those of these sessions that are not live any more.
    async fn gone(&self, ids: &[SessionId]) -> Result<Vec<SessionId>, Unavailable>;
    /// Sessions whose provider is to be asked about them: nobody has claimed them since `before`, and they are older.
    /// Of several callers, in this process or another, each gets other ones.
    async fn claim_renewals(&self, before: Timestamp, now: Timestamp) -> Result<Vec<SessionId>, Unavailable>;
    /// The same for one session, however young. False: another caller has claimed it since `before`, or it has ended.
    async fn claim_renewal(&self, id: &SessionId, before: Timestamp, now: Timestamp) -> Result<bool, Unavailable>;
    /// Keeps a logout at a provider until `until`, under the name of its token; when that token first came.
    async fn keep_logout(
        &self,
        token: TicketHash,
        logout: &ProviderLogout,
        until: Timestamp,
    ) -> Result<Timestamp, Unavailable>;
    /// Whether the provider's session that a login rests on is over already, by a logout that was kept: the `sid`
    /// itself, or, where one of the two sides names none, the person, since the login began.
    async fn is_logged_out(&self, session: &Session, began: Timestamp) -> Result<bool, Unavailable>;
    /// Keeps a one-time value until `expires`.
    async fn put_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        value: &[u8],
        expires: Timestamp,
    ) -> Result<(), Unavailable>;
    /// Takes a one-time value: of two callers, one finds it gone. None: unknown, used, or expired.
    async fn take_once(
        &self,
        purpose: Purpose,
        key: TicketHash,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, Unavailable>;
    /// Notes that a grant was used, and who did it. False: it was used before. Never forgotten.
    async fn spend_grant(&self, id: &str, by: &str, now: Timestamp) -> Result<bool, Unavailable>;
    /// Removes what has expired (absolute end, or idle since `idle_before`); ids of sessions that ended by it.
    async fn sweep(&self, now: Timestamp, idle_before: Timestamp) -> Result<Vec<SessionId>, Unavailable>;
}
