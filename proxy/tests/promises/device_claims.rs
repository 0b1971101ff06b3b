//! The state of the device that somebody signs in with, as the provider's ID token has it.
use crate::harness::pki::replace;
use crate::harness::{Browser, Door, Setup, World, until};
use serde_json::{Value, json};
use std::time::Duration;
use torhaus::clock;

/// A gate that goes by the claim `torhaus_device`, and by a list of devices.
async fn started() -> World {
    let mut setup = Setup::new().await;
    setup.config = setup.config.replace("      tiers:\n", "      posture_claim: torhaus_device\n      tiers:\n");
    setup.config = setup.config.replace(
        "routes:\n",
        "lookups: { posture: { inventory_file: devices.yaml, trust_domains: [devices] } }\nroutes:\n",
    );
    replace(&setup.folder.path().join("devices.yaml"), "version: 1\ndevices:\n  - { id: laptop-17, serial: SER-17 }\n");
    for (resource, asks) in [
        (
            "wary",
            "raise: [{ name: firewall-off, when: { posture: { firewall: false } }, to: mfa, on_unknown: ignore }]",
        ),
        ("strict", "require: [{ name: firewall, posture: { firewall: true } }]"),
        ("fresh", "require: [{ name: lately, posture: { firewall: true, max_report_age: 6s } }]"),
        ("mdm", "require: [{ name: mdm, posture: { firewall: true, source_trust: mdm } }]"),
        ("known", "require: [{ name: known, device: { known: true } }]"),
    ] {
        setup.row(resource, "internal: standard", asks);
    }
    setup.start().await
}

fn report(change: Value) -> Value {
    let mut report = json!({ "version": 1, "observed_at": clock::now().to_string(), "firewall": true });
    report.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    report
}

/// Alice signs in while the provider says this of her device.
async fn signed_in(world: &World, claim: Value) -> Browser<'_> {
    with(world, claim, None).await
}

async fn with<'a>(world: &'a World, claim: Value, device: Option<&str>) -> Browser<'a> {
    world.idp.provider.says(json!({ "torhaus_device": claim }));
    let mut alice = world.browser(Door::Inside).of("alice");
    if let Some(name) = device {
        alice = alice.with_certificate(&world.pki.device(name));
    }
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    alice
}

async fn outcome(browser: &mut Browser<'_>, row: &str) -> (u16, String) {
    browser.fetch(&format!("https://apps.test/{row}")).await.outcome()
}

fn allowed() -> (u16, String) {
    (200, "allowed".to_owned())
}

fn missing() -> (u16, String) {
    (403, "requirement_missing".to_owned())
}

/// What is on record of the device's state at the last refusal of this row.
fn recorded(world: &World, row: &str) -> Value {
    world.recorded_with(&[("resource", row), ("verdict", "deny")]).pop().unwrap()["posture"].clone()
}

#[tokio::test]
async fn a_firewall_that_the_provider_saw_off_raises_the_tier_of_that_session_and_of_no_other() {
    let world = started().await;
    let mut good = signed_in(&world, report(json!({}))).await;
    let mut bad = signed_in(&world, report(json!({ "firewall": false }))).await;
    assert_eq!((outcome(&mut good, "wary").await, outcome(&mut good, "strict").await), (allowed(), allowed()));
    assert_eq!(outcome(&mut bad, "wary").await, (401, "step_up_needed".to_owned()));
    assert_eq!(outcome(&mut bad, "strict").await, missing());
    let firewall = recorded(&world, "strict")["firewall"].clone();
    assert_eq!(
        (&firewall["value"], &firewall["source"], &firewall["trust"]),
        (&false.into(), &"claim of demo".into(), &"agent".into())
    );
    // It is no device management, and it makes no connection a device's.
    assert_eq!((outcome(&mut good, "mdm").await, outcome(&mut good, "known").await), (missing(), missing()));
    // With a second factor she is in, whatever the firewall: and the new login says so of it, too.
    assert_eq!(bad.open("https://apps.test/wary").await.status, 200, "{:?}", bad.trail);
    // A step-up whose token is silent takes nothing away.
    world.idp.provider.says(json!({}));
    assert_eq!(good.open("https://apps.test/level-mfa").await.status, 200, "{:?}", good.trail);
    assert_eq!(outcome(&mut good, "strict").await, allowed());
    // What the session knows, it knows after a restart.
    let (jar, mut world) = (good.jar.clone(), world);
    world.restart().await;
    let mut good = world.browser(Door::Inside);
    good.jar = jar;
    assert_eq!(outcome(&mut good, "strict").await, allowed());
    // Nobody asked the gate to believe it any more.
    world.change("torhaus.yaml", "      posture_claim: torhaus_device\n", "");
    world.reload().await.unwrap();
    assert_eq!(outcome(&mut good, "strict").await, missing());
}

#[tokio::test]
async fn what_the_provider_saw_grows_old() {
    let world = started().await;
    let mut alice = signed_in(&world, report(json!({}))).await;
    assert_eq!(outcome(&mut alice, "fresh").await, allowed());
    until("it is too old for this row", async || outcome(&mut alice, "fresh").await == missing()).await;
    assert_eq!(outcome(&mut alice, "strict").await, allowed());
    let old = clock::now().minus(Duration::from_secs(25 * 3600)).to_string();
    let mut alice = signed_in(&world, report(json!({ "observed_at": old }))).await;
    assert_eq!(outcome(&mut alice, "strict").await, missing());
    assert_eq!(recorded(&world, "strict")["firewall"]["value"], true, "known, and too old");
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_unknown_and_stops_no_login() {
    let world = started().await;
    let marked = "a-value-of-a-claim";
    for (what, claim, why) in [
        ("none", Value::Null, "not_given"),
        ("a text", json!(marked), "malformed"),
        ("a list", json!([report(json!({}))]), "malformed"),
        ("a value of another kind", report(json!({ "firewall": marked })), "malformed"),
        ("another version", report(json!({ "version": 2 })), "malformed"),
        ("no time", json!({ "version": 1, "firewall": true }), "malformed"),
        ("a time that is none", report(json!({ "observed_at": marked })), "malformed"),
        ("of a wrong clock", report(json!({ "observed_at": "2099-01-01T00:00:00Z" })), "malformed"),
        ("5 KiB", report(json!({ "software": "x".repeat(5 << 10) })), "malformed"),
    ] {
        let mut alice = signed_in(&world, claim).await;
        assert_eq!(outcome(&mut alice, "strict").await, missing(), "{what}");
        assert_eq!(recorded(&world, "strict"), json!({ "unknown": why }), "{what}");
        assert_eq!(outcome(&mut alice, "wary").await, allowed(), "{what}: this row ignores what is unknown");
    }
    let log = world.read("stderr.log") + &world.read("stdout.log");
    assert!(log.contains("a device claim does not count") && log.contains("longer than 4 KiB"), "{log}");
    assert!(!log.contains(marked), "a claim's value is in the log");
}

#[tokio::test]
async fn of_a_device_that_shows_itself_a_claim_counts_only_where_it_names_that_very_device() {
    let world = started().await;
    for (what, device, claim, strict) in [
        ("its serial number", "laptop-17", report(json!({ "serial": " ser-17" })), allowed()),
        ("another one's", "laptop-17", report(json!({ "serial": "SER-18" })), missing()),
        ("nobody's", "laptop-17", report(json!({})), missing()),
        ("a placeholder", "laptop-17", report(json!({ "serial": "0" })), missing()),
    ] {
        let mut alice = with(&world, claim, Some(device)).await;
        assert_eq!(outcome(&mut alice, "strict").await, strict, "{what}");
        assert_eq!(outcome(&mut alice, "known").await, allowed(), "{what}");
    }
    // The list and the provider: the worse counts.
    let now = clock::now();
    let list = format!(
        "version: 1\nsource_trust: mdm\ndevices:\n  - id: laptop-17\n    serial: SER-17\n    \
         posture: {{ observed_at: \"{now}\", firewall: true }}\n"
    );
    world.write("devices.yaml", &list);
    let mut alice = with(&world, report(json!({ "serial": "SER-17", "firewall": false })), Some("laptop-17")).await;
    until("the list is read", async || outcome(&mut alice, "mdm").await == missing()).await;
    assert_eq!(outcome(&mut alice, "strict").await, missing());
    let mut alice = with(&world, report(json!({ "serial": "SER-18", "firewall": false })), Some("laptop-17")).await;
    until("hers is another one", async || outcome(&mut alice, "strict").await == allowed()).await;
}
