//! Facts from files that others write while the gate runs, and from where people were before.
use crate::harness::mmdb::{Schema, database};
use crate::harness::pki::replace;
use crate::harness::{Door, Setup, World, until};
use std::fs;

/// Puts keys behind a row of the policy.
fn row(setup: &mut Setup, resource: &str, more: &str) {
    setup.row(resource, "internal: standard", more);
}

fn lookups(setup: &mut Setup, text: &str) {
    setup.config = setup.config.replace("routes:\n", &format!("lookups: {{ {text} }}\nroutes:\n"));
}

async fn signed_in<'a>(world: &'a World, device: Option<&str>) -> crate::harness::Browser<'a> {
    let mut alice = world.browser(Door::Inside).of("alice");
    if let Some(name) = device {
        alice = alice.with_certificate(&world.pki.device(name));
    }
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    alice
}

#[tokio::test]
async fn a_database_of_countries_may_come_change_break_and_go_while_the_gate_runs() {
    let mut setup = Setup::new().await;
    row(&mut setup, "near", "raise: [{ name: far, when: { country_not_in: [DE] }, to: mfa }]");
    lookups(&mut setup, "geoip: { database_file: country.mmdb }");
    let world = setup.start().await;
    let mut alice = signed_in(&world, None).await;
    let put = |bytes: &[u8]| {
        fs::write(world.path("country.new"), bytes).unwrap();
        fs::rename(world.path("country.new"), world.path("country.mmdb")).unwrap();
    };
    let german = database(127, "DE", Schema::MaxMind);
    let raised = (401, "step_up_needed".to_owned());
    // Missing: nobody knows the country, and that asks for more. The process is well, and says what it is without.
    assert_eq!(alice.fetch("https://apps.test/near").await.outcome(), raised);
    let status = world.status().await;
    assert!(status.not_ready.is_empty() && status.without[0].contains("country.mmdb"), "{status:?}");
    let mut last = raised.clone();
    for (what, bytes, outcome, well) in [
        ("Germany", german.clone(), (200, "allowed".to_owned()), true),
        ("France, in the flat schema", database(127, "FR", Schema::Flat), raised.clone(), true),
        ("Germany, in the flat schema", database(127, "DE", Schema::Flat), (200, "allowed".to_owned()), true),
        ("half a file", german[..german.len() / 2].to_vec(), raised.clone(), false),
        ("Germany again", german.clone(), (200, "allowed".to_owned()), true),
        ("an address of no country", database(9, "DE", Schema::MaxMind), raised.clone(), true),
    ] {
        assert_ne!(outcome, last, "{what} would show nothing");
        put(&bytes);
        until(what, async || alice.fetch("https://apps.test/near").await.outcome() == outcome).await;
        assert_eq!(world.status().await.without.is_empty(), well, "{what}");
        last = outcome;
    }
    fs::remove_file(world.path("country.mmdb")).unwrap();
    until("the loss is noticed", async || !world.status().await.without.is_empty()).await;
    assert_eq!(alice.fetch("https://apps.test/near").await.outcome(), raised);
    let line = world.recorded_with(&[("resource", "near"), ("country", "FR")]);
    assert_eq!(line[0]["reason"], "step_up_needed");
}

#[tokio::test]
async fn a_device_is_found_by_its_certificate_and_judged_by_the_newest_list() {
    const LIST: &str = "version: 1\nsource_trust: mdm\ndevices:\n  - id: laptop-17\n    managed: true\n    posture: \
                        { observed_at: NOW, disk_encrypted: true }\n";
    let now = torhaus::clock::now().to_string();
    let list = LIST.replace("NOW", &now);
    let mut setup = Setup::new().await;
    row(
        &mut setup,
        "payslips",
        "require: [{ name: managed, device: { managed: true } }, { name: disk, posture: { disk_encrypted: true, \
         source_trust: mdm } }]",
    );
    lookups(&mut setup, "posture: { inventory_file: devices.yaml, trust_domains: [devices] }");
    replace(&setup.folder.path().join("devices.yaml"), &list);
    let world = setup.start().await;
    let url = "https://apps.test/payslips";
    let missing = |condition: &str| (403, "requirement_missing".to_owned(), condition.to_owned());
    let refused = async |browser: &mut crate::harness::Browser<'_>| {
        let answer = browser.fetch(url).await;
        let line = world.recorded(&answer.decision().unwrap());
        (answer.status, answer.reason().unwrap(), line["condition"].as_str().unwrap().to_owned())
    };
    // Without a certificate, and with one of a device that is in no list.
    assert_eq!(refused(&mut signed_in(&world, None).await).await, missing("managed"));
    assert_eq!(refused(&mut signed_in(&world, Some("laptop-99")).await).await, missing("managed"));
    let mut laptop = signed_in(&world, Some("laptop-17")).await;
    assert_eq!(laptop.fetch(url).await.outcome(), (200, "allowed".to_owned()));
    let line = &world.recorded_with(&[("resource", "payslips"), ("verdict", "allow")])[0];
    assert_eq!(
        (&line["device"]["id"], &line["posture"]["disk_encrypted"]["value"]),
        (&"laptop-17".into(), &true.into())
    );
    assert_eq!(line["posture"]["disk_encrypted"]["source"], "inventory");
    // The list says something else now; then it is broken, and the last good one counts on.
    world.write("devices.yaml", &list.replace("disk_encrypted: true", "disk_encrypted: false"));
    until("the disk is not encrypted any more", async || laptop.fetch(url).await.status == 403).await;
    assert_eq!(refused(&mut laptop).await, missing("disk"));
    world.write("devices.yaml", &list);
    until("it is again", async || laptop.fetch(url).await.status == 200).await;
    world.write("devices.yaml", "version: 1\ndevices: [");
    until("the mistake is noticed", async || !world.status().await.without.is_empty()).await;
    assert_eq!(laptop.fetch(url).await.outcome(), (200, "allowed".to_owned()));
    // A report that is too old is none.
    world.write("devices.yaml", &list.replace(&now, "2020-01-01T00:00:00Z"));
    until("the report is stale", async || laptop.fetch(url).await.status == 403).await;
    assert_eq!(refused(&mut laptop).await, missing("disk"));
}

#[tokio::test]
async fn a_place_is_new_until_somebody_proved_more_than_a_password_there() {
    let mut setup = Setup::new().await;
    row(&mut setup, "careful", "raise: [{ name: new, when: { new_place: network }, to: mfa }]");
    let world = setup.start().await;
    let url = "https://apps.test/careful";
    let raised = (401, "step_up_needed".to_owned());
    let mut alice = signed_in(&world, None).await;
    // A password alone makes no place a known one, however often it is used.
    assert_eq!(alice.fetch(url).await.outcome(), raised);
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
    assert_eq!(alice.fetch(url).await.outcome(), raised);
    assert_eq!(alice.open(url).await.status, 200, "{:?}", alice.trail);
    // From now on a password is enough, for her and for nobody else.
    let mut again = signed_in(&world, None).await;
    until("the place is known", async || again.fetch(url).await.outcome() == (200, "allowed".to_owned())).await;
    let mut dana = world.browser(Door::Inside).of("dana");
    assert_eq!(dana.open("https://apps.test/level-standard").await.status, 200, "{:?}", dana.trail);
    assert_eq!(dana.fetch(url).await.outcome(), raised);
    let lines = world.recorded_with(&[("resource", "careful"), ("verdict", "allow")]);
    let seen: Vec<_> = lines.iter().map(|line| line["seen"]["network"].clone()).collect();
    assert_eq!(seen, [false.into(), serde_json::Value::from(true)]);
}

#[tokio::test]
async fn a_stolen_password_teaches_no_place_through_the_part_of_a_row_that_asks_for_no_more() {
    let mut setup = Setup::new().await;
    row(
        &mut setup,
        "careful",
        "raise: [{ name: new, when: { new_place: network, paths: [/careful/admin] }, to: mfa }]",
    );
    row(&mut setup, "strict", "deny: [{ name: new, new_place: network }]");
    let world = setup.start().await;
    let (url, admin) = ("https://apps.test/careful", "https://apps.test/careful/admin");
    let raised = (401, "step_up_needed".to_owned());
    let mut alice = signed_in(&world, None).await;
    for _ in 0..3 {
        assert_eq!(alice.fetch(url).await.status, 200);
        assert_eq!(alice.fetch(admin).await.outcome(), raised);
        assert_eq!(alice.fetch("https://apps.test/strict").await.outcome(), (403, "condition_denied".to_owned()));
    }
    let lines = world.recorded_with(&[("resource", "careful"), ("verdict", "step_up")]);
    assert!(!lines.is_empty() && lines.iter().all(|line| line["seen"]["network"] == false), "{lines:?}");
    assert_eq!(alice.open(admin).await.status, 200, "{:?}", alice.trail);
    let mut again = signed_in(&world, None).await;
    until("the place is known", async || again.fetch(admin).await.outcome() == (200, "allowed".to_owned())).await;
}
