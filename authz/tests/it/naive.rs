//! A second evaluator, written from the seven steps in docs/architecture.md as slowly and plainly as possible. Shares no code with the
//! first beyond the types that people fill in.
use crate::fixture::NOW;
use torhaus_authz::*;

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Yes,
    No,
    Unknown,
    Pending,
}

/// As `fixture::outcome` writes it.
pub fn outcome(policy: &PolicyDraft, facts: &Facts<'_>) -> String {
    let zone = zone(policy, facts);
    let anonymous = facts.identity == Identity::Anonymous;
    // 1.
    let Some(row) = policy.rows.iter().find(|row| row.resource.value == facts.resource) else {
        return "deny no_rule".to_owned();
    };
    let cell = row.zones.iter().find(|(name, _)| name.value == zone).map(|(_, cell)| cell.value.clone());
    let cell = cell.unwrap_or(CellDraft::Deny);
    let live: Vec<&ExceptionDraft> = policy
        .exceptions
        .iter()
        .filter(|e| e.resource.value == row.resource.value && e.zone.value == zone && facts.now < e.expires)
        .collect();
    if cell == CellDraft::Deny && live.is_empty() {
        return "deny zone_denied".to_owned();
    }
    let rank = |name: &str| policy.tiers.iter().position(|tier| tier.name.value == name).unwrap();
    let guards = || -> Option<String> {
        for guard in &row.deny {
            if matches!(holds(&guard.condition, facts, &zone), Answer::Yes | Answer::Unknown) {
                return Some(format!("deny condition_denied {}", guard.name.value));
            }
        }
        let missing = row.require.iter().find(|guard| holds(&guard.condition, facts, &zone) != Answer::Yes)?;
        Some(format!("deny requirement_missing {}", missing.name.value))
    };
    let raised = |from: usize| {
        let fires = |raise: &&RaiseDraft| match holds(&raise.when, facts, &zone) {
            Answer::Yes => true,
            Answer::Unknown => !raise.ignore_unknown,
            Answer::No | Answer::Pending => false,
        };
        row.raise.iter().filter(fires).map(|raise| rank(&raise.to.value)).fold(from, usize::max)
    };
    let name = |rank: usize| policy.tiers[rank].name.value.clone();
    // 2.
    if cell == CellDraft::Anonymous {
        return guards().unwrap_or_else(|| "allow".to_owned());
    }
    let cell_rank = match &cell {
        CellDraft::Tier(tier) => Some(rank(tier)),
        _ => None,
    };
    // 3.
    if anonymous {
        let lowest = live.iter().map(|e| rank(&e.tier.value)).min();
        return format!("login {}", name(raised(cell_rank.or(lowest).unwrap())));
    }
    // 4.
    let of = |wanted: Answer| -> Vec<usize> {
        live.iter().filter(|e| member(&e.allow, facts) == wanted).map(|e| rank(&e.tier.value)).collect()
    };
    let (fits, maybe) = (of(Answer::Yes), of(Answer::Unknown));
    let needed = if let Some(lowest) = fits.iter().min() {
        *lowest
    } else {
        match (cell_rank, member(&row.allow, facts)) {
            (None, _) if maybe.is_empty() => return "deny zone_denied".to_owned(),
            (None, _) => return "deny groups_unknown".to_owned(),
            (Some(own), Answer::Yes) => maybe.into_iter().fold(own, usize::max),
            (Some(_), Answer::No) if maybe.is_empty() => return "deny not_allowed".to_owned(),
            (Some(_), _) => return "deny groups_unknown".to_owned(),
        }
    };
    // 5.
    if let Some(refused) = guards() {
        return refused;
    }
    // 6.
    let needed = raised(needed);
    let max_age = row.max_age.unwrap_or(policy.tiers[needed].max_age);
    let proven = facts.proofs.iter().any(|proof| {
        let known = policy.tiers.iter().position(|tier| *tier.name.value == *proof.tier);
        let age = facts.now.millis() - proof.proven_at.millis();
        known.is_some_and(|rank| rank >= needed) && age >= -60_000 && age <= i64::try_from(max_age.as_millis()).unwrap()
    });
    match (&facts.identity, proven) {
        (_, true) => "allow".to_owned(),
        (Identity::Service(_), false) => "deny service_tier_missing".to_owned(),
        (_, false) => format!("step_up {}", name(needed)),
    }
}

fn zone(policy: &PolicyDraft, facts: &Facts<'_>) -> String {
    let external = "external".to_owned();
    if matches!(&facts.identity, Identity::User(user) if user.federated) {
        return external;
    }
    let Fact::Known(address) = facts.address else {
        return external;
    };
    if let Some(zone) = policy.zones.iter().find(|zone| zone.listeners.iter().any(|l| l.value == facts.listener)) {
        return zone.name.value.clone();
    }
    if crate::fixture::net("100.64.0.0/10").contains(&address) {
        return external;
    }
    let nets = policy.zones.iter().flat_map(|zone| zone.networks.iter().map(move |net| (net.value, zone)));
    let best = nets.filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len());
    best.map_or(external, |(_, zone)| zone.name.value.clone())
}

fn member(allow: &[Located<String>], facts: &Facts<'_>) -> Answer {
    let mut answer = Answer::No;
    for subject in allow {
        let (kind, name) = subject.value.split_once(':').unwrap_or((&subject.value, ""));
        match (kind, &facts.identity) {
            ("authenticated", Identity::User(_) | Identity::Service(_)) => return Answer::Yes,
            ("user", Identity::User(user)) if *user.name == *name => return Answer::Yes,
            ("service", Identity::Service(service)) if service.id.as_str() == name => return Answer::Yes,
            ("group", _) => match &facts.groups {
                Fact::Known(groups) if groups.iter().any(|group| **group == *name) => return Answer::Yes,
                Fact::Known(_) => {}
                Fact::Unknown(_) => answer = Answer::Unknown,
            },
            _ => {}
        }
    }
    answer
}

fn holds(condition: &Condition, facts: &Facts<'_>, zone: &str) -> Answer {
    let yes = |is: bool| if is { Answer::Yes } else { Answer::No };
    let has = |names: &[Located<String>], name: &str| yes(names.iter().any(|own| own.value == name));
    let of_country = |list: &[Country], inside: bool| match &facts.country {
        Fact::Known(country) => yes(list.contains(country) == inside),
        Fact::Unknown(_) => Answer::Unknown,
    };
    let parts = |list: &[Condition]| -> Vec<Answer> { list.iter().map(|c| holds(c, facts, zone)).collect() };
    match condition {
        Condition::ClientCertificate(domain) => match &facts.certificate {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(found) => {
                yes(found.as_ref().is_some_and(|c| *c.trust_domain == *domain.value && c.not_after > NOW))
            }
        },
        Condition::AnyClientCertificate => match &facts.certificate {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(found) => yes(found.as_ref().is_some_and(|c| c.not_after > NOW)),
        },
        Condition::ContinentIn(list) => match &facts.country {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(country) => {
                let found = if country.as_str() == "KP" { Continent::Asia } else { Continent::Europe };
                yes(list.contains(&found))
            }
        },
        Condition::Networks(list) => match &facts.address {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(address) => {
                yes(list.iter().any(|named| named.networks.iter().any(|net| net.contains(address))))
            }
        },
        Condition::Time(window) => {
            yes(crate::properties::windows().iter().any(|(own, inside)| own == window && *inside))
        }
        Condition::Methods(_) if facts.method.is_empty() => Answer::Unknown,
        Condition::Methods(names) => has(names, facts.method),
        Condition::Paths(_) if facts.path.is_empty() => Answer::Unknown,
        Condition::Paths(prefixes) => {
            let segments = |path: &str| -> Vec<String> {
                path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
            };
            yes(prefixes.iter().any(|prefix| segments(facts.path).starts_with(&segments(&prefix.value))))
        }
        Condition::Groups(_)
        | Condition::Users(_)
        | Condition::Services(_)
        | Condition::Proof { .. }
        | Condition::NewPlace(_)
        | Condition::Device(DeviceDraft::Own)
            if facts.identity == Identity::Anonymous =>
        {
            Answer::Pending
        }
        Condition::Groups(names) => match &facts.groups {
            Fact::Known(groups) => yes(names.iter().any(|name| groups.contains(&name.value))),
            Fact::Unknown(_) => Answer::Unknown,
        },
        Condition::Users(names) => match &facts.identity {
            Identity::User(user) => has(names, &user.name),
            _ => Answer::No,
        },
        Condition::Services(names) => match &facts.identity {
            Identity::Service(service) => has(names, service.id.as_str()),
            _ => Answer::No,
        },
        Condition::Proof { tier, newer_than } => {
            let ladder = ["standard", "mfa", "hardware"];
            let rank = |name: &str| ladder.iter().position(|own| *own == name);
            yes(facts.proofs.iter().any(|proof| {
                let age = NOW.millis() - proof.proven_at.millis();
                let young = age >= -60_000 && age <= i64::try_from(newer_than.as_millis()).unwrap();
                rank(&proof.tier).is_some_and(|own| Some(own) >= rank(&tier.value)) && young
            }))
        }
        Condition::NewPlace(part) => {
            let seen = match part {
                NewPlace::Country => facts.seen.country,
                NewPlace::Network => facts.seen.network,
            };
            match seen {
                Fact::Known(seen) => yes(!seen),
                Fact::Unknown(_) => Answer::Unknown,
            }
        }
        Condition::Device(ask) => match &facts.device {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(device) => of_device(ask, device.as_deref(), &facts.identity),
        },
        Condition::Posture(draft) => match &facts.posture {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(posture) => {
                let answers: Vec<Answer> = draft.asks.iter().map(|ask| of_posture(ask, draft, posture)).collect();
                first_of(&answers, &[Answer::No, Answer::Unknown], Answer::Yes)
            }
        },
        Condition::Zones(names) => has(names, zone),
        Condition::CountryIn(list) => of_country(list, true),
        Condition::CountryNotIn(list) => of_country(list, false),
        Condition::Not(inner) => match holds(inner, facts, zone) {
            Answer::Yes => Answer::No,
            Answer::No => Answer::Yes,
            open => open,
        },
        Condition::All(list) => first_of(&parts(list), &[Answer::No, Answer::Pending, Answer::Unknown], Answer::Yes),
        Condition::Any(list) => first_of(&parts(list), &[Answer::Yes, Answer::Pending, Answer::Unknown], Answer::No),
    }
}

fn of_device(ask: &DeviceDraft, device: Option<&Device>, identity: &Identity) -> Answer {
    let yes = |is: bool| if is { Answer::Yes } else { Answer::No };
    let Some(device) = device else {
        return yes(matches!(ask, DeviceDraft::Known(false) | DeviceDraft::Managed(false)));
    };
    let owner_is = |is: &dyn Fn(&str) -> bool| match &device.owner {
        Fact::Unknown(_) => Answer::Unknown,
        Fact::Known(owner) => yes(owner.as_ref().is_some_and(|name| is(name))),
    };
    match ask {
        DeviceDraft::Known(known) => yes(*known),
        DeviceDraft::Managed(wanted) => match device.managed {
            Fact::Unknown(_) => Answer::Unknown,
            Fact::Known(managed) => yes(managed == *wanted),
        },
        DeviceDraft::Own => owner_is(&|name| matches!(identity, Identity::User(user) if *user.name == *name)),
        DeviceDraft::Owners(names) => owner_is(&|name| names.iter().any(|own| own.value == name)),
        DeviceDraft::Tags(tags) => yes(tags.iter().any(|tag| device.tags.iter().any(|own| **own == *tag.value))),
    }
}

fn of_posture(ask: &PostureAsk, draft: &PostureDraft, posture: &Posture) -> Answer {
    fn of<T>(report: &Option<Report<T>>, draft: &PostureDraft, holds: impl Fn(&T) -> Option<bool>) -> Answer {
        let Some(report) = report else { return Answer::Unknown };
        let age = NOW.millis() - report.at.millis();
        if age < -60_000
            || age > i64::try_from(draft.max_report_age.as_millis()).unwrap()
            || report.trust < draft.source
        {
            return Answer::Unknown;
        }
        match holds(&report.value) {
            None => Answer::Unknown,
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
        }
    }
    match ask {
        PostureAsk::DiskEncrypted(wanted) => of(&posture.disk_encrypted, draft, |found| Some(found == wanted)),
        PostureAsk::Firewall(wanted) => of(&posture.firewall, draft, |found| Some(found == wanted)),
        PostureAsk::SecureBoot(wanted) => of(&posture.secure_boot, draft, |found| Some(found == wanted)),
        PostureAsk::Compliant(wanted) => of(&posture.compliant, draft, |found| Some(found == wanted)),
        PostureAsk::Edr(states) => of(&posture.edr, draft, |found| Some(states.contains(found))),
        PostureAsk::PatchedWithin(within) => {
            let least = NOW.millis() - i64::try_from(within.as_millis()).unwrap();
            of(&posture.patched, draft, |at| Some(at.millis() >= least))
        }
        PostureAsk::Os(families) => of(&posture.os, draft, |os| Some(families.contains(&os.family))),
        PostureAsk::OsVersionAtLeast(least) => {
            of(&posture.os, draft, |os| os.version.as_ref().map(|version| version >= least))
        }
    }
}

fn first_of(parts: &[Answer], order: &[Answer], otherwise: Answer) -> Answer {
    order.iter().copied().find(|answer| parts.contains(answer)).unwrap_or(otherwise)
}
