//! What a rule asks, from its keys: several keys of one condition must all hold.
use super::policy::located;
use super::settings::country;
use super::suite::NO_CERTIFICATE;
use super::{Cx, device};
use crate::at::At;
use crate::file::policy as typed;
use crate::place::Place;
use crate::units::{self, Mistake};
use torhaus_authz::{Clock, Condition, Continent, DAYS, InvalidWindow, Located, NetworkDraft, Window};

/// What a condition says of a certificate of whatever trust domain.
pub(crate) const ANY_CERTIFICATE: &str = "any";

type OfNames = fn(Vec<Located<String>>) -> Condition;

/// Several keys of one condition must all hold.
pub(crate) fn condition(typed: &typed::Condition, place: &Place, cx: &mut Cx<'_>) -> Option<Condition> {
    let mut parts = Vec::new();
    if let Some(at) = &typed.client_certificate {
        parts.push(located(at).map(|domain| match domain.value.as_str() {
            ANY_CERTIFICATE => Condition::AnyClientCertificate,
            NO_CERTIFICATE => not(Condition::AnyClientCertificate),
            _ => Condition::ClientCertificate(domain),
        }));
    }
    if let Some(at) = &typed.country_in {
        parts.push(countries(at, cx).map(Condition::CountryIn));
    }
    if let Some(at) = &typed.country_not_in {
        parts.push(countries(at, cx).map(Condition::CountryNotIn));
    }
    if let Some(at) = &typed.continent_in {
        parts.push(continents(at, cx).map(Condition::ContinentIn));
    }
    if let Some(at) = &typed.continent_not_in {
        parts.push(continents(at, cx).map(|list| not(Condition::ContinentIn(list))));
    }
    if let Some(at) = &typed.networks {
        parts.push(networks(at, cx).map(Condition::Networks));
    }
    if let Some(at) = &typed.proof {
        parts.push(at.get().and_then(|proof| proof_of(proof, cx)));
    }
    if let Some(at) = &typed.time {
        parts.push(at.get().and_then(|time| window(time, &at.place, cx)).map(Condition::Time));
    }
    if let Some(at) = &typed.device {
        parts.push(at.get().and_then(|typed| device::device(typed, &at.place, cx)));
        cx.asks_device(&at.place);
    }
    if let Some(at) = &typed.posture {
        parts.push(at.get().and_then(|typed| device::posture(typed, &at.place, cx)));
        cx.asks_posture(&at.place);
    }
    if let Some(at) = &typed.new_place {
        parts.push(cx.parse(at, device::new_place).map(Condition::NewPlace));
    }
    let names: [(_, OfNames); 6] = [
        (&typed.groups, Condition::Groups),
        (&typed.users, Condition::Users),
        (&typed.services, Condition::Services),
        (&typed.zones, Condition::Zones),
        (&typed.methods, Condition::Methods),
        (&typed.paths, Condition::Paths),
    ];
    for (at, make) in names {
        if let Some(at) = at {
            parts.push(filled(at, cx).map(|names| make(names.iter().filter_map(located).collect())));
        }
    }
    if let Some(at) = &typed.all {
        parts.push(inner(at, cx).map(Condition::All));
    }
    if let Some(at) = &typed.any {
        parts.push(inner(at, cx).map(Condition::Any));
    }
    if let Some(at) = &typed.not {
        let negated = at.get().and_then(|typed| condition(typed, &at.place, cx));
        parts.push(negated.map(not));
    }
    if parts.is_empty() && !cx.is_reported(place) {
        cx.error(
            place,
            "this condition asks nothing",
            "say what must hold: `client_certificate: devices`, `country_in: [DE]`, `any: […]`",
        );
    }
    let mut parts: Vec<Condition> = parts.into_iter().collect::<Option<_>>()?;
    match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Condition::All(parts)),
    }
}

fn inner(at: &At<Vec<At<typed::Condition>>>, cx: &mut Cx<'_>) -> Option<Vec<Condition>> {
    filled(at, cx)?.iter().map(|at| condition(at.get()?, &at.place, cx)).collect()
}

fn countries(at: &At<Vec<At<String>>>, cx: &mut Cx<'_>) -> Option<Vec<torhaus_authz::Country>> {
    filled(at, cx)?.iter().map(|at| cx.parse(at, country)).collect()
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn continents(at: &At<Vec<At<String>>>, cx: &mut Cx<'_>) -> Option<Vec<Continent>> {
    let parse = |text: &str| {
        Continent::parse(text).ok_or_else(|| {
            let codes: Vec<String> = Continent::codes().map(|code| format!("`{code}`")).collect();
            Mistake::new(format!("`{text}` is not a continent")).hint(format!("possible: {}", codes.join(", ")))
        })
    };
    filled(at, cx)?.iter().map(|at| cx.parse(at, parse)).collect()
}

fn networks(at: &At<Vec<At<String>>>, cx: &mut Cx<'_>) -> Option<Vec<NetworkDraft>> {
    let found: Vec<_> = filled(at, cx)?.iter().map(|at| network(at, cx)).collect();
    found.into_iter().collect()
}

fn network(at: &At<String>, cx: &mut Cx<'_>) -> Option<NetworkDraft> {
    let name = located(at)?;
    let known = cx.named_networks.iter().find(|network| *network.name == *name.value);
    if let Some(network) = known {
        return Some(NetworkDraft { networks: network.networks.clone(), name });
    }
    let hint = crate::suggest::hint(&name.value, cx.named_networks.iter().map(|network| &*network.name));
    let hint = hint.or_else(|| Some("define it in `lookups.geoip.named_networks` of torhaus.yaml".to_owned()));
    cx.mistake(&at.place, Mistake { message: format!("unknown named network `{}`", name.value), hint });
    None
}

fn proof_of(typed: &typed::Proof, cx: &mut Cx<'_>) -> Option<Condition> {
    let newer_than = cx.parse(&typed.newer_than, units::duration);
    Some(Condition::Proof { tier: located(&typed.tier)?, newer_than: newer_than? })
}

fn window(typed: &typed::Time, place: &Place, cx: &mut Cx<'_>) -> Option<Window> {
    let days = match &typed.days {
        None => Some([true; DAYS.len()]),
        Some(at) => {
            let named: Vec<Option<usize>> = filled(at, cx)?.iter().map(|at| cx.parse(at, day)).collect();
            let named: Option<Vec<usize>> = named.into_iter().collect();
            named.map(|named| std::array::from_fn(|index| named.contains(&index)))
        }
    };
    let from = cx.parse_or(typed.from.as_ref(), 0, units::time_of_day);
    let to = cx.parse_or(typed.to.as_ref(), 24 * 60, units::time_of_day);
    let clock = clock(typed, place, cx);
    let made = Window::new(days?, from?, to?, clock?);
    made.map_err(|why| {
        let (message, hint) = match why {
            InvalidWindow::Empty => ("begins and ends at the same minute", "leave both out for the whole day"),
            InvalidWindow::Hour => ("begins at 24:00", "write `00:00` of the next day"),
            InvalidWindow::Offset => (TOO_FAR.0, TOO_FAR.1),
            InvalidWindow::NoDay => ("is on no day", "name at least one of `days`, or leave it out"),
        };
        cx.error(place, format!("this window of time {message}"), hint);
    })
    .ok()
}

const TOO_FAR: (&str, &str) = ("is further from UTC than any place on earth", "write an offset up to `+14:00`");

fn clock(typed: &typed::Time, place: &Place, cx: &mut Cx<'_>) -> Option<Clock> {
    match (&typed.zone, &typed.utc_offset) {
        (Some(at), None) => cx.parse(at, |name| {
            Clock::zone(name).ok_or_else(|| {
                let zones = Clock::zones();
                let near = crate::suggest::nearest(name, zones.iter().map(String::as_str));
                let hint = near.map_or_else(
                    || "write its name in the IANA database: `Europe/Berlin`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Mistake::new(format!("`{name}` is not a time zone")).hint(hint)
            })
        }),
        (None, Some(at)) => cx.parse(at, |text| {
            let (message, hint) = TOO_FAR;
            Clock::offset(units::utc_offset(text)?)
                .map_err(|_| Mistake::new(format!("this window of time {message}")).hint(hint))
        }),
        (Some(_), Some(at)) => {
            cx.error(&at.place, "a window of time has a `zone` or a `utc_offset`, not both", "remove one of them");
            None
        }
        (None, None) => {
            cx.error(place, "this window does not say by which clock", "add `zone: Europe/Berlin`");
            None
        }
    }
}

/// From Monday.
fn day(text: &str) -> Result<usize, Mistake> {
    let found = DAYS.iter().position(|day| *day == text);
    found.ok_or_else(|| {
        let hint = crate::suggest::hint(&text.chars().take(3).collect::<String>(), DAYS);
        Mistake { message: format!("`{text}` is not a day"), hint }
    })
}

/// An empty list in a condition is a slip: it holds always or never.
pub(crate) fn filled<'a, T>(at: &'a At<Vec<T>>, cx: &mut Cx<'_>) -> Option<&'a [T]> {
    let items = at.get()?;
    if items.is_empty() {
        cx.error(&at.place, "this list is empty", "name at least one, or remove the condition");
        return None;
    }
    Some(items)
}
