//! Each step of `Policy::decide` on its own.
use crate::fixture::*;
use std::time::Duration;
use torhaus_authz::*;

fn dana<'a>(resource: &'a str, address: &str, proven: &str) -> Facts<'a> {
    of(request(resource, address), user("dana"), &["all-employees", "hr"], proven)
}

fn carol<'a>(resource: &'a str, address: &str, proven: &str) -> Facts<'a> {
    of(request(resource, address), user("carol"), &["all-employees"], proven)
}

#[test]
fn a_missing_cell_is_closed() {
    let policy = m6_with("wiki", |row| row.zones.truncate(1));
    check(&policy, &dana("wiki", INSIDE, "standard"), "allow");
    check(&policy, &dana("wiki", OUTSIDE, "hardware"), "deny zone_denied");
    check(&policy, &request("wiki", OUTSIDE), "deny zone_denied");
}

#[test]
fn an_exception_opens_the_zone_for_its_subject_only() {
    let policy = build(m6());
    check(&policy, &carol("samba-hr", OUTSIDE, "hardware"), "allow");
    check(&policy, &carol("samba-hr", OUTSIDE, "mfa"), "step_up hardware");
    check(&policy, &dana("samba-hr", OUTSIDE, "hardware"), "deny zone_denied");
    // It is for the external zone; inside she is in no group of the row.
    check(&policy, &carol("samba-hr", INSIDE, "hardware"), "deny not_allowed");
    let decision = policy.decide(&carol("samba-hr", OUTSIDE, "hardware"));
    assert_eq!(decision.exception.as_deref(), Some("EX-14"));
    assert_eq!(decision.until, Some(NOW.plus(hours(24 * 30))), "what it opened ends with it");
    assert_eq!(policy.decide(&dana("samba-hr", INSIDE, "mfa")).until, None);
    assert_eq!(decision.row, Some(RowRef { resource: "samba-hr".into(), line: 11 }));
}

#[test]
fn an_expired_exception_is_inert() {
    let mut draft = m6();
    draft.exceptions[0].expires = NOW;
    let policy = build(draft);
    check(&policy, &carol("samba-hr", OUTSIDE, "hardware"), "deny zone_denied");
    check(&policy, &request("samba-hr", OUTSIDE), "deny zone_denied");
    let a_moment_before = Facts { now: NOW.minus(Duration::from_millis(1)), ..carol("samba-hr", OUTSIDE, "hardware") };
    check(&policy, &a_moment_before, "allow");
}

#[test]
fn an_exception_replaces_the_cell_and_of_several_the_lowest_tier_counts() {
    let mut draft = m6();
    draft.exceptions = vec![
        exception(18, "EX-1", "samba-hr", &["user:carol"], "internal", "hardware"),
        exception(19, "EX-2", "samba-hr", &["user:carol", "user:dana"], "internal", "standard"),
        exception(20, "EX-3", "samba-hr", &["group:hr"], "internal", "hardware"),
    ];
    let policy = build(draft);
    check(&policy, &carol("samba-hr", INSIDE, "standard"), "allow");
    check(&policy, &dana("samba-hr", INSIDE, "standard"), "allow");
    let eve = of(request("samba-hr", INSIDE), user("eve"), &["hr"], "mfa");
    check(&policy, &eve, "step_up hardware");
    let frank = of(request("samba-hr", INSIDE), user("frank"), &["finance"], "mfa");
    check(&policy, &frank, "allow");
}

#[test]
fn an_exception_waives_no_condition() {
    let mut draft = m6();
    draft.rows[2].deny = vec![guard(21, "embargo", Condition::CountryIn(vec![Country::parse("KP").unwrap()]))];
    draft.rows[2].require = vec![guard(22, "company-device", Condition::ClientCertificate(at(22, "devices")))];
    draft.rows[2].raise = vec![];
    let policy = build(draft);
    let facts = carol("samba-hr", OUTSIDE, "hardware");
    check(&policy, &facts, "deny requirement_missing company-device");
    let with_device = Facts { certificate: certificate("devices"), ..facts };
    check(&policy, &with_device, "allow");
    check(&policy, &Facts { country: country("KP"), ..with_device }, "deny condition_denied embargo");
}

#[test]
fn an_anonymous_cell_asks_nobody_but_keeps_its_conditions() {
    let policy = m6_with("status", |row| {
        row.deny = vec![guard(17, "embargo", Condition::CountryIn(vec![Country::parse("KP").unwrap()]))];
    });
    check(&policy, &request("status", OUTSIDE), "allow");
    check(&policy, &Facts { country: country("KP"), ..request("status", OUTSIDE) }, "deny condition_denied embargo");
    let unknown = Facts { country: Fact::Unknown(Why::SourceDown), ..request("status", OUTSIDE) };
    check(&policy, &unknown, "deny condition_denied embargo");
    check(&policy, &dana("status", OUTSIDE, ""), "allow");
}

#[test]
fn sign_in_asks_at_once_for_what_is_known_to_be_needed() {
    let abroad = || Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]);
    let hr = || Condition::Groups(vec![at(21, "hr")]);
    let policy = m6_with("wiki", |row| {
        row.raise = vec![
            raise(21, "abroad", abroad(), "mfa"),
            raise(22, "hr-abroad", Condition::All(vec![abroad(), hr()]), "hardware"),
        ];
    });
    check(&policy, &request("wiki", OUTSIDE), "login standard");
    let in_france = Facts { country: country("FR"), ..request("wiki", OUTSIDE) };
    // Whether she is in hr is pending: it does not raise yet.
    check(&policy, &in_france, "login mfa");
    check(&policy, &Facts { country: country("FR"), ..dana("wiki", OUTSIDE, "mfa") }, "step_up hardware");
    check(&policy, &Facts { country: country("FR"), ..carol("wiki", OUTSIDE, "mfa") }, "allow");
    check(&policy, &dana("wiki", OUTSIDE, "standard"), "allow");
    // Unknown raises, before sign-in as after it, so that nobody signs in twice.
    let lost = Fact::Unknown(Why::NotFound);
    check(&policy, &Facts { country: lost, ..request("wiki", OUTSIDE) }, "login mfa");
    check(&policy, &Facts { country: lost, ..carol("wiki", OUTSIDE, "standard") }, "step_up mfa");
}

#[test]
fn what_is_settled_before_sign_in_does_not_wait_for_it() {
    let abroad = || Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]);
    let hr = || Condition::Groups(vec![at(21, "hr")]);
    let tier = |when: Condition, code: &str| {
        let policy = m6_with("wiki", |row| row.raise = vec![raise(21, "up", when, "mfa")]);
        outcome(&decide(&policy, &Facts { country: country(code), ..request("wiki", OUTSIDE) }))
    };
    // Abroad, whoever it is; at home it depends on the person.
    assert_eq!(tier(Condition::Any(vec![abroad(), hr()]), "FR"), "login mfa");
    assert_eq!(tier(Condition::Any(vec![abroad(), hr()]), "DE"), "login standard");
    let neither = Condition::Not(Box::new(Condition::All(vec![Condition::Not(Box::new(abroad())), hr()])));
    assert_eq!(tier(neither, "FR"), "login mfa");
}

#[test]
fn a_condition_on_the_person_refuses_nobody_before_sign_in() {
    let policy = m6_with("wiki", |row| {
        row.deny = vec![guard(21, "not-dana", Condition::Users(vec![at(21, "dana")]))];
        row.require = vec![guard(22, "staff", Condition::Groups(vec![at(22, "all-employees")]))];
    });
    check(&policy, &request("wiki", OUTSIDE), "login standard");
    check(&policy, &dana("wiki", OUTSIDE, "standard"), "deny condition_denied not-dana");
    check(&policy, &carol("wiki", OUTSIDE, "standard"), "allow");
}

#[test]
fn unknown_groups_are_not_no_groups() {
    let policy = build(m6());
    let down = Fact::Unknown(Why::SourceDown);
    check(&policy, &Facts { groups: down.clone(), ..dana("wiki", INSIDE, "hardware") }, "deny groups_unknown");
    check(&policy, &Facts { groups: groups(&[]), ..dana("wiki", INSIDE, "hardware") }, "deny not_allowed");
    // A closed zone needs no groups to be closed; a subject named as a user needs none to come in.
    check(&policy, &Facts { groups: down.clone(), ..dana("proxmox", OUTSIDE, "hardware") }, "deny zone_denied");
    check(&policy, &Facts { groups: down, ..carol("samba-hr", OUTSIDE, "hardware") }, "allow");
}

#[test]
fn who_is_not_named_in_a_row_without_groups_is_refused_whatever_is_known_of_groups() {
    let policy = m6_with("wiki", |row| row.allow = vec![at(9, "user:carol")]);
    let facts = Facts { groups: Fact::Unknown(Why::SourceDown), ..dana("wiki", INSIDE, "hardware") };
    check(&policy, &facts, "deny not_allowed");
}

#[test]
fn an_exception_that_may_fit_and_asks_for_less_changes_nothing_for_who_is_allowed_anyway() {
    let mut draft = m6();
    draft.rows[2].allow.push(at(11, "user:dana"));
    draft.exceptions = vec![exception(18, "EX-1", "samba-hr", &["group:hr"], "internal", "standard")];
    let facts = Facts { groups: Fact::Unknown(Why::SourceDown), ..dana("samba-hr", INSIDE, "standard") };
    check(&build(draft), &facts, "step_up mfa");
}

#[test]
fn the_shortest_life_of_a_proof_is_a_second() {
    let of_row: fn(&mut PolicyDraft, Duration) = |draft, age| draft.rows[0].max_age = Some(age);
    let of_tier: fn(&mut PolicyDraft, Duration) = |draft, age| draft.tiers[0].max_age = age;
    for set in [of_row, of_tier] {
        let with = |age| {
            let mut draft = m6();
            set(&mut draft, age);
            Policy::build(draft).is_ok()
        };
        assert_eq!((with(Duration::from_secs(1)), with(Duration::from_millis(999))), (true, false));
    }
}

#[test]
fn a_verdict_is_called_as_the_record_calls_it() {
    for kind in [VerdictKind::Allow, VerdictKind::Login, VerdictKind::StepUp, VerdictKind::Deny] {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
    }
}

#[test]
fn an_unknown_exception_never_asks_for_less() {
    let mut draft = m6();
    draft.rows[2].allow.push(at(11, "user:dana"));
    draft.exceptions = vec![exception(18, "EX-1", "samba-hr", &["group:hr"], "internal", "hardware")];
    let policy = build(draft);
    let known = dana("samba-hr", INSIDE, "mfa");
    check(&policy, &known, "step_up hardware");
    check(&policy, &Facts { groups: Fact::Unknown(Why::SourceDown), ..known }, "step_up hardware");
    let elsewhere = Facts { groups: Fact::Unknown(Why::SourceDown), ..carol("samba-hr", INSIDE, "mfa") };
    check(&policy, &elsewhere, "deny groups_unknown");
}

#[test]
fn deny_comes_before_require_and_both_before_the_proof() {
    let policy = m6_with("samba-hr", |row| {
        row.require = vec![guard(21, "device", Condition::ClientCertificate(at(21, "devices")))];
        row.deny = vec![guard(22, "abroad", Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]))];
    });
    let facts = dana("samba-hr", INSIDE, "");
    check(&policy, &Facts { country: country("FR"), ..facts.clone() }, "deny condition_denied abroad");
    check(&policy, &facts, "deny requirement_missing device");
    let unknown = Facts { certificate: Fact::Unknown(Why::NotGiven), ..facts.clone() };
    check(&policy, &unknown, "deny requirement_missing device");
    check(&policy, &Facts { certificate: certificate("partner"), ..facts.clone() }, "deny requirement_missing device");
    check(&policy, &Facts { certificate: certificate("devices"), ..facts.clone() }, "step_up mfa");
    let late = Facts { certificate: certificate("devices"), now: NOW.plus(hours(24)), ..facts };
    check(&policy, &late, "deny requirement_missing device");
    // Who may not come in at all does not learn about conditions.
    check(&policy, &carol("samba-hr", INSIDE, ""), "deny not_allowed");
}

#[test]
fn raise_fires_on_unknown_unless_it_says_ignore() {
    let abroad = Condition::CountryNotIn(vec![Country::parse("DE").unwrap()]);
    let raised = m6_with("wiki", |row| row.raise = vec![raise(21, "abroad", abroad.clone(), "hardware")]);
    let ignoring = m6_with("wiki", |row| {
        row.raise = vec![RaiseDraft { ignore_unknown: true, ..raise(21, "abroad", abroad, "hardware") }];
    });
    let lost = Facts { country: Fact::Unknown(Why::NotFound), ..dana("wiki", OUTSIDE, "standard") };
    check(&raised, &lost, "step_up hardware");
    check(&ignoring, &lost, "allow");
    check(&ignoring, &Facts { country: country("FR"), ..lost }, "step_up hardware");
}

#[test]
fn raise_never_lowers() {
    let always = Condition::Zones(vec![at(21, "internal"), at(21, "external")]);
    let policy = m6_with("samba-hr", |row| row.raise = vec![raise(21, "down", always, "standard")]);
    check(&policy, &dana("samba-hr", INSIDE, "standard"), "step_up mfa");
}

#[test]
fn a_proof_lasts_as_long_as_its_tier_or_the_row_says() {
    let policy = build(m6());
    let aged = |tier, age| Facts { proofs: proofs(&[(tier, age)]), ..dana("samba-hr", INSIDE, "") };
    let ms = Duration::from_millis(1);
    check(&policy, &aged("mfa", hours(8)), "allow");
    check(&policy, &aged("mfa", hours(8) + ms), "step_up mfa");
    // A higher tier proves the lower one, for as long as the needed tier lasts.
    check(&policy, &aged("hardware", hours(8)), "allow");
    check(&policy, &aged("hardware", hours(9)), "step_up mfa");
    check(&policy, &aged("standard", hours(0)), "step_up mfa");
    check(&policy, &aged("platinum", hours(0)), "step_up mfa");
    let both = Facts {
        proofs: proofs(&[("mfa", hours(20)), ("hardware", hours(2)), ("standard", hours(0))]),
        ..aged("mfa", hours(0))
    };
    check(&policy, &both, "allow");
    let strict = m6_with("samba-hr", |row| row.max_age = Some(Duration::from_secs(300)));
    check(&strict, &aged("hardware", Duration::from_secs(300)), "allow");
    let late = aged("hardware", Duration::from_secs(301));
    check(&strict, &late, "step_up mfa");
    let Verdict::StepUp { max_age, .. } = strict.decide(&late).verdict else { panic!("a step-up") };
    assert_eq!(max_age, Duration::from_secs(300));
}

#[test]
fn a_proof_from_the_future_is_none() {
    let policy = build(m6());
    let ahead = |seconds| {
        let proof =
            Proof { tier: "mfa".into(), proven_at: NOW.plus(Duration::from_secs(seconds)), provider: "corp".into() };
        Facts { proofs: [proof].into(), ..dana("samba-hr", INSIDE, "") }
    };
    check(&policy, &ahead(60), "allow");
    check(&policy, &ahead(61), "step_up mfa");
}

#[test]
fn services_cannot_step_up() {
    let policy = build(m6());
    let backup = of(request("backup-api", INSIDE), service("spiffe://example.test/backup"), &[], "standard");
    check(&policy, &backup, "allow");
    check(&policy, &Facts { proofs: proofs(&[]), ..backup.clone() }, "deny service_tier_missing");
    let other = Facts { identity: service("spiffe://example.test/backup2"), ..backup.clone() };
    check(&policy, &other, "deny not_allowed");
    // A person of the same name is not the service.
    check(&policy, &Facts { identity: user("spiffe://example.test/backup"), ..backup }, "deny not_allowed");
}

#[test]
fn authenticated_is_any_person_or_service() {
    let policy = m6_with("wiki", |row| row.allow = vec![at(9, "authenticated")]);
    check(&policy, &Facts { groups: Fact::Unknown(Why::SourceDown), ..carol("wiki", OUTSIDE, "standard") }, "allow");
    let service = of(request("wiki", OUTSIDE), service("spiffe://partner.test/x"), &[], "standard");
    check(&policy, &service, "allow");
    check(&policy, &request("wiki", OUTSIDE), "login standard");
}

#[test]
fn zones_are_listeners_and_networks_together() {
    let policy = build(m6());
    let zone = |address: &str, listener: &'static str| {
        let facts = Facts { listener, ..request("wiki", address) };
        policy.decide(&facts).zone.to_string()
    };
    for (address, listener, expected) in [
        ("10.255.255.255", "public", "internal"),
        ("192.0.2.255", "public", "internal"),
        ("192.0.3.0", "public", "external"),
        ("11.0.0.0", "public", "external"),
        ("9.255.255.255", "public", "external"),
        ("::ffff:10.1.2.3", "public", "internal"),
        ("::ffff:203.0.113.5", "public", "external"),
        ("2001:db8::1", "public", "external"),
        // The mesh is the mesh at its own listener only: carriers use the same range.
        ("100.64.0.7", "mesh", "internal"),
        ("100.64.0.7", "public", "external"),
        ("100.127.255.255", "", "external"),
        ("2001:db8::1", "mesh", "internal"),
    ] {
        assert_eq!(zone(address, listener), expected, "{address} by {listener}");
    }
    let nowhere = Facts { address: Fact::Unknown(Why::NotGiven), listener: "mesh", ..request("proxmox", INSIDE) };
    check(&policy, &nowhere, "deny zone_denied");
}

#[test]
fn a_network_of_ipv6_begins_and_ends_at_its_own_addresses() {
    let mut draft = m6();
    draft.zones[0].networks = vec![at(3, net("2001:db8:0:1::/64")), at(3, net("2001:db8:0:3::5/128"))];
    let policy = build(draft);
    for (address, zone) in [
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", "external"),
        ("2001:db8:0:1::", "internal"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "internal"),
        ("2001:db8:0:2::", "external"),
        ("2001:db8:0:3::5", "internal"),
        ("2001:db8:0:3::6", "external"),
    ] {
        assert_eq!(&*policy.decide(&request("wiki", address)).zone, zone, "{address}");
    }
}

#[test]
fn carrier_nat_never_counts_by_network_even_where_a_zone_contains_it() {
    let mut draft = m6();
    draft.zones[0].networks.push(at(3, net("100.64.0.0/10")));
    draft.zones.push(ZoneDraft { name: at(4, "wide"), networks: vec![at(4, net("100.0.0.0/8"))], listeners: vec![] });
    let policy = build(draft);
    let zone = |address: &str| policy.decide(&request("wiki", address)).zone.to_string();
    assert_eq!(zone("100.64.0.7"), "external");
    assert_eq!(zone("100.63.255.255"), "wide");
    assert_eq!(zone("100.128.0.0"), "wide");
}

#[test]
fn the_listener_decides_before_the_address() {
    let mut draft = m6();
    draft.zones.push(ZoneDraft { name: at(4, "partners"), networks: vec![], listeners: vec![at(4, "partner-vpn")] });
    let policy = build(draft);
    let facts = Facts { listener: "partner-vpn", ..request("proxmox", INSIDE) };
    assert_eq!(&*policy.decide(&facts).zone, "partners");
}

#[test]
fn a_federated_identity_is_external_wherever_it_sits() {
    let policy = m6_with("samba-hr", |row| row.allow = vec![at(11, "authenticated")]);
    let facts = of(request("samba-hr", INSIDE), federated("bob"), &[], "hardware");
    check(&policy, &facts, "deny zone_denied");
    assert_eq!(&*policy.decide(&Facts { listener: "mesh", ..facts }).zone, "external");
}

#[test]
fn conditions_combine_with_unknown() {
    let kp = || Country::parse("KP").unwrap();
    let holds = |condition: Condition, unknown_country: bool| {
        let policy = m6_with("status", |row| row.require = vec![guard(21, "c", condition)]);
        let mut facts = request("status", OUTSIDE);
        if unknown_country {
            facts.country = Fact::Unknown(Why::Stale);
        }
        matches!(decide(&policy, &facts).verdict, Verdict::Allow(_))
    };
    let yes = || Condition::Zones(vec![at(21, "external")]);
    let no = || Condition::Zones(vec![at(21, "internal")]);
    let unknown = || Condition::CountryIn(vec![kp()]);
    for (condition, expected) in [
        (Condition::Any(vec![unknown(), yes()]), true),
        (Condition::Any(vec![unknown(), no()]), false),
        (Condition::All(vec![unknown(), yes()]), false),
        (Condition::Not(Box::new(unknown())), false),
        (Condition::Not(Box::new(Condition::All(vec![unknown(), no()]))), true),
        (Condition::Not(Box::new(no())), true),
    ] {
        assert_eq!(holds(condition.clone(), true), expected, "{condition:?}");
    }
    assert!(holds(Condition::Not(Box::new(unknown())), false));
}

#[test]
fn the_permit_names_resource_and_identity() {
    let policy = build(m6());
    let Verdict::Allow(permit) = policy.decide(&dana("wiki", INSIDE, "standard")).verdict else { panic!("allowed") };
    assert_eq!(&**permit.resource(), "wiki");
    assert_eq!(*permit.identity(), user("dana"));
}

#[test]
fn a_place_is_learned_by_what_the_row_asks_of_a_new_one_and_never_by_the_lowest_tier() {
    let new = Condition::NewPlace(NewPlace::Network);
    let learns = |policy: &Policy, resource: &str, proven: &str, seen: bool| {
        let facts = dana(resource, INSIDE, proven);
        let seen = Seen { country: Fact::Known(seen), network: Fact::Known(seen) };
        policy.decide(&Facts { seen, ..facts }).learns
    };
    let plain = build(m6());
    assert_eq!(learns(&plain, "wiki", "standard", false), Learns::Refresh);
    assert_eq!(learns(&plain, "wiki", "", false), Learns::No, "step-up");
    assert_eq!(learns(&plain, "samba-general", "mfa", false), Learns::Learn);
    let raised = m6_with("samba-general", |row| row.raise = vec![raise(10, "new", new.clone(), "hardware")]);
    assert_eq!(learns(&raised, "samba-general", "mfa", true), Learns::Refresh, "mfa is not what a new place needs");
    assert_eq!(learns(&raised, "samba-general", "mfa", false), Learns::No, "step-up");
    assert_eq!(learns(&raised, "samba-general", "hardware", false), Learns::Learn);
    let not = |condition: &Condition| Condition::Not(Box::new(condition.clone()));
    let nested = [
        Condition::All(vec![new.clone()]),
        Condition::Any(vec![Condition::Methods(vec![at(10, "PUT")]), new.clone()]),
        not(&not(&new)),
    ];
    for nested in nested {
        let raised = m6_with("samba-general", |row| row.raise = vec![raise(10, "new", nested.clone(), "hardware")]);
        assert_eq!(learns(&raised, "samba-general", "mfa", true), Learns::Refresh, "{nested:?}");
        assert_eq!(learns(&raised, "samba-general", "hardware", false), Learns::Learn, "{nested:?}");
    }
    let of_another = raise(10, "writes", Condition::Methods(vec![at(10, "PUT")]), "hardware");
    let other = m6_with("samba-general", |row| row.raise = vec![of_another]);
    assert_eq!(learns(&other, "samba-general", "mfa", false), Learns::Learn, "this raise asks for no new place");
    let guarded = m6_with("wiki", |row| row.require = vec![guard(9, "new", Condition::Not(Box::new(new.clone())))]);
    assert_eq!(learns(&guarded, "wiki", "standard", true), Learns::Refresh);
    assert_eq!(learns(&guarded, "wiki", "standard", false), Learns::No);
}
