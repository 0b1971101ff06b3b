//! Finalize: CSRs, races, and who may have a certificate at this moment.
use crate::harness::*;
use rcgen::{CustomExtension, SanType};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use time::Duration;
use tokio::sync::Semaphore;
use torhaus_certs::Reason;
use torhaus_certs::acme::{Answer, By};

#[tokio::test]
async fn csrs_that_ask_for_something_else_are_refused_and_the_order_stays_ready() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let (name, key) = (laptop_name("alice"), rcgen::KeyPair::generate().unwrap());
    let names = [name.as_str()];
    let order = alice.order(&world, &names).await;
    let other_name = |params: &mut rcgen::CertificateParams, name: SanType| params.subject_alt_names.push(name);
    let common_name = |name: &'static str| {
        csr_with(&key, &names, |params| params.distinguished_name.push(rcgen::DnType::CommonName, name))
    };
    let mut broken = csr(&key, &names);
    *broken.last_mut().unwrap() ^= 1;
    let account_key = rcgen::KeyPair::try_from(alice.key.pkcs8().as_slice()).unwrap();
    let trailing = [csr(&key, &names), vec![0]].concat();
    for (case, csr, words) in [
        ("more names", csr(&key, &[&name, "evil.example"]), "the CSR names"),
        ("no names", csr(&key, &[]), "the CSR names"),
        ("another name", csr(&key, &["nb.bob.clients.corp.example"]), "the CSR names"),
        ("a wildcard", csr(&key, &["*.alice.clients.corp.example"]), "the CSR names"),
        ("an address", csr(&key, &[&name, "10.0.0.1"]), "the CSR names"),
        ("upper case", csr(&key, &["NB.alice.clients.corp.example"]), "lower case"),
        ("another common name", common_name("evil.example"), "the CSR names"),
        ("a person's common name", common_name("Alice Example"), "common name"),
        (
            "an e-mail address",
            csr_with(&key, &names, |p| other_name(p, SanType::Rfc822Name("root@corp.example".try_into().unwrap()))),
            "DNS names and addresses only",
        ),
        (
            "a URI",
            csr_with(&key, &names, |p| other_name(p, SanType::URI("spiffe://corp.example/db".try_into().unwrap()))),
            "DNS names and addresses only",
        ),
        (
            "CA:TRUE",
            csr_with(&key, &names, |params| {
                let ca = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
                params.custom_extensions.push(ca);
            }),
            "certificate authority",
        ),
        ("a broken signature", broken, "not signed by the key in it"),
        ("the account's key", csr(&account_key, &names), "the account's key"),
        ("bytes behind it", trailing, "bytes behind"),
        ("no CSR", b"not a CSR".to_vec(), "PKCS #10"),
        ("nothing", vec![], "PKCS #10"),
    ] {
        alice.finalize(&world, &order, &csr).await.is(case, 400, "badCSR", words);
    }
    let url = order.json()["finalize"].as_str().unwrap().to_owned();
    let padded = json!({"csr": format!("{}=", b64(&csr(&key, &names)))});
    alice.post(&world, &url).json(&padded).send().await.is("padding", 400, "malformed", "`csr` is not base64url");
    alice.post(&world, &url).json(&json!({})).send().await.is("no csr", 400, "malformed", "csr");
    assert_eq!(world.issuer.issued(), 0);
    let done = alice.finalize(&world, &order, &csr(&key, &names)).await;
    assert_eq!(done.json()["status"], "valid", "{}", done.text());
    alice.finalize(&world, &order, &csr(&key, &names)).await.is("again", 403, "orderNotReady", "not ready");
    assert_eq!(world.issuer.issued(), 1);
}

#[tokio::test]
async fn of_two_finalizes_at_once_one_wins() {
    let world = Arc::new(World::new());
    let alice = Arc::new(world.client(laptop("alice")).await);
    let gate = Arc::new(Semaphore::new(0));
    *world.issuer.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let order = Arc::new(alice.order(&world, &[&laptop_name("alice")]).await);
    let tries: Vec<_> = (0..4)
        .map(|_| {
            let (world, alice, order) = (Arc::clone(&world), Arc::clone(&alice), Arc::clone(&order));
            let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
            tokio::spawn(async move { alice.finalize(&world, &order, &csr).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let location = order.header("location").unwrap();
    let polled = loop {
        let polled = alice.post(&world, &location).send().await;
        if polled.json()["status"] == "processing" {
            break polled;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(polled.header("retry-after").as_deref(), Some("1"));
    gate.add_permits(4);
    let mut won = 0;
    for attempt in tries {
        let reply = attempt.await.unwrap();
        match reply.status() {
            200 => won += 1,
            _ => reply.is("the other", 403, "orderNotReady", "not ready"),
        }
    }
    assert_eq!((won, world.issuer.issued()), (1, 1));
}

#[tokio::test]
async fn a_device_revoked_while_its_certificate_is_signed_gets_none_that_lives() {
    let world = Arc::new(World::new());
    let alice = Arc::new(world.client(laptop("alice")).await);
    alice.certificate(&world, &laptop_name("alice")).await;
    let gate = Arc::new(Semaphore::new(0));
    *world.issuer.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let location = order.header("location").unwrap();
    let finalize = {
        let (world, alice) = (Arc::clone(&world), Arc::clone(&alice));
        let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
        tokio::spawn(async move { alice.finalize(&world, &order, &csr).await })
    };
    while alice.post(&world, &location).send().await.json()["status"] != "processing" {
        tokio::task::yield_now().await;
    }
    let why = "laptop lost";
    let revoked = world.server.withdraw(alice.id(), Reason::KeyCompromise, why, world.now()).await.unwrap();
    assert_eq!((revoked, world.issuer.live()), (1, 0));
    gate.add_permits(1);
    finalize.await.unwrap().is("finalize", 403, "unauthorized", "account ended while");
    assert_eq!((world.issuer.issued(), world.issuer.live()), (2, 0), "the late one was revoked");
    alice.post(&world, &location).send().await.is("the account", 403, "unauthorized", "deactivated or revoked");
    let entries = world.issuer.ledger.lock().unwrap();
    assert!(entries.values().any(|e| e.revoked == Some((Reason::KeyCompromise, By::Server(why.into())))));
}

#[tokio::test]
async fn standing_is_asked_at_order_and_finalize() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
    let left = "Alice Example has left the company; ask the help desk";
    for (answer, status, kind, words) in [
        (Answer::Refused(left.into()), 403, "unauthorized", left),
        (Answer::SignInAgain("sign in again: your device is not managed".into()), 403, "userActionRequired", "managed"),
        (Answer::Unknown("the directory".into()), 503, "serverInternal", "the directory does not answer"),
    ] {
        *world.standing.lock().unwrap() = answer;
        alice.order(&world, &[&laptop_name("alice")]).await.is("order", status, kind, words);
        alice.finalize(&world, &order, &csr).await.is("finalize", status, kind, words);
    }
    *world.standing.lock().unwrap() = Answer::Good;
    world.issuer.down.store(true, Ordering::SeqCst);
    let down = alice.finalize(&world, &order, &csr).await;
    down.is("issuer down", 503, "serverInternal", "the certificate authority does not answer");
    world.issuer.down.store(false, Ordering::SeqCst);
    assert_eq!(alice.finalize(&world, &order, &csr).await.json()["status"], "valid", "the order survived");
}

#[tokio::test]
async fn an_interrupted_finalize_ends_its_order() {
    let world = Arc::new(World::new());
    let alice = Arc::new(world.client(laptop("alice")).await);
    *world.issuer.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let location = order.header("location").unwrap();
    let lost = {
        let (world, alice) = (Arc::clone(&world), Arc::clone(&alice));
        let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
        tokio::spawn(async move { alice.finalize(&world, &order, &csr).await })
    };
    while alice.post(&world, &location).send().await.json()["status"] != "processing" {
        tokio::task::yield_now().await;
    }
    lost.abort();
    world.later(Duration::seconds(61));
    let over = alice.post(&world, &location).send().await.json();
    assert_eq!(over["status"], "invalid");
    assert!(over["error"]["detail"].as_str().unwrap().contains("make a new order"), "{over}");
}
