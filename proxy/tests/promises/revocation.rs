//! Certificates end: by a list, by their own life, by the life of the list. On the next request, resumed or not.
use crate::harness::client::Tls;
use crate::harness::pki::{BACKUP, Identity, now};
use crate::harness::{Answer, Call, Connection, Door, Setup, World, until};
use time::Duration;
use torhaus_certs::LeafRequest;

fn get(host: &str) -> Call {
    Call::get(host, "/").with("accept", "application/json")
}

async fn connect(world: &World, host: &str, tls: &Tls) -> Result<Connection, String> {
    Connection::open(world.address(Door::Inside), host, tls).await
}

/// A new connection with the tickets of those before: what the answer says, if there is one.
async fn again(world: &World, host: &str, tls: &Tls) -> (bool, Option<String>) {
    match connect(world, host, tls).await {
        Ok(mut connection) => (connection.resumed, connection.send(&get(host)).await.ok().and_then(|a| a.reason())),
        Err(_) => (false, None),
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_the_next_request_resumed_tls_included() {
    let world = World::start().await;
    for host in ["backup.test", "service.test"] {
        let (bad, good) = (world.pki.service(BACKUP), world.pki.service(BACKUP));
        for alpn in ["http/1.1", "h2"] {
            world.pki.revoke(world.folder.path(), "services", &[], Duration::days(1));
            world.reload().await.unwrap();
            let (tls, other) = (world.tls(Some(&bad), &[alpn]), world.tls(Some(&good), &[alpn]));
            for _ in 0..2 {
                assert_eq!(connect(&world, host, &tls).await.unwrap().send(&get(host)).await.unwrap().status, 200);
            }
            let mut open = connect(&world, host, &tls).await.unwrap();
            assert!(open.resumed, "{host} {alpn}: there are tickets to resume with");
            assert_eq!(open.send(&get(host)).await.unwrap().status, 200);
            let mut neighbour = connect(&world, host, &other).await.unwrap();
            assert_eq!(neighbour.send(&get(host)).await.unwrap().status, 200);

            // The file is replaced; nobody tells the gate.
            let loaded = world.status().await.config_hash;
            world.pki.revoke(world.folder.path(), "services", &[&bad.serial], Duration::days(1));
            until("the list is loaded", async || world.status().await.config_hash != loaded).await;
            let before = world.echo.count();
            // On the connection that is open; it may be gone already, which is a refusal as well.
            if let Ok(answer) = open.send(&get(host)).await {
                assert_eq!(answer.outcome(), (403, "certificate_revoked".to_owned()), "{host} {alpn}");
            }
            let (_, reason) = again(&world, host, &tls).await;
            let expected = if host == "service.test" { Some("certificate_revoked") } else { None };
            assert!(
                reason.as_deref() == expected || reason.as_deref() == Some("certificate_revoked"),
                "{host} {reason:?}"
            );
            assert_eq!(world.echo.count(), before, "{host} {alpn}");
            assert_eq!(neighbour.send(&get(host)).await.unwrap().status, 200, "its neighbour is as good as before");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_expires_is_refused_on_its_open_connection_and_with_its_tickets() {
    let world = World::start().await;
    let life = Duration::seconds(4);
    let made = world.pki.services.issue(&LeafRequest::service(BACKUP).valid_for(life), now()).unwrap();
    let end = made.not_after;
    let identity = Identity::from(made);
    for host in ["backup.test", "service.test"] {
        let tls = world.tls(Some(&identity), &["http/1.1"]);
        let mut open = connect(&world, host, &tls).await.unwrap();
        assert_eq!(open.send(&get(host)).await.unwrap().status, 200, "{host}");
        if host == "backup.test" {
            continue;
        }
        let required = world.tls(Some(&identity), &["http/1.1"]);
        let mut first = connect(&world, "backup.test", &required).await.unwrap();
        assert_eq!(first.send(&get("backup.test")).await.unwrap().status, 200);
        until("the certificate has expired", async || now() > end + Duration::seconds(1)).await;
        let before = world.echo.count();
        for (host, connection, tls) in [("service.test", &mut open, &tls), ("backup.test", &mut first, &required)] {
            let expired = (403, "certificate_expired".to_owned());
            assert_eq!(connection.send(&get(host)).await.unwrap().outcome(), expired, "{host}, open");
            let (resumed, reason) = again(&world, host, tls).await;
            assert!(resumed, "{host}: no reload came between, so the ticket is good");
            assert_eq!(reason.as_deref(), Some("certificate_expired"), "{host}, resumed");
            let (_, reason) = again(&world, host, &world.tls(Some(&identity), &["http/1.1"])).await;
            assert_eq!(reason.as_deref(), (host == "service.test").then_some("certificate_expired"), "{host}, new");
        }
        assert_eq!(world.echo.count(), before);
    }
}

#[tokio::test]
async fn an_expired_crl_rejects() {
    let setup = Setup::new().await;
    let end = now() + Duration::seconds(8);
    setup.pki.revoke(setup.folder.path(), "services", &[], Duration::seconds(8));
    let world = setup.start().await;
    let backup = world.pki.service(BACKUP);
    let tls = world.tls(Some(&backup), &["http/1.1"]);
    let hosts = ["service.test", "backup.test"];
    let mut open = Vec::new();
    for host in hosts {
        let mut connection = connect(&world, host, &tls).await.unwrap();
        assert_eq!(connection.send(&get(host)).await.unwrap().status, 200, "{host}: the list is good");
        open.push(connection);
    }
    until("the list is out of date", async || now() > end + Duration::seconds(1)).await;
    let before = world.echo.count();
    let unknown = (403, "revocation_unknown".to_owned());
    for (host, connection) in hosts.iter().zip(&mut open) {
        assert_eq!(connection.send(&get(host)).await.unwrap().outcome(), unknown, "{host}, open");
        let (resumed, reason) = again(&world, host, &tls).await;
        assert!(resumed && reason.as_deref() == Some("revocation_unknown"), "{host}, resumed: {reason:?}");
        let (_, reason) = again(&world, host, &world.tls(Some(&backup), &["http/1.1"])).await;
        assert_eq!(reason.as_deref(), (*host == "service.test").then_some("revocation_unknown"), "{host}, new");
    }
    // A person's device counts by another list, which is good.
    let laptop = world.pki.device("laptop");
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    assert_eq!(alice.open("https://device.test/").await.status, 200);
    let seen = world.echo.count();
    assert_eq!(seen, before + 1);

    // Loading the expired list again changes nothing; a fresh one is believed.
    world.reload().await.unwrap();
    assert_eq!(again(&world, "service.test", &tls).await.1.as_deref(), Some("revocation_unknown"));
    world.pki.revoke(world.folder.path(), "services", &[], Duration::days(1));
    world.reload().await.unwrap();
    let answer: Answer = connect(&world, "backup.test", &tls).await.unwrap().send(&get("backup.test")).await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_device_whose_list_is_out_of_date_meets_no_requirement() {
    let setup = Setup::new().await;
    setup.pki.revoke(setup.folder.path(), "devices", &[], -Duration::minutes(1));
    let world = setup.start().await;
    let laptop = world.pki.device("laptop");
    let mut alice = world.browser(Door::Inside).of("alice").with_certificate(&laptop);
    let answer = alice.open("https://device.test/").await;
    assert_eq!(answer.outcome(), (403, "requirement_missing".to_owned()), "{:?}", alice.trail);
    // What asks for no device is open all the same.
    assert_eq!(alice.open("https://apps.test/wiki").await.status, 200);
    assert_eq!(world.echo.count(), 1);
}
