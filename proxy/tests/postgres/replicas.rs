//! Several replicas are one gate: who is in is in everywhere, and who is out is out everywhere.
use crate::cluster::{Cluster, Replica};
use crate::harness::browser::{Gates as _, Socket, echoes};
use crate::harness::pki::Identity;
use crate::harness::{Browser, Call, Connection, Door, Setup, until};
use futures::StreamExt as _;
use rcgen::{CertificateParams, KeyPair};
use std::time::Duration;
use torhaus::admin::{IssueOrder, IssuedAnswer};
use torhaus_certs::Serial;

const WIKI: &str = "https://wiki.test/";
/// With notifications.
const TOLD: Duration = Duration::from_secs(2);
/// Without.
const FOUND: Duration = Duration::from_secs(7);

async fn signed_in<'a>(replica: &'a Replica, user: &'static str) -> Browser<'a> {
    let mut browser = replica.browser().of(user);
    assert_eq!(browser.open(WIKI).await.status, 200, "{:?}", browser.trail);
    browser
}

async fn open(browser: &Browser<'_>) -> Socket {
    for _ in 0..8 {
        let mut socket = browser.socket("wiki.test", "/socket").await.unwrap();
        if echoes(&mut socket, "hello").await {
            return socket;
        }
    }
    panic!("no WebSocket")
}

async fn ends_within(socket: &mut Socket, promised: Duration) -> bool {
    let end = async { while matches!(socket.next().await, Some(Ok(message)) if !message.is_close()) {} };
    tokio::time::timeout(promised, end).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_goes_through_all_replicas_is_one_login_and_a_revocation_ends_it_on_all_of_them() {
    let cluster = Cluster::start(3).await;
    // Each connection goes to another replica: wish, callback, code and handle are made and taken by different ones.
    let mut alice = cluster.browser().of("alice");
    assert_eq!(alice.open(WIKI).await.status, 200, "{:?}", alice.trail);
    let [a, b, c] = cluster.replicas.as_slice() else { panic!("three replicas") };
    for replica in [a, b, c] {
        assert_eq!(replica.browser_like(&alice).fetch(WIKI).await.status, 200);
    }
    // What applications verify assertions by is one key.
    let mut keys = Vec::new();
    for replica in [a, b, c] {
        keys.push(replica.browser().fetch("https://auth.test/.well-known/torhaus/jwks.json").await.body);
    }
    assert!(keys[0].contains("ES256") && keys.iter().all(|key| *key == keys[0]), "{keys:?}");

    let (mut on_b, mut on_c) = (open(&b.browser_like(&alice)).await, open(&c.browser_like(&alice)).await);
    assert_eq!(a.torhaus(&["session", "revoke", "--user", "alice"]).await.0, 0);
    let (b_ends, c_ends) = tokio::join!(ends_within(&mut on_b, TOLD), ends_within(&mut on_c, TOLD));
    assert!(b_ends && c_ends, "a WebSocket goes on");
    for replica in [a, b, c] {
        assert_eq!(replica.browser_like(&alice).fetch(WIKI).await.status, 401);
    }
    let recorded = b.torhaus(&["audit", "query", "--output", "json"]).await.1;
    assert!(recorded.contains("ended by another replica; 1 open requests ended here"), "{recorded}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_nothing_finds_out_within_seven_seconds() {
    let cluster = Cluster::start(2).await;
    let [a, b] = cluster.replicas.as_slice() else { panic!("two replicas") };
    let alice = signed_in(a, "alice").await;
    let mut on_b = open(&b.browser_like(&alice)).await;
    cluster.database.sql("ALTER TABLE sessions DISABLE TRIGGER sessions_ended");
    assert_eq!(a.torhaus(&["session", "revoke", "--user", "alice"]).await.0, 0);
    assert!(ends_within(&mut on_b, FOUND).await, "the WebSocket goes on");
    assert_eq!(b.browser_like(&alice).fetch(WIKI).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_revoked_at_one_replica_opens_nothing_at_another_and_authorities_are_shared() {
    let mut setup = Setup::new().await;
    let (from, to) = (
        "devices: { ca_file: devices-ca.pem, crl_file: devices.crl, spiffe_trust_domains: [] }",
        "devices: { own_ca: true, proves: standard, spiffe_trust_domains: [example.test] }",
    );
    assert!(setup.config.contains(from));
    setup.config = setup.config.replace(from, to).replace("trust_domains: [services] }", "trust_domains: [devices] }");
    let cluster = Cluster::of(setup, 2).await;
    let [a, b] = cluster.replicas.as_slice() else { panic!("two replicas") };
    assert_eq!(cluster.database.sql("SELECT count(*) FROM authorities"), "2", "one root, one issuing authority");

    let service = issue(a, "spiffe://example.test/backup").await;
    assert_eq!(tried(b, &service).await, (200, "allowed".into()));
    let verb =
        ["cert", "revoke", "--serial", &service.serial.to_string(), "--reason", "keyCompromise", "--why", "lost"];
    let (code, said, why) = a.torhaus(&verb).await;
    assert_eq!(code, 0, "{said}{why}");
    until("the other replica refuses it", async || tried(b, &service).await.0 != 200).await;
    assert!(
        std::fs::read_to_string(b.path("state/ca/revocations.jsonl")).unwrap().contains(&service.serial.to_string())
    );

    // A new authority is believed everywhere.
    let (code, said, why) = a.torhaus(&["ca", "rotate"]).await;
    assert_eq!(code, 0, "{said}{why}");
    let of_next = issue(a, "spiffe://example.test/backup").await;
    until("the other replica believes it", async || tried(b, &of_next).await.0 == 200).await;
    let of_b = issue(b, "spiffe://example.test/backup").await;
    assert_eq!(tried(a, &of_b).await, (200, "allowed".into()));
}

async fn issue(replica: &Replica, id: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let csr_pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let order = IssueOrder {
        profile: "service".to_owned(),
        names: vec![id.to_owned()],
        common_name: None,
        user: None,
        owner: None,
        why: "a test".to_owned(),
        life_seconds: None,
        csr_pem,
    };
    let issued: IssuedAnswer = replica.admin().post("/certificates/issue", &order).await.unwrap();
    let serial = Serial::parse(&issued.serial).unwrap();
    Identity { cert_pem: issued.chain_pem, key_pem: key.serialize_pem(), serial }
}

async fn tried(replica: &Replica, identity: &Identity) -> (u16, String) {
    let tls = replica.tls(Some(identity), &["http/1.1"]);
    let call = Call::get("service.test", "/").with("accept", "application/json");
    match Connection::open(replica.address(Door::Inside), "service.test", &tls).await {
        Ok(mut connection) => connection.send(&call).await.map_or((0, "cut".into()), |answer| answer.outcome()),
        Err(error) => (0, error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_approved_at_one_replica_is_known_at_all_and_forgotten_at_all() {
    let mut setup = Setup::new().await;
    let row = "  - { resource: listed, allow: [authenticated], zones: { internal: standard }, \
               require: [{ name: listed, device: { known: true } }] }\nexceptions:\n";
    setup.policy = setup.policy.replace("exceptions:\n", row);
    let up = format!("http://127.0.0.1:{}", setup.echo.port);
    setup.config.push_str(&format!(
        "  - {{ name: listed, host: apps.test, path: /listed, upstream: \"{up}\", resource: listed, \
         client_auth: {{ mode: optional, trust_domains: [devices] }} }}\n\
         lookups: {{ posture: {{ trust_domains: [devices], agent: true }} }}\n"
    ));
    let laptop = setup.pki.device("laptop-7");
    let cluster = Cluster::of(setup, 2).await;
    let [a, b] = cluster.replicas.as_slice() else { panic!("two replicas") };
    let mut at_b = b.browser().of("alice").with_certificate(&laptop);
    assert_eq!(at_b.open("https://apps.test/level-standard").await.status, 200, "{:?}", at_b.trail);
    let opens = async |browser: &mut Browser<'_>| browser.fetch("https://apps.test/listed").await.status == 200;
    assert!(!opens(&mut at_b).await);
    // What b wrote down, a reads before it approves it in the database that both have.
    until("the device is written down", async || {
        a.torhaus(&["device", "approve", "laptop-7", "--owner", "alice"]).await.0 == 0
    })
    .await;
    let asked = std::time::Instant::now();
    until("it is known at the other one", async || opens(&mut at_b).await).await;
    assert!(asked.elapsed() < TOLD, "{:?}", asked.elapsed());
    assert_eq!(a.torhaus(&["device", "forget", "laptop-7"]).await.0, 0);
    let asked = std::time::Instant::now();
    until("it is known nowhere", async || !opens(&mut at_b).await).await;
    assert!(asked.elapsed() < TOLD, "{:?}", asked.elapsed());
    // And its sessions are found, at whichever replica one asks.
    assert_eq!(a.torhaus(&["session", "revoke", "--device", "laptop-7"]).await.0, 0);
    let over =
        async || at_b.fetch("https://apps.test/level-standard").await.outcome() == (401, "session_expired".into());
    until("the session is over", over).await;
}
