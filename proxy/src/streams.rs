//! Open requests and streams, so that ending a session, a certificate, a user's access or a resource ends them.
//!
//! Each entry says on whose account it runs. Entering is one lock and one insert; ending walks all entries, as it
//! happens once in a while and requests happen all the time.
use crate::edge::connection::ConnectionInfo;
use crate::identify::Caller;
use crate::login::session::SessionId;
use crate::request::Request;
use crate::snapshot::Snapshot;
use ahash::RandomState;
use http::Method;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use torhaus_authz::{Fact, Facts, Groups, Identity, Name, Timestamp, User, Verdict};
use torhaus_config::Route;

/// Locks are short, but two cores taking turns on one would show.
const SHARDS: usize = 16;

/// On whose account a stream runs.
#[derive(Clone, Debug)]
pub struct Account {
    pub session: Option<SessionId>,
    /// Name of the user or SPIFFE ID of the service.
    pub subject: Option<Name>,
    /// SHA-256 of the client certificate.
    pub certificate: Option<Name>,
    pub resource: Name,
    /// When what it rests on ends by itself (session, certificate, exception).
    pub until: Option<Timestamp>,
}

impl Account {
    /// `until`: when the decision ends by itself.
    pub fn of(caller: &Caller, route: &Route, until: Option<Timestamp>) -> Self {
        Self {
            session: caller.session.as_ref().map(|live| live.id.clone()),
            subject: caller.subject(),
            certificate: caller.certificate.known().and_then(|found| Some(found.as_ref()?.sha256.clone())),
            resource: route.resource.clone(),
            until: caller.until.into_iter().chain(until).min(),
        }
    }
}

/// What to end.
#[derive(Clone, Debug)]
pub enum Ending<'a> {
    Session(&'a str),
    Subject(&'a str),
    Certificate(&'a str),
    Resource(&'a str),
}

/// What an open stream was allowed by, to be judged again when the configuration changes.
pub struct Allowed {
    facts: Facts<'static>,
    method: Method,
    host: Box<str>,
    path: Box<str>,
    connection: Arc<ConnectionInfo>,
    /// What the directory said since about the groups of `facts`.
    groups: Mutex<Option<Fact<Arc<Groups>>>>,
}

impl Allowed {
    pub fn by(facts: &Facts<'_>, request: &Request<'_>) -> Self {
        Self {
            facts: facts.without_request(),
            method: request.method.clone(),
            host: request.host.into(),
            path: request.path.into(),
            connection: request.connection.clone(),
            groups: Mutex::default(),
        }
    }

    fn groups(&self) -> Fact<Arc<Groups>> {
        let since = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        since.as_ref().unwrap_or(&self.facts.groups).clone()
    }

    /// By this policy, with a certificate that is still believed if there was one, or a token whose issuer still is.
    fn still(&self, snapshot: &Snapshot, account: &Account, now: Timestamp) -> bool {
        let resource = &*account.resource;
        if let (None, Identity::User(user)) = (&account.session, &self.facts.identity)
            && !snapshot.bearer.believes(&user.issuer)
        {
            return false;
        }
        let believed = self.connection.tls.as_ref().is_none_or(|tls| {
            let judge = |sha256| snapshot.trust.judge(&tls.group.trust_domains, &tls.peer_chain, sha256, now);
            !matches!(self.facts.certificate, Fact::Known(Some(_)))
                || tls.peer_sha256.as_ref().is_some_and(|sha256| judge(sha256).is_ok())
        });
        // The same application, by the same client authentication.
        let route = snapshot.routes.find(&self.host, &self.path);
        let same_group = match (&self.connection.tls, snapshot.groups.find(&self.host)) {
            (Some(tls), Some(group)) => *tls.group == **group,
            // A host that only a route for any host has: no other name than that of the handshake.
            (Some(tls), None) => *tls.server_name == *self.host,
            _ => false,
        };
        if !same_group || route.is_none_or(|route| *route.resource != *resource) {
            return false;
        }
        let facts = Facts {
            resource,
            method: self.method.as_str(),
            path: &self.path,
            listener: &self.connection.listener,
            groups: self.groups(),
            now,
            ..self.facts.clone()
        };
        believed && matches!(snapshot.decide(&facts).verdict, Verdict::Allow(_))
    }
}

struct Entry {
    account: Account,
    allowed: Allowed,
    /// When it was last decided whether a window of time is open. Milliseconds.
    judged: AtomicI64,
}

impl Entry {
    /// Keeps these groups, and says whether they do not allow it any more.
    fn loses_by(&self, groups: Fact<Arc<Groups>>, snapshot: &Snapshot, now: Timestamp) -> bool {
        if groups == self.allowed.groups() {
            return false;
        }
        *self.allowed.groups.lock().unwrap_or_else(PoisonError::into_inner) = Some(groups);
        !self.allowed.still(snapshot, &self.account, now)
    }
}

#[derive(Default)]
pub struct Streams {
    shards: [Mutex<HashMap<u64, Arc<Entry>, RandomState>>; SHARDS],
    next: AtomicU64,
    open: AtomicUsize,
}

/// While it lives, the stream is registered, and whatever ends its account ends it.
pub struct Registration {
    streams: Arc<Streams>,
    id: u64,
    entry: Arc<Entry>,
}

impl Registration {
    /// By a configuration that came since.
    pub fn is_still_allowed(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        self.entry.allowed.still(snapshot, &self.entry.account, now)
    }
}

impl Streams {
    pub fn enter(self: &Arc<Self>, account: Account, allowed: Allowed) -> Registration {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let judged = AtomicI64::new(allowed.facts.now.millis());
        let entry = Arc::new(Entry { account, allowed, judged });
        self.shard(id, |entries| entries.insert(id, entry.clone()));
        self.open.fetch_add(1, Ordering::Relaxed);
        Registration { streams: self.clone(), id, entry }
    }

    /// Cuts what runs on this account; how many streams that were.
    pub fn end(&self, ending: &Ending<'_>) -> usize {
        self.cut_where(|entry| match ending {
            Ending::Session(id) => entry.account.session.as_deref() == Some(*id),
            Ending::Subject(name) => entry.account.subject.as_deref() == Some(*name),
            Ending::Certificate(sha256) => entry.account.certificate.as_deref() == Some(*sha256),
            Ending::Resource(name) => *entry.account.resource == **name,
        })
    }

    /// Cuts what rests on something that has ended by `now`.
    pub fn end_expired(&self, now: Timestamp) -> usize {
        self.cut_where(|entry| entry.account.until.is_some_and(|until| until <= now))
    }

    /// Cuts what is not allowed any more since a window of time opened or closed. Nothing else is judged anew: a proof may
    /// be older by now than a new request's may.
    pub fn judge_windows(&self, snapshot: &Snapshot, now: Timestamp) -> usize {
        self.cut_where(|entry| {
            let then = Timestamp::from_millis(entry.judged.swap(now.millis(), Ordering::Relaxed));
            snapshot.policy.time_differs(&entry.account.resource, then, now)
                && !entry.allowed.still(snapshot, &entry.account, now)
        })
    }

    /// Cuts what a new configuration does not allow any more.
    pub fn judge_anew(&self, snapshot: &Snapshot, now: Timestamp) -> usize {
        self.cut_where(|entry| !entry.allowed.still(snapshot, &entry.account, now))
    }

    /// Cuts what is not allowed any more by what is known now about somebody's groups; `None`: nothing new is known.
    pub fn judge_groups(
        &self,
        snapshot: &Snapshot,
        now_known: impl Fn(&Identity) -> Option<Fact<Arc<Groups>>>,
        now: Timestamp,
    ) -> usize {
        self.cut_where(|entry| {
            let groups = now_known(&entry.allowed.facts.identity);
            groups.is_some_and(|groups| entry.loses_by(groups, snapshot, now))
        })
    }

    /// Cuts what a session's groups do not allow any more, as they are now.
    pub fn judge_session(&self, snapshot: &Snapshot, id: &str, groups: &Fact<Arc<Groups>>, now: Timestamp) -> usize {
        self.cut_where(|entry| {
            entry.account.session.as_deref() == Some(id) && entry.loses_by(groups.clone(), snapshot, now)
        })
    }

    /// Whether anything is open on a session's account.
    pub fn has_session(&self, id: &str) -> bool {
        self.shards.iter().any(|shard| {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
            entries.values().any(|entry| entry.account.session.as_deref() == Some(id))
        })
    }

    /// Sessions on whose account something is open, each once.
    pub fn sessions(&self) -> Vec<SessionId> {
        let mut all: Vec<SessionId> = Vec::new();
        for shard in &self.shards {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(entries.values().filter_map(|entry| entry.account.session.clone()));
        }
        all.sort();
        all.dedup();
        all
    }

    /// Who has something open; somebody more than once.
    pub fn users(&self) -> Vec<Arc<User>> {
        let mut users = Vec::new();
        for shard in &self.shards {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
            users.extend(entries.values().filter_map(|entry| match &entry.allowed.facts.identity {
                Identity::User(user) => Some(user.clone()),
                _ => None,
            }));
        }
        users
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn cut_where(&self, ends: impl Fn(&Entry) -> bool) -> usize {
        let mut count = 0;
        for shard in &self.shards {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in entries.values().filter(|entry| ends(entry)) {
                entry.allowed.connection.cutter.cut();
                count += 1;
            }
        }
        count
    }

    fn shard<T>(&self, id: u64, act: impl FnOnce(&mut HashMap<u64, Arc<Entry>, RandomState>) -> T) -> Option<T> {
        let index = usize::try_from(id).unwrap_or(0) % SHARDS;
        let shard = self.shards.get(index)?;
        Some(act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.streams.shard(self.id, |entries| entries.remove(&self.id));
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
    }
}
