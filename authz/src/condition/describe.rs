//! A condition in words: "the country is not `DE`".
use super::{NewPlace, Term};
use crate::facts::Country;
use crate::posture::SourceTrust;
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
            Self::Device(ask) => ask.to_string(),
            Self::Posture { asks, report } => {
                let asks: Vec<String> = asks.iter().map(ToString::to_string).collect();
                let by = match report.source {
                    SourceTrust::SelfReported => String::new(),
                    least => format!(" by `{}` or better", least.as_str()),
                };
                format!("{}, reported within {}{by}", asks.join(" and "), short(report.max))
            }
            Self::NewPlace(NewPlace::Country) => "the country is new for this person".to_owned(),
            Self::NewPlace(NewPlace::Network) => "the network is new for this person".to_owned(),
            Self::Methods(names) => format!("method {}", listed(names)),
            Self::Paths(prefixes) => format!("path below {}", listed(prefixes)),
            Self::All(terms) => inner(terms, " and "),
            Self::Any(terms) => inner(terms, " or "),
            Self::Not(term) => format!("not {}", term.describe()),
        }
    }
}
