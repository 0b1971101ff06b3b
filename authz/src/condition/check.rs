//! From what was typed to a [`Term`]: names resolved, lists sorted, what can never hold refused.
use super::{DeviceAsk, PostureAsk, Term};
use crate::draft::{Condition, DeviceDraft, Located, NetworkDraft, PostureDraft};
use crate::facts::Country;
use crate::identity::Name;
use crate::posture::ReportAge;
use crate::problems::Problems;
use crate::spiffe::SpiffeId;
use crate::tier::Ladder;
use crate::zone::{CARRIER_NAT, Zones};
use ipnet::IpNet;
use std::time::Duration;

/// Deeper conditions than this nobody can read.
const MAX_DEPTH: usize = 8;

/// What names in conditions refer to.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) zones: &'a Zones,
    pub(crate) ladder: &'a Ladder,
}

impl Term {
    /// `owner` says whose condition it is: "condition `abroad`".
    pub(crate) fn check(draft: &Condition, owner: &Located<String>, known: Known<'_>, problems: &mut Problems) -> Self {
        Check { owner, known, problems }.term(draft, 1)
    }
}

struct Check<'a> {
    owner: &'a Located<String>,
    known: Known<'a>,
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
            Condition::AnyClientCertificate => Term::AnyClientCertificate,
            Condition::Groups(names) => Term::Groups(self.names("group", names)),
            Condition::Users(names) => Term::Users(self.names("user", names)),
            Condition::Services(ids) => Term::Services(self.services(ids)),
            Condition::Zones(zones) => {
                self.filled(zones.len());
                let found = zones.iter().filter_map(|zone| {
                    let id = self.known.zones.named(zone, self.problems)?;
                    Some((id, self.known.zones.name(id)))
                });
                Term::Zones(found.collect())
            }
            Condition::CountryIn(countries) => Term::CountryIn(self.countries(countries)),
            Condition::CountryNotIn(countries) => Term::CountryNotIn(self.countries(countries)),
            Condition::ContinentIn(continents) => {
                self.filled(continents.len());
                let mut continents = continents.clone();
                continents.sort_unstable();
                Term::ContinentIn(continents.into())
            }
            Condition::Networks(drafts) => self.networks(drafts),
            Condition::Proof { tier, newer_than } => self.proof(tier, *newer_than),
            Condition::Time(window) => Term::Time(window.clone()),
            Condition::Device(draft) => Term::Device(self.device(draft)),
            Condition::Posture(draft) => self.posture(draft),
            Condition::NewPlace(part) => Term::NewPlace(*part),
            Condition::Methods(drafts) => {
                drafts.iter().for_each(|draft| self.method(draft));
                Term::Methods(self.names("method", drafts))
            }
            Condition::Paths(drafts) => {
                self.filled(drafts.len());
                Term::Paths(drafts.iter().filter_map(|draft| self.path(draft)).collect())
            }
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

    fn networks(&mut self, drafts: &[NetworkDraft]) -> Term {
        self.filled(drafts.len());
        let mut networks: Vec<IpNet> = Vec::new();
        for NetworkDraft { name, networks: own } in drafts {
            // Who has such an address is anybody's guess, but for the one listener that is on a mesh.
            if own.iter().any(|net| matches!(net, IpNet::V4(v4) if CARRIER_NAT.contains(v4))) {
                self.problems.add(
                    name.line,
                    format!("network `{}` is of 100.64.0.0/10, which carriers use for their customers", name.value),
                    "ask for the zone of the mesh listener instead: `zones: [internal]`",
                );
            }
            networks.extend(own);
        }
        networks.sort_unstable();
        networks.dedup();
        let names = drafts.iter().map(|draft| draft.name.value.as_str().into()).collect();
        Term::Networks { names, networks: networks.into() }
    }

    fn proof(&mut self, tier: &Located<String>, newer_than: Duration) -> Term {
        if newer_than < Duration::from_secs(1) {
            self.problem("asks for a proof of less than a second ago", "write how old it may be: `newer_than: 15m`");
        }
        let found = self.known.ladder.named(tier, self.problems);
        let proves = |rank: u8| self.known.ladder.iter().filter(move |tier| tier.rank >= rank);
        let tiers = found.map(|tier| proves(tier.rank).map(|tier| tier.name.clone()).collect());
        Term::Proof { tiers: tiers.unwrap_or_default(), newer_than }
    }

    fn device(&mut self, draft: &DeviceDraft) -> DeviceAsk {
        match draft {
            DeviceDraft::Known(known) => DeviceAsk::Known(*known),
            DeviceDraft::Managed(managed) => DeviceAsk::Managed(*managed),
            DeviceDraft::Own => DeviceAsk::Own,
            DeviceDraft::Owners(names) => DeviceAsk::Owners(self.names("user", names)),
            DeviceDraft::Tags(tags) => DeviceAsk::Tags(self.names("tag", tags)),
        }
    }

    fn posture(&mut self, draft: &PostureDraft) -> Term {
        self.filled(draft.asks.len());
        if draft.max_report_age < Duration::from_secs(1) {
            self.problem("asks for a report of less than a second ago", "write how old it may be: `24h`");
        }
        for ask in &draft.asks {
            match ask {
                PostureAsk::Edr(list) => self.filled(list.len()),
                PostureAsk::Os(list) => self.filled(list.len()),
                PostureAsk::PatchedWithin(within) if *within < Duration::from_secs(1) => {
                    self.problem("asks for patches of less than a second ago", "write how old they may be: `30d`");
                }
                _ => {}
            }
        }
        let report = ReportAge { max: draft.max_report_age, source: draft.source };
        Term::Posture { asks: draft.asks.as_slice().into(), report }
    }

    /// RFC 9110 section 9.1: methods are case-sensitive, and those in use are upper case.
    fn method(&mut self, draft: &Located<String>) {
        let text = &draft.value;
        if !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            let upper = text.to_ascii_uppercase();
            let message = format!("`{text}` is not a method: methods are in capitals");
            self.problems.add(draft.line, message, format!("write it as HTTP does: `{upper}`"));
        }
    }

    /// Only what has a single spelling in a canonical path: a `:` may also arrive as `%3A`, and would slip through.
    fn path(&mut self, draft: &Located<String>) -> Option<Name> {
        let text = draft.value.as_str();
        let bare = text.trim_end_matches('/');
        let plain = |segment: &str| {
            let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(unreserved)
        };
        let wrong = match bare.strip_prefix('/') {
            None if text == "/" => return Some("".into()),
            None => Some(("does not begin with `/`", format!("write `/{bare}`"))),
            Some(_) if bare.ends_with("/*") => Some((
                "has a `*`; a path stands for all below it anyway",
                format!("write `{}`", bare.trim_end_matches("/*")),
            )),
            Some(rest) if !rest.split('/').all(plain) => Some((
                "can be spelled in several ways, and another one would slip through",
                "use letters, digits, `-`, `.`, `_`, `~` between the slashes".to_owned(),
            )),
            Some(_) => None,
        };
        match wrong {
            Some((why, hint)) => {
                self.problems.add(draft.line, format!("path `{text}` {why}"), hint);
                None
            }
            None => Some(bare.into()),
        }
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
