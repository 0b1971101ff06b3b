//! What each condition asks, and what it answers when the fact is unknown.
use crate::fixture::*;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::*;

/// `yes`, `no`, `unknown` or `pending`, as the explanation says it of a `raise` with this condition alone.
fn asked(condition: &Condition, facts: &Facts<'_>) -> String {
    serde_json::to_value(explained(condition, facts).answer).unwrap().as_str().unwrap().to_owned()
}

fn explained(condition: &Condition, facts: &Facts<'_>) -> ExplainedStep {
    let facts = Facts { resource: "wiki", ..facts.clone() };
    let policy = m6_with("wiki", |row| {
        row.allow = vec![at(9, "authenticated")];
        row.raise = vec![raise(21, "asked", condition.clone(), "hardware")];
    });
    let decision = policy.decide(&facts);
    let steps = explain(&policy, &facts, &decision).steps;
    steps.into_iter().find(|step| step.text.contains("`asked`")).unwrap()
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn names(list: &[&str]) -> Vec<Located<String>> {
    list.iter().map(|name| at(21, *name)).collect()
}

fn dana() -> Facts<'static> {
    of(request("wiki", OUTSIDE), user("dana"), &["hr"], "mfa")
}

#[test]
fn a_path_condition_ends_at_the_border_of_a_segment() {
    let below =
        |prefix: &str, path: &'static str| asked(&Condition::Paths(names(&[prefix])), &Facts { path, ..dana() });
    for (prefix, path, expected) in [
        ("/admin", "/admin", "yes"),
        ("/admin", "/admin/", "yes"),
        ("/admin", "/admin/users", "yes"),
        ("/admin/", "/admin", "yes"),
        ("/admin", "/administration", "no"),
        ("/admin", "/a", "no"),
        ("/admin", "/", "no"),
        ("/admin", "/x/admin", "no"),
        ("/admin", "/Admin", "no"),
        ("/admin/users", "/admin", "no"),
        ("/", "/", "yes"),
        ("/", "/anything", "yes"),
        ("/admin", "", "unknown"),
        ("/", "", "unknown"),
    ] {
        assert_eq!(below(prefix, path), expected, "{path} below {prefix}");
    }
    let several = Condition::Paths(names(&["/admin", "/api"]));
    assert_eq!(asked(&several, &Facts { path: "/api/v1", ..dana() }), "yes");
    assert_eq!(asked(&not(several), &Facts { path: "", ..dana() }), "unknown");
}

#[test]
fn a_method_is_the_one_that_was_sent() {
    let reading = Condition::Methods(names(&["GET", "HEAD"]));
    for (method, expected) in [("GET", "yes"), ("HEAD", "yes"), ("POST", "no"), ("get", "no"), ("", "unknown")] {
        assert_eq!(asked(&reading, &Facts { method, ..dana() }), expected, "{method}");
    }
}

#[test]
fn a_continent_follows_from_the_country() {
    let europe = Condition::ContinentIn(vec![Continent::Europe]);
    for (code, expected) in [("DE", "yes"), ("NO", "yes"), ("US", "no"), ("KP", "no"), ("ZZ", "unknown")] {
        assert_eq!(asked(&europe, &Facts { country: country(code), ..dana() }), expected, "{code}");
    }
    let nowhere = Facts { country: Fact::Unknown(Why::SourceDown), ..dana() };
    assert_eq!((asked(&europe, &nowhere), asked(&not(europe), &nowhere)), ("unknown".into(), "unknown".into()));
}

#[test]
fn a_place_is_new_to_somebody_who_was_not_seen_there() {
    let seen = |country, network| Facts { seen: Seen { country, network }, ..dana() };
    let unknown = Fact::Unknown(Why::SourceDown);
    let (country, network) = (Condition::NewPlace(NewPlace::Country), Condition::NewPlace(NewPlace::Network));
    for (facts, of_country, of_network) in [
        (seen(Fact::Known(true), Fact::Known(false)), "no", "yes"),
        (seen(Fact::Known(false), Fact::Known(true)), "yes", "no"),
        (seen(unknown, Fact::Known(true)), "unknown", "no"),
        (seen(Fact::Known(true), unknown), "no", "unknown"),
    ] {
        assert_eq!((asked(&country, &facts).as_str(), asked(&network, &facts).as_str()), (of_country, of_network));
    }
}

#[test]
fn whom_a_place_is_new_for_is_known_after_a_login() {
    let new = Condition::NewPlace(NewPlace::Network);
    let required = m6_with("wiki", |row| row.require = vec![guard(9, "known place", not(new.clone()))]);
    let denied = m6_with("wiki", |row| row.deny = vec![guard(9, "new place", new.clone())]);
    let raised = m6_with("wiki", |row| row.raise = vec![raise(9, "new place", new.clone(), "hardware")]);
    for (policy, known) in [required, denied, raised].iter().flat_map(|policy| [(policy, true), (policy, false)]) {
        let seen = Seen { country: Fact::Known(known), network: Fact::Known(known) };
        let nobody = Facts { identity: Identity::Anonymous, seen, ..request("wiki", INSIDE) };
        assert_eq!(outcome(&policy.decide(&nobody)), "login standard", "seen: {known}");
    }
}

#[test]
fn a_country_is_two_capital_letters() {
    for wrong in ["", "D", "DEU", "de", "De", "dE", "D1", "1D"] {
        assert_eq!(Country::parse(wrong), None, "{wrong}");
    }
    assert_eq!(Country::parse("DE").unwrap().as_str(), "DE");
}

#[test]
fn a_device_is_known_managed_somebodys_and_tagged_as_its_list_says() {
    let with = |device| Facts { device, ..dana() };
    let device = |owner: Fact<Option<Name>>, managed| {
        let known = Device {
            id: "d-1".into(),
            serial: None,
            owner,
            tags: ["laptop".into(), "stock".into()].into(),
            managed,
            source: "inventory".into(),
        };
        with(Fact::Known(Some(Arc::new(known))))
    };
    let silent = Fact::Unknown(Why::NotFound);
    let hers = device(Fact::Known(Some("dana".into())), Fact::Known(true));
    let his = device(Fact::Known(Some("bob".into())), Fact::Known(false));
    let nobodys = device(Fact::Known(None), Fact::Known(true));
    let untold = device(silent.clone(), silent.clone().map(|_: Option<Name>| true));
    let (in_no_list, unasked) = (with(Fact::Known(None)), with(Fact::Unknown(Why::SourceDown)));
    let facts = [&hers, &his, &nobodys, &untold, &in_no_list, &unasked];
    for (asks, expected) in [
        (DeviceDraft::Known(true), ["yes", "yes", "yes", "yes", "no", "unknown"]),
        (DeviceDraft::Known(false), ["no", "no", "no", "no", "yes", "unknown"]),
        (DeviceDraft::Managed(true), ["yes", "no", "yes", "unknown", "no", "unknown"]),
        (DeviceDraft::Managed(false), ["no", "yes", "no", "unknown", "yes", "unknown"]),
        (DeviceDraft::Own, ["yes", "no", "no", "unknown", "no", "unknown"]),
        (DeviceDraft::Owners(names(&["bob", "carol"])), ["no", "yes", "no", "unknown", "no", "unknown"]),
        (DeviceDraft::Tags(names(&["stock"])), ["yes", "yes", "yes", "yes", "no", "unknown"]),
        (DeviceDraft::Tags(names(&["phone"])), ["no", "no", "no", "no", "no", "unknown"]),
    ] {
        let condition = Condition::Device(asks.clone());
        assert_eq!(facts.map(|facts| asked(&condition, facts)), expected, "{asks:?}");
    }
    let nobody_yet = Facts { identity: Identity::Anonymous, ..hers.clone() };
    assert_eq!(asked(&Condition::Device(DeviceDraft::Own), &nobody_yet), "pending");
    assert_eq!(asked(&Condition::Device(DeviceDraft::Known(true)), &nobody_yet), "yes");
    let a_service = Facts { identity: service("spiffe://example.test/dana"), ..hers };
    assert_eq!(asked(&Condition::Device(DeviceDraft::Own), &a_service), "no");
}

fn posture(asks: Vec<PostureAsk>) -> Condition {
    Condition::Posture(PostureDraft { asks, max_report_age: hours(24), source: SourceTrust::Agent })
}

#[test]
fn the_state_of_a_device_is_what_was_reported_of_it() {
    fn reported<T>(value: T) -> Option<Report<T>> {
        Some(Report { value, source: "agent".into(), trust: SourceTrust::Agent, at: NOW.minus(hours(1)) })
    }
    let state = |good: bool, edr, patched, family, version: Option<&str>| Posture {
        disk_encrypted: reported(good),
        firewall: reported(good),
        secure_boot: reported(good),
        compliant: reported(good),
        edr: reported(edr),
        patched: reported(NOW.minus(hours(patched))),
        os: reported(Os { family, version: version.and_then(OsVersion::parse) }),
    };
    let good = state(true, Edr::Healthy, 48, OsFamily::Linux, Some("6.1.5"));
    let bad = state(false, Edr::Absent, 49, OsFamily::Windows, Some("6.1.4"));
    let vague = Posture { os: reported(Os { family: OsFamily::Macos, version: None }), ..Posture::default() };
    let facts = [good, bad, vague].map(|posture| Facts { posture: Fact::Known(Arc::new(posture)), ..dana() });
    let version = OsVersion::parse("6.1.5").unwrap();
    for (ask, expected, words) in [
        (PostureAsk::DiskEncrypted(true), ["yes", "no", "unknown"], "its disk is encrypted"),
        (PostureAsk::DiskEncrypted(false), ["no", "yes", "unknown"], "its disk is not encrypted"),
        (PostureAsk::Firewall(true), ["yes", "no", "unknown"], "its firewall is on"),
        (PostureAsk::Firewall(false), ["no", "yes", "unknown"], "its firewall is off"),
        (PostureAsk::SecureBoot(true), ["yes", "no", "unknown"], "its secure boot is on"),
        (PostureAsk::SecureBoot(false), ["no", "yes", "unknown"], "its secure boot is off"),
        (PostureAsk::Compliant(true), ["yes", "no", "unknown"], "its management calls it compliant"),
        (PostureAsk::Compliant(false), ["no", "yes", "unknown"], "its management does not call it compliant"),
        (PostureAsk::Edr(vec![Edr::Healthy]), ["yes", "no", "unknown"], "its malware protection is `healthy`"),
        (PostureAsk::PatchedWithin(hours(48)), ["yes", "no", "unknown"], "it was patched within 2d"),
        (PostureAsk::Os(vec![OsFamily::Linux, OsFamily::Macos]), ["yes", "no", "yes"], "its system is"),
        (PostureAsk::OsVersionAtLeast(version), ["yes", "no", "unknown"], "its system is of version 6.1.5 or later"),
    ] {
        let condition = posture(vec![ask.clone()]);
        assert_eq!(facts.each_ref().map(|facts| asked(&condition, facts)), expected, "{ask:?}");
        let step = explained(&condition, &facts[0]);
        assert!(step.text.contains(words), "{}", step.text);
    }
}

#[test]
fn a_question_about_a_device_is_shown_in_words() {
    for (ask, words) in [
        (DeviceDraft::Known(true), "the device is in a list"),
        (DeviceDraft::Known(false), "the device is in no list"),
        (DeviceDraft::Managed(true), "the device is managed"),
        (DeviceDraft::Managed(false), "the device is not managed"),
        (DeviceDraft::Own, "the device is the person's own"),
        (DeviceDraft::Owners(names(&["bob"])), "the device is of `bob`"),
        (DeviceDraft::Tags(names(&["stock"])), "the device has tag `stock`"),
    ] {
        let step = explained(&Condition::Device(ask), &dana());
        assert!(step.text.contains(words), "{}", step.text);
    }
}

#[test]
fn a_named_network_is_its_addresses() {
    let office = |nets: &[&str]| {
        Condition::Networks(vec![NetworkDraft {
            name: at(21, "office"),
            networks: nets.iter().map(|text| net(text)).collect(),
        }])
    };
    let condition = office(&["203.0.113.0/24", "2001:db8::/32"]);
    for (address, expected) in [
        ("203.0.113.5", "yes"),
        ("::ffff:203.0.113.5", "yes"),
        ("203.0.114.5", "no"),
        ("2001:db8::1", "yes"),
        ("2001:db9::1", "no"),
    ] {
        assert_eq!(asked(&condition, &Facts { address: Fact::Known(address.parse().unwrap()), ..dana() }), expected);
    }
    let nowhere = Facts { address: Fact::Unknown(Why::NotGiven), ..dana() };
    assert_eq!((asked(&condition, &nowhere), asked(&not(condition), &nowhere)), ("unknown".into(), "unknown".into()));

    let mut draft = m6();
    draft.rows[0].require = vec![guard(21, "mesh", office(&["100.64.0.0/16"]))];
    let problem = Policy::build(draft).unwrap_err().remove(0);
    assert!(problem.message.contains("carriers"), "{problem:?}");
}

#[test]
fn a_proof_may_be_asked_to_be_newer_than_its_tier_does() {
    let fresh = |tier: &str, minutes: u64| Condition::Proof {
        tier: at(21, tier),
        newer_than: Duration::from_secs(minutes * 60),
    };
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (proven, condition, expected) in [
        (vec![("mfa", minutes(14))], fresh("mfa", 15), "yes"),
        (vec![("mfa", minutes(16))], fresh("mfa", 15), "no"),
        // A higher tier proves the lower, and never the other way round.
        (vec![("hardware", minutes(1))], fresh("mfa", 15), "yes"),
        (vec![("standard", minutes(1))], fresh("mfa", 15), "no"),
        (vec![("mfa", minutes(16)), ("standard", minutes(1)), ("hardware", minutes(2))], fresh("mfa", 15), "yes"),
        (vec![], fresh("standard", 15), "no"),
        (vec![("gone", minutes(1))], fresh("standard", 15), "no"),
    ] {
        let facts = Facts { proofs: proofs(&proven), ..dana() };
        assert_eq!(asked(&condition, &facts), expected, "{proven:?}");
    }
    let ahead = Proof { tier: "mfa".into(), proven_at: NOW.plus(minutes(2)), provider: "corp".into() };
    assert_eq!(asked(&fresh("mfa", 15), &Facts { proofs: [ahead].into(), ..dana() }), "no");
    assert_eq!(asked(&fresh("mfa", 15), &request("wiki", OUTSIDE)), "pending");
}

#[test]
fn a_window_of_time_is_known_at_any_time() {
    // A Wednesday, 12:00 UTC.
    let at_noon =
        |days, from, to, offset| Condition::Time(Window::new(days, from, to, Clock::offset(offset).unwrap()).unwrap());
    let wednesday = [false, false, true, false, false, false, false];
    for (condition, expected) in [
        (at_noon([true; 7], 8 * 60, 18 * 60, 0), "yes"),
        (at_noon([true; 7], 8 * 60, 12 * 60, 0), "no"),
        (at_noon([true; 7], 8 * 60, 12 * 60, -60), "yes"),
        (at_noon(wednesday, 0, 1440, 0), "yes"),
        (at_noon(wednesday, 0, 1440, 13 * 60), "no"),
    ] {
        assert_eq!(asked(&condition, &dana()), expected, "{condition:?}");
        assert_eq!(asked(&not(condition), &dana()), if expected == "yes" { "no" } else { "yes" });
    }
}

#[test]
fn a_policy_says_whether_a_window_opened_or_closed_in_between() {
    let night = Window::new([true; 7], 22 * 60, 6 * 60, Clock::offset(0).unwrap()).unwrap();
    let deep = Condition::All(vec![Condition::Methods(names(&["GET"])), not(Condition::Time(night.clone()))]);
    for condition in [Condition::Time(night), deep] {
        let policy = m6_with("wiki", |row| row.require = vec![guard(21, "hours", condition)]);
        let differs = |then: u64, now: u64| policy.time_differs("wiki", NOW.plus(hours(then)), NOW.plus(hours(now)));
        // From noon on.
        assert!(!differs(0, 9) && differs(9, 10) && !differs(10, 17) && differs(17, 18));
        assert!(!policy.time_differs("samba-hr", NOW, NOW.plus(hours(10))), "its row asks for no window");
        assert!(!policy.time_differs("nowhere", NOW, NOW.plus(hours(10))));
    }
}

#[test]
fn a_certificate_of_any_domain_is_one_that_still_lives() {
    let any = Condition::AnyClientCertificate;
    let gone = Facts { certificate: Fact::Unknown(Why::Stale), ..dana() };
    for (facts, is_any, is_none) in [
        (Facts { certificate: certificate("partner"), ..dana() }, "yes", "no"),
        (Facts { certificate: Fact::Known(None), ..dana() }, "no", "yes"),
        (Facts { certificate: certificate("partner"), now: NOW.plus(hours(25)), ..dana() }, "no", "yes"),
        (gone, "unknown", "unknown"),
    ] {
        assert_eq!((asked(&any, &facts), asked(&not(any.clone()), &facts)), (is_any.into(), is_none.into()));
    }
}

#[test]
fn what_can_never_hold_or_be_slipped_past_is_refused() {
    for (condition, expected) in [
        (Condition::Paths(names(&["admin"])), "path `admin` does not begin with `/`"),
        (Condition::Paths(names(&["/admin/*"])), "path `/admin/*` has a `*`"),
        (Condition::Paths(names(&["/a:b"])), "path `/a:b` can be spelled in several ways"),
        (Condition::Paths(names(&["/a%20b"])), "can be spelled in several ways"),
        (Condition::Paths(names(&["/a/../b"])), "can be spelled in several ways"),
        (Condition::Paths(names(&["//"])), "path `//`"),
        (Condition::Paths(vec![]), "has an empty list"),
        (Condition::Methods(names(&["get"])), "`get` is not a method"),
        (Condition::Proof { tier: at(21, "mffa"), newer_than: hours(1) }, "unknown tier `mffa`"),
        (Condition::Proof { tier: at(21, "mfa"), newer_than: hours(0) }, "less than a second"),
        (Condition::ContinentIn(vec![]), "has an empty list"),
        (Condition::Networks(vec![]), "has an empty list"),
    ] {
        let mut draft = m6();
        draft.rows[0].require = vec![guard(21, "c", condition)];
        let problems = Policy::build(draft).unwrap_err();
        assert!(problems.iter().any(|p| p.line == 21 && p.message.contains(expected)), "{expected}: {problems:?}");
    }
}

#[test]
fn a_row_open_to_anyone_may_ask_for_everything_but_a_person() {
    let status = |condition: Condition| {
        let mut draft = m6();
        draft.rows[7].require = vec![guard(21, "c", condition)];
        Policy::build(draft).is_ok()
    };
    assert!(status(Condition::Paths(names(&["/public"]))) && status(Condition::AnyClientCertificate));
    assert!(!status(Condition::Proof { tier: at(21, "mfa"), newer_than: hours(1) }));
}

#[test]
fn a_time_window_makes_a_test_say_when_it_is() {
    let night = Window::new([true; 7], 22 * 60, 6 * 60, Clock::offset(0).unwrap()).unwrap();
    let policy = m6_with("wiki", |row| row.deny = vec![guard(21, "night", Condition::Time(night.clone()))]);
    let test = TestDraft {
        name: at(40, "days only"),
        resource: "wiki".to_owned(),
        who: TestSubject::User { name: "dana".to_owned(), provider: "corp".to_owned(), federated: false },
        groups: Some(vec!["all-employees".to_owned()]),
        address: INSIDE.parse().ok(),
        listener: None,
        country: None,
        certificate: None,
        device: None,
        posture: None,
        seen: None,
        proven: vec![("standard".to_owned(), hours(0))],
        method: None,
        path: None,
        now: None,
        expect: VerdictKind::Allow,
        reason: None,
        tier: None,
    };
    let run = |test: TestDraft| policy.run_tests(&[test], NOW).tests.remove(0);
    assert!(run(test.clone()).depends_on_time.is_some_and(|why| why.contains("what time it is")));
    assert!(run(TestDraft { now: Some(NOW), ..test.clone() }).passed);
    assert!(run(TestDraft { now: Some(NOW.plus(hours(11))), expect: VerdictKind::Deny, ..test }).passed);
}
