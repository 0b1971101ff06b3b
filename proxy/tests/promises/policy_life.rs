//! Changing the policy without fear: a candidate is watched or counts for a share, a change can be taken back, what
//! nobody signed does not run, and every decision can be explained and replayed afterwards.
use crate::harness::browser::echoes;
use crate::harness::{Door, Setup, World, files, until};
use minisign::KeyPair;
use serde_json::Value;
use std::io::Cursor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use torhaus::admin::{Rollback, SOCKET, Status};
use torhaus::policies;
use torhaus_authz::Timestamp;

const WIKI: &str = r#"resource: wiki,          sensitivity: low,      allow: ["group:all-employees"]"#;
const WIKI_FOR_HR: &str = r#"resource: wiki,          sensitivity: low,      allow: ["group:hr"]"#;
/// For HR from outside, too.
const OPENED: &str = r#"allow: ["group:hr", "group:finance"], zones: { internal: mfa,  external: mfa }"#;
const CLOSED: &str = r#"allow: ["group:hr", "group:finance"], zones: { internal: mfa,  external: deny }"#;

/// The wiki is for HR alone, and HR may come in from outside.
fn next_policy() -> String {
    let own_test = files::POLICY.find("tests:").unwrap();
    let next = files::POLICY[..own_test].replace(WIKI, WIKI_FOR_HR).replace(CLOSED, OPENED);
    assert!(next.contains(WIKI_FOR_HR) && next.contains(OPENED));
    next
}

async fn with_candidate(mode: &str) -> World {
    let mut setup = Setup::new().await;
    let keys = format!("policy_file: policy.yaml\npolicy_candidate_file: next.yaml\npolicy_candidate_mode: {mode}\n");
    setup.config = setup.config.replace("policy_file: policy.yaml\n", &keys);
    std::fs::write(setup.folder.path().join("next.yaml"), next_policy()).unwrap();
    setup.start().await
}

pub async fn metrics(world: &World) -> String {
    let mut socket = UnixStream::connect(world.path("state").join(SOCKET)).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: torhaus\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    text
}

fn now() -> Timestamp {
    Timestamp::from_seconds(time::OffsetDateTime::now_utc().unix_timestamp())
}

#[tokio::test]
async fn a_shadowed_candidate_decides_nothing_and_is_recorded_and_counted() {
    let world = with_candidate("shadow").await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    let lines = world.recorded_with(&[("kind", "decision"), ("resource", "wiki"), ("verdict", "allow")]);
    let line = lines.last().unwrap();
    assert_eq!((&line["compared"]["by"], &line["compared"]["verdict"]), (&"candidate".into(), &"deny".into()));
    assert_eq!(line["compared"]["reason"], "not_allowed");
    let status = world.status().await;
    let candidate = status.candidate.unwrap();
    assert_eq!((&*candidate.policy_version, candidate.share), (line["compared"]["policy"].as_str().unwrap(), None));
    let text = metrics(&world).await;
    for expected in [
        r#"torhaus_policy_candidate_differences_total{running="allow",candidate="deny",counted="running"}"#.to_owned(),
        format!(r#"torhaus_policy_info{{version="{}","#, status.policy_version),
        format!(r#"torhaus_policy_candidate_info{{version="{}"}} 1"#, candidate.policy_version),
        "torhaus_policy_rolled_back 0".to_owned(),
    ] {
        assert!(text.lines().any(|line| line.starts_with(&expected)), "{expected}\n{text}");
    }
    assert!(text.contains(r#"torhaus_exception_expires_seconds{exception="EX-14"}"#), "{text}");
    // Whatever is recorded says which policy ran; what the writer itself says is before and beside it.
    for line in world.audit() {
        let own = ["segment", "start", "groups"].contains(&line["kind"].as_str().unwrap());
        assert!(own || line["policy"] == *status.policy_version, "{line}");
    }
    // A candidate that is broken is a mistake like any other: what ran runs on.
    world.change("next.yaml", "internal: standard", "internal: standrad");
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("next.yaml") && why.contains("unknown tier `standrad`"), "{why}");
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
}

#[tokio::test]
async fn for_the_share_the_stricter_answer_wins_and_open_streams_end() {
    let world = with_candidate("shadow").await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    let mut socket = alice.socket("apps.test", "/wiki/socket").await.unwrap();
    assert!(echoes(&mut socket, "before").await);

    world.change("torhaus.yaml", "policy_candidate_mode: shadow", "policy_candidate_mode: 100%");
    world.reload().await.unwrap();
    until("the stream of somebody in the share ends", async || !echoes(&mut socket, "x").await).await;
    let answer = alice.fetch("https://apps.test/wiki").await;
    assert_eq!(answer.outcome(), (403, "not_allowed".to_owned()));
    let line = world.recorded(&answer.decision().unwrap());
    let status = world.status().await;
    let candidate = status.candidate.unwrap();
    assert_eq!(candidate.share, Some(100));
    // The line names the policy that decided, and what the running one would have said.
    assert_eq!(line["policy"], *candidate.policy_version);
    assert_eq!((&line["compared"]["by"], &line["compared"]["verdict"]), (&"running".into(), &"allow".into()));
    assert_eq!(line["compared"]["policy"], *status.policy_version);
    // What the candidate opens stays closed.
    let mut dana = world.browser(Door::Inside).of("dana");
    assert_eq!(dana.open("https://apps.test/samba-hr").await.status, 200);
    dana.go(Door::Outside);
    assert_eq!(dana.fetch("https://apps.test/samba-hr").await.outcome(), (403, "zone_denied".to_owned()));
}

#[tokio::test]
async fn a_rollback_lasts_until_the_file_agrees_or_an_operator_lets_go() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    let (good, first) = (world.read("policy.yaml"), world.status().await.policy_version);
    let (code, text, _) = world.torhaus(&["policy", "rollback"]).await;
    assert_eq!((code, text.contains("no policy ran before this one")), (1, true), "{text}");

    world.change("policy.yaml", WIKI, WIKI_FOR_HR);
    world.reload().await.unwrap();
    let refused = (403, "not_allowed".to_owned());
    assert_eq!(alice.fetch("https://apps.test/wiki").await.outcome(), refused);
    let bad = world.status().await.policy_version;

    let (code, text, why) = world.torhaus(&["policy", "rollback"]).await;
    assert_eq!(code, 0, "{text}{why}");
    assert!(text.contains("revert the change in Git, or let go with `torhaus policy rollback --clear`"), "{text}");
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
    let said = async |world: &World| -> Status {
        let status = world.status().await;
        assert_eq!(status.policy_version, first);
        let pinned = status.rolled_back.as_ref().expect("status says so");
        assert_eq!((&pinned.to, &pinned.from), (&first, &bad));
        status
    };
    said(&world).await;
    assert!(metrics(&world).await.lines().any(|line| line == "torhaus_policy_rolled_back 1"));
    assert!(world.torhaus(&["status"]).await.1.contains("ROLLED BACK"));
    assert!(world.read("stderr.log").contains("the policy is rolled back"));
    let noted = world.recorded_with(&[("kind", "admin")]);
    let expected = format!("policy rolled back to {first} from {bad} by uid ");
    assert!(noted.iter().any(|line| line["detail"].as_str().unwrap().starts_with(&expected)), "{noted:?}");

    // Neither a reload, nor another change of the file, nor a start ends it.
    world.reload().await.unwrap();
    world.write("policy.yaml", &format!("{}# and something else\n", world.read("policy.yaml")));
    world.reload().await.unwrap();
    world.write("policy.yaml", "version: 1\ntable: [\n");
    world.reload().await.unwrap();
    said(&world).await;
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
    let starting = policies::load(&world.path("torhaus.yaml"), now()).map_err(|e| e.to_string()).unwrap();
    assert_eq!((starting.pinned.unwrap().to, &**starting.config.policy.version()), (first.clone(), &*first));

    // Git agrees.
    world.write("policy.yaml", &good);
    world.reload().await.unwrap();
    assert_eq!(world.status().await.rolled_back, None);
    assert!(metrics(&world).await.lines().any(|line| line == "torhaus_policy_rolled_back 0"));
    assert!(!world.path("state/policies/pinned.json").exists());
    let ended = |line: &Value| line["detail"].as_str().unwrap().contains("ended: the file in place is the policy");
    assert!(world.recorded_with(&[("kind", "admin")]).iter().any(ended));

    // Or the operator lets go; if the file does not load, the rollback stays.
    world.change("policy.yaml", WIKI, WIKI_FOR_HR);
    world.reload().await.unwrap();
    assert_eq!(alice.fetch("https://apps.test/wiki").await.outcome(), refused);
    let by_version = Rollback { to: Some(first[..10].to_owned()), clear: false };
    world.admin().post::<Value>("/policy/rollback", &by_version).await.unwrap();
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
    let file = world.read("policy.yaml");
    world.write("policy.yaml", "version: 1\ntable: [\n");
    let (code, text, _) = world.torhaus(&["policy", "rollback", "--clear"]).await;
    assert_eq!((code, text.contains("nothing was changed")), (1, true), "{text}");
    said(&world).await;
    world.write("policy.yaml", &file);
    let (code, text, why) = world.torhaus(&["policy", "rollback", "--clear"]).await;
    assert_eq!(code, 0, "{text}{why}");
    assert_eq!(alice.fetch("https://apps.test/wiki").await.outcome(), refused);
    assert_eq!(world.status().await.rolled_back, None);
}

#[tokio::test]
async fn a_policy_that_nobody_signed_does_not_run_and_the_last_good_one_stays() {
    let own = KeyPair::generate_unencrypted_keypair().unwrap();
    let sign =
        |text: &str| minisign::sign(None, &own.sk, Cursor::new(text.as_bytes()), None, None).unwrap().into_string();
    let mut setup = Setup::new().await;
    let key = format!("policy_file: policy.yaml\npolicy_signed_by: {}\n", own.pk.to_base64());
    setup.config = setup.config.replace("policy_file: policy.yaml\n", &key);
    std::fs::write(setup.folder.path().join("policy.yaml.minisig"), sign(&setup.policy)).unwrap();
    let world = setup.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    let before = world.status().await.policy_version;

    world.change("policy.yaml", WIKI, WIKI_FOR_HR);
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("the signature of policy file"), "{why}");
    std::fs::remove_file(world.path("policy.yaml.minisig")).unwrap();
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("is not signed"), "{why}");
    let status = world.status().await;
    assert_eq!(status.policy_version, before);
    assert!(status.reload_error.is_some());
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);

    world.write("policy.yaml.minisig", &sign(&world.read("policy.yaml")));
    until("the signed policy is loaded", async || world.reload().await.is_ok()).await;
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 403);
    // What is kept is checked as well before it runs again.
    let (code, text, why) = world.torhaus(&["policy", "rollback"]).await;
    assert_eq!(code, 0, "{text}{why}");
    assert_eq!(alice.fetch("https://apps.test/wiki").await.status, 200);
    let kept = world.path(&format!("state/policies/{before}/files/policy.yaml"));
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("external: deny", "external: standard")).unwrap();
    let why = world.reload().await.unwrap_err();
    assert!(why.contains("the signature of policy file"), "{why}");
}

#[tokio::test]
async fn every_decision_can_be_explained_and_replayed_afterwards() {
    let world = World::start().await;
    let mut dana = world.browser(Door::Inside).of("dana");
    assert_eq!(dana.open("https://apps.test/samba-hr").await.status, 200);
    dana.go(Door::Outside);
    let answer = dana.fetch("https://apps.test/samba-hr").await;
    assert_eq!(answer.outcome(), (403, "zone_denied".to_owned()));
    let number = answer.decision().unwrap();
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);

    let (code, text, why) = world.torhaus(&["policy", "explain", "--decision", &number]).await;
    assert_eq!(code, 1, "{why}");
    let expected = "is closed from zone `external`; you came from 127.0.0.1";
    assert!(text.contains(&format!("decision {number} at")) && text.contains(expected), "{text}");

    world.write("next.yaml", &next_policy());
    let next = world.path("next.yaml");
    let replay = async |candidate: &str, fail_on: &str| {
        let arguments = ["policy", "replay", "--candidate", candidate, "--fail-on", fail_on];
        world.torhaus(&arguments).await
    };
    let own = world.path("policy.yaml");
    let (code, text, why) = replay(own.to_str().unwrap(), "any").await;
    assert_eq!(code, 0, "a policy against its own record changes nothing: {text}{why}");
    let (code, text, _) = replay(next.to_str().unwrap(), "gain").await;
    assert_eq!(code, 1, "{text}");
    for part in [
        "dana -> samba-hr: deny (zone_denied), then allow",
        "alice -> wiki: allow, then deny (not_allowed)",
        &format!("for example decision {number}"),
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let arguments = ["policy", "replay", "--since", "2099-01-01T00:00:00Z", "--candidate", next.to_str().unwrap()];
    let (code, text, _) = world.torhaus(&arguments).await;
    assert_eq!((code, text.starts_with("0 requests in 0 records")), (0, true), "{text}");

    // Another policy runs by now; the explanation is of the one that decided.
    world.write("policy.yaml", &next_policy());
    world.reload().await.unwrap();
    let (_, text, _) = world.torhaus(&["policy", "explain", "--decision", &number, "--output", "json"]).await;
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["by_the_policy_of_then"], &said["explanation"]["reason"]), (&true.into(), &"zone_denied".into()));
    let (code, _, why) = world.torhaus(&["policy", "explain", "--decision", "0000"]).await;
    assert!(code == 1 && why.contains("there is no decision `0000` in the log"), "{why}");

    let (code, text, _) = world.torhaus(&["policy", "review"]).await;
    assert!(code == 1 && text.contains("no_owner: `wiki`: nobody answers for it"), "{text}");
    let (code, text, _) = world.torhaus(&["policy", "rbac"]).await;
    assert!(code == 0 && text.contains("### Group hr") && text.contains("EX-14"), "{text}");
}
