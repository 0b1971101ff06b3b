//! Certificates that the gate issues itself: they open what asks for them, and once revoked they open nothing.
use crate::harness::browser::echoes;
use crate::harness::client::Tls;
use crate::harness::pki::{BACKUP, Identity, now};
use crate::harness::{Call, Connection, Door, PATIENCE, Setup, World, until};
use futures::StreamExt as _;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::net::SocketAddr;
use time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use torhaus::admin::{IssueOrder, IssuedAnswer};
use torhaus_certs::{AuthorityRequest, IssuingCa, KeyAlgorithm, Serial, new_root};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// Trust domain `devices` is the gate's own, and its certificates count wherever one is asked for.
pub async fn setup(ca: &str) -> Setup {
    let mut setup = Setup::new().await;
    let (from, to) = (
        "devices: { ca_file: devices-ca.pem, crl_file: devices.crl, spiffe_trust_domains: [] }",
        "devices: { own_ca: true, proves: standard, spiffe_trust_domains: [example.test] }",
    );
    assert!(setup.config.contains(from));
    setup.config = setup.config.replace(from, to).replace("trust_domains: [services] }", "trust_domains: [devices] }");
    setup.config.push_str(ca);
    setup
}

pub fn order(profile: &str, names: &[&str]) -> (IssueOrder, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let csr_pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let order = IssueOrder {
        profile: profile.to_owned(),
        names: names.iter().map(ToString::to_string).collect(),
        common_name: None,
        user: None,
        owner: None,
        why: "a test".to_owned(),
        life_seconds: None,
        csr_pem,
    };
    (order, key)
}

pub async fn issue(world: &World, profile: &str, names: &[&str], user: Option<&str>) -> Identity {
    let (mut order, key) = order(profile, names);
    order.user = user.map(str::to_owned);
    order.common_name = user.map(|user| format!("laptop of {user}"));
    let issued: IssuedAnswer = world.admin().post("/certificates/issue", &order).await.unwrap();
    let serial = Serial::parse(&issued.serial).unwrap();
    Identity { cert_pem: issued.chain_pem, key_pem: key.serialize_pem(), serial }
}

pub async fn revoke(world: &World, serial: &Serial) {
    let serial = serial.to_string();
    let verb = ["cert", "revoke", "--serial", &serial, "--reason", "keyCompromise", "--why", "it was lost"];
    let (code, said, why) = world.torhaus(&verb).await;
    assert_eq!(code, 0, "{said}{why}");
}

fn get(host: &str) -> Call {
    Call::get(host, "/").with("accept", "application/json")
}

async fn connect(world: &World, host: &str, tls: &Tls) -> Result<Connection, String> {
    Connection::open(world.address(Door::Inside), host, tls).await
}

/// Status, or the reason of a refusal, of one request on a connection of its own; none if there is no connection.
pub async fn tried(world: &World, host: &str, identity: &Identity) -> Option<(u16, String)> {
    let mut connection = connect(world, host, &world.tls(Some(identity), &["http/1.1"])).await.ok()?;
    Some(connection.send(&get(host)).await.ok()?.outcome())
}

/// What the plain listener answers: head and body.
async fn plain(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: auth.test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end + 4..].to_vec())
}

/// Number and serial numbers of an authority's published list.
pub async fn listed(world: &World, issuer: &str) -> (u64, Vec<Serial>) {
    let (head, der) = plain(world.address(Door::Plain), &format!("/ca/{issuer}.crl")).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: application/pkix-crl"), "{head}");
    let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
    let number = list.crl_number().unwrap().to_string().parse().unwrap();
    (number, list.iter_revoked_certificates().map(|one| Serial::from_bytes(one.raw_serial())).collect())
}

pub async fn shown(world: &World, serial: &Serial) -> Value {
    world.admin().get(&format!("/certificates/{serial}")).await.unwrap()
}

const ALLOWED: fn() -> Option<(u16, String)> = || Some((200, "allowed".to_owned()));
const REVOKED: fn() -> Option<(u16, String)> = || Some((403, "certificate_revoked".to_owned()));

#[tokio::test]
async fn a_certificate_of_our_own_opens_a_row_and_revoked_it_opens_nothing() {
    let world = setup("").await.start().await;
    for (host, alpn) in [("backup.test", "http/1.1"), ("service.test", "h2"), ("backup.test", "h2")] {
        let (bad, good) =
            (issue(&world, "service", &[BACKUP], None).await, issue(&world, "service", &[BACKUP], None).await);
        let (tls, other) = (world.tls(Some(&bad), &[alpn]), world.tls(Some(&good), &[alpn]));
        for _ in 0..2 {
            assert_eq!(connect(&world, host, &tls).await.unwrap().send(&get(host)).await.unwrap().status, 200);
        }
        let mut open = connect(&world, host, &tls).await.unwrap();
        assert!(open.resumed, "{host}: there are tickets to resume with");
        assert_eq!(open.send(&get(host)).await.unwrap().status, 200);
        let mut neighbour = connect(&world, host, &other).await.unwrap();
        assert_eq!(neighbour.send(&get(host)).await.unwrap().status, 200);
        let issuer = shown(&world, &bad.serial).await["issuer"].as_str().unwrap().to_owned();
        let (number, before) = listed(&world, &issuer).await;
        assert!(!before.contains(&bad.serial));

        revoke(&world, &bad.serial).await;
        let reached = world.echo.count();
        assert_eq!(Some(open.send(&get(host)).await.unwrap().outcome()), REVOKED(), "{host} {alpn}: the next request");
        let mut resumed = connect(&world, host, &tls).await.unwrap();
        assert!(resumed.resumed, "nothing was loaded anew, so the ticket is good");
        assert_eq!(Some(resumed.send(&get(host)).await.unwrap().outcome()), REVOKED(), "{host} {alpn}: resumed");
        let new = if host == "service.test" { REVOKED() } else { None };
        assert_eq!(tried(&world, host, &bad).await, new, "{host} {alpn}: a new handshake");
        assert_eq!(world.echo.count(), reached, "{host} {alpn}");
        assert_eq!(neighbour.send(&get(host)).await.unwrap().status, 200, "its neighbour is as good as before");
        let (next, after) = listed(&world, &issuer).await;
        assert!(next > number && after.contains(&bad.serial) && !after.contains(&good.serial));
    }
    assert_eq!(world.recorded_with(&[("kind", "issue")]).len(), 6);
    let revoked = world.recorded_with(&[("kind", "revocation")]);
    assert!(revoked.len() == 3 && revoked[0]["detail"].as_str().unwrap().contains("it was lost"), "{revoked:?}");
}

#[tokio::test]
async fn a_web_socket_ends_when_the_device_it_was_opened_with_is_revoked() {
    let world = setup("").await.start().await;
    let (laptop, other) =
        (issue(&world, "device", &[], Some("alice")).await, issue(&world, "device", &[], Some("dana")).await);
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    assert_eq!(alice.open("https://device.test/").await.status, 200);
    let mut dana = world.browser(Door::Inside).of("dana").with_certificate(&other);
    assert_eq!(dana.open("https://device.test/").await.status, 200);
    // As in streams.rs: the engine may close a new one; a client tries again.
    let (mut socket, mut kept) = (None, None);
    for _ in 0..8 {
        for (browser, found) in [(&alice, &mut socket), (&dana, &mut kept)] {
            if found.is_none() {
                let mut new = browser.socket("device.test", "/socket").await.unwrap();
                *found = echoes(&mut new, "hello").await.then_some(new);
            }
        }
    }
    let (mut socket, mut kept) = (socket.unwrap(), kept.unwrap());
    revoke(&world, &laptop.serial).await;
    let ends = async { while matches!(socket.next().await, Some(Ok(message)) if !message.is_close()) {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("the socket goes on");
    assert!(echoes(&mut kept, "still there?").await, "another device's goes on");
    let answer = alice.open("https://device.test/").await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn a_certificate_names_whom_the_order_names_and_not_what_the_request_says() {
    let world = setup("").await.start().await;
    let refused = async |change: fn(&mut IssueOrder)| {
        let (mut order, _) = order("service", &[BACKUP]);
        change(&mut order);
        world.admin().post::<Value>("/certificates/issue", &order).await.unwrap_err().to_string()
    };
    assert!(refused(|o| o.names = vec!["spiffe://other.test/x".into()]).await.contains("does not vouch for"));
    assert!(refused(|o| o.why = " ".into()).await.contains("say why"));
    assert!(refused(|o| o.profile = "root".into()).await.contains("is not a profile"));
    assert!(refused(|o| o.profile = "user".into()).await.contains("needs the user"));
    assert!(refused(|o| o.names = vec![BACKUP.into(), BACKUP.into()]).await.contains("one SPIFFE ID"));
    assert!(refused(|o| o.csr_pem = "x".into()).await.contains("not PEM"));
    let all: Value = world.admin().get("/certificates?valid=false").await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 0, "nothing of it stands in the ledger");

    // A person's certificate beside another person's session.
    let laptop = issue(&world, "user", &[], Some("alice")).await;
    let mut dana = world.browser(Door::Inside).of("dana").with_certificate(&laptop);
    assert_eq!(dana.open("https://device.test/").await.status, 403);
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    assert_eq!(alice.open("https://device.test/").await.status, 200);

    // All that an owner has, at once.
    let second = issue(&world, "device", &[], Some("alice")).await;
    let (code, said, _) = world.torhaus(&["cert", "revoke", "--owner", "alice", "--why", "left"]).await;
    assert_eq!(code, 0, "{said}");
    for serial in [&laptop.serial, &second.serial] {
        assert_eq!(shown(&world, serial).await["revoked"]["why"], "left");
    }
    let (code, said, _) = world.torhaus(&["cert", "revoke", "--owner", "alice", "--why", "left"]).await;
    assert_eq!((code, said.contains("no certificate was meant")), (1, true), "{said}");
}

#[tokio::test]
async fn a_certificate_of_our_own_expires() {
    let world = setup("").await.start().await;
    let (mut short, key) = order("service", &[BACKUP]);
    short.life_seconds = Some(4);
    let issued: IssuedAnswer = world.admin().post("/certificates/issue", &short).await.unwrap();
    let end = issued.not_after;
    let serial = Serial::parse(&issued.serial).unwrap();
    let identity = Identity { cert_pem: issued.chain_pem, key_pem: key.serialize_pem(), serial };
    let tls = world.tls(Some(&identity), &["http/1.1"]);
    let mut open = connect(&world, "service.test", &tls).await.unwrap();
    let first = open.send(&get("service.test")).await.unwrap();
    // On a machine that took longer than its life, it is expired already; then that is what is said.
    assert!(first.status == 200 || first.outcome().1 == "certificate_expired", "{first:?}");
    until("it has expired", async || now().unix_timestamp() > end.seconds() + 1).await;
    let expired = (403, "certificate_expired".to_owned());
    assert_eq!(open.send(&get("service.test")).await.unwrap().outcome(), expired);
}

#[tokio::test]
async fn after_a_rotation_certificates_of_before_and_after_count() {
    let world = setup("").await.start().await;
    let before = issue(&world, "service", &[BACKUP], None).await;
    let (code, root, _) = world.torhaus(&["ca", "export"]).await;
    assert_eq!(code, 0);
    let (head, published) = plain(world.address(Door::Plain), "/ca/root.pem").await;
    assert!(head.contains("content-type: application/pem-certificate-chain"), "{head}");
    assert_eq!(String::from_utf8(published).unwrap().replace("\r\n", "\n").trim(), root.trim());

    let (code, said, why) = world.torhaus(&["ca", "rotate"]).await;
    assert_eq!(code, 0, "{said}{why}");
    let after = issue(&world, "service", &[BACKUP], None).await;
    let (old, new) = (shown(&world, &before.serial).await, shown(&world, &after.serial).await);
    assert_ne!(old["issuer"], new["issuer"]);
    for identity in [&before, &after] {
        assert_eq!(tried(&world, "backup.test", identity).await, ALLOWED());
    }
    assert_eq!(world.torhaus(&["ca", "export"]).await.1, root, "the root is the same");
    revoke(&world, &before.serial).await;
    assert_eq!(tried(&world, "service.test", &before).await, REVOKED());
    assert_eq!(tried(&world, "service.test", &after).await, ALLOWED());
    assert_eq!(listed(&world, old["issuer"].as_str().unwrap()).await.1, [before.serial]);
    assert_eq!(listed(&world, new["issuer"].as_str().unwrap()).await.1, []);
    let (code, status, _) = world.torhaus(&["ca", "status"]).await;
    assert!(code == 0 && status.contains("signs") && status.contains("believed"), "{status}");
    assert_eq!(world.recorded_with(&[("kind", "admin")]).len(), 1);
}

#[tokio::test]
async fn with_an_offline_root_nothing_is_issued_or_believed_until_an_authority_is_imported() {
    let world = setup("ca: { offline_root: true }\n").await.start().await;
    let (order, _) = order("service", &[BACKUP]);
    let refused = world.admin().post::<Value>("/certificates/issue", &order).await.unwrap_err().to_string();
    assert!(refused.contains("torhaus ca import"), "{refused}");
    let request =
        |name| AuthorityRequest { name, key: KeyAlgorithm::EcdsaP384, permitted_dns: &[], life: Duration::days(30) };
    let root = new_root(&request("Offline Root"), now()).unwrap();
    let issuing = IssuingCa::new(&root, &request("Issuing"), now()).unwrap();
    for (name, text) in
        [("r.pem", root.root_pem()), ("i.pem", issuing.certificate_pem()), ("i.key", &issuing.key_pem())]
    {
        std::fs::write(world.path(name), text).unwrap();
    }
    let path = |name: &str| world.path(name).display().to_string();
    let verb = ["ca", "import", "--root", &path("r.pem"), "--cert", &path("i.pem"), "--key", &path("i.key")];
    let (code, said, why) = world.torhaus(&verb).await;
    assert_eq!(code, 0, "{said}{why}");
    let backup = issue(&world, "service", &[BACKUP], None).await;
    assert_eq!(tried(&world, "backup.test", &backup).await, ALLOWED());
    assert!(world.torhaus(&verb).await.2.contains("known already"));
    let (code, _, why) = world.torhaus(&["ca", "rotate"]).await;
    assert!(code == 1 && why.contains("the root's key is not here"), "{why}");
}

#[tokio::test]
async fn what_we_revoked_is_revoked_whichever_trust_domain_believes_it() {
    let mut setup = setup("").await;
    // An authority above ours, as when ours was signed by the company's root.
    let above =
        "  above: { ca_file: above.pem, proves: standard, spiffe_trust_domains: [example.test] }\n  devices: { own_ca";
    setup.config = setup.config.replace("  devices: { own_ca", above);
    setup.config = setup.config.replace("trust_domains: [devices] }", "trust_domains: [above, devices] }");
    std::fs::copy(setup.folder.path().join("devices-ca.pem"), setup.folder.path().join("above.pem")).unwrap();
    let world = setup.start().await;
    world.write("above.pem", &world.torhaus(&["ca", "export"]).await.1);
    world.reload().await.unwrap();
    let (bad, good) =
        (issue(&world, "service", &[BACKUP], None).await, issue(&world, "service", &[BACKUP], None).await);
    let mut open = connect(&world, "service.test", &world.tls(Some(&bad), &["http/1.1"])).await.unwrap();
    assert_eq!(open.send(&get("service.test")).await.unwrap().status, 200);
    assert_eq!(tried(&world, "service.test", &good).await, ALLOWED());
    revoke(&world, &bad.serial).await;
    assert_eq!(Some(open.send(&get("service.test")).await.unwrap().outcome()), REVOKED(), "the next request");
    assert_eq!(tried(&world, "service.test", &bad).await, REVOKED(), "a new connection");
    assert_eq!(tried(&world, "service.test", &good).await, ALLOWED());
}
