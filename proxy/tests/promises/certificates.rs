//! M11: a service with a client certificate gets in, and every certificate that is wrong in one thing does not.
use crate::harness::pki::{BACKUP, Identity, now, write_secret};
use crate::harness::{Call, Door, World};
use std::process::Stdio;
use time::Duration;
use tokio::io::AsyncWriteExt as _;
use torhaus_certs::{LeafRequest, odd};

/// `openssl s_client … -cert … -key …` with a GET on its input: all that came back.
async fn s_client(world: &World, identity: Option<&Identity>) -> String {
    let mut command = tokio::process::Command::new("openssl");
    command.args(["s_client", "-connect", &world.address(Door::Inside).to_string(), "-servername", "backup.test"]);
    command.args(["-verify_return_error", "-ign_eof", "-CAfile"]).arg(world.path("web-ca.pem"));
    if let Some(identity) = identity {
        std::fs::write(world.path("client.pem"), &identity.cert_pem).unwrap();
        write_secret(&world.path("client.key"), &identity.key_pem);
        command.arg("-cert").arg(world.path("client.pem")).arg("-key").arg(world.path("client.key"));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let get = "GET /store HTTP/1.1\r\nHost: backup.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    let mut input = child.stdin.take().unwrap();
    // It may have ended already, refused.
    let _ = input.write_all(get.as_bytes()).await;
    let output = tokio::time::timeout(crate::harness::PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    drop(input);
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn openssl_with_a_service_certificate_gets_the_applications_answer() {
    let world = World::start().await;
    let backup = world.pki.service(BACKUP);
    let said = s_client(&world, Some(&backup)).await;
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains("\"target\":\"/store\""), "{said}");
    let seen = &world.echo.seen_at("/store")[0];
    assert_eq!(seen.header("x-forwarded-user"), Some(BACKUP));
    let lines = world.recorded_with(&[("verdict", "allow"), ("resource", "backup-api"), ("reason", "allowed")]);
    assert_eq!((lines.len(), &lines[0]["who"]["id"]), (1, &BACKUP.into()));
    let (code, tail, _) = world.torhaus(&["audit", "tail"]).await;
    assert!(code == 0 && tail.contains(&format!("decision allow {BACKUP} -> backup-api")), "{tail}");

    let said = s_client(&world, None).await;
    assert!(said.contains("certificate required"), "the alert says what is missing: {said}");
    assert_eq!(world.echo.count(), 1);
}

struct Wrong {
    what: &'static str,
    identity: Identity,
    /// What the answer says where a certificate is optional.
    reason: &'static str,
}

fn wrong(world: &World) -> Vec<Wrong> {
    let (services, request) = (&world.pki.services, LeafRequest::service(BACKUP));
    let case = |what, made: Result<torhaus_certs::Issued, torhaus_certs::Error>, reason| Wrong {
        what,
        identity: made.unwrap().into(),
        reason,
    };
    let two = [BACKUP, "spiffe://example.test/other"];
    vec![
        case("expired", odd::expired(services, &request, now()), "certificate_expired"),
        case("not yet valid", odd::not_yet_valid(services, &request, now()), "certificate_invalid"),
        case("two URI SANs", odd::with_uris(services, &request, &two, now()), "certificate_invalid"),
        case("twice the same URI SAN", odd::with_uris(services, &request, &[BACKUP; 2], now()), "certificate_invalid"),
        case("not quite a SPIFFE ID", odd::with_uris(services, &request, &["spiffe://"], now()), "certificate_invalid"),
        case("serverAuth only", odd::server_auth_only(services, &request, now()), "certificate_invalid"),
        case("CA:TRUE leaf", odd::authority_leaf(services, &request, now()), "certificate_invalid"),
        case("wrong CA of the same name", odd::wrong_authority("services", &request, now()), "certificate_invalid"),
        case("of another trust domain", world.pki.devices.issue(&request, now()), "certificate_invalid"),
        case("of the web's authority", world.pki.web.issue(&request, now()), "certificate_invalid"),
    ]
}

#[tokio::test]
async fn a_certificate_that_is_wrong_in_one_thing_opens_nothing() {
    let world = World::start().await;
    let get = |host: &str| Call::get(host, "/").with("accept", "application/json");
    for Wrong { what, identity, reason } in wrong(&world) {
        let required = world.call(Door::Inside, Some(&identity), &get("backup.test")).await;
        assert!(required.is_err(), "{what}, where one is required: {required:?}");
        let optional = world.call(Door::Inside, Some(&identity), &get("service.test")).await.unwrap();
        assert_eq!(optional.outcome(), (403, reason.to_owned()), "{what}, where one is optional");
        let line = world.recorded(&optional.decision().unwrap());
        assert_ne!(line["verdict"], "allow", "{what}");
        assert_eq!(line["resource"], "backup-api", "{what}");
    }
    assert!(world.call(Door::Inside, None, &get("backup.test")).await.is_err(), "no certificate");
    assert_eq!(world.call(Door::Inside, None, &get("service.test")).await.unwrap().outcome().1, "login_needed");
    assert_eq!(world.echo.count(), 0, "the application never heard of any of them");

    // The neighbours that are right, so that the refusals above are for that one thing.
    let other = world.pki.service("spiffe://example.test/other");
    let answer = world.call(Door::Inside, Some(&other), &get("service.test")).await.unwrap();
    assert_eq!(answer.outcome(), (403, "not_allowed".to_owned()));
    let backup = world.pki.service(BACKUP);
    assert_eq!(world.call(Door::Inside, Some(&backup), &get("backup.test")).await.unwrap().status, 200);
    let outside = world.call(Door::Outside, Some(&backup), &get("backup.test")).await.unwrap();
    assert_eq!(outside.outcome(), (403, "zone_denied".to_owned()));
    let none = odd::with_uris(&world.pki.services, &LeafRequest::service(BACKUP), &[], now()).unwrap().into();
    let answer = world.call(Door::Inside, Some(&none), &get("service.test")).await.unwrap();
    assert_eq!(answer.outcome(), (401, "login_needed".to_owned()), "a certificate without a name is nobody's");
}

#[tokio::test]
async fn a_certificate_that_names_another_person_is_refused_beside_a_session() {
    let world = World::start().await;
    let request = |email: &str| LeafRequest::device("laptop").email(email).valid_for(Duration::hours(1));
    for (email, expected) in [("alice@demo.test", 200), ("ALICE@demo.test", 200), ("dana@demo.test", 403)] {
        let laptop = world.pki.devices.issue(&request(email), now()).unwrap().into();
        let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
        let answer = alice.open("https://device.test/").await;
        assert_eq!(answer.status, expected, "{email}: {:?}", alice.trail);
        if expected == 403 {
            assert_eq!(answer.reason().as_deref(), Some("certificate_of_another"));
        }
    }
    // A service's certificate and a person's session are two identities.
    let backup = world.pki.service(BACKUP);
    let mut alice = world.browser(Door::Inside).of("alice");
    alice.open("https://service.test/").await;
    assert!(alice.handle("service.test").is_some(), "{:?}", alice.trail);
    let call = alice.request("GET", "https://service.test/").with("accept", "application/json");
    let answer = world.call(Door::Inside, Some(&backup), &call).await.unwrap();
    assert_eq!(answer.outcome(), (403, "identity_conflict".to_owned()));
}

#[tokio::test]
async fn a_refusal_of_somebody_who_is_known_says_who_with_what_and_hides_behind_no_other() {
    let world = World::start().await;
    let request = LeafRequest::device("laptop").email("carol@demo.test").valid_for(Duration::hours(1));
    let laptop = world.pki.devices.issue(&request, now()).unwrap().into();
    for name in ["alice", "dana"] {
        let mut browser = world.browser(Door::Inside).of(name).with_certificate(&laptop);
        for _ in 0..2 {
            assert_eq!(browser.open("https://device.test/").await.status, 403, "{name}: {:?}", browser.trail);
        }
    }
    let lines = world.recorded_with(&[("reason", "certificate_of_another")]);
    for name in ["alice", "dana"] {
        let own: Vec<_> = lines.iter().filter(|line| line["who"]["name"] == name).collect();
        assert_eq!(own.len(), 1, "{name}: {lines:?}");
        assert!(own[0]["session"].is_string() && own[0]["certificate"]["sha256"].is_string(), "{own:?}");
    }
}
