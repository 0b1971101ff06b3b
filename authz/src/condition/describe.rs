//! A condition in words: "the country is not `DE`".
use super::Term;
use crate::facts::Country;
use crate::problems::listed;
use crate::spiffe::SpiffeId;
use crate::time::short;

impl Term {
    pub(crate) fn describe(&self) -> String {
        let countries = |list: &[Country]| listed(&list.iter().map(Country::as_str).collect::<Vec<_>>());
        let inner = |terms: &[Self], word: &str| {
            let parts: Vec<String> = terms.iter().map(Self::describe).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Self::ClientCertificate(domain) => format!("a client certificate of `{domain}`"),
            Self::AnyClientCertificate => "a client certificate".to_owned(),
            Self::Groups(names) => format!("in group {}", listed(names)),
            Self::Users(names) => format!("user {}", listed(names)),
            Self::Services(ids) => format!("service {}", listed(&ids.iter().map(SpiffeId::as_str).collect::<Vec<_>>())),
            Self::Zones(zones) => {
                format!("from zone {}", listed(&zones.iter().map(|(_, name)| &**name).collect::<Vec<_>>()))
            }
            Self::Networks { names, .. } => format!("from network {}", listed(names)),
            Self::CountryIn(list) => format!("the country is {}", countries(list)),
            Self::CountryNotIn(list) => format!("the country is not {}", countries(list)),
            Self::ContinentIn(list) => {
                format!("the continent is {}", listed(&list.iter().map(|c| c.code()).collect::<Vec<_>>()))
            }
            Self::Proof { tiers, newer_than } => {
                let tier = tiers.first().map_or("?", |tier| tier);
                format!("`{tier}` proven within {}", short(*newer_than))
            }
            Self::Time(window) => window.to_string(),
            Self::Methods(names) => format!("method {}", listed(names)),
            Self::Paths(prefixes) => format!("path below {}", listed(prefixes)),
            Self::All(terms) => inner(terms, " and "),
            Self::Any(terms) => inner(terms, " or "),
            Self::Not(term) => format!("not {}", term.describe()),
        }
    }
}
