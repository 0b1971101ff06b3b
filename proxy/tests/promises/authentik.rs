//! authentik's API as the directory, and what of it goes into Headscale's policy.
use crate::harness::api::{Api, Does};
use crate::harness::pki::write_secret;
use crate::harness::{Browser, Door, Setup, World, until};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const TOKEN: &str = "a-token-of-authentik";

/// Users by name: whether they are active, and their groups.
type People = Arc<Mutex<Vec<(&'static str, bool, Vec<&'static str>)>>>;

/// Lists come in pages of one, as far as pages are asked for.
fn authentik(people: &People) -> Does {
    let people = people.clone();
    Does::Look(Arc::new(move |target| {
        let url = url::Url::parse(&format!("http://x{target}")).unwrap();
        let of = |key: &str| url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
        let page = of("page").map_or(1, |page| page.parse::<usize>().unwrap());
        let all: Vec<Value> = match url.path() {
            "/api/v3/core/groups/" => vec![
                json!({ "pk": "g-team", "name": "team", "parents": ["g-all"], "is_superuser": false }),
                json!({ "pk": "g-all", "name": "all-employees", "parent": null }),
                json!({ "pk": "g-ring", "name": "ring", "parent": "g-ring" }),
            ],
            "/api/v3/core/users/" => people
                .lock()
                .unwrap()
                .iter()
                .filter(|(name, ..)| of("username").is_none_or(|wanted| wanted == *name))
                .map(|(name, active, groups)| json!({ "pk": 1, "username": name, "is_active": active, "groups": groups, "type": "internal" }))
                .collect(),
            _ => return Does::Status(404),
        };
        let next = if page < all.len() { page + 1 } else { 0 };
        let results: Vec<&Value> = all.get(page - 1).into_iter().collect();
        Does::Say(json!({ "pagination": { "next": next, "count": all.len() }, "results": results }))
    }))
}

async fn started(setup: &mut Setup, more: &str) -> (People, Api) {
    let people: People = Arc::default();
    *people.lock().unwrap() =
        ["alice", "dana", "eve", "frank"].map(|name| (name, true, vec!["g-team", "g-ring"])).to_vec();
    let api = Api::start(authentik(&people)).await;
    write_secret(&setup.folder.path().join("token"), TOKEN);
    let lookups = format!(
        "lookups: {{ authentik: {{ url: \"{}\", token_file: token, poll: 500ms, max_stale: 3s, timeout: 1s }}{more} }}\nroutes:\n",
        api.url()
    );
    setup.config = setup.config.replace("routes:\n", &lookups);
    (people, api)
}

async fn signed_in<'a>(world: &'a World, name: &'static str) -> Browser<'a> {
    let mut browser = world.browser(Door::Inside).of(name);
    assert_eq!(browser.open("https://apps.test/level-standard").await.status, 200, "{:?}", browser.trail);
    browser
}

/// Who the gate takes somebody for: the groups, `null` where they are unknown, and nobody after the session ended. No
/// open request, which a change would cut.
async fn who(browser: &mut Browser<'_>) -> (u16, Value) {
    let answer = browser.fetch("https://apps.test/.torhaus/whoami").await;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status, if body["user"].is_null() { "nobody".into() } else { body["groups"].clone() })
}

async fn asked(browser: &mut Browser<'_>, row: &str) -> (u16, String) {
    browser.fetch(&format!("https://apps.test/{row}")).await.outcome()
}

#[tokio::test]
async fn groups_and_leavers_come_from_authentik_within_a_poll_whoever_manages_them_behind_it() {
    let mut setup = Setup::new().await;
    let (people, api) = started(&mut setup, "").await;
    let world = setup.start().await;
    let allowed = || (200, "allowed".to_owned());
    let set = |name: &str, active: bool, groups: Vec<&'static str>| {
        let mut people = people.lock().unwrap();
        let person = people.iter_mut().find(|person| person.0 == name).unwrap();
        (person.1, person.2) = (active, groups);
    };
    // Nested: `team` is in `all-employees`.
    let mut alice = signed_in(&world, "alice").await;
    assert_eq!(asked(&mut alice, "wiki").await, allowed());
    assert!(api.asked().iter().all(|question| question.header("authorization") == format!("Bearer {TOKEN}")));
    set("alice", true, vec![]);
    until("a group that was taken away does not count", async || who(&mut alice).await == (200, json!([]))).await;
    assert_eq!(asked(&mut alice, "wiki").await, (403, "not_allowed".to_owned()));
    set("alice", true, vec!["g-team"]);
    let all = || (200, json!(["all-employees", "team"]));
    until("one that was given counts", async || who(&mut alice).await == all()).await;
    assert_eq!(asked(&mut alice, "wiki").await, allowed());

    // Several people are found in the list of all.
    let mut others = Vec::new();
    for name in ["eve", "frank", "dana"] {
        others.push(signed_in(&world, name).await);
    }
    until("everybody is looked up together", async || {
        api.asked()
            .iter()
            .any(|question| question.target.contains("core/users") && !question.target.contains("username"))
    })
    .await;
    set("dana", false, vec!["g-team"]);
    let ended = |why: &str| {
        let lines = world.recorded_with(&[("kind", "session_end")]);
        lines.iter().filter(|line| line["detail"].as_str().is_some_and(|text| text.contains(why))).count() == 1
    };
    until("whoever is disabled is out", async || ended("disabled in the directory")).await;
    assert_eq!(asked(&mut others[2], "level-standard").await.0, 401);
    let again = world.browser(Door::Inside).of("dana").open("https://apps.test/level-standard").await;
    assert_eq!(again.reason().as_deref(), Some("account_disabled"));
    people.lock().unwrap().retain(|person| person.0 != "frank");
    until("whoever is gone is out", async || ended("not there any more in the directory")).await;
    assert_eq!(asked(&mut others[1], "level-standard").await.0, 401);
    assert_eq!(asked(&mut others[0], "wiki").await, allowed(), "nobody else is");

    for (what, does) in [
        ("down", Does::Status(502)),
        ("a token without rights", Does::Status(403)),
        ("silent", Does::Silence),
        ("another API", Does::Say(json!({ "results": [] }))),
    ] {
        api.does(does);
        until(what, async || who(&mut alice).await == (200, Value::Null)).await;
        assert_eq!(asked(&mut alice, "wiki").await, (503, "groups_unknown".to_owned()), "{what}");
        assert_eq!(asked(&mut alice, "level-standard").await, allowed(), "{what}");
        api.does(authentik(&people));
        until("it is back", async || who(&mut alice).await == all()).await;
        assert_eq!(asked(&mut alice, "wiki").await, allowed(), "{what}");
    }
    let (code, out, _) = world.torhaus(&["check", "--online", "--user", "alice"]).await;
    assert!(code == 0 && out.contains("all-employees"), "{out}");
}

#[tokio::test]
async fn the_mesh_gets_the_directorys_groups_and_rules_by_which_only_the_gate_reaches_the_applications() {
    let rules = |more: &str| {
        format!(
            "{{ // ours\n \"acls\": [ {{ \"action\": \"accept\", \"src\": [\"tag:torhaus\"], \"dst\": [\"10.9.9.5:8006\"], }}, {more} ], }}"
        )
    };
    let says = move |more: &str| {
        Does::Say(json!({ "policy": rules(more), "users": [
        { "id": "1", "name": "alice", "email": "alice@example.test", "provider": "oidc", "providerId": "x" },
        { "id": "2", "name": "eve", "email": "", "provider": "" },
        { "id": "3", "name": "frank", "email": "", "provider": "" },
        { "id": "4", "name": "nobody", "email": "", "provider": "" },
    ], "nodes": [] }))
    };
    let mesh = Api::start(says("")).await;
    let mut setup = Setup::new().await;
    write_secret(&setup.folder.path().join("headscale.key"), "key");
    let headscale = format!(", headscale: {{ url: \"{}\", api_key_file: headscale.key }}", mesh.url());
    let (people, _api) = started(&mut setup, &headscale).await;
    for person in people.lock().unwrap().iter_mut().filter(|person| person.0 == "frank") {
        person.1 = false;
    }
    setup.config = setup.config.replace("name: office, ", "name: office, mesh: headscale, ");
    for (name, upstream) in
        [("pve", "http://10.9.9.5:8006"), ("six", "http://[fd00::5]:80"), ("lost", "http://nowhere.invalid:80")]
    {
        setup.config.push_str(&format!(
            "  - {{ name: {name}, host: apps.test, path: /up/{name}, upstream: \"{upstream}\", resource: wiki, \
             client_auth: {{ mode: optional, trust_domains: [devices] }} }}\n"
        ));
    }
    let world = setup.start().await;
    let (code, out, _) = world.torhaus(&["headscale", "groups"]).await;
    let found: Value = serde_json::from_str(&out).unwrap();
    // Groups that the policy names, with those of the mesh's users who are in use.
    assert_eq!((code, &found["groups"]["group:all-employees"]), (0, &json!(["alice@example.test", "eve@"])));
    assert_eq!(found["groups"]["group:hr"], json!([]));
    let (code, out, _) = world.torhaus(&["headscale", "groups", "--group", "team"]).await;
    assert_eq!(
        (code, serde_json::from_str::<Value>(&out).unwrap()),
        (0, json!({ "groups": { "group:team": ["alice@example.test", "eve@"] } }))
    );

    let (code, out, errors) = world.torhaus(&["headscale", "acl"]).await;
    let found: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && errors.contains("no rule: nowhere.invalid"), "{errors}");
    let to = json!(["10.9.9.5:8006", "[fd00::5]:80"]);
    assert_eq!(found["acls"][1], json!({ "action": "accept", "proto": "tcp", "src": ["tag:torhaus"], "dst": to }));
    assert_eq!(found["acls"].as_array().unwrap().len(), 2, "and nobody else: {found}");
    assert_eq!((&found["tagOwners"], &found["tests"][0]["accept"]), (&json!({ "tag:torhaus": [] }), &to));
    let (code, _, errors) = world.torhaus(&["headscale", "acl", "--gate", "everybody"]).await;
    assert!(code == 2 && errors.contains("neither a tag"), "{errors}");
    let (code, out, _) = world.torhaus(&["check", "--online"]).await;
    assert!(code == 0 && out.contains("0 nodes"), "{out}");

    // Whether the policy in force leads around the gate.
    let (code, _, errors) = world.torhaus(&["headscale", "check"]).await;
    assert!(code == 1 && errors.contains("not looked at: nowhere.invalid"), "{errors}");
    world.change("torhaus.yaml", "http://nowhere.invalid:80", "http://10.9.9.6:80");
    let (code, out, _) = world.torhaus(&["headscale", "check"]).await;
    assert_eq!((code, out.trim()), (0, "nobody but `tag:torhaus` reaches the 3 applications over the mesh"));
    mesh.does(says("{ \"action\": \"accept\", \"src\": [\"group:it\"], \"dst\": [\"10.9.9.0/24:8006\"] }"));
    let (code, out, _) = world.torhaus(&["headscale", "check"]).await;
    assert_eq!((code, out.trim()), (1, "acls[1]: `group:it` reaches 10.9.9.5:8006 without the gate"));

    // What of it can stand in ours: of the policy in force, and of a file.
    let policy = "{ // mesh\n \"hosts\": { \"db\": \"10.0.0.5\", \"lan\": \"10.0.0.0/24\", },\n \"groups\": { \"group:ops\": \
                  [\"alice@example.test\", \"eve@\", \"gone@\"], }, /* tags */\n \"tagOwners\": { \"tag:kiosk\": [] }, }";
    let Does::Say(mut answer) = says("") else { unreachable!() };
    answer["policy"] = policy.into();
    mesh.does(Does::Say(answer));
    world.write("acl.hujson", policy);
    let file = world.path("acl.hujson");
    let file = file.to_str().unwrap();
    let (code, out, errors) = world.torhaus(&["headscale", "import"]).await;
    assert_eq!(code, 0, "{errors}");
    for line in [
        r#"      "lan": { networks: ["10.0.0.0/24"] }"#,
        r#"# "group:ops": allow: ["user:alice", "user:eve"]"#,
        r#"#   not one user of the mesh: "gone@""#,
        r#"# "tag:kiosk""#,
    ] {
        assert!(out.lines().any(|own| own == line), "{line}: {out}");
    }
    assert_eq!(world.torhaus(&["headscale", "import", "--policy", file]).await, (0, out.clone(), String::new()));
    // The gate takes the block as it is printed.
    let config = world.read("torhaus.yaml");
    let (before, after) = config.split_once("lookups: { ").unwrap();
    let (own, after) = after.split_once(" }\nroutes:").unwrap();
    let (block, _) = out.split_once("\n\n").unwrap();
    let own = own.replace(", headscale:", "\n  headscale:");
    world.write("torhaus.yaml", &format!("{before}{block}\n  {own}\nroutes:{after}"));
    let policy_file = world.read("policy.yaml");
    let row = "  - { resource: near-db, allow: [authenticated], zones: { internal: standard }, deny: [{ name: db, networks: [db] }] }\n";
    world.write("policy.yaml", &policy_file.replace("exceptions:\n", &format!("{row}exceptions:\n")));
    let (code, out, errors) = world.torhaus(&["check"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    world.write("acl.hujson", &policy.replace("10.0.0.5", "db.example.test"));
    let (code, out, errors) = world.torhaus(&["headscale", "import", "--policy", file]).await;
    let said = "acl.hujson:2: hosts.db: `db.example.test` is neither an address nor a network";
    assert!(code == 1 && out.is_empty() && errors.contains(said) && errors.contains("hint: "), "{errors}");
}
