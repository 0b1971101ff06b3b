//! What requests ask of a session, as it was read from the store.
use crate::identify::shared_names::SharedNames;
use crate::locks::lock;
use crate::login::device_claim::DeviceClaim;
use crate::login::session::{AccessToken, Session, SessionId, TicketHash};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use torhaus_authz::{Fact, Groups, Name, Proof, Timestamp, User};

/// A session as one of its handles found it. What only a refresh, a logout or a list needs stays in the store
/// (`Sessions::stored`), and nothing is written back from here.
pub struct LiveSession {
    pub id: SessionId,
    pub user: Arc<User>,
    pub display_name: Option<Name>,
    pub email: Option<Name>,
    pub groups: Fact<Arc<Groups>>,
    /// The device that the person signed in with, as the provider has it.
    pub device: DeviceClaim,
    pub proofs: Arc<[Proof]>,
    /// For applications that it is handed on to.
    pub access_token: Option<AccessToken>,
    /// The absolute end.
    pub expires: Timestamp,
    pub(super) used: Arc<Used>,
    pub(super) host: Name,
    pub(super) read: Read,
    /// Somebody asks the store again already.
    pub(super) asking: AtomicBool,
}

/// When an answer of the store was asked for.
#[derive(Clone, Copy)]
pub(super) struct Read {
    /// Microseconds since the sessions began to be looked after.
    pub at: u64,
    /// `Sessions::doubts` at that time.
    pub doubts: u64,
}

impl LiveSession {
    pub(super) fn of(session: Session, host: Name, read: Read, used: Arc<Used>, names: &SharedNames) -> Self {
        let user = &session.user;
        // Most are called by their address.
        let email = |email: String| if *email == *user.name { user.name.clone() } else { email.into() };
        Self {
            user: Arc::new(User {
                name: user.name.clone(),
                provider: names.share(&user.provider),
                issuer: names.share(&user.issuer),
                subject: user.subject.clone(),
                federated: user.federated,
            }),
            groups: match &session.groups {
                Fact::Known(groups) => Fact::Known(names.share_groups(groups)),
                Fact::Unknown(why) => Fact::Unknown(*why),
            },
            proofs: (session.proofs.iter())
                .map(|proof| Proof {
                    tier: names.share(&proof.tier),
                    proven_at: proof.proven_at,
                    provider: names.share(&proof.provider),
                })
                .collect(),
            id: used.id.clone(),
            display_name: session.display_name.map(Into::into),
            email: session.email.map(email),
            device: session.device,
            access_token: session.tokens.access_token,
            expires: session.expires,
            used,
            host,
            read,
            asking: AtomicBool::new(false),
        }
    }

    /// Whether it was ended since, as far as this process knows.
    pub fn has_ended(&self) -> bool {
        self.used.ended.load(Ordering::Acquire)
    }
}

impl fmt::Debug for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveSession").field(&self.id).finish()
    }
}

/// How a session is used, as far as this process sees it: the same for each of its handles.
pub(super) struct Used {
    pub id: SessionId,
    /// Milliseconds since the epoch; written to the store from time to time.
    pub at: AtomicI64,
    /// What of that is in the store.
    pub written: AtomicI64,
    pub ended: AtomicBool,
    /// Names of devices that are in the store, or on their way there.
    devices: Mutex<Vec<Name>>,
    /// Under which it is kept in memory, so that what changes about one session is no search among all. One for each
    /// host that the person uses.
    handles: Mutex<Vec<TicketHash>>,
}

impl Used {
    pub fn new(id: SessionId, last_seen: Timestamp) -> Self {
        let last = last_seen.millis();
        Self {
            id,
            at: AtomicI64::new(last),
            written: AtomicI64::new(last),
            ended: AtomicBool::new(false),
            devices: Mutex::default(),
            handles: Mutex::default(),
        }
    }

    /// When it was used, if the store does not know that yet.
    pub fn unwritten(&self) -> Option<Timestamp> {
        let at = self.at.load(Ordering::Relaxed);
        (at > self.written.load(Ordering::Relaxed)).then(|| Timestamp::from_millis(at))
    }

    /// Those that were not noted before; they are now.
    pub fn not_yet(&self, names: impl Iterator<Item = Name>) -> Vec<Name> {
        let mut devices = self.devices();
        let new: Vec<Name> = names.filter(|name| !devices.contains(name)).collect();
        devices.extend(new.iter().cloned());
        new
    }

    pub fn kept_under(&self, handle: TicketHash) {
        let mut handles = self.handles();
        if !handles.contains(&handle) {
            // Most have one.
            handles.reserve_exact(1);
            handles.push(handle);
        }
    }

    pub fn devices(&self) -> MutexGuard<'_, Vec<Name>> {
        lock(&self.devices)
    }

    pub fn handles(&self) -> MutexGuard<'_, Vec<TicketHash>> {
        lock(&self.handles)
    }
}
