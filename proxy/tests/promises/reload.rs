//! Loading the configuration again: whole or not at all, and nobody notices.
use crate::harness::pki::replace;
use crate::harness::{Call, Connection, Door, World, until};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[tokio::test]
async fn a_failed_reload_changes_nothing() {
    let world = World::start().await;
    let mut dana = world.browser(Door::Inside).of("dana");
    assert_eq!(dana.open("https://apps.test/wiki").await.status, 200);
    let before = world.status().await;
    let files = ["torhaus.yaml", "policy.yaml", "web.pem", "devices.crl", "web.key"];
    let good = files.map(|name| world.read(name));
    let opened = "allow: [\"group:it-admins\"],       zones: { internal: hardware, external: deny } }";
    let taken = std::net::TcpListener::bind("127.0.0.4:0").unwrap();
    let extra = format!(
        "  - {{ name: extra, address: \"{}\", redirect_to_https: true }}\nportal:",
        taken.local_addr().unwrap()
    );
    for (what, file, from, to, says) in [
        ("a mistake in the main file", "torhaus.yaml", "portal:", "portla:", "portla"),
        ("no YAML", "policy.yaml", "table:", "table: [", "policy.yaml"),
        ("a dead reference", "torhaus.yaml", "resource: status }", "resource: nothing }", "nothing"),
        (
            "an opening beside a mistake",
            "policy.yaml",
            opened,
            "allow: [anyone], zones: { internal: anonymous, external: anonymous }, x: 1 }",
            "`x`",
        ),
        ("a damaged certificate", "web.pem", "BEGIN CERT", "BEGIN CRET", "web.pem"),
        ("another's key", "web.key", "PRIVATE", "PRIVAT", "web.key"),
        ("a damaged list", "devices.crl", "-----BEGIN X509 CRL", "-----BEGIN X509 CLR", "devices.crl"),
        ("an address that is taken", "torhaus.yaml", "portal:", extra.as_str(), "cannot listen"),
    ] {
        let text = world.read(file);
        assert!(text.contains(from), "{what}: `{from}` is not in {file}");
        replace(&world.path(file), &text.replacen(from, to, 1));
        let why = world.reload().await.expect_err(what);
        assert!(why.contains(says), "{what}: {why}");
        let status = world.status().await;
        assert!(status.reload_error.as_ref().is_some_and(|error| error.contains(says)), "{what}: {status:?}");
        assert_eq!(
            (status.policy_version, status.config_hash, status.listeners.len()),
            (before.policy_version.clone(), before.config_hash.clone(), 3),
            "{what}"
        );
        let (_, said, _) =
            world.torhaus(&["status", "--socket", world.path("state/admin.sock").to_str().unwrap()]).await;
        assert!(said.contains("the last reload failed"), "{what}: {said}");
        // Sessions, refusals and handshakes are as before.
        assert_eq!(dana.fetch("https://apps.test/wiki").await.status, 200, "{what}");
        assert_eq!(dana.fetch("https://apps.test/proxmox").await.outcome(), (403, "not_allowed".to_owned()), "{what}");
        dana.go(Door::Outside);
        assert_eq!(dana.fetch("https://apps.test/samba-hr").await.outcome(), (403, "zone_denied".to_owned()), "{what}");
        dana.go(Door::Inside);
        for (name, text) in files.iter().zip(&good) {
            replace(&world.path(name), text);
        }
        until("the good files are loaded again", async || world.reload().await.is_ok()).await;
        assert_eq!(world.status().await.reload_error, None, "{what}");
        assert_eq!(world.status().await.policy_version, before.policy_version, "{what}");
    }
    let failed = world.recorded_with(&[("kind", "reload")]);
    assert!(failed.iter().filter(|line| line["detail"] != "loaded").count() >= 8, "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_lose_no_request() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://apps.test/wiki").await;
    let call = alice.request("GET", "https://apps.test/wiki/slow").with("accept", "application/json");
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async |alpn: &'static str, keep: bool| {
        let tls = world.tls(None, &[alpn]);
        let mut kept = Connection::open(world.address(Door::Inside), "apps.test", &tls).await.unwrap();
        while !done.load(Ordering::Relaxed) {
            if !keep {
                kept = Connection::open(world.address(Door::Inside), "apps.test", &tls).await.unwrap();
            }
            let answer = kept.send(&call).await.unwrap_or_else(|why| panic!("{alpn} lost a request: {why}"));
            assert_eq!(answer.outcome(), (200, "allowed".to_owned()), "{alpn}");
            sent.fetch_add(1, Ordering::Relaxed);
        }
    };
    let policy = world.read("policy.yaml");
    let reloads = async {
        for round in 0..200 {
            match round % 4 {
                0 => world.signal("HUP").await,
                1 => world.write("policy.yaml", &format!("{policy}# {round}\n")),
                // A broken one in between: the last good one stays.
                2 if round % 20 == 2 => {
                    world.write("policy.yaml", "version: 1\ntable: [\n");
                    assert!(world.reload().await.is_err());
                    assert!(world.status().await.reload_error.is_some());
                    world.write("policy.yaml", &policy);
                }
                _ => {}
            }
            until("it is loaded", async || world.reload().await.is_ok()).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(load("http/1.1", true), load("http/1.1", false), load("h2", true), load("h2", true), reloads);
    let sent = sent.into_inner();
    assert!(sent > 100, "{sent} requests");
    assert!(world.recorded_with(&[("kind", "reload"), ("detail", "loaded")]).len() >= 200);
    assert_eq!(world.status().await.reload_error, None);
    let (code, _, why) = world.torhaus(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{why}");
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_what_it_began_with() {
    let world = World::start().await;
    let tls = world.tls(None, &["h2"]);
    let mut first = Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
    let call = Call::get("status.test", "/slow");
    let slow = async { first.send(&call).await.unwrap().status };
    let away = async {
        world.change("torhaus.yaml", "host: status.test, upstream", "host: status.test, connect_timeout: 4s, upstream");
        world.reload().await.unwrap();
    };
    let (status, ()) = tokio::join!(slow, away);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn sessions_end_with_the_identity_provider_that_vouched_for_them() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200);
    world.reload().await.unwrap();
    assert_eq!(alice.fetch("https://wiki.test/").await.status, 200, "a reload that changes nothing ends nothing");
    world.change("torhaus.yaml", "- name: demo", "- name: successor");
    world.reload().await.unwrap();
    assert_eq!(alice.fetch("https://wiki.test/").await.status, 401);
    let ended = world.recorded_with(&[("kind", "session_end")]);
    let of_provider = |line: &Value| line["detail"].as_str().unwrap().contains("identity provider is not configured");
    assert!(ended.len() == 1 && ended.iter().all(of_provider), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_already_is_not_loaded_once_more_because_the_files_changed() {
    let world = World::start().await;
    let loaded = || world.recorded_with(&[("kind", "reload"), ("detail", "loaded")]).len();
    let (before, policy) = (loaded(), world.read("policy.yaml"));
    world.write("policy.yaml", &format!("{policy}# one\n"));
    world.reload().await.unwrap();
    // Longer than it has to be quiet before the files are looked at.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(loaded(), before + 1);
    // A change that nobody asks for is loaded all the same.
    world.write("policy.yaml", &format!("{policy}# two\n"));
    until("it is loaded", async || loaded() == before + 2).await;
}
