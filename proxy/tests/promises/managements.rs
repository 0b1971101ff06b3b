//! Device managements that the gate asks: doubles built from `contracts/posture.md`.
use crate::harness::api::{Api, Does};
use crate::harness::pki::write_secret;
use crate::harness::{Browser, Door, Setup, World, until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use torhaus::clock;

const TOKEN: &str = "a-token-of-the-api";

/// A gate with one source, and rows that ask about what it says.
async fn asking(source: &str) -> World {
    let mut setup = Setup::new().await;
    write_secret(&setup.folder.path().join("token"), TOKEN);
    let lookups = format!(
        "lookups: {{ posture: {{ trust_domains: [devices], sources: [{{ {source}, poll: 500ms, max_stale: 3s, timeout: 2s }}] }} }}\n\
         routes:\n"
    );
    setup.config = setup.config.replace("routes:\n", &lookups);
    for (resource, asks) in [
        ("disk", "posture: { disk_encrypted: true }"),
        ("compliant", "posture: { compliant: true }"),
        ("edr", "posture: { edr: [healthy] }"),
        ("windows", "posture: { os: [windows], min_os_version: \"10.0.22631\" }"),
        ("managed", "device: { managed: true }"),
        ("mdm", "posture: { disk_encrypted: true, source_trust: mdm }"),
        ("patched", "posture: { patched_within: 30d }"),
        ("own", "device: { owner: self }"),
    ] {
        setup.row(resource, "internal: standard", &format!("require: [{{ name: it, {asks} }}]"));
    }
    setup.start().await
}

/// Alice on the device whose certificate has this name.
async fn on<'a>(world: &'a World, name: &str) -> Browser<'a> {
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&world.pki.device(name));
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    alice
}

async fn opens(browser: &mut Browser<'_>, row: &str) -> bool {
    let answer = browser.fetch(&format!("https://apps.test/{row}")).await;
    assert!(matches!(answer.status, 200 | 403), "{answer:?}");
    answer.status == 200
}

async fn opened(browser: &mut Browser<'_>, rows: &[&'static str]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for row in rows {
        if opens(browser, row).await {
            found.push(*row);
        }
    }
    found
}

fn host(serial: &str, change: Value) -> Value {
    let now = clock::now().to_string();
    let mut host = json!({ "id": 1, "hostname": "laptop", "uuid": format!("uuid-{serial}"), "hardware_serial": serial,
        "platform": "windows", "os_version": "Microsoft Windows 11 Pro 23H2 10.0.22631.2861", "status": "online",
        "seen_time": now, "detail_updated_at": now, "policy_updated_at": now, "disk_encryption_enabled": true,
        "mdm": { "enrollment_status": "On (automatic)", "name": "Fleet" }, "issues": { "failing_policies_count": 0 },
        "policies": [{ "id": 1, "name": "p", "response": "pass" }], "team_id": null });
    host.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    host
}

/// The second page of 101 hosts is the one that is looked for.
fn hosts(wanted: Vec<Value>) -> Does {
    let first: Vec<Value> = (0..100).map(|n| host(&format!("OTHER-{n}"), json!({ "id": n + 2 }))).collect();
    Does::Look(Arc::new(move |target| {
        Does::Say(json!({ "hosts": if target.contains("page=0") { first.clone() } else { wanted.clone() } }))
    }))
}

#[tokio::test]
async fn fleet_says_which_disks_are_encrypted_and_what_it_did_not_ask_yet_is_unknown() {
    let api = Api::start(hosts(vec![host("SER-17", json!({}))])).await;
    let world = asking(&format!("name: fleet, kind: fleet, url: \"{}\", token_file: token", api.url())).await;
    let mut alice = on(&world, "ser-17").await;
    let rows = ["disk", "compliant", "windows", "managed", "mdm", "own"];
    until("the second page was read", async || opens(&mut alice, "disk").await).await;
    assert_eq!(opened(&mut alice, &rows).await, ["disk", "compliant", "windows", "managed"]);
    let asked = api.asked();
    assert_eq!(asked[0].header("authorization"), format!("Bearer {TOKEN}"));
    assert!(asked[0].target.starts_with("/api/v1/fleet/hosts?page=0&per_page=100"), "{}", asked[0].target);
    let line = world.recorded_with(&[("resource", "disk"), ("verdict", "allow")]).pop().unwrap();
    assert_eq!((&line["device"]["serial"], &line["device"]["source"]), (&"ser-17".into(), &"fleet".into()));
    assert_eq!(line["posture"]["disk_encrypted"]["trust"], "agent");
    // By the UUID of its hardware as well; never by a name that it chose itself.
    assert!(opens(&mut on(&world, "uuid-ser-17").await, "disk").await);
    assert!(!opens(&mut on(&world, "laptop").await, "disk").await);
    let old = json!({ "detail_updated_at": "2020-01-01T00:00:00Z", "seen_time": clock::now().to_string() });
    for (what, change, left) in [
        ("not encrypted", json!({ "disk_encryption_enabled": false }), vec!["compliant", "windows", "managed"]),
        ("not known", json!({ "disk_encryption_enabled": null }), vec!["compliant", "windows", "managed"]),
        ("online, and told long ago", old, vec!["compliant", "managed"]),
        (
            "a policy fails",
            json!({ "policies": [{ "response": "pass" }, { "response": "fail" }] }),
            vec!["disk", "windows", "managed"],
        ),
        ("one did not run", json!({ "policies": [{ "response": "" }] }), vec!["disk", "windows", "managed"]),
        (
            "counted alone",
            json!({ "policies": null, "issues": { "failing_policies_count": 2 } }),
            vec!["disk", "windows", "managed"],
        ),
        (
            "another version",
            json!({ "os_version": "Microsoft Windows 10 10.0.19045.1" }),
            vec!["disk", "compliant", "managed"],
        ),
        ("not enrolled", json!({ "mdm": { "enrollment_status": "Off" } }), vec!["disk", "compliant", "windows"]),
    ] {
        let all = ["disk", "compliant", "windows", "managed"];
        api.does(hosts(vec![host("SER-17", json!({}))]));
        until("all is well", async || opened(&mut alice, &all).await == all).await;
        api.does(hosts(vec![host("SER-17", change)]));
        until(what, async || opened(&mut alice, &all).await == left).await;
    }
    api.does(hosts(vec![host("SER-17", json!({})), host("SER-17", json!({ "id": 9 }))]));
    until("two of one serial number are neither", async || !opens(&mut alice, "managed").await).await;
}

#[tokio::test]
async fn intune_is_asked_with_a_token_that_goes_to_no_other_server() {
    let now = clock::now().to_string();
    let device = move |change: Value| {
        let mut device = json!({ "id": "f3a1", "azureADDeviceId": "9b2c-1", "serialNumber": "SER-17",
            "operatingSystem": "Windows", "osVersion": "10.0.22631.4460", "complianceState": "compliant",
            "isEncrypted": true, "lastSyncDateTime": now, "partnerReportedThreatState": "secured" });
        device.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        device
    };
    let pages = |next: String, device: Value| {
        Does::Look(Arc::new(move |target| {
            if target.ends_with("/oauth2/v2.0/token") {
                return Does::Say(json!({ "access_token": "of-the-app", "token_type": "Bearer", "expires_in": 3599 }));
            }
            match target.contains("skiptoken") {
                true => Does::Say(json!({ "value": [device] })),
                false => Does::Say(json!({ "value": [], "@odata.nextLink": next })),
            }
        }))
    };
    let api = Api::start(Does::Silence).await;
    let next = format!("{}/v1.0/deviceManagement/managedDevices?$skiptoken=2", api.url());
    api.does(pages(next.clone(), device(json!({}))));
    let source = format!(
        "name: intune, kind: intune, url: \"{}\", tenant: contoso, client_id: app, client_secret_file: token",
        api.url()
    );
    let world = asking(&source).await;
    let rows = ["disk", "compliant", "edr", "windows", "managed", "mdm"];
    let mut alice = on(&world, "ser-17").await;
    until("devices were read", async || opened(&mut alice, &rows).await == rows).await;
    let asked = api.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", "/contoso/oauth2/v2.0/token"));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(asked[0].body.as_bytes()).into_owned().collect();
    let scope = format!("{}/.default", api.url());
    for (name, value) in
        [("grant_type", "client_credentials"), ("client_id", "app"), ("client_secret", TOKEN), ("scope", &scope)]
    {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{form:?}");
    }
    assert_eq!(asked[1].header("authorization"), "Bearer of-the-app");
    // As Intune's and Entra's certificates name it.
    for name in ["f3a1", "9b2c-1"] {
        assert!(opens(&mut on(&world, name).await, "disk").await, "{name}");
    }
    for (what, change, left) in [
        (
            "not compliant",
            json!({ "complianceState": "noncompliant" }),
            vec!["disk", "edr", "windows", "managed", "mdm"],
        ),
        ("not judged", json!({ "complianceState": "unknown" }), vec!["disk", "edr", "windows", "managed", "mdm"]),
        (
            "in grace",
            json!({ "complianceState": "inGracePeriod", "isEncrypted": false }),
            vec!["compliant", "edr", "windows", "managed"],
        ),
        (
            "compromised",
            json!({ "partnerReportedThreatState": "compromised" }),
            vec!["disk", "compliant", "windows", "managed", "mdm"],
        ),
        ("no word for two days", json!({ "lastSyncDateTime": "2020-01-01T00:00:00Z" }), vec!["managed"]),
    ] {
        api.does(pages(next.clone(), device(json!({}))));
        until("all is well", async || opened(&mut alice, &rows).await == rows).await;
        api.does(pages(next.clone(), device(change)));
        until(what, async || opened(&mut alice, &rows).await == left).await;
    }
    let elsewhere = Api::start(Does::Say(json!({ "value": [] }))).await;
    api.does(pages(format!("{}/?skiptoken=2", elsewhere.url()), device(json!({}))));
    until("it is not believed", async || {
        let status = world.status().await;
        status
            .sources
            .iter()
            .any(|s| s.name == "intune" && s.error.as_ref().is_some_and(|e| e.contains("another server")))
    })
    .await;
    assert!(elsewhere.asked().is_empty(), "the token was sent elsewhere");
}

#[tokio::test]
async fn any_list_of_devices_is_read_by_a_mapping_and_one_that_flaps_is_as_good_as_its_last_answer() {
    let now = clock::now().to_string();
    let list = move |change: Value| {
        let mut device = json!({ "name": "laptop-17", "hw": { "serial": "SER-17" }, "user": "alice", "seen": now,
            "sec": { "disk": "yes", "av": "healthy", "patch_days": 3 }, "os": { "name": "Windows", "version": "10.0.22631" } });
        device.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Does::Look(Arc::new(move |target| match target.contains("cursor=2") {
            true => Does::Say(json!({ "data": { "items": [device] }, "next": null })),
            false => Does::Say(json!({ "data": { "items": [] }, "next": "/devices?cursor=2" })),
        }))
    };
    let api = Api::start(list(json!({}))).await;
    let world = asking(&format!(
        "name: cmdb, kind: json, url: \"{}/devices\", header: X-Api-Key, token_file: token, source_trust: mdm, mapping: {{ \
         devices: /data/items, next: /next, id: /name, serial: /hw/serial, owner: /user, observed_at: /seen, \
         disk_encrypted: /sec/disk, edr: /sec/av, patch_age_days: /sec/patch_days, os: /os/name, os_version: /os/version }}",
        api.url()
    ))
    .await;
    let rows = ["disk", "edr", "windows", "mdm", "patched", "own"];
    let mut alice = on(&world, "laptop-17").await;
    until("devices were read", async || opened(&mut alice, &rows).await == rows).await;
    assert_eq!((api.asked()[0].header("x-api-key"), api.asked()[0].header("authorization")), (TOKEN, ""));
    assert!(opens(&mut on(&world, "ser-17").await, "disk").await, "by its serial number");

    // One answer in two fails: what it said counts on.
    let good = list(json!({}));
    let flips = std::sync::atomic::AtomicUsize::new(0);
    api.does(Does::Look(Arc::new(move |target| {
        let first = !target.contains("cursor=2");
        let turn = flips.fetch_add(usize::from(first), std::sync::atomic::Ordering::AcqRel);
        let Does::Look(good) = &good else { unreachable!() };
        if first && turn.is_multiple_of(2) { Does::Status(502) } else { good(target) }
    })));
    let failures = async || {
        let status = world.status().await;
        status.sources.iter().find(|source| source.name == "cmdb").map_or(0, |source| source.failures)
    };
    let before = failures().await;
    until("it failed four times", async || {
        assert_eq!(opened(&mut alice, &rows).await, rows);
        failures().await >= before + 4
    })
    .await;

    for (what, does, says) in [
        ("a value of another kind", list(json!({ "sec": { "disk": "perhaps" } })), "at `/sec/disk` is not a yes or no"),
        ("no list", Does::Say(json!({ "data": [] })), "no list of devices at `/data/items`"),
        ("a device without a name", list(json!({ "name": null })), "nothing stands at `/name`"),
        ("three seconds", Does::Wait(Duration::from_secs(3), Box::new(list(json!({})))), "in time"),
        ("10 MiB", Does::Flood(10 << 20), "more than 8 MiB"),
        ("a refused key", Does::Status(403), "is refused"),
    ] {
        api.does(list(json!({})));
        until("all is well", async || opened(&mut alice, &rows).await == rows).await;
        api.does(does);
        until(what, async || opened(&mut alice, &rows).await.is_empty()).await;
        let status = world.status().await;
        let error = status.sources.iter().find(|source| source.name == "cmdb").and_then(|source| source.error.clone());
        assert!(error.as_ref().is_some_and(|error| error.contains(says)), "{what}: {error:?}");
        assert_eq!(alice.fetch("https://apps.test/level-standard").await.status, 200, "{what}");
    }
}
