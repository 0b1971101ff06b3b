//! What a rule may ask of the facts: one enum, one `holds`.
use crate::draft::{Condition, Located};
use crate::facts::{Country, Fact, Facts, Why};
use crate::identity::{Identity, Name};
use crate::problems::{Problems, listed};
use crate::spiffe::SpiffeId;
use crate::zone::{ZoneId, Zones};

/// Whether a condition holds. Allow needs `Yes`; deny and raise fire on `Yes` and on `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    Unknown(Why),
    /// It depends on the person, and nobody is identified yet.
    Pending,
}

/// A checked [`Condition`]. Lists are sorted, names resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Term {
    ClientCertificate(Name),
    Groups(Box<[Name]>),
    Users(Box<[Name]>),
    Services(Box<[SpiffeId]>),
    Zones(Box<[(ZoneId, Name)]>),
    CountryIn(Box<[Country]>),
    CountryNotIn(Box<[Country]>),
    All(Box<[Term]>),
    Any(Box<[Term]>),
    Not(Box<Term>),
}

/// Deeper conditions than this nobody can read.
const MAX_DEPTH: usize = 8;

impl Term {
    /// `owner` says whose condition it is: "condition `abroad`".
    pub(crate) fn check(draft: &Condition, owner: &Located<String>, zones: &Zones, problems: &mut Problems) -> Self {
        Check { owner, zones, problems }.term(draft, 1)
    }

    pub(crate) fn holds(&self, facts: &Facts<'_>, zone: ZoneId) -> Holds {
        match self {
            Self::ClientCertificate(domain) => match &facts.certificate {
                Fact::Unknown(why) => Holds::Unknown(*why),
                Fact::Known(None) => Holds::No,
                // A connection may live longer than the certificate that opened it.
                Fact::Known(Some(certificate)) => {
                    (certificate.trust_domain == *domain && facts.now < certificate.not_after).into()
                }
            },
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
            Self::All(terms) => Holds::all(terms.iter().map(|term| term.holds(facts, zone))),
            Self::Any(terms) => !Holds::all(terms.iter().map(|term| !term.holds(facts, zone))),
            Self::Not(term) => !term.holds(facts, zone),
        }
    }

    /// Whether the answer can change when somebody signs in.
    pub(crate) fn asks_person(&self) -> bool {
        match self {
            Self::Groups(_) | Self::Users(_) | Self::Services(_) => true,
            Self::ClientCertificate(_) | Self::Zones(_) | Self::CountryIn(_) | Self::CountryNotIn(_) => false,
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::asks_person),
            Self::Not(term) => term.asks_person(),
        }
    }

    /// For people: "the country is not `DE`".
    pub(crate) fn describe(&self) -> String {
        let countries = |list: &[Country]| listed(&list.iter().map(Country::as_str).collect::<Vec<_>>());
        let inner = |terms: &[Self], word: &str| {
            let parts: Vec<String> = terms.iter().map(Self::describe).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Self::ClientCertificate(domain) => format!("a client certificate of `{domain}`"),
            Self::Groups(names) => format!("in group {}", listed(names)),
            Self::Users(names) => format!("user {}", listed(names)),
            Self::Services(ids) => format!("service {}", listed(&ids.iter().map(SpiffeId::as_str).collect::<Vec<_>>())),
            Self::Zones(zones) => {
                format!("from zone {}", listed(&zones.iter().map(|(_, name)| &**name).collect::<Vec<_>>()))
            }
            Self::CountryIn(list) => format!("the country is {}", countries(list)),
            Self::CountryNotIn(list) => format!("the country is not {}", countries(list)),
            Self::All(terms) => inner(terms, " and "),
            Self::Any(terms) => inner(terms, " or "),
            Self::Not(term) => format!("not {}", term.describe()),
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

fn country(facts: &Facts<'_>, holds: impl FnOnce(&Country) -> bool) -> Holds {
    match &facts.country {
        Fact::Known(country) => holds(country).into(),
        Fact::Unknown(why) => Holds::Unknown(*why),
    }
}

struct Check<'a> {
    owner: &'a Located<String>,
    zones: &'a Zones,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn term(&mut self, draft: &Condition, depth: usize) -> Term {
        if depth > MAX_DEPTH {
            self.problem("nested too deeply", "write it as several conditions");
            return Term::Any(Box::default());
        }
        match draft {
            Condition::ClientCertificate(domain) => {
                self.problems.name("trust domain", domain);
                Term::ClientCertificate(domain.value.as_str().into())
            }
            Condition::Groups(names) => Term::Groups(self.names("group", names)),
            Condition::Users(names) => Term::Users(self.names("user", names)),
            Condition::Services(ids) => Term::Services(self.services(ids)),
            Condition::Zones(zones) => {
                self.filled(zones.len());
                let found = zones.iter().filter_map(|zone| {
                    let id = self.zones.named(zone, self.problems)?;
                    Some((id, self.zones.name(id)))
                });
                Term::Zones(found.collect())
            }
            Condition::CountryIn(countries) => Term::CountryIn(self.countries(countries)),
            Condition::CountryNotIn(countries) => Term::CountryNotIn(self.countries(countries)),
            Condition::All(drafts) => Term::All(self.terms(drafts, depth)),
            Condition::Any(drafts) => Term::Any(self.terms(drafts, depth)),
            Condition::Not(draft) => Term::Not(Box::new(self.term(draft, depth + 1))),
        }
    }

    fn terms(&mut self, drafts: &[Condition], depth: usize) -> Box<[Term]> {
        self.filled(drafts.len());
        drafts.iter().map(|draft| self.term(draft, depth + 1)).collect()
    }

    fn names(&mut self, what: &str, drafts: &[Located<String>]) -> Box<[Name]> {
        self.filled(drafts.len());
        for draft in drafts {
            self.problems.name(what, draft);
        }
        let mut names: Box<[Name]> = drafts.iter().map(|draft| draft.value.as_str().into()).collect();
        names.sort_unstable();
        names
    }

    fn services(&mut self, drafts: &[Located<String>]) -> Box<[SpiffeId]> {
        self.filled(drafts.len());
        let mut ids = Vec::new();
        for draft in drafts {
            match SpiffeId::parse(&draft.value) {
                Ok(id) => ids.push(id),
                Err(why) => self.problems.add(
                    draft.line,
                    format!("`{}` is not a SPIFFE ID: {why}", draft.value),
                    "write `spiffe://trust-domain/path`",
                ),
            }
        }
        ids.sort_unstable();
        ids.into()
    }

    fn countries(&mut self, countries: &[Country]) -> Box<[Country]> {
        self.filled(countries.len());
        let mut countries = countries.to_vec();
        countries.sort_unstable();
        countries.into()
    }

    /// An empty list would hold always or never, which nobody means.
    fn filled(&mut self, len: usize) {
        if len == 0 {
            self.problem("has an empty list", "fill the list or remove the condition");
        }
    }

    fn problem(&mut self, what: &str, hint: &str) {
        let message = format!("condition `{}` {what}", self.owner.value);
        self.problems.add(self.owner.line, message, hint);
    }
}
