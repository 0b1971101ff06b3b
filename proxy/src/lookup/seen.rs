//! Where each person came from before: countries and networks, for the condition `new_place`. Answers from memory; the
//! store keeps it over a restart.
//!
//! A place is known when a decision says so ([`torhaus_authz::Decision::learns`]), and for 180 days after the last
//! time. It is kept as a country or a network, never as an address.
use crate::lookup::places::Places;
use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use torhaus_authz::{Country, Fact, Facts, Identity, Learns, Name, Seen, Timestamp, User, Why};

use crate::login::session::Unavailable;

/// After this long a place is new again.
pub const REMEMBERED: Duration = Duration::from_secs(180 * 86_400);
/// How often it is written down that somebody came from a known place again.
const REFRESH: Duration = Duration::from_secs(86_400);
/// Places of one person: more than anybody travels in half a year. The longest unseen makes room.
pub const MAX_PLACES: usize = 128;

/// A country, or a network of the size that one site or one customer of a carrier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Country(Country),
    Network(IpNet),
}

/// One place of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    pub issuer: Name,
    pub subject: Name,
    pub place: Place,
    pub last: Timestamp,
}

/// Where visits are kept.
#[async_trait]
pub trait VisitStore: Send + Sync {
    /// Every visit that is not forgotten.
    async fn visits(&self) -> Result<Vec<Visit>, Unavailable>;
    /// Writes down that somebody was somewhere, again or for the first time.
    async fn visited(&self, visits: &[Visit]) -> Result<(), Unavailable>;
    /// Forgets who was where before then, and of each person all but the newest `keep`.
    async fn forget_visits(&self, before: Timestamp, keep: usize) -> Result<(), Unavailable>;
}

/// By issuer and subject.
type Known = HashMap<Name, HashMap<Name, HashMap<Place, Timestamp>>>;

pub struct SeenPlaces {
    store: Arc<dyn VisitStore>,
    known: RwLock<Known>,
    /// Being written: of many requests at once, one writes.
    pending: Mutex<HashSet<(Name, Name)>>,
}

impl SeenPlaces {
    /// # Errors
    /// The store could not be asked.
    pub async fn load(store: Arc<dyn VisitStore>) -> Result<Self, Unavailable> {
        let seen = Self { known: RwLock::default(), pending: Mutex::default(), store };
        let visits = seen.store.visits().await?;
        seen.note(&visits);
        Ok(seen)
    }

    /// Whether this person came from here before. What cannot be told is unknown.
    pub fn of(
        &self,
        identity: &Identity,
        address: IpAddr,
        country: Fact<Country>,
        places: &Places,
        now: Timestamp,
    ) -> Seen {
        let Identity::User(user) = identity else { return Seen::unknown(Why::NotFound) };
        if places.is_named(address) {
            return Seen { country: Fact::Known(true), network: Fact::Known(true) };
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.get(&user.issuer).and_then(|subjects| subjects.get(&user.subject));
        let was = |place: Place| own.and_then(|own| own.get(&place)).is_some_and(|last| now.since(*last) < REMEMBERED);
        Seen {
            country: country.map(|country| was(Place::Country(country))),
            network: Fact::Known(was(Place::of(address))),
        }
    }

    /// Writes down that a person was allowed in from here, as far as the decision says so. Does not make the request wait: until it is written, the place
    /// stays new.
    pub fn learn(self: &Arc<Self>, facts: &Facts<'_>, learns: Learns) {
        if learns == Learns::No {
            return;
        }
        let (Identity::User(user), Fact::Known(address)) = (&facts.identity, &facts.address) else { return };
        let places = [Some(Place::of(*address)), facts.country.known().copied().map(Place::Country)];
        let places: Vec<Place> =
            places.into_iter().flatten().filter(|place| self.is_due(user, *place, learns, facts.now)).collect();
        let person = (user.issuer.clone(), user.subject.clone());
        if places.is_empty() || !self.pending().insert(person.clone()) {
            return;
        }
        let (seen, now) = (self.clone(), facts.now);
        tokio::spawn(async move {
            let (issuer, subject) = &person;
            let visit = |place| Visit { issuer: issuer.clone(), subject: subject.clone(), place, last: now };
            let visits: Vec<Visit> = places.into_iter().map(visit).collect();
            match seen.store.visited(&visits).await {
                Ok(()) => seen.note(&visits),
                Err(error) => tracing::error!(%error, "where a person was could not be written down"),
            }
            seen.pending().remove(&person);
        });
    }

    /// Another replica wrote this down.
    pub fn heard_of(&self, visit: Visit) {
        self.note(&[visit]);
    }

    /// Takes over all that other replicas wrote down.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn catch_up(&self) -> Result<(), Unavailable> {
        let visits = self.store.visits().await?;
        self.note(&visits);
        Ok(())
    }

    /// # Errors
    /// The store could not be asked.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), Unavailable> {
        let before = now.minus(REMEMBERED);
        self.store.forget_visits(before, MAX_PLACES).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, subjects| {
            subjects.retain(|_, places| {
                places.retain(|_, last| *last >= before);
                !places.is_empty()
            });
            !subjects.is_empty()
        });
        Ok(())
    }

    /// Known and not written down for a day, or new where a new one is learned.
    fn is_due(&self, user: &User, place: Place, learns: Learns, now: Timestamp) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let last = known.get(&user.issuer).and_then(|subjects| subjects.get(&user.subject)?.get(&place));
        match last.map(|last| now.since(*last)) {
            Some(age) if age < REMEMBERED => age >= REFRESH,
            // Never seen, or too long ago and only not swept yet.
            _ => learns == Learns::Learn,
        }
    }

    fn note(&self, visits: &[Visit]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for visit in visits {
            let places = known.entry(visit.issuer.clone()).or_default().entry(visit.subject.clone()).or_default();
            let last = places.entry(visit.place).or_insert(visit.last);
            *last = visit.last.max(*last);
            if places.len() > MAX_PLACES
                && let Some(oldest) = places.iter().min_by_key(|(_, last)| **last).map(|(place, _)| *place)
            {
                places.remove(&oldest);
            }
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashSet<(Name, Name)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new_assert(v4, 24).trunc()),
            IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new_assert(v6, 48).trunc()),
        })
    }

    pub fn parse(text: &str) -> Option<Self> {
        Country::parse(text).map(Self::Country).or_else(|| text.parse().ok().map(Self::Network))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(country) => country.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}
