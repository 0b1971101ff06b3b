//! Revocation and renewal information.
use crate::harness::*;
use crate::issuer::LIFE;
use http::Method;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use time::Duration;
use torhaus_certs::Reason;
use torhaus_certs::acme::By;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

#[tokio::test]
async fn revocation_is_for_the_account_its_names_or_the_key() {
    let world = World::new();
    let (alice, bob) = (world.client(laptop("alice")).await, world.client(laptop("bob")).await);
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let payload = json!({"certificate": b64(&certified.der), "reason": 4});
    let revoke = async |client: &Client, payload: &Value| client.post(&world, "revoke-cert").json(payload).send().await;

    revoke(&bob, &payload).await.is("another account", 403, "unauthorized", "only its account");
    let mallory = Key::new();
    let by_key = world.post(&mallory, "revoke-cert").jwk().json(&payload).send().await;
    by_key.is("another key", 403, "unauthorized", "only its account");
    let by_account_key = world.post(&alice.key, "revoke-cert").jwk().json(&payload).send().await;
    by_account_key.is("the account's key as jwk", 403, "unauthorized", "only its account");
    for reason in [2, 6, 7, 8, 9, 10, 255] {
        let payload = json!({"certificate": b64(&certified.der), "reason": reason});
        revoke(&alice, &payload).await.is("reason", 400, "badRevocationReason", "0, 1, 3, 4 and 5");
    }
    for (case, payload, words) in [
        ("a reason that is no number", json!({"certificate": b64(&certified.der), "reason": "1"}), "payload"),
        ("reason 256", json!({"certificate": b64(&certified.der), "reason": 256}), "payload"),
        ("no certificate", json!({}), "payload"),
        ("padding", json!({"certificate": format!("{}=", b64(&certified.der))}), "base64url"),
        ("PEM", json!({"certificate": "-----BEGIN CERTIFICATE-----"}), "base64url"),
        (
            "bytes behind",
            json!({"certificate": b64(&[certified.der.clone(), vec![0]].concat())}),
            "one DER certificate",
        ),
        ("no DER", json!({"certificate": "AAAA"}), "one DER certificate"),
    ] {
        revoke(&alice, &payload).await.is(case, 400, "malformed", words);
    }
    let mut forged = certified.der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let forged = json!({"certificate": b64(&forged)});
    revoke(&alice, &forged).await.is("a forgery with our serial", 404, "malformed", "has not issued");
    let foreign = rcgen::generate_simple_self_signed([laptop_name("alice")]).unwrap();
    let foreign = json!({"certificate": b64(foreign.cert.der())});
    revoke(&alice, &foreign).await.is("not ours", 404, "malformed", "has not issued");
    assert_eq!(world.issuer.live(), 1);

    let done = revoke(&alice, &payload).await;
    assert_eq!((done.status(), done.body()), (200, &b""[..]));
    assert!(done.header("replay-nonce").is_some());
    revoke(&alice, &payload).await.is("again", 400, "alreadyRevoked", "already");
    revoke(&bob, &payload).await.is("another account learns nothing", 403, "unauthorized", "only its account");
    let by = By::Account(alice.id().to_owned());
    let entries = world.issuer.ledger.lock().unwrap();
    assert_eq!(entries.values().next().unwrap().revoked, Some((Reason::Superseded, by)));
}

#[tokio::test]
async fn the_certificates_own_key_and_the_owner_of_all_names_revoke() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let key = Key::from_pkcs8(&certified.key.serialize_der());
    let payload = json!({"certificate": b64(&certified.der), "reason": 1});
    let by_key = world.post(&key, "revoke-cert").jwk().json(&payload).send().await;
    assert_eq!(by_key.status(), 200, "{}", by_key.text());
    assert!(
        world
            .issuer
            .ledger
            .lock()
            .unwrap()
            .values()
            .all(|e| e.revoked == Some((Reason::KeyCompromise, By::CertificateKey)))
    );

    // The laptop was set up anew: a new account for the same name.
    let lost = alice.certificate(&world, &laptop_name("alice")).await;
    let anew = world.client(laptop("alice")).await;
    let payload = json!({"certificate": b64(&lost.der)});
    assert_eq!(anew.post(&world, "revoke-cert").json(&payload).send().await.status(), 200);
    assert_eq!(world.issuer.live(), 0);
    world.issuer.down.store(true, Ordering::SeqCst);
    let down = alice.post(&world, "revoke-cert").json(&payload).send().await;
    down.is("ledger down", 503, "serverInternal", "does not answer");
}

#[tokio::test]
async fn renewal_information_says_when_to_come_back() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let id = renewal_id(&certified.der);
    let path = format!("/acme/renewal-info/{id}");
    let info = world.get(Method::GET, &path).await;
    assert_eq!(info.status(), 200, "{}", info.text());
    let life = LIFE + Duration::minutes(1);
    assert_eq!(info.header("retry-after"), Some((life.whole_seconds() / 8).to_string()));
    // From 11:59 on, two thirds of 24 hours and a minute.
    let window = json!({"start": "2026-06-02T03:59:40Z", "end": "2026-06-02T05:59:45Z"});
    assert_eq!(info.json()["suggestedWindow"], window);
    world.issuer.renew_now.store(true, Ordering::SeqCst);
    let past = json!({"start": "2026-06-01T11:59:00Z", "end": "2026-06-01T11:59:01Z"});
    assert_eq!(world.get(Method::GET, &path).await.json()["suggestedWindow"], past, "rotation");
    world.issuer.renew_now.store(false, Ordering::SeqCst);
    let payload = json!({"certificate": b64(&certified.der)});
    assert_eq!(alice.post(&world, "revoke-cert").json(&payload).send().await.status(), 200);
    assert_eq!(world.get(Method::GET, &path).await.json()["suggestedWindow"], past, "revoked");

    let (authority, serial) = id.split_once('.').unwrap();
    for unknown in [
        "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
        &format!("{id}="),
        &format!("{id}.{serial}"),
        authority,
        serial,
        &format!("{serial}.{authority}"),
        ".",
        "",
    ] {
        let reply = world.get(Method::GET, &format!("/acme/renewal-info/{unknown}")).await;
        reply.is(unknown, 404, "malformed", "no certificate has this renewal id");
    }
    world.issuer.down.store(true, Ordering::SeqCst);
    world.get(Method::GET, &path).await.is("down", 503, "serverInternal", "does not answer");
}

#[tokio::test]
async fn a_certificate_is_replaced_once_and_by_its_own_account() {
    let world = World::new();
    let (alice, bob) = (world.client(laptop("alice")).await, world.client(laptop("bob")).await);
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let replaces = |owner: &str, id: &str| {
        let mut order = wishes(&[&laptop_name(owner)]);
        order["replaces"] = json!(id);
        order
    };
    let id = renewal_id(&certified.der);
    let foreign = bob.post(&world, "new-order").json(&replaces("bob", &id)).send().await;
    foreign.is("another account", 400, "malformed", "no certificate of this account");
    let unknown = bob.post(&world, "new-order").json(&replaces("bob", "AAAA.BBBB")).send().await;
    assert_eq!(foreign.text(), unknown.text());

    let order = alice.post(&world, "new-order").json(&replaces("alice", &id)).send().await;
    assert_eq!((order.status(), &order.json()["replaces"]), (201, &json!(id)), "{}", order.text());
    let twice = alice.post(&world, "new-order").json(&replaces("alice", &id)).send().await;
    twice.is("twice", 409, "alreadyReplaced", "replaces this certificate already");
    let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
    assert_eq!(alice.finalize(&world, &order, &csr).await.json()["replaces"], json!(id));
    let after = alice.post(&world, "new-order").json(&replaces("alice", &id)).send().await;
    after.is("after it was replaced", 409, "alreadyReplaced", "already");

    let web = world.client(service()).await;
    let certified = web.proved(&world, "a.corp.example").await;
    let mut other = wishes(&["b.corp.example"]);
    other["replaces"] = json!(renewal_id(&certified.der));
    let no_name = web.post(&world, "new-order").json(&other).send().await;
    no_name.is("no shared name", 400, "malformed", "shares no name");
}

pub fn renewal_id(der: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let authority = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    format!("{}.{}", b64(&authority.unwrap()), b64(certificate.raw_serial()))
}
