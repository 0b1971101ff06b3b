//! Applications on several servers: what is lost when one goes (nothing that may be asked twice), who takes over, and
//! that nothing is sent to a server that is not believed.
use crate::harness::app::{App, Reply};
use crate::harness::pki::{Identity, Pki, now, write_secret};
use crate::harness::{Answer, Call, Connection, Door, Setup, World, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use time::Duration;
use torhaus_certs::LeafRequest;

/// The gate with `status.test` (open to anyone) on another upstream, and more routes below it.
async fn gate(upstream: &str, more: &str) -> World {
    started(Setup::new().await, upstream, more).await
}

async fn started(mut setup: Setup, upstream: &str, more: &str) -> World {
    let here = format!("host: status.test, upstream: \"http://127.0.0.1:{}\", resource: status }}", setup.echo.port);
    assert!(setup.config.contains(&here));
    setup.config =
        setup.config.replace(&here, &format!("host: status.test, upstream: {upstream}, resource: status }}\n{more}"));
    setup.start().await
}

async fn get(world: &World, target: &str) -> Answer {
    world.call(Door::Inside, None, &Call::get("status.test", target)).await.unwrap()
}

fn list(apps: &[App]) -> String {
    format!("[{}]", apps.iter().map(|app| format!("\"{}\"", app.url())).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn killing_one_of_three_servers_under_load_loses_no_request_that_may_be_asked_twice() {
    let mut apps = [App::start(), App::start(), App::start()];
    let world = gate(&format!("{{ primary: {} }}", list(&apps)), "").await;
    let answered = AtomicUsize::new(0);
    let worker = async |number: usize| {
        let tls = world.tls(None, &["http/1.1"]);
        let mut connection = Connection::open(world.address(Door::Inside), "status.test", &tls).await.unwrap();
        for at in 0..60 {
            let call = Call::get("status.test", &format!("/{number}/{at}"));
            let answer = connection.send(&call).await.unwrap_or_else(|why| panic!("{number}/{at}: {why}"));
            assert_eq!(answer.status, 200, "{number}/{at}: {}", answer.body);
            answered.fetch_add(1, Ordering::SeqCst);
        }
    };
    let killed = apps[1].port;
    let victim = &mut apps[1];
    let killer = async {
        until("the load is under way", async || answered.load(Ordering::SeqCst) > 60).await;
        assert!(victim.count() > 0, "every server gets its share");
        victim.kill();
    };
    tokio::join!(worker(1), worker(2), worker(3), worker(4), killer);
    assert_eq!(answered.load(Ordering::SeqCst), 240);
    for _ in 0..6 {
        assert_ne!(get(&world, "/after").await.body, killed.to_string(), "it is left alone");
    }
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_sent_once() {
    let apps = [App::with(None, |_| Reply::HangUp), App::with(None, |_| Reply::HangUp)];
    let world = gate(&format!("{{ primary: {} }}", list(&apps)), "").await;
    let sent = || apps.iter().map(App::count).sum::<usize>();
    let post = Call { method: "POST", body: "once".into(), ..Call::get("status.test", "/order") };
    let answer = world.call(Door::Inside, None, &post).await.unwrap();
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()));
    assert_eq!(sent(), 1, "nobody knows whether it was done");
    let answer = get(&world, "/read").await;
    assert_eq!((answer.status, sent()), (502, 3), "a GET is asked of every server once");
}

#[tokio::test]
async fn a_body_counts_once_however_many_servers_are_asked() {
    let apps = [App::with(None, |_| Reply::HangUp), App::with(None, |_| Reply::HangUp)];
    let world = gate(&format!("{{ primary: {} }}, max_body: 1KiB", list(&apps)), "").await;
    let put = Call { method: "PUT", body: "b".repeat(1000), ..Call::get("status.test", "/whole") };
    let answer = world.call(Door::Inside, None, &put).await.unwrap();
    assert_eq!(answer.outcome(), (502, "upstream_failed".to_owned()), "and not too large");
    assert_eq!(apps.iter().map(App::count).sum::<usize>(), 2);
}

#[tokio::test]
async fn what_a_route_strips_or_sends_itself_comes_from_no_client_in_any_spelling() {
    let (app, setup) = (App::start(), Setup::new().await);
    write_secret(&setup.folder.path().join("token"), "ours");
    let more = "request: { strip: [X-Api-Key] }, send: { X-Token: { file: token } }";
    let world = started(setup, &format!("\"{}\", {more}", app.url()), "").await;
    for name in ["X-Api-Key", "x_api_key", "X.Api_Key", "X-Token", "x_token", "X~Token"] {
        let call = Call::get("status.test", "/spelled").with(name, "mine");
        assert_eq!(world.call(Door::Inside, None, &call).await.unwrap().status, 200, "{name}");
    }
    let seen = app.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 6);
    for head in seen {
        assert!(head.contains("ours") && !head.contains("mine"), "{head}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_costs_no_request_whatever_its_method() {
    let mut apps = [App::start(), App::start()];
    let world = gate(&format!("{{ primary: {} }}", list(&apps)), "").await;
    apps[0].kill();
    for _ in 0..4 {
        let post = Call { method: "POST", body: "once".into(), ..Call::get("status.test", "/order") };
        assert_eq!(world.call(Door::Inside, None, &post).await.unwrap().status, 200);
    }
    assert_eq!(apps[1].count(), 4);
}

#[tokio::test]
async fn a_standby_takes_over_while_the_primary_says_that_it_is_not_well_and_only_then() {
    let well = Arc::new(AtomicBool::new(true));
    let says = well.clone();
    let primary = App::with(None, move |head| match head.starts_with("GET /healthz ") {
        true if !says.load(Ordering::SeqCst) => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let standby = App::start();
    let upstream = format!(
        "{{ primary: [\"{}\"], standby: [\"{}\"], health: {{ probe: http, path: /healthz, every: 1s }} }}",
        primary.url(),
        standby.url()
    );
    let world = gate(&upstream, "").await;
    let serves = async |app: &App| get(&world, "/").await.body == app.port.to_string();
    assert!(serves(&primary).await);
    well.store(false, Ordering::SeqCst);
    until("the standby serves", async || serves(&standby).await).await;
    assert!(serves(&standby).await, "it stays so");
    well.store(true, Ordering::SeqCst);
    until("the primary serves again", async || serves(&primary).await).await;
    let probes = standby.seen.lock().unwrap().iter().filter(|head| head.starts_with("GET /healthz ")).count();
    assert!(probes > 0, "a standby is asked how it is, too");
}

#[tokio::test]
async fn sticky_requests_of_one_caller_stay_with_one_server() {
    let apps = [App::start(), App::start(), App::start()];
    let world = gate(&format!("{{ primary: {}, balance: sticky }}", list(&apps)), "").await;
    let first = get(&world, "/").await.body;
    for _ in 0..8 {
        assert_eq!(get(&world, "/").await.body, first);
    }
}

#[tokio::test]
async fn an_application_on_a_unix_socket_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let app = App::on_socket(&path);
    let world = gate(&format!("\"unix:{}\"", path.display()), "").await;
    assert_eq!(get(&world, "/by-socket").await.status, 200);
    assert!(app.seen.lock().unwrap()[0].starts_with("GET /by-socket HTTP/1.1\r\n"));
}

/// A server's TLS, by a certificate of an authority; with `clients`, only for those that these vouch for.
fn tls_of(pki: &Pki, clients: Option<&Pki>) -> (Arc<rustls::ServerConfig>, Vec<u8>) {
    let leaf = LeafRequest::server(["app.internal.test".to_owned()]).valid_for(Duration::days(1));
    let identity = Identity::from(pki.web.issue(&leaf, now()).unwrap());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).map(Result::unwrap).collect();
    let leaf = chain[0].to_vec();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = match clients {
        None => builder.unwrap().with_no_client_auth(),
        Some(pki) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from(pki.services.root_der().to_vec())).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
    };
    (Arc::new(builder.with_single_cert(chain, key).unwrap()), leaf)
}

#[tokio::test]
async fn a_wrong_authority_or_pin_never_gets_a_byte_of_a_request_pooled_connections_included() {
    let setup = Setup::new().await;
    let (tls, leaf) = tls_of(&setup.pki, None);
    let app = App::with(Some(tls), |_| Reply::Status(200));
    let url = format!("https://127.0.0.1:{}", app.port);
    let pin = |der: &[u8]| Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let route = |path: &str, tls: &str| {
        format!(
            "  - {{ name: {path}, host: status.test, path: /{path}, upstream: \"{url}\", resource: status,\n      \
             upstream_tls: {{ {tls} }} }}\n"
        )
    };
    let more = route("wrong-ca", "ca_file: services-ca.pem, server_name: app.internal.test")
        + &route("wrong-name", "ca_file: web-ca.pem, server_name: other.internal.test")
        + &route("wrong-pin", &format!("pin_sha256: {}", pin(b"another")))
        + &route("right-pin", &format!("pin_sha256: {}", pin(&leaf)));
    let upstream = format!("\"{url}\", upstream_tls: {{ ca_file: web-ca.pem, server_name: app.internal.test }}");
    let world = started(setup, &upstream, &more).await;

    for (path, trusted) in [
        ("/", true),
        ("/wrong-ca", false),
        ("/wrong-name", false),
        ("/wrong-pin", false),
        ("/right-pin", true),
        // Now good connections of two kinds are kept, and none of them serves for the others.
        ("/wrong-ca", false),
        ("/wrong-name", false),
        ("/wrong-pin", false),
        ("/", true),
    ] {
        let before = app.count();
        let answer = get(&world, path).await;
        let expected = if trusted { (200, "allowed") } else { (502, "upstream_not_trusted") };
        let reason = answer.reason().filter(|_| !trusted).unwrap_or_else(|| "allowed".to_owned());
        assert_eq!((answer.status, reason.as_str()), expected, "{path}");
        assert_eq!(app.count() - before, usize::from(trusted), "{path}");
    }
    assert!(app.connections.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn an_application_that_asks_for_a_certificate_gets_ours_and_its_pool_is_its_own() {
    let setup = Setup::new().await;
    let (tls, _) = tls_of(&setup.pki, Some(&setup.pki));
    let app = App::with(Some(tls), |_| Reply::Status(200));
    let own = setup.pki.service("spiffe://example.test/gate");
    std::fs::write(setup.folder.path().join("gate.pem"), &own.cert_pem).unwrap();
    write_secret(&setup.folder.path().join("gate.key"), &own.key_pem);
    let trust = "ca_file: web-ca.pem, server_name: app.internal.test";
    let url = format!("https://127.0.0.1:{}", app.port);
    let upstream =
        format!("\"{url}\", upstream_tls: {{ {trust}, client_cert_file: gate.pem, client_key_file: gate.key }}");
    let more = format!(
        "  - {{ name: bare, host: status.test, path: /bare, upstream: \"{url}\", resource: status,\n      \
         upstream_tls: {{ {trust} }} }}\n"
    );
    let world = started(setup, &upstream, &more).await;
    assert_eq!(get(&world, "/").await.status, 200);
    assert_ne!(get(&world, "/bare").await.status, 200, "the connection that showed a certificate is not used for it");
    assert_eq!((get(&world, "/").await.status, app.count()), (200, 2));
}

#[tokio::test]
async fn an_application_gets_names_of_headers_in_lower_case_whatever_its_caller_speaks() {
    let (app, setup) = (App::start(), Setup::new().await);
    let world = started(setup, &format!("\"{}\"", app.url()), "").await;
    let call = Call::get("status.test", "/names").with("X-Custom-Name", "kept").with("ACCEPT-Language", "de");
    assert_eq!(world.call(Door::Inside, None, &call).await.unwrap().status, 200);
    let head = app.seen.lock().unwrap().first().cloned().unwrap();
    for line in ["x-custom-name: kept", "accept-language: de", "x-forwarded-proto: https"] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
}
