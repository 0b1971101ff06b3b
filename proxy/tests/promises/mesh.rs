//! Devices of a mesh, by what its control server says. The double answers as `contracts/headscale.md` has it, in both
//! generations: 0.27 with three lists of tags, 0.29 with one.
use crate::harness::api::{Api, Does};
use crate::harness::{Browser, Door, Setup, World, until};
use serde_json::{Value, json};
use std::time::Duration;

const KEY: &str = "hskey-api-abcdefghijkl-0123456789";

/// A node of the release that has one list of tags.
fn node(name: &str, address: &str, change: Value) -> Value {
    let mut node = json!({
        "id": "7", "machineKey": "mkey:1", "nodeKey": "nodekey:1", "discoKey": "discokey:1",
        "ipAddresses": [address, "fd7a:115c:a1e0::7"], "name": "localhost", "givenName": name, "online": true,
        "user": { "id": "2", "name": "alice", "createdAt": "2026-01-02T03:04:05Z", "displayName": "Alice A",
            "email": "alice@example.org", "providerId": "https://idp.test/8f3c", "provider": "oidc", "profilePicUrl": "" },
        "lastSeen": "2026-07-21T10:00:00Z", "expiry": null, "preAuthKey": null, "createdAt": "2026-01-02T03:04:05Z",
        "registerMethod": "REGISTER_METHOD_OIDC", "approvedRoutes": [], "availableRoutes": [], "subnetRoutes": [],
        "tags": [],
    });
    let fields = node.as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        match value.is_null() && key != "expiry" && key != "user" {
            true => fields.remove(key),
            false => fields.insert(key.clone(), value.clone()),
        };
    }
    node
}

fn nodes(list: Vec<Value>) -> Does {
    Does::Say(json!({ "nodes": list }))
}

/// The address of everybody here: a test cannot have one of the mesh.
const HERE: &str = "127.0.0.1";

async fn on_the_mesh(does: Does, more: &str) -> (World, Api) {
    let api = Api::start(does).await;
    let mut setup = Setup::new().await;
    crate::harness::pki::write_secret(&setup.folder.path().join("headscale.key"), KEY);
    setup.config = setup.config.replace("name: office, ", "name: office, mesh: headscale, ").replace(
        "routes:\n",
        &format!(
            "lookups: {{ headscale: {{ url: \"{}\", api_key_file: headscale.key, networks: [127.0.0.0/8], {more} }} }}\n\
             routes:\n",
            api.url()
        ),
    );
    let mut row = |resource: &str, condition: &str| {
        let asks = format!("require: [{{ name: it, device: {{ {condition} }} }}]");
        setup.row(resource, "internal: standard, external: standard", &asks);
    };
    row("own", "owner: self");
    row("kiosk", "tags: [\"tag:kiosk\"]");
    row("any", "known: true");
    (setup.start().await, api)
}

async fn alice(world: &World, door: Door) -> Browser<'_> {
    let mut alice = world.browser(door).of("alice");
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    alice
}

/// Status and the device that is on record, for a row.
async fn asked(world: &World, browser: &mut Browser<'_>, row: &str) -> (u16, Value) {
    let answer = browser.fetch(&format!("https://apps.test/{row}")).await;
    let line = match answer.decision() {
        Some(decision) => world.recorded(&decision),
        None => world.recorded_with(&[("resource", row), ("verdict", "allow")]).pop().unwrap(),
    };
    (answer.status, line["device"].clone())
}

const FAST: &str = "poll: 500ms, max_stale: 3s, timeout: 2s";

#[tokio::test]
async fn a_node_of_the_mesh_is_known_by_name_owner_and_tags_in_both_generations_and_only_there() {
    let new = node("alice-nb", HERE, json!({}));
    let (world, api) = on_the_mesh(nodes(vec![new]), FAST).await;
    until("nodes are read", async || world.status().await.sources.iter().any(|source| source.up)).await;
    assert_eq!(api.asked()[0].header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(api.asked()[0].target, "/api/v1/node");
    let mut alice_on_mesh = alice(&world, Door::Inside).await;
    let is_alices =
        json!({ "id": "alice-nb", "owner": "alice", "managed": { "unknown": "not_found" }, "source": "headscale" });
    assert_eq!(asked(&world, &mut alice_on_mesh, "own").await, (200, is_alices));
    assert_eq!(asked(&world, &mut alice_on_mesh, "kiosk").await.0, 403);
    // The same address by another listener may be anybody's.
    let mut elsewhere = alice(&world, Door::Outside).await;
    for row in ["own", "any"] {
        assert_eq!(asked(&world, &mut elsewhere, row).await, (403, json!({ "unknown": "not_found" })), "{row}");
    }
    // Somebody else on her device.
    let mut dana = world.browser(Door::Inside).of("dana");
    assert_eq!(dana.open("https://apps.test/level-standard").await.status, 200, "{:?}", dana.trail);
    assert_eq!((asked(&world, &mut dana, "own").await.0, asked(&world, &mut dana, "any").await.0), (403, 200));

    let tagged = json!({ "user": { "id": "2147455555", "name": "tagged-devices" }, "tags": ["tag:kiosk"] });
    let before = json!({ "tags": null, "forcedTags": ["tag:kiosk"], "validTags": [], "invalidTags": ["tag:admin"] });
    for (generation, change) in [("one list of tags", tagged), ("three lists of tags", before)] {
        api.does(nodes(vec![node("alice-nb", HERE, json!({}))]));
        until("hers again", async || asked(&world, &mut alice_on_mesh, "own").await.0 == 200).await;
        api.does(nodes(vec![node("screen-1", HERE, change)]));
        until(generation, async || asked(&world, &mut alice_on_mesh, "kiosk").await.0 == 200).await;
        let (status, device) = asked(&world, &mut alice_on_mesh, "own").await;
        assert_eq!((status, &device["id"], &device["owner"]), (403, &"screen-1".into(), &Value::Null), "{generation}");
        assert_eq!(device["tags"], json!(["tag:kiosk"]), "{generation}");
    }
    api.does(nodes(vec![node(
        "router",
        HERE,
        json!({ "approvedRoutes": ["10.0.0.0/8"], "subnetRoutes": ["10.0.0.0/8"] }),
    )]));
    until("a router is nobody's", async || {
        asked(&world, &mut alice_on_mesh, "own").await.1["tags"] == json!(["subnet-router"])
    })
    .await;
    assert_eq!(asked(&world, &mut alice_on_mesh, "own").await.0, 403);
}

#[tokio::test]
async fn an_address_that_was_given_away_or_ran_out_loses_its_device_within_one_poll() {
    let hers = || nodes(vec![node("alice-nb", HERE, json!({}))]);
    let (world, api) = on_the_mesh(hers(), FAST).await;
    let mut alice = alice(&world, Door::Inside).await;
    for (what, then, row, id) in [
        (
            "given to bob",
            nodes(vec![node("bob-nb", HERE, json!({ "user": { "name": "bob" } }))]),
            "own",
            json!("bob-nb"),
        ),
        (
            "expired",
            nodes(vec![node("alice-nb", HERE, json!({ "expiry": "2026-01-01T00:00:00Z" }))]),
            "any",
            Value::Null,
        ),
        ("deleted", nodes(vec![node("other", "127.9.9.9", json!({}))]), "any", Value::Null),
        ("nobody left", nodes(vec![]), "any", Value::Null),
    ] {
        api.does(hers());
        until("it is hers", async || asked(&world, &mut alice, "own").await.0 == 200).await;
        let before = api.asked().len();
        api.does(then);
        until(what, async || asked(&world, &mut alice, row).await.0 == 403).await;
        assert_eq!(asked(&world, &mut alice, row).await.1["id"], id, "{what}");
        // One question that was under way, and the one that told.
        assert!(api.asked().len() - before <= 2, "{what}: {} polls", api.asked().len() - before);
    }
    // No year one: the node never expires.
    api.does(nodes(vec![node("alice-nb", HERE, json!({ "expiry": "0001-01-01T00:00:00Z" }))]));
    until("a node without an end", async || asked(&world, &mut alice, "own").await.0 == 200).await;
}

#[tokio::test]
async fn somebody_new_is_looked_up_at_once_and_one_question_answers_all() {
    let (world, api) = on_the_mesh(nodes(vec![]), "poll: 1h, max_stale: 3h").await;
    let mut alice = alice(&world, Door::Inside).await;
    until("nodes were read", async || world.status().await.sources.iter().any(|source| source.up)).await;
    assert_eq!(api.asked().len(), 1);
    api.does(nodes(vec![node("alice-nb", HERE, json!({}))]));
    until("the new node is known long before the poll", async || asked(&world, &mut alice, "own").await.0 == 200).await;
    // The last question may have been asked just before she was there.
    assert!(api.asked().len() <= 3, "{} questions", api.asked().len());
}

#[tokio::test]
async fn a_control_server_that_is_down_slow_or_mad_makes_devices_unknown_and_stops_nobody_else() {
    let hers = || nodes(vec![node("alice-nb", HERE, json!({}))]);
    let (world, api) = on_the_mesh(hers(), FAST).await;
    let mut alice = alice(&world, Door::Inside).await;
    let slow = Does::Wait(Duration::from_secs(3), Box::new(hers()));
    for (what, does, says) in [
        ("an error", Does::Status(500), "status 500"),
        ("a key that is not accepted", Does::Status(401), "is refused"),
        ("an answer after three seconds", slow, "in time"),
        ("no answer", Does::Silence, "in time"),
        ("a page", Does::Text("<html>hello</html>".into()), "not JSON"),
        ("another API", Does::Say(json!({ "peers": [] })), "not JSON"),
        ("an address that is none", nodes(vec![node("x", "100.64.0.0/10", json!({}))]), "the address"),
        ("10 MiB", Does::Flood(10 << 20), "more than 8 MiB"),
    ] {
        api.does(hers());
        until("it is hers", async || asked(&world, &mut alice, "own").await.0 == 200).await;
        api.does(does);
        let unknown = json!({ "unknown": "stale" });
        until(what, async || asked(&world, &mut alice, "any").await == (403, unknown.clone())).await;
        assert_eq!(alice.fetch("https://apps.test/level-standard").await.status, 200, "{what}");
        let status = world.status().await;
        let source = status.sources.iter().find(|source| source.name == "headscale").unwrap();
        assert!(source.error.as_ref().is_some_and(|error| error.contains(says)), "{what}: {source:?}");
        assert!(status.not_ready.is_empty(), "{status:?}");
    }
    // Whatever it does, no request asks it.
    api.does(Does::Silence);
    let before = api.asked().len();
    for _ in 0..200 {
        assert_eq!(alice.fetch("https://apps.test/level-standard").await.status, 200);
    }
    assert!(api.asked().len() - before <= 20, "{} questions", api.asked().len() - before);
    let log = world.read("stderr.log") + &world.read("stdout.log");
    assert!(!log.contains(KEY), "the key is in the log");
}
