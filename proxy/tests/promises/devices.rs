//! Devices that come to the gate: written down, approved, forgotten, and what they say of themselves.
use crate::harness::pki::{Identity, replace, write_secret};
use crate::harness::{Answer, Browser, Call, Door, Setup, World, until};
use serde_json::{Value, json};
use std::fs;

use torhaus::clock;

const POSTURE: &str = "/.torhaus/posture";

/// Puts a row behind `apps.test`.
fn row(setup: &mut Setup, resource: &str, more: &str) {
    setup.row(resource, "internal: standard, external: standard", more);
}

fn posture(setup: &mut Setup, text: &str) {
    let lookups = format!("lookups: {{ posture: {{ trust_domains: [devices], {text} }} }}\nroutes:\n");
    setup.config = setup.config.replace("routes:\n", &lookups);
}

async fn signed_in<'a>(world: &'a World, person: &'static str, device: &Identity) -> Browser<'a> {
    let mut browser = world.browser(Door::Inside).of(person).with_certificate(device);
    assert_eq!(browser.open("https://apps.test/level-standard").await.status, 200, "{:?}", browser.trail);
    browser
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

async fn listed(world: &World) -> Vec<Value> {
    let (code, out, _) = world.torhaus(&["device", "list", "--output", "json"]).await;
    assert_eq!(code, 0);
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn a_device_in_no_list_is_written_down_and_known_from_its_approval_until_it_is_forgotten() {
    let mut setup = Setup::new().await;
    row(&mut setup, "listed", "require: [{ name: listed, device: { known: true } }]");
    row(&mut setup, "own", "require: [{ name: own, device: { owner: self } }]");
    posture(&mut setup, "agent: true");
    let mut world = setup.start().await;
    let laptop = world.pki.device("Laptop-99");
    let mut alice = signed_in(&world, "alice", &laptop).await;
    assert_eq!(outcome(&mut alice, "listed").await, missing());
    until("the device is written down", async || !listed(&world).await.is_empty()).await;
    let device = listed(&world).await.pop().unwrap();
    assert_eq!(
        (&device["id"], &device["used_by"], &device["sources"], &device["owner"]),
        (&"laptop-99".into(), &"alice".into(), &"certificate".into(), &Value::Null)
    );
    let (code, out, _) = world.torhaus(&["device", "list", "--unknown"]).await;
    assert!(code == 0 && out.contains("laptop-99"), "{out}");

    let (code, out, _) = world.torhaus(&["device", "approve", "laptop-98"]).await;
    assert!(code == 1 && out.contains("no device `laptop-98`"), "{out}");
    assert_eq!(world.torhaus(&["device", "approve", "laptop-99"]).await.0, 0);
    // The operator did not say whose it is.
    assert_eq!((outcome(&mut alice, "listed").await, outcome(&mut alice, "own").await), (allowed(), missing()));
    assert_eq!(world.torhaus(&["device", "approve", "laptop-99", "--owner", "alice"]).await.0, 0);
    assert_eq!(outcome(&mut alice, "own").await, allowed());
    let line = world.recorded_with(&[("resource", "own"), ("verdict", "allow")]).pop().unwrap();
    assert_eq!((&line["device"]["id"], &line["device"]["source"]), (&"laptop-99".into(), &"approved".into()));
    let (_, out, _) = world.torhaus(&["device", "list", "--unknown"]).await;
    assert_eq!(out.trim(), "no devices");
    let mut other = signed_in(&world, "alice", &world.pki.device("laptop-98")).await;
    assert_eq!(outcome(&mut other, "listed").await, missing(), "another device");

    // Over a restart, and after its certificate was renewed.
    drop((alice, other));
    world.restart().await;
    let renewed = world.pki.device("Laptop-99");
    let mut alice = signed_in(&world, "alice", &renewed).await;
    assert_eq!(outcome(&mut alice, "own").await, allowed());
    assert_eq!(world.torhaus(&["device", "forget", "laptop-99"]).await.0, 0);
    assert_eq!(outcome(&mut alice, "listed").await, missing());
    let said: Vec<Value> =
        world.recorded_with(&[("kind", "admin")]).into_iter().map(|line| line["detail"].clone()).collect();
    let said: Vec<&str> = said.iter().filter_map(Value::as_str).collect();
    assert!(said.iter().any(|line| line.starts_with("device laptop-99 was approved as alice's by uid")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("device laptop-99 was forgotten by uid")), "{said:?}");
}

/// The portal asks no browser for a certificate, so it cannot know; the row's own host does.
#[tokio::test]
async fn the_portal_leads_to_what_opens_with_a_device() {
    let world = World::start().await;
    let device = world.pki.device("laptop-17");
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&device);
    let page = alice.open("https://auth.test/").await;
    let card = |title: &str| {
        let cards: Vec<&str> = page.body.split("<li class=\"card").filter(|card| card.contains(title)).collect();
        assert_eq!(cards.len(), 1, "{title}: {}", page.body);
        cards[0].to_owned()
    };
    let device_card = card("https://device.test");
    assert!(device_card.contains("With your device"), "{device_card}");
    assert_eq!(alice.open("https://device.test/").await.status, 200, "{:?}", alice.trail);
}

#[tokio::test]
async fn people_see_their_own_devices_and_remove_them_and_nobody_elses() {
    let mut setup = Setup::new().await;
    posture(&mut setup, "agent: true");
    let world = setup.start().await;
    let laptop = world.pki.device("laptop-99");
    let mut alice = signed_in(&world, "alice", &laptop).await;
    until("the device is written down", async || !listed(&world).await.is_empty()).await;
    let page = alice.open("https://auth.test/devices").await;
    assert!(page.status == 200 && page.body.contains("laptop-99"), "{page:?}");
    let mut dana = signed_in(&world, "dana", &world.pki.device("laptop-17")).await;
    until("hers as well", async || listed(&world).await.len() == 2).await;
    let page = dana.open("https://auth.test/devices").await;
    assert!(page.body.contains("laptop-17") && !page.body.contains("laptop-99"), "{page:?}");
    let taken = dana.navigate("POST", "https://auth.test/devices", &[("forget", "laptop-99")]).await;
    assert_eq!((taken.status, listed(&world).await.len()), (400, 2));
    let removed = alice.navigate("POST", "https://auth.test/devices", &[("forget", "laptop-99")]).await;
    assert_eq!((removed.status, removed.header("location")), (303, "/devices?forgotten=1"));
    let left: Vec<Value> = listed(&world).await.into_iter().map(|device| device["id"].clone()).collect();
    assert_eq!(left, ["laptop-17"]);
    let page = alice.open("https://auth.test/devices?forgotten=1").await;
    assert!(!page.body.contains("laptop-99") && page.body.contains("The device was removed."), "{page:?}");
}

fn report(change: Value) -> Value {
    let mut report = json!({ "version": 1, "observed_at": clock::now().to_string() });
    report.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    report
}

async fn send(world: &World, device: Option<&Identity>, report: &Value) -> Answer {
    let call = Call { method: "POST", body: report.to_string(), ..Call::get("apps.test", POSTURE) };
    world.call(Door::Inside, device, &call.with("content-type", "application/json")).await.unwrap()
}

#[tokio::test]
async fn a_firewall_that_is_off_raises_the_tier_and_what_nobody_reported_lately_is_unknown() {
    let mut setup = Setup::new().await;
    row(
        &mut setup,
        "wary",
        "raise: [{ name: firewall-off, when: { posture: { firewall: false } }, to: mfa, on_unknown: ignore }]",
    );
    row(&mut setup, "strict", "require: [{ name: firewall, posture: { firewall: true, source_trust: agent } }]");
    row(&mut setup, "fresh", "require: [{ name: lately, posture: { firewall: true, max_report_age: 3s } }]");
    posture(&mut setup, "agent: true, inventory_file: devices.yaml");
    let now = clock::now();
    let list = format!(
        "version: 1\nsource_trust: mdm\ndevices:\n  - id: listed\n    serial: SER-1\n    posture: {{ observed_at: \"{now}\", firewall: true }}\n"
    );
    replace(&setup.folder.path().join("devices.yaml"), &list);
    let world = setup.start().await;
    let laptop = world.pki.device("laptop-99");
    let mut alice = signed_in(&world, "alice", &laptop).await;
    assert_eq!((outcome(&mut alice, "wary").await, outcome(&mut alice, "strict").await), (allowed(), missing()));

    assert_eq!(send(&world, Some(&laptop), &report(json!({ "firewall": true }))).await.status, 204);
    assert_eq!(
        (outcome(&mut alice, "wary").await, outcome(&mut alice, "strict").await),
        (allowed(), missing()),
        "in no list"
    );
    assert_eq!(world.torhaus(&["device", "approve", "laptop-99"]).await.0, 0);
    assert_eq!((outcome(&mut alice, "wary").await, outcome(&mut alice, "strict").await), (allowed(), allowed()));
    let line = world.recorded_with(&[("resource", "strict"), ("verdict", "allow")]).pop().unwrap();
    let firewall = &line["posture"]["firewall"];
    assert_eq!(
        (&firewall["value"], &firewall["source"], &firewall["trust"]),
        (&true.into(), &"agent".into(), &"agent".into())
    );

    // Off: asked for more, not refused; and with a second factor she is in.
    assert_eq!(send(&world, Some(&laptop), &report(json!({ "firewall": false }))).await.status, 204);
    assert_eq!(outcome(&mut alice, "wary").await, (401, "step_up_needed".to_owned()));
    assert_eq!(outcome(&mut alice, "strict").await, missing());
    assert_eq!(alice.open("https://apps.test/wary").await.status, 200, "{:?}", alice.trail);

    // Nobody said so lately.
    assert_eq!(send(&world, Some(&laptop), &report(json!({ "firewall": true }))).await.status, 204);
    until("the report is too old for this row", async || outcome(&mut alice, "fresh").await == missing()).await;
    assert_eq!(outcome(&mut alice, "strict").await, allowed());
    let line = world.recorded_with(&[("resource", "fresh"), ("verdict", "deny")]).pop().unwrap();
    assert_eq!(line["posture"]["firewall"]["value"], true, "known, and too old");

    // Of what the management and the device say, the worse counts.
    let listed = world.pki.device("listed");
    let mut dana = signed_in(&world, "dana", &listed).await;
    assert_eq!(outcome(&mut dana, "strict").await, allowed());
    assert_eq!(send(&world, Some(&listed), &report(json!({ "firewall": false, "serial": "ser-1" }))).await.status, 204);
    assert_eq!(outcome(&mut dana, "strict").await, missing());
}

#[tokio::test]
async fn a_report_speaks_for_its_sender_alone() {
    let mut setup = Setup::new().await;
    posture(&mut setup, "agent: true, inventory_file: devices.yaml");
    let list = "version: 1\ndevices:\n  - { id: laptop-17, serial: SER-17 }\n  - { id: laptop-18, serial: SER-18 }\n  - { id: bare }\n";
    replace(&setup.folder.path().join("devices.yaml"), list);
    let world = setup.start().await;
    let own = world.pki.device("laptop-17");
    let good = || report(json!({ "firewall": true }));
    let said = |answer: Answer| {
        let detail = serde_json::from_str::<Value>(&answer.body).unwrap_or_default()["detail"].clone();
        (answer.status, answer.reason().unwrap_or_default(), detail.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(send(&world, Some(&own), &report(json!({ "serial": " ser-17 " }))).await.status, 204);
    assert_eq!(send(&world, Some(&own), &report(json!({ "serial": "To be filled by O.E.M." }))).await.status, 204);
    let service = world.pki.service("spiffe://example.test/backup");
    let old = json!({ "version": 1, "observed_at": "2020-01-01T00:00:00Z", "firewall": true });
    let ahead = json!({ "version": 1, "observed_at": "2099-01-01T00:00:00Z" });
    assert_eq!(send(&world, Some(&own), &good()).await.status, 204);
    for (what, device, report, expected) in [
        (
            "another device's serial number",
            Some(&own),
            report(json!({ "serial": "SER-18" })),
            (403, "not_allowed", "`ser-18`"),
        ),
        (
            "one by a device without",
            Some(&world.pki.device("bare")),
            report(json!({ "serial": "SER-18" })),
            (403, "not_allowed", "`ser-18`"),
        ),
        ("no certificate", None, good(), (403, "certificate_missing", "")),
        ("a certificate of a service", Some(&service), good(), (403, "certificate_invalid", "")),
        ("kept back", Some(&own), old, (400, "bad_request", "younger")),
        ("of a wrong clock", Some(&own), ahead, (400, "bad_request", "clock is wrong")),
        ("another form", Some(&own), json!({ "firewall": "on" }), (400, "bad_request", "not of this form")),
        ("another version", Some(&own), json!({ "version": 2, "observed_at": "x" }), (400, "bad_request", "version 2")),
    ] {
        let (status, reason, detail) = said(send(&world, device, &report).await);
        assert_eq!((status, reason.as_str()), (expected.0, expected.1), "{what}");
        assert!(detail.contains(expected.2), "{what}: {detail}");
    }
    // A page elsewhere can make a browser post with the device's certificate.
    let call = || Call { method: "POST", body: good().to_string(), ..Call::get("apps.test", POSTURE) };
    for call in [
        call().with("content-type", "text/plain"),
        call().with("content-type", "application/json").with("origin", "https://evil.test"),
        call().with("content-type", "application/json").with("sec-fetch-site", "cross-site"),
    ] {
        let answer = world.call(Door::Inside, Some(&own), &call).await.unwrap();
        assert_eq!(answer.reason().as_deref(), Some("cross_origin"), "{call:?}");
    }
    let asked = world.call(Door::Inside, Some(&own), &Call::get("apps.test", POSTURE)).await.unwrap();
    assert_eq!(asked.status, 405);
    let devices = listed(&world).await;
    let ids: Vec<&str> = devices.iter().filter_map(|device| device["id"].as_str()).collect();
    assert_eq!(ids, ["laptop-17"], "nothing was written down of who was refused");
    assert_eq!(devices[0]["report"]["firewall"]["value"], true);
    world.change("torhaus.yaml", "agent: true, ", "");
    world.reload().await.unwrap();
    assert_eq!(said(send(&world, Some(&own), &good()).await).1, "no_route");
}

#[tokio::test]
async fn a_device_or_an_address_that_sends_report_after_report_is_told_to_wait_and_no_other_is() {
    let mut setup = Setup::new().await;
    posture(&mut setup, "agent: true, inventory_file: devices.yaml");
    setup.config = setup.config.replace("limits: { ", "limits: { reports_per_minute: 2, ");
    replace(&setup.folder.path().join("devices.yaml"), "version: 1\ndevices: [{ id: laptop-17 }, { id: laptop-18 }]\n");
    let world = setup.start().await;
    let [one, other] = ["laptop-17", "laptop-18"].map(|name| world.pki.device(name));
    // The same device: its certificate was renewed.
    let renewed = world.pki.device("laptop-17");
    let firewall = |on: bool| report(json!({ "firewall": on }));
    for device in [&one, &renewed] {
        assert_eq!(send(&world, Some(device), &firewall(true)).await.status, 204);
    }
    for device in [&one, &renewed] {
        let answer = send(&world, Some(device), &firewall(false)).await;
        assert_eq!(answer.outcome(), (429, "rate_limited".to_owned()));
        assert_eq!(answer.header("retry-after"), "60");
        assert!(answer.body.contains("this device sent too many"), "{answer:?}");
    }
    assert_eq!(send(&world, Some(&other), &firewall(true)).await.status, 204, "another device is not held up");
    let reported = |name: &str, devices: Vec<Value>| {
        devices.into_iter().find(|device| device["id"] == name).unwrap()["report"]["firewall"]["value"].clone()
    };
    assert_eq!(reported("laptop-17", listed(&world).await), true, "what was not taken changed nothing");
    // An address may send as many as fifty devices, with a certificate or without.
    let mut refused = 0;
    let answer = loop {
        let answer = send(&world, None, &firewall(true)).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.outcome(), (403, "certificate_missing".to_owned()));
        refused += 1;
        assert!(refused < 1_000, "nobody is told to wait");
    };
    assert!(refused >= 95, "{refused}");
    assert!(answer.body.contains("this address sent too many"), "{answer:?}");
    let call = Call { method: "POST", body: firewall(true).to_string(), ..Call::get("apps.test", POSTURE) };
    let call = call.with("content-type", "application/json");
    until("by another door it is the same address", async || {
        world.call(Door::Outside, Some(&other), &call).await.unwrap().body.contains("this address sent too many")
    })
    .await;
    assert_eq!(world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap().status, 200);
    let (_, metrics) = crate::harness::raw::ask(&crate::signals::socket(&world), "/metrics").await;
    for (result, count) in [("taken", 3), ("refused", refused)] {
        let line = format!("torhaus_posture_reports_total{{result=\"{result}\"}} {count}");
        assert!(metrics.lines().any(|own| own == line), "{line}: {metrics}");
    }
    let limited =
        metrics.lines().find_map(|line| line.strip_prefix("torhaus_posture_reports_total{result=\"rate_limited\"} "));
    assert!(limited.is_some_and(|count| count.parse::<u64>().unwrap() >= 4), "{metrics}");
}

#[tokio::test]
async fn this_machine_reports_what_it_can_read_and_the_gate_goes_by_it() {
    let mut setup = Setup::new().await;
    // A name that this machine can look up.
    let hosts = ["localhost", "apps.test", "auth.test"].map(str::to_owned);
    let others = crate::harness::files::HOSTS.iter().map(ToString::to_string);
    setup.pki.write(setup.folder.path(), &others.chain([hosts[0].clone()]).collect::<Vec<_>>());
    let up = format!("http://127.0.0.1:{}", setup.echo.port);
    setup.config.push_str(&format!(
        "  - {{ name: here, host: localhost, upstream: \"{up}\", resource: level-standard, \
         client_auth: {{ mode: required, trust_domains: [devices] }} }}\n"
    ));
    row(&mut setup, "linux", "require: [{ name: linux, posture: { os: [linux] } }]");
    posture(&mut setup, "agent: true, inventory_file: devices.yaml");
    replace(&setup.folder.path().join("devices.yaml"), "version: 1\ndevices: [{ id: this-one }]\n");
    let world = setup.start().await;
    let device = world.pki.device("this-one");
    fs::write(world.path("device.pem"), &device.cert_pem).unwrap();
    write_secret(&world.path("device.key"), &device.key_pem);
    let mut alice = signed_in(&world, "alice", &device).await;
    assert_eq!(outcome(&mut alice, "linux").await, missing());

    let run = async |more: &[&str]| {
        let mut command = tokio::process::Command::new(crate::harness::world::binary());
        let output = command.args(["posture", "report"]).args(more).output().await.unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, printed) = run(&[]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &printed["version"], &printed["os"]["family"]), (0, &1.into(), &"linux".into()));
    let gate = format!("https://localhost:{}/", world.address(Door::Inside).port());
    let files = [world.path("device.pem"), world.path("device.key"), world.path("web-ca.pem")];
    let [cert, key, ca] = files.each_ref().map(|file| file.to_str().unwrap());
    let (code, words) = run(&["--to", &gate, "--cert", cert, "--key", key, "--ca-file", ca]).await;
    assert_eq!((code, words.trim()), (0, "the gate took the report"));
    assert_eq!(outcome(&mut alice, "linux").await, allowed());
    // Field by field what was printed: no value that was not read, and none lost.
    let line = world.recorded_with(&[("resource", "linux"), ("verdict", "allow")]).pop().unwrap();
    for field in ["disk_encrypted", "firewall", "secure_boot", "edr"] {
        assert_eq!(line["posture"][field]["value"], printed[field], "{field}: {line}");
    }
    assert_eq!(line["posture"]["os"]["value"], printed["os"]);
    assert_eq!(line["posture"].get("patched").is_some(), printed.get("patch_age_days").is_some());
    // Not to somebody else who answers there, and not without the device's key.
    let (code, words) = run(&["--to", &gate, "--cert", cert, "--key", key]).await;
    assert!(code == 3 && words.contains("certificate"), "{words}");
    let (code, words) = run(&["--to", "http://localhost/", "--cert", cert, "--key", key]).await;
    assert_ne!(code, 0, "{words}");
}
