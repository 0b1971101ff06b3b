//! What must hold for every policy and every request.
use crate::fixture::*;
use crate::naive;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::*;

pub const ZONES: [&str; 3] = ["internal", "lab", "external"];
pub const TIERS: [&str; 3] = ["standard", "mfa", "hardware"];
pub const RESOURCES: [&str; 3] = ["wiki", "hr", "api"];
const GROUPS: [&str; 3] = ["staff", "hr", "admins"];
pub const SUBJECTS: [&str; 6] =
    ["group:staff", "group:hr", "user:alice", "user:partner/bob", "service:spiffe://example.test/a", "authenticated"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "KP"];
const DOMAINS: [&str; 2] = ["devices", "partner"];

fn names(all: &'static [&'static str]) -> impl Strategy<Value = Vec<Located<String>>> {
    subsequence(all, 1..=all.len()).prop_map(|found| found.into_iter().map(|name| at(1, name)).collect())
}

fn countries() -> impl Strategy<Value = Vec<Country>> {
    let parse = |list: Vec<&str>| list.into_iter().map(|code| Country::parse(code).unwrap()).collect();
    subsequence(&COUNTRIES, 1..=2).prop_map(parse)
}

const CONTINENTS: [Continent; 3] = [Continent::Europe, Continent::Asia, Continent::Africa];
const NETWORKS: [&str; 3] = ["10.9.0.0/16", "203.0.113.0/24", "2001:db8::/32"];

fn networks(list: Vec<&str>) -> Condition {
    let network = |text: &str| NetworkDraft { name: at(1, text), networks: vec![net(text)] };
    Condition::Networks(list.into_iter().map(network).collect())
}

/// Windows, and whether `NOW` (a Wednesday, 12:00 UTC) is in them.
pub fn windows() -> Vec<(Window, bool)> {
    let weekend = [false, false, false, false, false, true, true];
    let of = |days, from, to, offset| Window::new(days, from, to, Clock::offset(offset).unwrap()).unwrap();
    let tokyo = Window::new([true; 7], 18 * 60, 22 * 60, Clock::zone("Asia/Tokyo").unwrap()).unwrap();
    vec![
        (tokyo, true),
        (of([true; 7], 8 * 60, 18 * 60, 0), true),
        (of([true; 7], 18 * 60, 8 * 60, 0), false),
        (of([true; 7], 18 * 60, 8 * 60, 8 * 60), true),
        (of(weekend, 0, 1440, 0), false),
    ]
}

fn device_ask() -> impl Strategy<Value = DeviceDraft> {
    prop_oneof![
        any::<bool>().prop_map(DeviceDraft::Known),
        any::<bool>().prop_map(DeviceDraft::Managed),
        names(&["alice", "dana"]).prop_map(DeviceDraft::Owners),
        names(&["finance", "kiosk"]).prop_map(DeviceDraft::Tags),
    ]
}

const VERSIONS: [&str; 4] = ["10", "10.0.1", "10.0.22631", "9.9.9"];

fn version() -> impl Strategy<Value = OsVersion> {
    select(&VERSIONS).prop_map(|text| OsVersion::parse(text).unwrap())
}

fn posture_asks() -> impl Strategy<Value = PostureDraft> {
    let ask = prop_oneof![
        any::<bool>().prop_map(PostureAsk::DiskEncrypted),
        any::<bool>().prop_map(PostureAsk::Firewall),
        any::<bool>().prop_map(PostureAsk::SecureBoot),
        any::<bool>().prop_map(PostureAsk::Compliant),
        subsequence(&Edr::ALL, 1..=2).prop_map(PostureAsk::Edr),
        (1u64..60).prop_map(|age| PostureAsk::PatchedWithin(hours(age))),
        subsequence(&OsFamily::ALL, 1..=4).prop_map(PostureAsk::Os),
        version().prop_map(PostureAsk::OsVersionAtLeast),
    ];
    (prop::collection::vec(ask, 1..3), 1u64..30, select(&SourceTrust::ALL))
        .prop_map(|(asks, age, source)| PostureDraft { asks, max_report_age: hours(age), source })
}

/// `person`: whether it may ask who somebody is.
pub fn condition(person: bool) -> BoxedStrategy<Condition> {
    let place = prop_oneof![
        select(&DOMAINS).prop_map(|domain| Condition::ClientCertificate(at(1, domain))),
        countries().prop_map(Condition::CountryIn),
        countries().prop_map(Condition::CountryNotIn),
        names(&ZONES).prop_map(Condition::Zones),
        Just(Condition::AnyClientCertificate),
        subsequence(&CONTINENTS, 1..=2).prop_map(Condition::ContinentIn),
        subsequence(&NETWORKS, 1..=2).prop_map(networks),
        select(windows()).prop_map(|(window, _)| Condition::Time(window)),
        names(&["GET", "POST", "DELETE"]).prop_map(Condition::Methods),
        names(&["/admin", "/admin/users/", "/"]).prop_map(Condition::Paths),
        device_ask().prop_map(Condition::Device),
        posture_asks().prop_map(Condition::Posture),
    ];
    let leaf = if person {
        prop_oneof![
            place,
            names(&GROUPS).prop_map(Condition::Groups),
            names(&["alice", "partner/bob"]).prop_map(Condition::Users),
            names(&["spiffe://example.test/a", "spiffe://example.test/b"]).prop_map(Condition::Services),
            (select(&TIERS), 1u64..10)
                .prop_map(|(tier, age)| Condition::Proof { tier: at(1, tier), newer_than: hours(age) }),
            Just(Condition::Device(DeviceDraft::Own)),
            select(&[NewPlace::Country, NewPlace::Network]).prop_map(Condition::NewPlace),
        ]
        .boxed()
    } else {
        place.boxed()
    };
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Condition::Any),
            inner.prop_map(|c| Condition::Not(Box::new(c))),
        ]
    })
    .boxed()
}

pub fn guards(prefix: &'static str, person: bool) -> impl Strategy<Value = Vec<GuardDraft>> {
    let named = move |list: Vec<Condition>| {
        list.into_iter().enumerate().map(|(n, c)| guard(1, &format!("{prefix}{n}"), c)).collect()
    };
    prop::collection::vec(condition(person), 0..3).prop_map(named)
}

pub fn raises() -> impl Strategy<Value = Vec<RaiseDraft>> {
    let named = |list: Vec<(Condition, &str, bool)>| {
        let raises = list.into_iter().enumerate();
        raises
            .map(|(n, (c, to, ignore_unknown))| RaiseDraft { ignore_unknown, ..raise(1, &format!("raise{n}"), c, to) })
            .collect()
    };
    prop::collection::vec((condition(true), select(&TIERS), any::<bool>()), 0..3).prop_map(named)
}

fn cells(all: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    (subsequence(&ZONES, 0..=3), prop::collection::vec(select(all), 3))
        .prop_map(|(zones, cells)| zones.into_iter().zip(cells).collect())
}

pub fn tier_row() -> impl Strategy<Value = RowDraft> {
    let age = prop::option::of((1u64..20).prop_map(hours));
    let allow = subsequence(&SUBJECTS, 0..4);
    (
        cells(&["deny", "standard", "mfa", "hardware"]),
        allow,
        guards("deny", true),
        guards("require", true),
        raises(),
        age,
    )
        .prop_map(|(cells, allow, deny, require, raise, max_age)| RowDraft {
            deny,
            require,
            raise,
            max_age,
            ..row(1, "", &allow, &cells)
        })
}

fn open_row() -> impl Strategy<Value = RowDraft> {
    (cells(&["deny", "anonymous"]), guards("deny", false), guards("require", false)).prop_map(
        |(mut cells, deny, require)| {
            cells.retain(|(zone, _)| *zone != "lab");
            cells.push(("lab", "anonymous"));
            RowDraft { deny, require, ..row(1, "", &["anyone"], &cells) }
        },
    )
}

fn exceptions() -> impl Strategy<Value = Vec<ExceptionDraft>> {
    let one = (select(&RESOURCES), subsequence(&SUBJECTS, 1..3), select(&ZONES), select(&TIERS), any::<bool>());
    prop::collection::vec(one, 0..4).prop_map(|list| {
        let exceptions = list.into_iter().enumerate();
        exceptions
            .map(|(n, (resource, allow, zone, tier, live))| ExceptionDraft {
                expires: if live { NOW.plus(hours(1)) } else { NOW },
                ..exception(1, &format!("EX-{n}"), resource, &allow, zone, tier)
            })
            .collect()
    })
}

pub fn policies() -> impl Strategy<Value = PolicyDraft> {
    let rows = prop::collection::vec(prop_oneof![4 => tier_row().boxed(), 1 => open_row().boxed()], 1..4);
    (rows, exceptions()).prop_map(|(mut rows, mut exceptions)| {
        for (row, resource) in rows.iter_mut().zip(RESOURCES) {
            row.resource = at(1, resource);
        }
        // What cannot be built is no policy: an exception needs its row, and none where everybody may come in.
        exceptions.retain(|e| {
            let row = rows.iter().find(|row| row.resource.value == e.resource.value);
            row.is_some_and(|row| row.allow.first().is_none_or(|subject| subject.value != "anyone"))
        });
        PolicyDraft {
            zones: vec![
                ZoneDraft {
                    name: at(1, "internal"),
                    networks: vec![at(1, net("10.0.0.0/8"))],
                    listeners: vec![at(1, "mesh")],
                },
                ZoneDraft { name: at(1, "lab"), networks: vec![at(1, net("10.9.0.0/16"))], listeners: vec![] },
            ],
            tiers: vec![tier(1, "standard", hours(12)), tier(1, "mfa", hours(8)), tier(1, "hardware", hours(1))],
            rows,
            exceptions,
            ..m6()
        }
    })
}

fn fact<T: Clone + std::fmt::Debug + 'static>(known: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Fact<T>> {
    prop_oneof![4 => known.prop_map(Fact::Known), 1 => Just(Fact::Unknown(Why::SourceDown))].boxed()
}

pub fn facts() -> impl Strategy<Value = Facts<'static>> {
    let identity = prop_oneof![
        Just(Identity::Anonymous),
        select(&["alice", "dana"]).prop_map(user),
        Just(federated("bob")),
        select(&["spiffe://example.test/a", "spiffe://example.test/b"]).prop_map(service),
    ];
    let address =
        select(&["10.1.2.3", "10.9.1.1", "100.64.0.7", "203.0.113.5", "2001:db8::1"]).prop_map(|a| a.parse().unwrap());
    let groups = subsequence(&GROUPS, 0..=3).prop_map(|found| found.into_iter().collect::<Groups>().into());
    let minutes = select(&[0u64, 59, 61, 300, 481, 700, 721]).prop_map(|m| Duration::from_secs(m * 60));
    let proofs = prop::collection::vec((select(&["standard", "mfa", "hardware", "gone"]), minutes), 0..4)
        .prop_map(|list| proofs(&list));
    let certificate = prop_oneof![
        Just(Fact::Known(None)),
        select(&DOMAINS).prop_map(certificate),
        Just(Fact::Unknown(Why::NotGiven)),
    ];
    let country = fact(select(&COUNTRIES).prop_map(|code| Country::parse(code).unwrap()));
    let bound = (devices(), fact(postures().prop_map(Arc::new)), seen());
    let line = (
        select(&["public", "mesh"]),
        select(&["GET", "POST", "HEAD", ""]),
        select(&["/", "/admin", "/admin/users/7", "/administration", ""]),
    );
    (select(&RESOURCES), line, fact(address), identity, fact(groups), proofs, (certificate, country), bound).prop_map(
        |(resource, (listener, method, path), address, identity, groups, proofs, (certificate, country), bound)| {
            Facts {
                device: bound.0,
                posture: bound.1,
                seen: bound.2,
                listener,
                method,
                path,
                address,
                identity,
                groups,
                proofs,
                certificate,
                country,
                ..Facts::unknown(NOW, resource)
            }
        },
    )
}

fn devices() -> BoxedStrategy<Fact<Option<Arc<Device>>>> {
    let owner = fact(prop::option::of(select(&["alice", "dana"]).prop_map(Name::from)));
    let one =
        (owner, fact(any::<bool>()), subsequence(&["finance", "kiosk"], 0..=2)).prop_map(|(owner, managed, tags)| {
            let tags: Box<[Name]> = tags.into_iter().map(Name::from).collect();
            Arc::new(Device { owner, managed, tags, ..Device::new("laptop".into(), "test".into()) })
        });
    fact(prop::option::of(one))
}

fn report<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<Report<T>>> {
    // Some from the future: a clock that is wrong.
    let age = select(&[-2i64, 0, 5, 24, 48]);
    let one = (value, age, select(&SourceTrust::ALL)).prop_map(|(value, age, trust)| {
        let at = Timestamp::from_millis(NOW.millis() - age * 3_600_000);
        Report { value, source: "test".into(), trust, at }
    });
    prop::option::weighted(0.8, one).boxed()
}

fn postures() -> impl Strategy<Value = Posture> {
    let os = (select(&OsFamily::ALL), prop::option::of(version())).prop_map(|(family, version)| Os { family, version });
    let patched = (0u64..50).prop_map(|age| NOW.minus(hours(age)));
    let bools = (report(any::<bool>()), report(any::<bool>()), report(any::<bool>()), report(any::<bool>()));
    (bools, report(select(&Edr::ALL)), report(patched), report(os)).prop_map(
        |((disk_encrypted, firewall, secure_boot, compliant), edr, patched, os)| Posture {
            disk_encrypted,
            firewall,
            secure_boot,
            compliant,
            edr,
            patched,
            os,
        },
    )
}

fn seen() -> impl Strategy<Value = Seen> {
    (fact(any::<bool>()), fact(any::<bool>())).prop_map(|(country, network)| Seen { country, network })
}

/// How open an answer is: what asks for less, or lets in, is more.
pub fn openness(decision: &Decision) -> u8 {
    match &decision.verdict {
        Verdict::Allow(_) => 3,
        Verdict::Login { .. } | Verdict::StepUp { .. } => 2,
        Verdict::Deny => 1,
    }
}

pub fn allows(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_))
}

/// How many facts [`forget`] knows.
const FACTS: usize = 11;

/// The same facts with the `which`-th one unknown.
fn forget<'a>(facts: &Facts<'a>, which: usize) -> Facts<'a> {
    let mut facts = facts.clone();
    match which {
        0 => facts.address = Fact::Unknown(Why::NotGiven),
        1 => facts.groups = Fact::Unknown(Why::NotGiven),
        2 => facts.proofs = proofs(&[]),
        3 => facts.certificate = Fact::Unknown(Why::NotGiven),
        4 => facts.method = "",
        5 => facts.path = "",
        6 => facts.device = Fact::Unknown(Why::NotGiven),
        7 => facts.posture = Fact::Unknown(Why::NotGiven),
        8 => facts.seen.country = Fact::Unknown(Why::NotGiven),
        9 => facts.seen.network = Fact::Unknown(Why::NotGiven),
        _ => facts.country = Fact::Unknown(Why::NotGiven),
    }
    facts
}

proptest! {
    // Times 68 requests: over 100,000 pairs of a policy and facts.
    #![proptest_config(ProptestConfig { max_shrink_iters: 10_000, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn a_second_evaluator_agrees_on_a_hundred_thousand_requests(draft in policies(), requests in prop::collection::vec(facts(), 68)) {
        let policy = build(draft.clone());
        for facts in requests {
            let decision = decide(&policy, &facts);
            prop_assert_eq!(outcome(&decision), naive::outcome(&draft, &facts), "\n{}", explain(&policy, &facts, &decision));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn row_and_exception_order_change_nothing(draft in policies(), requests in prop::collection::vec(facts(), 8)) {
        let mut turned = draft.clone();
        turned.rows.reverse();
        turned.exceptions.reverse();
        turned.zones.reverse();
        let (policy, turned) = (build(draft), build(turned));
        for facts in requests {
            let (one, other) = (policy.decide(&facts), turned.decide(&facts));
            prop_assert_eq!(outcome(&one), outcome(&other));
            prop_assert_eq!(one.exception, other.exception);
        }
    }

    #[test]
    fn adding_a_require_or_a_deny_never_opens(
        draft in policies(),
        index in any::<prop::sample::Index>(),
        added in condition(false),
        deny in any::<bool>(),
        requests in prop::collection::vec(facts(), 8),
    ) {
        let mut more = draft.clone();
        let row = index.get(&draft.rows).resource.value.clone();
        let row = more.rows.iter_mut().find(|own| own.resource.value == row).unwrap();
        if deny { &mut row.deny } else { &mut row.require }.push(guard(1, "added", added));
        let (policy, more) = (build(draft), build(more));
        for facts in requests {
            prop_assert!(openness(&more.decide(&facts)) <= openness(&policy.decide(&facts)));
        }
    }

    #[test]
    fn an_unknown_fact_never_opens_what_was_refused(draft in policies(), requests in prop::collection::vec(facts(), 8)) {
        let policy = build(draft);
        for facts in requests {
            let known = policy.decide(&facts);
            for which in 0..FACTS {
                let less = forget(&facts, which);
                // Without an address the zone is `external`, which a strange policy may open wider than the inside; and
                // `on_unknown: ignore` says in the file that unknown counts as no.
                let zone_moved = policy.decide(&less).zone != known.zone;
                let ignoring = policy.row(facts.resource).is_some() && ignores(&policy, facts.resource);
                if !zone_moved && !ignoring {
                    prop_assert!(allows(&known) || !allows(&policy.decide(&less)), "{:?} -> {:?}", known, policy.decide(&less));
                }
            }
        }
    }

    #[test]
    fn the_chain_verifies_whatever_is_written(texts in prop::collection::vec(any::<String>(), 1..8)) {
        let mut chain = Chain::default();
        let lines: Vec<String> = texts.iter().map(|text| {
            let entry = Entry { path: Some(text.as_str().into()), ..Entry::new(NOW, Kind::Decision) };
            chain.append(&entry).unwrap().text
        }).collect();
        for (line, text) in lines.iter().zip(&texts) {
            prop_assert!(!line.contains(char::is_control));
            let read = Record::parse(line).unwrap().entry.path;
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }
        prop_assert_eq!(verify(&lines, Some(LineHash::GENESIS)).unwrap().last, chain.last());
    }
}

fn ignores(policy: &Policy, resource: &str) -> bool {
    let table = policy.table();
    let row = table.rows.iter().find(|row| *row.resource == *resource);
    row.is_some_and(|row| row.conditions.iter().any(|condition| condition.effect.contains("not if unknown")))
}
