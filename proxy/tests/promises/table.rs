//! M6: the table that the IT lead has on paper holds, inside and outside, for each person.
use crate::harness::{Browser, Door, World};

/// What somebody gets who has proven a tier: inside, outside.
type Row = (&'static str, &'static str, &'static str);

const ZONE: &str = "403 zone_denied";
const NOT: &str = "403 not_allowed";
const MFA: &str = "401 step_up_needed mfa";
const KEY: &str = "401 step_up_needed hardware";
const OK: &str = "200 allowed";

const ROWS: [(&str, &str, &[Row]); 9] = [
    (
        "alice",
        "standard",
        &[
            ("wiki", OK, OK),
            ("samba-general", MFA, MFA),
            ("samba-hr", NOT, ZONE),
            ("proxmox", KEY, ZONE),
            ("headscale", KEY, ZONE),
            ("k3s-critical", NOT, NOT),
            ("backup-api", NOT, ZONE),
            ("device-only", "403 requirement_missing", "403 requirement_missing"),
            ("payroll", "404 no_route", "404 no_route"),
        ],
    ),
    ("alice", "mfa", &[("wiki", OK, OK), ("samba-general", OK, OK), ("proxmox", KEY, ZONE), ("headscale", KEY, ZONE)]),
    (
        "alice",
        "hardware",
        &[
            ("wiki", OK, OK),
            ("samba-general", OK, OK),
            ("samba-hr", NOT, ZONE),
            ("proxmox", OK, ZONE),
            ("headscale", OK, ZONE),
            ("k3s-critical", NOT, NOT),
        ],
    ),
    (
        "dana",
        "standard",
        &[("wiki", OK, OK), ("samba-general", MFA, MFA), ("samba-hr", MFA, ZONE), ("proxmox", NOT, ZONE)],
    ),
    (
        "dana",
        "mfa",
        &[
            ("wiki", OK, OK),
            ("samba-general", OK, OK),
            ("samba-hr", OK, ZONE),
            ("proxmox", NOT, ZONE),
            ("headscale", NOT, ZONE),
            ("k3s-critical", NOT, NOT),
        ],
    ),
    (
        "eve",
        "standard",
        &[("wiki", OK, OK), ("samba-general", MFA, MFA), ("samba-hr", NOT, ZONE), ("k3s-critical", MFA, MFA)],
    ),
    (
        "eve",
        "hardware",
        &[
            ("wiki", OK, OK),
            ("samba-general", OK, OK),
            ("samba-hr", NOT, ZONE),
            ("proxmox", NOT, ZONE),
            ("headscale", NOT, ZONE),
            ("k3s-critical", OK, OK),
        ],
    ),
    (
        "mallory",
        "standard",
        &[("wiki", OK, OK), ("samba-general", MFA, MFA), ("samba-hr", NOT, ZONE), ("k3s-critical", NOT, NOT)],
    ),
    (
        "mallory",
        "mfa",
        &[
            ("wiki", OK, OK),
            ("samba-general", OK, OK),
            ("samba-hr", NOT, ZONE),
            ("proxmox", NOT, ZONE),
            ("headscale", NOT, ZONE),
            ("k3s-critical", NOT, NOT),
            ("backup-api", NOT, ZONE),
        ],
    ),
];

/// What the answer says, and the audit log of it.
async fn outcome(world: &World, browser: &mut Browser<'_>, person: &str, resource: &str) -> String {
    let answer = browser.fetch(&format!("https://apps.test/{resource}")).await;
    let (status, reason) = answer.outcome();
    if reason == "no_route" {
        return format!("{status} {reason}");
    }
    let zone = browser.door.zone();
    let line = match answer.decision() {
        Some(decision) => world.recorded(&decision),
        None => {
            let values = [("verdict", "allow"), ("resource", resource), ("zone", zone)];
            let mut lines = world.recorded_with(&values).into_iter().filter(|line| line["who"]["name"] == *person);
            lines.next_back().unwrap_or_else(|| panic!("{person} was let in to {resource} and no line says so"))
        }
    };
    let told = (&line["reason"], &line["resource"], &line["zone"], &line["who"]["name"], &line["listener"]);
    assert_eq!(
        told,
        (&reason.clone().into(), &resource.into(), &zone.into(), &person.into(), &browser.door.listener().into())
    );
    match reason.as_str() {
        "step_up_needed" => format!("{status} {reason} {}", line["tier"].as_str().unwrap()),
        _ => format!("{status} {reason}"),
    }
}

#[tokio::test]
async fn the_table_of_m6_holds_inside_and_outside_for_four_people() {
    let world = World::start().await;
    for (person, tier, rows) in ROWS {
        let mut browser = world.browser(Door::Outside).of(person);
        let got = browser.open(&format!("https://apps.test/level-{tier}")).await;
        assert_eq!(got.status, 200, "{person} signs in with {tier}: {:?}", browser.trail);
        for (resource, inside, outside) in rows {
            let before = world.echo.count();
            for (door, expected) in [(Door::Inside, inside), (Door::Outside, outside)] {
                browser.go(door);
                let found = outcome(&world, &mut browser, person, resource).await;
                assert_eq!(found, **expected, "{person} ({tier}) wants {resource} {door:?}");
            }
            let allowed = [inside, outside].iter().filter(|expected| ***expected == OK).count();
            assert_eq!(world.echo.count() - before, allowed, "{person} ({tier}) at {resource}: what arrived");
        }
    }
}

#[tokio::test]
async fn before_sign_in_every_row_asks_who_it_is_or_stays_closed() {
    let world = World::start().await;
    let login = "401 login_needed";
    for (resource, inside, outside) in [
        ("wiki", login, login),
        ("samba-general", login, login),
        // EX-14 may let somebody in from outside, so we ask who it is.
        ("samba-hr", login, login),
        ("proxmox", login, ZONE),
        ("headscale", login, ZONE),
        ("k3s-critical", login, login),
        ("backup-api", login, ZONE),
        ("payroll", "404 no_route", "404 no_route"),
    ] {
        for (door, expected) in [(Door::Inside, inside), (Door::Outside, outside)] {
            let (status, reason) = world.browser(door).fetch(&format!("https://apps.test/{resource}")).await.outcome();
            assert_eq!(format!("{status} {reason}"), expected, "{resource} {door:?}");
            if reason != "no_route" {
                // One line per network and reason, whoever asks for what: probing cannot fill the disk.
                assert_eq!(world.recorded_with(&[("reason", &reason), ("kind", "refusals")]).len(), 1);
            }
        }
    }
    assert_eq!(world.echo.count(), 0);
}

#[tokio::test]
async fn a_person_signs_in_once_and_steps_up_where_the_row_asks() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let wiki = alice.open("https://wiki.test/page?x=1").await.seen();
    assert_eq!((wiki.target.as_str(), wiki.header("x-forwarded-user")), ("/page?x=1", Some("alice")));
    assert_eq!(wiki.header("x-forwarded-groups"), Some("all-employees,it-admins"));

    // Another host: no form, the session is there.
    let issuer = world.idp.issuer.clone();
    assert_eq!(alice.open("https://device.test/").await.reason().as_deref(), Some("requirement_missing"));
    assert!(!alice.trail.iter().any(|(_, url)| url.starts_with(&issuer)), "{:?}", alice.trail);

    // A stronger row: only the missing factor is asked for.
    let proxmox = alice.open("https://pve.test/vms").await.seen();
    assert_eq!((proxmox.target.as_str(), proxmox.header("x-forwarded-user")), ("/vms", Some("alice")));
    let forms = alice.trail.iter().filter(|(_, url)| url.contains("/interaction/")).count();
    assert_eq!(forms, 2, "one form, shown and sent: {:?}", alice.trail);
    let kinds: Vec<_> = world.audit().iter().map(|line| line["kind"].clone()).collect();
    assert!(kinds.contains(&"login".into()) && kinds.contains(&"step_up".into()), "{kinds:?}");

    // A person who cannot prove what the row asks for is told so, once.
    let mut eve = world.browser(Door::Outside).of("mallory");
    let answer = eve.open("https://apps.test/level-hardware").await;
    assert_eq!(answer.reason().as_deref(), Some("step_up_failed"), "{:?}", eve.trail);
}
