//! The log's promises: one record is one line, and tampering shows.
use crate::fixture::*;
use std::hash::{BuildHasher, RandomState};
use torhaus_authz::*;

fn lines(count: u64) -> (Vec<String>, Chain) {
    let policy = build(m6());
    let mut chain = Chain::default();
    let lines = (0..count)
        .map(|n| {
            let facts = of(request("wiki", INSIDE), user("dana"), &["hr"], "mfa");
            let mut entry = Entry::decided(&format!("d{n}"), &facts, &policy.decide(&facts));
            entry.before = n;
            chain.append(&entry).unwrap().text
        })
        .collect();
    (lines, chain)
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let policy = build(m6());
    let facts = Facts {
        path: "/a/b?token=secret",
        certificate: certificate("devices"),
        country: Fact::Unknown(Why::SourceDown),
        ..of(request("samba-hr", OUTSIDE), user("carol"), &["hr"], "mfa")
    };
    let decision = policy.decide(&facts);
    let entry = Entry { before: 7, detail: Some("x".into()), ..Entry::decided("d1", &facts, &decision) };
    let mut chain = Chain::default();
    let line = chain.append(&entry).unwrap();
    let record = Record::parse(&line.text).unwrap();
    assert_eq!(record.entry, entry);
    assert_eq!((record.sequence, record.previous, record.hash), (1, LineHash::GENESIS, line.hash));
    assert_eq!(entry.path.as_deref(), Some("/a/b"));
    assert!(!line.text.contains("secret"));
    for part in [
        r#"{"seq":1,"time":"2026-07-01T12:00:00Z","kind":"decision","decision":"d1","who":{"is":"user","name":"carol""#,
        r#""zone":"external","listener":"public","address":"203.0.113.5","country":{"unknown":"source_down"},"tier":"hardware""#,
        r#""verdict":"step_up","reason":"step_up_needed","exception":"EX-14","policy":"5f1e","before":7"#,
    ] {
        assert!(line.text.contains(part), "{part}\n{}", line.text);
    }
    let Fact::Known(set) = &facts.groups else { panic!("known") };
    let groups = chain.append(&Entry::groups(NOW, set)).unwrap();
    let read = Record::parse(&groups.text).unwrap().entry;
    assert_eq!((read.kind, read.groups, read.group_names), (Kind::Groups, entry.groups, vec!["hr".into()]));
}

#[test]
fn whatever_a_client_sends_one_record_is_one_bounded_line() {
    let evil = "a\r\n\u{1b}[31m\u{0}\u{7f}\u{9b}\u{85}\u{2028}\u{202e}\"\\é😀";
    let long = "é".repeat(MAX_VALUE_BYTES) + "\n\n";
    let entry = Entry {
        path: Some(evil.into()),
        detail: Some(long.as_str().into()),
        who: Some(Who::from(&user(evil))),
        ..Entry::new(NOW, Kind::Decision)
    };
    let line = Chain::default().append(&entry).unwrap();
    assert!(!line.text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{}", line.text);
    assert!(line.text.len() < 3 * MAX_VALUE_BYTES);
    let read = Record::parse(&line.text).unwrap().entry;
    assert_eq!(read.path.as_deref(), Some(evil));
    let detail = read.detail.unwrap();
    assert!(detail.ends_with(&format!("é… {} bytes cut", MAX_VALUE_BYTES + 2)), "{}", &detail[detail.len() - 40..]);
    verify([line.text], Some(LineHash::GENESIS)).unwrap();
}

#[test]
fn an_intact_chain_verifies_and_goes_on_over_segments() {
    let (all, chain) = lines(20);
    let summary = verify(&all, Some(LineHash::GENESIS)).unwrap();
    assert_eq!((summary.lines, summary.first_sequence, summary.last_sequence), (20, 1, 20));
    assert_eq!(summary.last, chain.last());
    let first = verify(&all[..12], Some(LineHash::GENESIS)).unwrap();
    let second = verify(&all[12..], Some(first.last)).unwrap();
    assert_eq!(second.last, summary.last);
    assert_eq!(verify(&all[12..], None).unwrap().before_first, first.last);
    let mut resumed = Chain::after(summary.last_sequence, summary.last);
    let next = resumed.append(&Entry::new(NOW, Kind::Stop)).unwrap();
    let all: Vec<String> = all.into_iter().chain([next.text]).collect();
    assert_eq!(verify(&all, Some(LineHash::GENESIS)).unwrap().lines, 21);
}

#[test]
fn tampering_shows_and_says_where() {
    let (all, _) = lines(10);
    let genesis = Some(LineHash::GENESIS);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = all.clone();
        change(&mut lines);
        let broken = verify(&lines, genesis).unwrap_err();
        (broken.line, broken.why)
    };
    let swapped = Broken::NotNext { expected: 4, found: 6 };
    assert_eq!(with(&|l| l[3] = l[3].replace("dana", "carl")), (4, Broken::Altered));
    assert_eq!(with(&|l| l[3].push(' ')), (4, Broken::NotARecord));
    assert_eq!(with(&|l| drop(l.remove(3))), (4, Broken::NotNext { expected: 4, found: 5 }));
    assert_eq!(with(&|l| l.swap(3, 5)), (4, swapped));
    assert_eq!(with(&|l| l.insert(3, l[2].clone())), (4, Broken::NotNext { expected: 4, found: 3 }));
    assert_eq!(with(&|l| drop(l.remove(0))), (1, Broken::NotTheStart));
    assert_eq!(with(&|l| l.clear()), (1, Broken::Empty));
    assert_eq!(with(&|l| l[9].clear()), (10, Broken::NotARecord));
    assert_eq!(
        with(&|l| {
            let half = l[9].len() / 2;
            l[9].truncate(half);
        }),
        (10, Broken::NotARecord)
    );
    // A line that was written anew, with a hash that fits it, is not the one that the next line names.
    let forged = |l: &mut Vec<String>| {
        let mut entry = Record::parse(&l[3]).unwrap().entry;
        entry.reason = Some(Reason::Allowed);
        entry.detail = Some("nothing to see".into());
        l[3] = Chain::after(3, verify(&l[..3], None).unwrap().last).append(&entry).unwrap().text;
    };
    assert_eq!(with(&forged), (5, Broken::OtherPast));
    // Cut off at a segment's border: the next segment does not continue what is left.
    let left = verify(&all[..5], genesis).unwrap();
    let error = verify(&all[6..], Some(left.last)).unwrap_err();
    assert_eq!(error, BrokenAt { line: 1, why: Broken::NotTheStart });
}

#[test]
fn any_single_changed_byte_shows() {
    let (all, _) = lines(3);
    for at in 0..all[1].len() {
        let mut lines: Vec<Vec<u8>> = all.iter().map(|line| line.clone().into_bytes()).collect();
        lines[1][at] ^= 1;
        assert!(verify(&lines, Some(LineHash::GENESIS)).is_err(), "byte {at}");
    }
}

#[test]
fn the_fingerprint_changes_with_every_fact_that_matters_and_with_no_other() {
    let policy = build(m6());
    let other = m6_with("samba-hr", |row| row.max_age = Some(hours(2)));
    let state = RandomState::new();
    let print = |facts: &Facts<'_>| fingerprint(facts, &policy.decide(facts), &state);
    let base = of(request("samba-hr", INSIDE), user("dana"), &["hr", "b"], "mfa");
    let same = [
        Facts { now: NOW.plus(hours(1)), ..base.clone() },
        Facts { path: "/other", method: "HEAD", ..base.clone() },
        Facts { address: Fact::Known("10.9.9.9".parse().unwrap()), ..base.clone() },
        Facts { groups: groups(&["b", "hr"]), ..base.clone() },
    ];
    for facts in same {
        assert_eq!(print(&facts), print(&base), "{facts:?}");
    }
    let backup = of(request("backup-api", INSIDE), service("spiffe://example.test/backup"), &[], "standard");
    let later = Facts { proofs: proofs(&[("standard", hours(1))]), ..backup.clone() };
    assert_eq!(print(&later), print(&backup), "a service proves its tier with each connection");
    let mut seen = vec![print(&base)];
    for facts in [
        Facts { identity: user("carol"), ..base.clone() },
        Facts { identity: Identity::Anonymous, ..base.clone() },
        Facts { resource: "wiki", ..base.clone() },
        Facts { method: "POST", ..base.clone() },
        Facts { listener: "mesh", ..base.clone() },
        Facts { address: Fact::Known("203.0.113.9".parse().unwrap()), ..base.clone() },
        Facts { country: country("FR"), ..base.clone() },
        Facts { country: Fact::Unknown(Why::Stale), ..base.clone() },
        Facts { groups: groups(&["hr"]), ..base.clone() },
        Facts { groups: Fact::Unknown(Why::SourceDown), ..base.clone() },
        Facts { certificate: certificate("devices"), ..base.clone() },
        Facts { proofs: proofs(&[("hardware", hours(0))]), ..base.clone() },
        Facts { proofs: proofs(&[("mfa", hours(20))]), ..base.clone() },
    ] {
        let print = print(&facts);
        assert!(!seen.contains(&print), "{facts:?}");
        seen.push(print);
    }
    assert_eq!(fingerprint(&base, &other.decide(&base), &state), print(&base), "the same version is the same policy");
    assert_ne!(RandomState::new().hash_one(1), state.hash_one(1));
}

#[test]
fn what_a_path_or_method_condition_saw_is_a_fact_that_matters() {
    let state = RandomState::new();
    let paths = |list: &[&str]| Condition::Paths(list.iter().map(|path| at(21, *path)).collect());
    let changing = Condition::Methods(vec![at(22, "PUT"), at(22, "POST")]);
    let policy = m6_with("wiki", |row| {
        row.raise = vec![
            raise(21, "admin", paths(&["/admin"]), "standard"),
            raise(22, "write", Condition::All(vec![paths(&["/api"]), changing]), "standard"),
        ];
    });
    let print = |method: &'static str, path: &'static str| {
        let facts = Facts { method, path, ..of(request("wiki", INSIDE), user("dana"), &["all-employees"], "mfa") };
        let decision = policy.decide(&facts);
        assert_eq!(outcome(&decision), "allow");
        fingerprint(&facts, &decision, &state)
    };
    // Two paths that no condition tells apart are one and the same; the verdict is the same for all.
    assert_eq!(print("GET", "/pages/1"), print("GET", "/pages/2"));
    assert_eq!(print("GET", "/admin"), print("GET", "/admin/users"));
    assert_ne!(print("GET", "/pages/1"), print("GET", "/admin"));
    assert_ne!(print("PUT", "/api"), print("DELETE", "/api"), "two methods that both write");
    assert_ne!(print("PUT", "/admin"), print("PUT", "/api"));
}

#[test]
fn so_it_is_however_deep_the_condition_stands() {
    let state = RandomState::new();
    let admin = || Condition::Paths(vec![at(21, "/admin")]);
    let post = || Condition::Methods(vec![at(21, "POST")]);
    let nested = [
        Condition::All(vec![post(), admin()]),
        Condition::Any(vec![post(), admin()]),
        Condition::Not(Box::new(admin())),
        Condition::Not(Box::new(Condition::Any(vec![admin(), Condition::Not(Box::new(post()))]))),
    ];
    for condition in nested {
        let policy = m6_with("wiki", |row| row.raise = vec![raise(21, "nested", condition.clone(), "standard")]);
        let print = |path: &'static str| {
            let facts = of(request("wiki", INSIDE), user("dana"), &["all-employees"], "mfa");
            let facts = Facts { method: "GET", path, ..facts };
            fingerprint(&facts, &policy.decide(&facts), &state)
        };
        assert_ne!(print("/pages"), print("/admin"), "{condition:?}");
        assert_eq!(print("/pages"), print("/files"), "{condition:?}");
    }
}
