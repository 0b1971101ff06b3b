//! Enrolment, from the login to the end of a device, through the gate's own listener. The ACME client is one that others
//! wrote (instant-acme); what Debian packages is tried in `tests/acme.test.mjs`.
use crate::harness::browser::echoes;
use crate::harness::client::Tls;
use crate::harness::pki::Identity;
use crate::harness::{Browser, Call, Connection, Door, PATIENCE, Setup, World, until};
use crate::own_ca::{self, listed, shown};
use crate::own_ca_books::KILLS;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, BodyWrapper, BytesResponse, Error, ExternalAccountKey, HttpClient, Identifier,
    NewAccount, NewOrder, Order, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use torhaus::admin::EabAnswer;
use torhaus_certs::Serial;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const DEVICES: &str = "https://auth.test/devices";
const DIRECTORY: &str = "https://auth.test/acme/directory";

async fn setup(more: &str) -> Setup {
    own_ca::setup(&format!("acme: {{ client_zone: devices.example.test, tier: mfa{more} }}\n")).await
}

/// Connects by the listener that it was told, whatever the URL says.
struct Wire {
    address: SocketAddr,
    tls: Tls,
}

type Answered = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Wire {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Answered {
        let (address, tls) = (self.address, self.tls.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let method = if head.method == "POST" {
                "POST"
            } else if head.method == "HEAD" {
                "HEAD"
            } else {
                "GET"
            };
            let target = head.uri.path_and_query().unwrap().to_string();
            let mut call = Call { method, ..Call::get(head.uri.host().unwrap(), &target) };
            call.body = String::from_utf8(body.to_vec()).unwrap();
            for (name, value) in &head.headers {
                call = call.with(name.as_str(), value.to_str().unwrap());
            }
            // The gate may have been killed.
            let gone = |_| Error::Str("an answer");
            let mut connection = Connection::open(address, "auth.test", &tls).await.map_err(gone)?;
            let answer = connection.send(&call).await.map_err(gone)?;
            let mut response = http::Response::new(Full::new(Bytes::from(answer.body)));
            *response.status_mut() = http::StatusCode::from_u16(answer.status).unwrap();
            *response.headers_mut() = answer.headers;
            Ok(response.into())
        })
    }
}

fn wire(world: &World) -> Box<Wire> {
    Box::new(Wire { address: world.address(Door::Inside), tls: world.tls(None, &["http/1.1"]) })
}

/// What the portal shows once.
struct Key {
    kid: String,
    hmac: String,
    name: String,
}

async fn mint(alice: &mut Browser<'_>, label: &str) -> Key {
    let page = alice.navigate("POST", DEVICES, &[("add", label)]).await;
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{}", page.body);
    let shown = |id: &str| {
        let (_, rest) = page.body.split_once(&format!("<code id=\"{id}\">")).expect("it is on the page");
        rest.split_once('<').unwrap().0.to_owned()
    };
    Key { kid: shown("kid"), hmac: shown("hmac"), name: shown("name") }
}

async fn sign_up(world: &World, kid: &str, hmac: &str) -> Result<Account, Error> {
    Ok(sign_up_to_keep(world, kid, hmac).await?.0)
}

/// With what is needed to go on after a restart of the gate, whose ports are new then.
async fn sign_up_to_keep(world: &World, kid: &str, hmac: &str) -> Result<(Account, AccountCredentials), Error> {
    let eab = ExternalAccountKey::new(kid.to_owned(), &BASE64_URL_SAFE_NO_PAD.decode(hmac).unwrap());
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    Account::builder_with_http(wire(world)).create(&new, DIRECTORY.to_owned(), Some(&eab)).await
}

async fn again(world: &World, credentials: &str) -> Account {
    let credentials = serde_json::from_str(credentials).unwrap();
    Account::builder_with_http(wire(world)).from_credentials(credentials).await.unwrap()
}

async fn order(account: &Account, name: &str) -> Result<Order, Error> {
    account.new_order(&NewOrder::new(&[Identifier::Dns(name.to_owned())])).await
}

async fn finish(order: &mut Order, name: &str) -> Result<Identity, Error> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).unwrap();
    order.finalize_csr(csr.der()).await?;
    let cert_pem = order.poll_certificate(&RetryPolicy::default()).await?;
    let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).unwrap();
    let serial = Serial::from_bytes(X509Certificate::from_der(&der).unwrap().1.raw_serial());
    Ok(Identity { cert_pem, key_pem: key.serialize_pem(), serial })
}

#[track_caller]
fn refused<T>(outcome: Result<T, Error>, kind: &str, words: &str) {
    let Err(Error::Api(problem)) = outcome else { panic!("this was not refused") };
    assert_eq!(problem.r#type.as_deref(), Some(&*format!("urn:ietf:params:acme:error:{kind}")));
    assert!(problem.detail.as_deref().is_some_and(|detail| detail.contains(words)), "{:?}", problem.detail);
}

fn copy_database(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for old in fs::read_dir(to).unwrap().map(|entry| entry.unwrap()) {
        if old.file_name().to_string_lossy().starts_with("torhaus.db") {
            fs::remove_file(old.path()).unwrap();
        }
    }
    for file in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        if file.file_name().to_string_lossy().starts_with("torhaus.db") {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_laptop_enrolled_after_a_login_opens_its_row_until_it_is_revoked_in_the_portal() {
    let mut world = setup("").await.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    let page = alice.open(DEVICES).await;
    assert!(page.status == 200 && page.body.contains("name=\"add\""), "{}", page.body);
    let proven = world.recorded_with(&[("kind", "login")]).pop().unwrap()["proofs"].to_string();
    assert!(proven.contains("mfa"), "more than a password was asked for: {proven}");
    let key = mint(&mut alice, "Laptop").await;
    assert_eq!(key.name, "laptop.alice.devices.example.test");
    let (account, credentials) = sign_up_to_keep(&world, &key.kid, &key.hmac).await.unwrap();
    let credentials = serde_json::to_string(&credentials).unwrap();
    refused(sign_up(&world, &key.kid, &key.hmac).await, "unauthorized", "external account binding");
    refused(order(&account, "laptop.dana.devices.example.test").await, "rejectedIdentifier", "not among the names");
    let laptop = finish(&mut order(&account, &key.name).await.unwrap(), &key.name).await.unwrap();
    let line = shown(&world, &laptop.serial).await;
    assert_eq!(
        (&line["owner"], &line["profile"], &line["names"]),
        (&json!("alice"), &json!("device"), &json!(["user:alice", "dns:laptop.alice.devices.example.test"]))
    );
    drop(alice);

    world.kill();
    copy_database(&world.path("state"), &world.path("backup"));
    world.restart().await;

    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    assert_eq!(alice.open("https://device.test/").await.status, 200);
    let tls = world.tls(Some(&laptop), &["http/1.1"]);
    let get = alice.request("GET", "https://device.test/").with("accept", "application/json");
    for _ in 0..2 {
        let mut open = Connection::open(world.address(Door::Inside), "device.test", &tls).await.unwrap();
        assert_eq!(open.send(&get).await.unwrap().status, 200);
    }
    let mut socket = None;
    for _ in 0..8 {
        // As in streams.rs: the engine may close a new one; a client tries again.
        if socket.is_none() {
            let mut new = alice.socket("device.test", "/socket").await.unwrap();
            socket = echoes(&mut new, "hello").await.then_some(new);
        }
    }
    let mut socket = socket.unwrap();
    let issuer = shown(&world, &laptop.serial).await["issuer"].as_str().unwrap().to_owned();

    let page = alice.open(DEVICES).await;
    let (_, rest) = page.body.split_once("name=\"end\" value=\"").expect("the laptop is listed");
    let id = rest.split_once('"').unwrap().0.to_owned();
    let mut dana = world.browser(Door::Inside).of("dana");
    dana.open(DEVICES).await;
    assert_eq!(dana.navigate("POST", DEVICES, &[("end", &id)]).await.status, 400, "it is not dana's");
    assert!(echoes(&mut socket, "still here").await);
    let gone = alice.navigate("POST", DEVICES, &[("end", &id)]).await;
    assert_eq!(gone.header("location"), "/devices?ended=1");

    let ends = async { while matches!(socket.next().await, Some(Ok(message)) if !message.is_close()) {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("the socket goes on");
    let mut resumed = Connection::open(world.address(Door::Inside), "device.test", &tls).await.unwrap();
    assert!(resumed.resumed, "nothing was loaded anew, so the ticket is good");
    // The session is good, and the machine is not; without the session, that is all there is to say.
    assert_eq!(resumed.send(&get).await.unwrap().outcome(), (403, "requirement_missing".to_owned()));
    let bare = Call::get("device.test", "/").with("accept", "application/json");
    assert_eq!(resumed.send(&bare).await.unwrap().outcome(), (403, "certificate_revoked".to_owned()));
    let mut new =
        Connection::open(world.address(Door::Inside), "device.test", &world.tls(Some(&laptop), &["http/1.1"]))
            .await
            .unwrap();
    assert_eq!(new.send(&bare).await.unwrap().outcome(), (403, "certificate_revoked".to_owned()));
    assert!(listed(&world, &issuer).await.1.contains(&laptop.serial));
    let account_of = |answer: Value| answer[0]["state"].as_str().map(str::to_owned);
    assert_eq!(account_of(world.admin().get("/enrolments").await.unwrap()).as_deref(), Some("revoked"));
    let account = again(&world, &credentials).await;
    refused(order(&account, &key.name).await, "unauthorized", "");
    for kind in ["enrolment", "issue", "revocation"] {
        assert!(!world.recorded_with(&[("kind", kind)]).is_empty(), "{kind}");
    }
    assert!(
        !world.read("stderr.log").contains(&key.hmac)
            && !world.audit().iter().any(|line| line.to_string().contains(&key.hmac))
    );
    drop((alice, dana));

    world.kill();
    copy_database(&world.path("backup"), &world.path("state"));
    world.restart().await;
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    assert_eq!(alice.open("https://device.test/").await.status, 403, "a restore revives no certificate");
    let answer: Value = world.admin().get("/enrolments").await.unwrap();
    assert_eq!(account_of(answer).as_deref(), Some("revoked"), "and no device");
    refused(order(&again(&world, &credentials).await, &key.name).await, "unauthorized", "");
}

#[tokio::test]
async fn who_may_not_have_certificates_any_more_can_neither_order_nor_finalize() {
    let world = setup("").await.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open(DEVICES).await;
    let key = mint(&mut alice, "laptop").await;
    let account = sign_up(&world, &key.kid, &key.hmac).await.unwrap();
    let mut ready = order(&account, &key.name).await.unwrap();
    // Whoever vouched for alice is not asked any more.
    world.change("torhaus.yaml", "name: demo", "name: other");
    world.reload().await.unwrap();
    refused(finish(&mut ready, &key.name).await, "unauthorized", "not asked any more");
    refused(order(&account, &key.name).await, "unauthorized", "not asked any more");
    let issued: Value = world.admin().get("/certificates?valid=false").await.unwrap();
    assert_eq!(issued, json!([]));
    assert!(
        world
            .audit()
            .iter()
            .any(|line| line["detail"].as_str().is_some_and(|text| text.contains("refused (unauthorized)")))
    );
}

#[tokio::test]
async fn ending_all_that_an_owner_has_ends_the_devices_too() {
    let world = setup("").await.start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open(DEVICES).await;
    let (used, unused) = (mint(&mut alice, "laptop").await, mint(&mut alice, "phone").await);
    let account = sign_up(&world, &used.kid, &used.hmac).await.unwrap();
    let laptop = finish(&mut order(&account, &used.name).await.unwrap(), &used.name).await.unwrap();
    let (code, said, why) = world.torhaus(&["cert", "revoke", "--owner", "alice", "--why", "left"]).await;
    assert_eq!(code, 0, "{said}{why}");
    assert_eq!(shown(&world, &laptop.serial).await["revoked"]["why"], "left");
    refused(order(&account, &used.name).await, "unauthorized", "");
    refused(sign_up(&world, &unused.kid, &unused.hmac).await, "unauthorized", "external account binding");
    let (_, said, _) = world.torhaus(&["eab", "list", "--owner", "alice"]).await;
    assert_eq!(said.matches("revoked").count(), 2, "{said}");
}

#[tokio::test]
async fn an_operator_makes_one_time_keys_for_services_and_they_are_recorded() {
    let world = setup("").await.start().await;
    let create = ["eab", "create", "--owner", "backup team", "--profile", "service", "--name"];
    let service = [&create[..], &["spiffe://example.test/backup", "--name", "backup.example.test"]].concat();
    let (code, said, why) = world.torhaus(&[&service[..], &["--output", "json"]].concat()).await;
    assert_eq!(code, 0, "{why}");
    let key: EabAnswer = serde_json::from_str(&said).unwrap();
    assert_eq!(key.directory, DIRECTORY);
    let account = sign_up(&world, &key.kid, &key.hmac_key).await.unwrap();
    let name = "backup.example.test";
    let backup = finish(&mut order(&account, name).await.unwrap(), name).await.unwrap();
    assert_eq!(own_ca::tried(&world, "backup.test", &backup).await, Some((200, "allowed".to_owned())));

    let (_, manifest, _) = world.torhaus(&[&service[..], &["--output", "kubernetes-secret"]].concat()).await;
    assert!(
        manifest.contains("kind: Secret") && manifest.contains("  secret: \"") && manifest.contains(DIRECTORY),
        "{manifest}"
    );
    for (arguments, words) in [
        (vec!["spiffe://other.test/x", "--name", "a.test"], "does not vouch for"),
        (vec!["spiffe://example.test/x"], "order nothing else"),
        (vec!["a.test"], "needs a SPIFFE ID"),
        (vec!["spiffe://example.test/x", "--name", "A.test"], "lower case"),
    ] {
        let (code, _, why) = world.torhaus(&[&create[..], &arguments].concat()).await;
        assert!(code == 1 && why.contains(words), "{words}: {why}");
    }
    let recorded = world.recorded_with(&[("kind", "enrolment")]);
    assert!(
        recorded.iter().any(|line| line["detail"].as_str().unwrap().contains("for service backup team")),
        "{recorded:?}"
    );
    assert!(!recorded.iter().any(|line| line.to_string().contains(&*key.hmac_key)));
}

#[tokio::test]
async fn the_acme_server_speaks_on_the_portals_host_over_tls_only() {
    let world = setup("").await.start().await;
    let directory = world.call(Door::Outside, None, &Call::get("auth.test", "/acme/directory")).await.unwrap();
    let document: Value = serde_json::from_str(&directory.body).unwrap();
    assert_eq!((directory.status, &document["newOrder"]), (200, &json!("https://auth.test/acme/new-order")));
    assert_eq!(document["meta"]["externalAccountRequired"], true);
    let elsewhere = world.call(Door::Inside, None, &Call::get("wiki.test", "/acme/directory")).await.unwrap();
    assert_ne!(elsewhere.status, 200, "an application's host is the application's");
    let large = Call { method: "POST", body: "x".repeat(70_000), ..Call::get("auth.test", "/acme/new-order") };
    let large = large.with("content-type", "application/jose+json");
    // The gate answers and closes while the body is being sent; a client on a busy machine may learn of the close first.
    let mut status = None;
    for _ in 0..20 {
        if let Ok(answer) = world.call(Door::Inside, None, &large).await {
            status = Some(answer.status);
            break;
        }
    }
    assert_eq!(status, Some(413));

    let without = own_ca::setup("").await.start().await;
    for path in ["/acme/directory", "/devices"] {
        let answer = without.call(Door::Inside, None, &Call::get("auth.test", path)).await.unwrap();
        assert_eq!(answer.status, 404, "{path}");
    }
}

/// What the gate said is done, with one-time keys.
#[derive(Default)]
struct Acknowledged {
    /// Key id -> account.
    used: BTreeMap<String, String>,
    issued: BTreeSet<String>,
}

/// Uses a key as one of two machines that have it, and gets a certificate if it was the quicker one.
async fn use_key(wire: Wire, key: Arc<EabAnswer>, told: Arc<Mutex<Acknowledged>>) {
    let eab = ExternalAccountKey::new(key.kid.clone(), &BASE64_URL_SAFE_NO_PAD.decode(&key.hmac_key).unwrap());
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let made = Account::builder_with_http(Box::new(wire)).create(&new, DIRECTORY.to_owned(), Some(&eab)).await;
    let Ok((account, _)) = made else { return };
    let id = account.id().rsplit('/').next().unwrap().to_owned();
    let before = told.lock().unwrap().used.insert(key.kid.clone(), id);
    assert_eq!(before, None, "a key was used twice");
    let name = &key.names[0];
    let Ok(mut ready) = order(&account, name).await else { return };
    let Ok(identity) = finish(&mut ready, name).await else { return };
    told.lock().unwrap().issued.insert(identity.serial.to_string());
}

#[tokio::test]
async fn kills_at_any_moment_lose_no_use_of_a_one_time_key_and_allow_no_second() {
    let kills = std::env::var("TORHAUS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let limits = ", limits: { new_accounts: 100000 }";
    let mut world = setup(limits).await.start().await;
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    let mut keys: Vec<Arc<EabAnswer>> = Vec::new();
    for round in 0..kills {
        let wanted = told.lock().unwrap().used.len() + 1;
        let mut machines = Vec::new();
        for number in 0..4 {
            let name = format!("m{number}-{round}.alice.devices.example.test");
            let wish = json!({ "owner": "alice", "profile": "device", "names": [name], "key_seconds": 3600,
                "enrolment_seconds": 86400 });
            let key: EabAnswer = world.admin().post("/enrolments/create", &wish).await.unwrap();
            let key = Arc::new(key);
            keys.push(key.clone());
            machines.extend((0..2).map(|_| tokio::spawn(use_key(*wire(&world), key.clone(), told.clone()))));
        }
        until("a key was used", async || told.lock().unwrap().used.len() >= wanted).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..120))).await;
        world.kill();
        for machine in machines {
            machine.await.unwrap();
        }
        world.restart().await;
        let lines: Vec<Value> = world.admin().get("/enrolments").await.unwrap();
        let kids: Vec<&str> = lines.iter().map(|line| line["kid"].as_str().unwrap()).collect();
        let known: BTreeSet<&str> = kids.iter().copied().collect();
        assert_eq!(known.len(), kids.len(), "no key stands for two accounts");
        for key in &keys {
            assert!(known.contains(&*key.kid), "a key that was handed out is lost");
        }
        let all: Vec<Value> = world.admin().get("/certificates?valid=false").await.unwrap();
        let issued: BTreeSet<String> = all.iter().map(|line| line["serial"].as_str().unwrap().to_owned()).collect();
        assert_eq!(issued.len(), all.len(), "no serial stands twice");
        let told = told.lock().unwrap();
        for (kid, account) in &told.used {
            let line = lines.iter().find(|line| line["kid"] == **kid).unwrap();
            assert_eq!(line["account"], **account, "a use that was acknowledged is lost");
        }
        assert!(told.issued.is_subset(&issued), "lost: {:?}", told.issued.difference(&issued));
    }
    // Whatever was in flight: each key makes one account, now or before.
    for key in keys.iter().rev().take(8) {
        let was_used = told.lock().unwrap().used.contains_key(&key.kid);
        let first = sign_up(&world, &key.kid, &key.hmac_key).await;
        assert!(!was_used || first.is_err());
        refused(sign_up(&world, &key.kid, &key.hmac_key).await, "unauthorized", "external account binding");
    }
    let (code, said, why) = world.torhaus(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{said}{why}");
}
