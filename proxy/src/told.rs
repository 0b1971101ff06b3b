//! What an application is told about a caller: header names of its route, values of the caller, and the signed
//! assertion. Made once per caller and route and used again for half an assertion's life, so that a request costs a
//! look and not a signature.
use crate::assertion::Assertions;
use crate::edge::connection::Headers;
use crate::identify::Caller;
use ahash::RandomState;
use http::header::{HeaderName, HeaderValue};
use moka::sync::Cache;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{GroupsRef, Identity, Name, Timestamp};
use torhaus_config::{GroupsAs, Route};

/// How long what was made is used again: half of an assertion's 60 s.
const REUSE: Duration = Duration::from_secs(30);
/// Callers times routes kept; one is about a kilobyte.
const KEPT: u64 = 50_000;
/// Most bytes of group names told to an application; servers behind us stop reading headers at 8 KiB.
const MAX_GROUPS_BYTES: usize = 4096;

pub struct Told {
    pub assertions: Assertions,
    made: Cache<Key, Headers, RandomState>,
}

/// A change of any of these makes new headers at once.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// As it was configured then: a reload may change what it tells.
    route: Same,
    /// Session, certificate, or name: what the caller was identified by.
    account: Name,
    name: Name,
    tier: Option<Name>,
    groups: Option<GroupsRef>,
}

/// One and the same, not an equal one. Kept, so that no other takes its place in memory.
struct Same(Arc<Route>);

impl PartialEq for Same {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Same {}

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Told {
    pub fn new(assertions: Assertions) -> Self {
        Self {
            assertions,
            made: Cache::builder().max_capacity(KEPT).time_to_live(REUSE).build_with_hasher(RandomState::new()),
        }
    }

    /// The identity headers of a caller for a route; none for somebody whom nobody knows.
    pub fn about(&self, caller: &Caller, route: &Arc<Route>, tier: Option<&Name>, now: Timestamp) -> Option<Headers> {
        let name = match &caller.identity {
            Identity::Anonymous => return None,
            Identity::User(user) => user.name.clone(),
            Identity::Service(service) => service.id.as_str().into(),
        };
        let account = match (&caller.session, caller.certificate.known()) {
            (Some(live), _) => live.id.clone(),
            (None, Some(Some(certificate))) => certificate.sha256.clone(),
            _ => name.clone(),
        };
        let groups = caller.groups.known().map(|groups| groups.reference());
        let key = Key { route: Same(route.clone()), account, name, tier: tier.cloned(), groups };
        if let Some(made) = self.made.get(&key) {
            return Some(made);
        }
        let headers = self.make(caller, &key.name, route, tier, now);
        self.made.insert(key, headers.clone());
        Some(headers)
    }

    fn make(&self, caller: &Caller, name: &Name, route: &Route, tier: Option<&Name>, now: Timestamp) -> Headers {
        let told = &route.headers;
        let separator = match told.groups_as {
            GroupsAs::Commas => Some(','),
            GroupsAs::Pipes => Some('|'),
            GroupsAs::Lines => None,
        };
        let groups = groups_told(caller, told.groups_limited_to.as_deref(), separator);
        let list = separator.zip(groups.as_ref()).map(|(by, groups)| groups.join(&by.to_string()));
        let lines = groups.iter().flatten().filter(|_| separator.is_none());
        let pairs = [
            (told.user.as_deref(), Some(&**name)),
            (told.email.as_deref(), caller.email.as_deref()),
            (told.name.as_deref(), caller.display_name.as_deref()),
            (told.groups.as_deref(), list.as_deref()),
        ];
        let mut headers: Vec<_> = pairs
            .into_iter()
            .chain(lines.map(|group| (told.groups.as_deref(), Some(&**group))))
            .filter_map(|(header, value)| {
                // A value that is no header value (a name with a line break) is not sent at all.
                let header = HeaderName::from_bytes(header?.as_bytes()).ok()?;
                Some((header, HeaderValue::from_bytes(value?.as_bytes()).ok()?))
            })
            .collect();
        if told.assertion {
            let jwt = self.assertions.about(caller, name, groups.as_deref(), tier, &route.name, now);
            headers.extend(jwt.map(|jwt| (HeaderName::from_static("x-torhaus-assertion"), jwt)));
        }
        headers.into()
    }
}

/// The groups an application may know, as many as fit; the separator in a name would make two of one.
fn groups_told(caller: &Caller, limited_to: Option<&[String]>, separator: Option<char>) -> Option<Vec<Name>> {
    let groups = caller.groups.known()?;
    let mut bytes = 0;
    let told = groups
        .iter()
        .filter(|group| limited_to.is_none_or(|names| names.iter().any(|name| **name == ***group)))
        .filter(|group| separator.is_none_or(|by| !group.contains(by)) && !group.contains(char::is_control))
        .take_while(|group| {
            bytes += group.len() + 1;
            bytes <= MAX_GROUPS_BYTES
        });
    Some(told.cloned().collect())
}
