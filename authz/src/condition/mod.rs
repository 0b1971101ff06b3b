//! What a rule may ask of the facts: one enum, one `holds`.
mod check;
mod describe;
mod device;

use crate::continent::Continent;
use crate::facts::{Country, Fact, Facts, Why};
use crate::identity::{Identity, Name};
use crate::posture::ReportAge;
use crate::spiffe::SpiffeId;
use crate::tier::newest;
use crate::time::Timestamp;
use crate::window::Window;
use crate::zone::ZoneId;
use ipnet::IpNet;
use std::time::Duration;

pub(crate) use check::Known;
pub(crate) use device::DeviceAsk;
pub use device::PostureAsk;

/// Whether a condition holds. Allow needs `Yes`; deny and raise fire on `Yes` and on `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    Unknown(Why),
    /// It depends on the person, and nobody is identified yet.
    Pending,
}

/// Which part of a place must be new for the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NewPlace {
    Country,
    /// The /24 of an IPv4 address, the /48 of an IPv6 address.
    Network,
}

/// A checked [`Condition`](crate::Condition). Lists are sorted, names resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    ClientCertificate(Name),
    AnyClientCertificate,
    Groups(Box<[Name]>),
    Users(Box<[Name]>),
    Services(Box<[SpiffeId]>),
    Zones(Box<[(ZoneId, Name)]>),
    CountryIn(Box<[Country]>),
    CountryNotIn(Box<[Country]>),
    ContinentIn(Box<[Continent]>),
    Networks {
        names: Box<[Name]>,
        networks: Box<[IpNet]>,
    },
    /// The tier that was asked for first, then those that prove it as well.
    Proof {
        tiers: Box<[Name]>,
        newer_than: Duration,
    },
    Time(Window),
    Device(DeviceAsk),
    /// All of these.
    Posture {
        asks: Box<[PostureAsk]>,
        report: ReportAge,
    },
    NewPlace(NewPlace),
    Methods(Box<[Name]>),
    /// Without a slash at the end; empty for `/`.
    Paths(Box<[Name]>),
    All(Box<[Term]>),
    Any(Box<[Term]>),
    Not(Box<Term>),
}

impl Term {
    pub(crate) fn holds(&self, facts: &Facts<'_>, zone: ZoneId) -> Holds {
        match self {
            Self::ClientCertificate(domain) => certificate(facts, |own| own == domain),
            Self::AnyClientCertificate => certificate(facts, |_| true),
            Self::Groups(names) => match (&facts.identity, &facts.groups) {
                (Identity::Anonymous, _) => Holds::Pending,
                (_, Fact::Unknown(why)) => Holds::Unknown(*why),
                (_, Fact::Known(groups)) => names.iter().any(|name| groups.contains(name)).into(),
            },
            Self::Users(names) => match &facts.identity {
                Identity::Anonymous => Holds::Pending,
                Identity::User(user) => names.binary_search(&user.name).is_ok().into(),
                Identity::Service(_) => Holds::No,
            },
            Self::Services(ids) => match &facts.identity {
                Identity::Anonymous => Holds::Pending,
                Identity::User(_) => Holds::No,
                Identity::Service(service) => ids.binary_search(&service.id).is_ok().into(),
            },
            Self::Zones(own) => own.iter().any(|(id, _)| *id == zone).into(),
            Self::CountryIn(countries) => country(facts, |country| countries.binary_search(country).is_ok()),
            Self::CountryNotIn(countries) => country(facts, |country| countries.binary_search(country).is_err()),
            Self::ContinentIn(continents) => match &facts.country {
                Fact::Unknown(why) => Holds::Unknown(*why),
                Fact::Known(country) => match Continent::of(*country) {
                    Some(continent) => continents.binary_search(&continent).is_ok().into(),
                    None => Holds::Unknown(Why::NotFound),
                },
            },
            Self::Networks { networks, .. } => match &facts.address {
                Fact::Unknown(why) => Holds::Unknown(*why),
                Fact::Known(address) => {
                    let address = address.to_canonical();
                    networks.iter().any(|network| network.contains(&address)).into()
                }
            },
            Self::Proof { tiers, newer_than } => match &facts.identity {
                Identity::Anonymous => Holds::Pending,
                Identity::User(_) | Identity::Service(_) => {
                    let of_tier = facts.proofs.iter().filter(|proof| tiers.contains(&proof.tier));
                    newest(of_tier, facts.now).is_some_and(|age| age <= *newer_than).into()
                }
            },
            Self::Time(window) => window.contains(facts.now).into(),
            Self::Device(ask) => ask.holds(facts),
            Self::Posture { asks, report } => match &facts.posture {
                Fact::Unknown(why) => Holds::Unknown(*why),
                Fact::Known(posture) => Holds::all(asks.iter().map(|ask| ask.holds(posture, *report, facts.now))),
            },
            // Whom it is new for is known when somebody has signed in.
            Self::NewPlace(_) if facts.identity == Identity::Anonymous => Holds::Pending,
            Self::NewPlace(NewPlace::Country) => facts.seen.country.map(|seen| !seen).into(),
            Self::NewPlace(NewPlace::Network) => facts.seen.network.map(|seen| !seen).into(),
            // Facts without a request, as policy tests may give them, have neither method nor path.
            Self::Methods(_) if facts.method.is_empty() => Holds::Unknown(Why::NotGiven),
            Self::Methods(methods) => methods.iter().any(|method| **method == *facts.method).into(),
            Self::Paths(_) if facts.path.is_empty() => Holds::Unknown(Why::NotGiven),
            Self::Paths(prefixes) => prefixes.iter().any(|prefix| is_below(facts.path, prefix)).into(),
            Self::All(terms) => Holds::all(terms.iter().map(|term| term.holds(facts, zone))),
            Self::Any(terms) => !Holds::all(terms.iter().map(|term| !term.holds(facts, zone))),
            Self::Not(term) => !term.holds(facts, zone),
        }
    }

    /// Whether the answer can change when somebody signs in.
    pub(crate) fn asks_person(&self) -> bool {
        match self {
            Self::Groups(_) | Self::Users(_) | Self::Services(_) | Self::Proof { .. } | Self::NewPlace(_) => true,
            Self::Device(ask) => ask.asks_person(),
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::asks_person),
            Self::Not(term) => term.asks_person(),
            Self::ClientCertificate(_)
            | Self::AnyClientCertificate
            | Self::Zones(_)
            | Self::CountryIn(_)
            | Self::CountryNotIn(_)
            | Self::ContinentIn(_)
            | Self::Networks { .. }
            | Self::Time(_)
            | Self::Posture { .. }
            | Self::Methods(_)
            | Self::Paths(_) => false,
        }
    }

    /// Whether the answer can change while nothing but time passes.
    pub(crate) fn asks_time(&self) -> bool {
        match self {
            Self::Time(_) => true,
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::asks_time),
            Self::Not(term) => term.asks_time(),
            _ => false,
        }
    }

    /// Whether it asks if a place is new.
    pub(crate) fn asks_new_place(&self) -> bool {
        match self {
            Self::NewPlace(_) => true,
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::asks_new_place),
            Self::Not(term) => term.asks_new_place(),
            _ => false,
        }
    }

    pub(crate) fn asks_request_line(&self) -> bool {
        match self {
            Self::Methods(_) | Self::Paths(_) => true,
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::asks_request_line),
            Self::Not(term) => term.asks_request_line(),
            _ => false,
        }
    }

    /// Whether a window of time in it opened or closed between these moments.
    pub(crate) fn time_differs(&self, then: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Time(window) => window.contains(then) != window.contains(now),
            Self::All(terms) | Self::Any(terms) => terms.iter().any(|term| term.time_differs(then, now)),
            Self::Not(term) => term.time_differs(then, now),
            _ => false,
        }
    }

    /// Every condition on method or path in it, with whether it holds: what of a request's line the policy saw.
    pub(crate) fn of_request_line(&self, facts: &Facts<'_>, zone: ZoneId, note: &mut impl FnMut(Holds)) {
        match self {
            Self::Methods(_) | Self::Paths(_) => note(self.holds(facts, zone)),
            Self::All(terms) | Self::Any(terms) => {
                terms.iter().for_each(|term| term.of_request_line(facts, zone, note));
            }
            Self::Not(term) => term.of_request_line(facts, zone, note),
            _ => {}
        }
    }
}

impl Holds {
    /// Whether `deny` and `raise` fire. Pending is neither: it is asked again when somebody has signed in.
    pub(crate) fn fires(self) -> bool {
        matches!(self, Self::Yes | Self::Unknown(_))
    }

    /// One `No` settles it; then what is pending, since it may still become `No`; then what is unknown.
    fn all(parts: impl Iterator<Item = Self>) -> Self {
        parts.fold(Self::Yes, |sum, part| match (sum, part) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Pending, _) | (_, Self::Pending) => Self::Pending,
            (Self::Unknown(why), _) | (_, Self::Unknown(why)) => Self::Unknown(why),
            (Self::Yes, Self::Yes) => Self::Yes,
        })
    }
}

impl From<bool> for Holds {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Fact<bool>> for Holds {
    fn from(answer: Fact<bool>) -> Self {
        match answer {
            Fact::Known(yes) => yes.into(),
            Fact::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// The opposite of unknown is unknown.
impl std::ops::Not for Holds {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unknown(why) => Self::Unknown(why),
            Self::Pending => Self::Pending,
        }
    }
}

/// On the border of a segment: what is below `/admin` is `/admin` itself or goes on with a slash.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn certificate(facts: &Facts<'_>, of_domain: impl FnOnce(&Name) -> bool) -> Holds {
    match &facts.certificate {
        Fact::Unknown(why) => Holds::Unknown(*why),
        Fact::Known(None) => Holds::No,
        // A connection may live longer than the certificate that opened it.
        Fact::Known(Some(found)) => (of_domain(&found.trust_domain) && facts.now < found.not_after).into(),
    }
}

fn country(facts: &Facts<'_>, holds: impl FnOnce(&Country) -> bool) -> Holds {
    match &facts.country {
        Fact::Known(country) => holds(country).into(),
        Fact::Unknown(why) => Holds::Unknown(*why),
    }
}
