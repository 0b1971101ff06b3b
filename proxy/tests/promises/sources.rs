//! All sources that are asked over HTTPS at once, and all of them in trouble: who needs none of them notices nothing,
//! and who needs one is answered as the row says. A directory by LDAP: `tests/directory_faults.test.mjs`.
use crate::harness::api::{Api, Does};
use crate::harness::pki::write_secret;
use crate::harness::{Browser, Call, Connection, Door, Setup, World, until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use torhaus::clock;

/// The row that needs a source, and what it answers while that is unknown.
const NEEDS: [(&str, &str, (u16, &str)); 5] = [
    ("authentik", "wiki", (503, "groups_unknown")),
    ("headscale", "on-mesh", (403, "requirement_missing")),
    ("fleet", "disk", (403, "requirement_missing")),
    ("intune", "edr", (403, "requirement_missing")),
    ("cmdb", "firewall", (403, "requirement_missing")),
];

/// What each source does, by its name.
type Trouble<'a> = &'a dyn Fn(&'static str) -> Does;

struct Sources(Vec<Api>);

impl Sources {
    async fn start() -> Self {
        let mut all = Vec::new();
        for (name, ..) in NEEDS {
            let api = Api::start(Does::Silence).await;
            api.does(good(name));
            all.push(api);
        }
        Self(all)
    }

    fn each(&self, does: impl Fn(&'static str) -> Does) {
        for ((name, ..), api) in NEEDS.iter().zip(&self.0) {
            api.does(does(name));
        }
    }

    fn questions(&self) -> usize {
        self.0.iter().map(|api| api.asked().len()).sum()
    }
}

/// What each says of alice and of laptop-17.
fn good(source: &'static str) -> Does {
    Does::Look(Arc::new(move |target| {
        let now = clock::now().to_string();
        let list = |results: Vec<Value>| json!({ "pagination": { "next": 0 }, "results": results });
        let person = |name| json!({ "username": name, "is_active": true, "groups": ["g-all"], "type": "internal" });
        Does::Say(match (source, target) {
            ("authentik", target) if target.contains("core/groups") => {
                list(vec![json!({ "pk": "g-all", "name": "all-employees" })])
            }
            ("authentik", target) => match target.split_once("username=") {
                Some((_, name)) => list(vec![person(name.split('&').next().unwrap())]),
                None => list(["alice", "dana"].map(person).to_vec()),
            },
            ("headscale", _) => json!({ "nodes": [{ "ipAddresses": ["127.0.0.1"], "givenName": "laptop-17",
                "user": { "name": "tagged-devices" }, "tags": ["tag:mesh"] }] }),
            ("fleet", _) => json!({ "hosts": [{ "id": 1, "uuid": "u-17", "hardware_serial": "SER-17",
                "platform": "windows", "detail_updated_at": now, "disk_encryption_enabled": true }] }),
            ("intune", target) if target.ends_with("/token") => json!({ "access_token": "t", "expires_in": 3599 }),
            ("intune", _) => json!({ "value": [{ "id": "f3a1", "serialNumber": "SER-17", "lastSyncDateTime": now,
                "partnerReportedThreatState": "secured" }] }),
            _ => json!([{ "name": "laptop-17", "serial": "SER-17", "seen": now, "firewall": "on" }]),
        })
    }))
}

async fn started(sources: &Sources) -> World {
    let mut setup = Setup::new().await;
    write_secret(&setup.folder.path().join("token"), "a-token-of-all");
    let fast = "poll: 500ms, max_stale: 3s, timeout: 2s";
    let [authentik, headscale, fleet, intune, cmdb] = &sources.0[..] else { unreachable!() };
    let lookups = format!(
        "lookups:\n  authentik: {{ url: \"{}\", token_file: token, {fast} }}\n  \
         headscale: {{ url: \"{}\", api_key_file: token, networks: [127.0.0.0/8], {fast} }}\n  \
         posture:\n    trust_domains: [devices]\n    sources:\n      \
         - {{ name: fleet, kind: fleet, url: \"{}\", token_file: token, {fast} }}\n      \
         - {{ name: intune, kind: intune, url: \"{}\", tenant: t, client_id: a, client_secret_file: token, {fast} }}\n      \
         - {{ name: cmdb, kind: json, url: \"{}/d\", {fast}, mapping: {{ id: /name, serial: /serial, \
         observed_at: /seen, firewall: /firewall }} }}\nroutes:\n",
        authentik.url(),
        headscale.url(),
        fleet.url(),
        intune.url(),
        cmdb.url(),
    );
    setup.config = setup.config.replace("name: office, ", "name: office, mesh: headscale, ");
    setup.config = setup.config.replace("routes:\n", &lookups);
    for (resource, asks) in [
        ("on-mesh", "device: { tags: [\"tag:mesh\"] }"),
        ("disk", "posture: { disk_encrypted: true }"),
        ("edr", "posture: { edr: [healthy] }"),
        ("firewall", "posture: { firewall: true }"),
    ] {
        setup.row(resource, "internal: standard", &format!("require: [{{ name: it, {asks} }}]"));
    }
    setup.start().await
}

/// What the rows answer that need a source each.
async fn answers(browser: &mut Browser<'_>) -> Vec<(u16, String)> {
    let mut all = Vec::new();
    for (_, row, _) in NEEDS {
        all.push(browser.fetch(&format!("https://apps.test/{row}")).await.outcome());
    }
    all
}

fn open() -> Vec<(u16, String)> {
    NEEDS.map(|_| (200, "allowed".to_owned())).to_vec()
}

fn unknown() -> Vec<(u16, String)> {
    NEEDS.map(|(_, _, (status, reason))| (status, reason.to_owned())).to_vec()
}

/// So many requests on ten connections at once, half of them of somebody who is signed in, for what needs no source.
async fn all_are_answered(world: &World, signed_in: &Browser<'_>, many: usize) {
    let cookies = &signed_in.jar["apps.test"];
    let cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let tls = world.tls(None, &["http/1.1"]);
    let one_connection = async |n: usize| {
        let call = match n % 2 {
            0 => Call::get("apps.test", "/level-standard").with("cookie", &cookies.join("; ")),
            _ => Call::get("status.test", "/"),
        };
        let mut connection = Connection::open(world.address(Door::Inside), &call.host, &tls).await.unwrap();
        for _ in 0..many / 10 {
            assert_eq!(connection.send(&call).await.unwrap().status, 200, "{call:?}");
        }
    };
    futures::future::join_all((0..10).map(one_connection)).await;
}

#[tokio::test]
async fn a_thousand_requests_that_need_no_source_are_answered_while_every_source_withholds_its_answer() {
    let sources = Sources::start().await;
    let world = started(&sources).await;
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&world.pki.device("laptop-17"));
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    let mut plain = world.browser(Door::Inside).of("alice");
    assert_eq!(plain.open("https://apps.test/level-standard").await.status, 200, "{:?}", plain.trail);
    let slow = |name| Does::Wait(Duration::from_secs(3), Box::new(good(name)));
    let cases: [(&str, Trouble<'_>, usize, &str); 5] = [
        ("no answer", &|_| Does::Silence, 1_000, "in time"),
        ("an answer after three seconds", &slow, 200, "in time"),
        ("down", &|_| Does::Status(502), 200, "status 502"),
        ("a page", &|_| Does::Text("<html>hello</html>".into()), 200, "not JSON"),
        ("10 MiB", &|_| Does::Flood(10 << 20), 200, "more than 8 MiB"),
    ];
    for (what, does, many, says) in cases {
        sources.each(good);
        until("all sources answer", async || answers(&mut alice).await == open()).await;
        sources.each(does);
        until(what, async || answers(&mut alice).await == unknown()).await;
        let before = sources.questions();
        all_are_answered(&world, &plain, many).await;
        // Every poll of five sources, one question after the other, and Intune's two: no request asked.
        let asked = sources.questions() - before;
        assert!(asked < many / 2, "{what}: {asked} questions for {many} requests");
        assert_eq!(answers(&mut alice).await, unknown(), "{what}");
        let status = world.status().await;
        assert!(status.not_ready.is_empty(), "{what}: {status:?}");
        for (name, ..) in NEEDS {
            let source = status.sources.iter().find(|source| source.name == name).unwrap();
            assert!(source.error.as_ref().is_some_and(|error| error.contains(says)), "{what}: {source:?}");
        }
        // Nor does somebody new wait for a directory that is known to fail: she is in, and in no group that is known.
        let mut dana = world.browser(Door::Inside).of("dana");
        assert_eq!(dana.open("https://apps.test/level-standard").await.status, 200, "{what}: {:?}", dana.trail);
        assert_eq!(dana.fetch("https://apps.test/wiki").await.outcome(), (503, "groups_unknown".to_owned()), "{what}");
    }
}

#[tokio::test]
async fn sources_that_flap_are_as_good_as_their_last_answer() {
    let sources = Sources::start().await;
    let world = started(&sources).await;
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&world.pki.device("laptop-17"));
    assert_eq!(alice.open("https://apps.test/level-standard").await.status, 200, "{:?}", alice.trail);
    until("all sources answer", async || answers(&mut alice).await == open()).await;
    // Every third question fails.
    sources.each(|name| {
        let turn = AtomicUsize::new(0);
        Does::Look(Arc::new(move |_| match turn.fetch_add(1, Ordering::AcqRel) % 3 {
            0 => Does::Status(502),
            _ => good(name),
        }))
    });
    until("each failed three times", async || {
        assert_eq!(answers(&mut alice).await, open());
        let status = world.status().await;
        status.sources.len() == NEEDS.len() && status.sources.iter().all(|source| source.failures >= 3)
    })
    .await;
}
