//! Orders, challenges and finalize.
use crate::harness::*;
use rcgen::{CustomExtension, SanType};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use time::Duration;
use tokio::sync::Semaphore;
use torhaus_certs::Reason;
use torhaus_certs::acme::{Answer, By, Store as _, Unseen};

#[tokio::test]
async fn an_order_for_enrolled_names_is_born_ready_and_ends_in_a_certificate() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let body = order.json();
    assert_eq!((order.status(), &body["status"]), (201, &json!("ready")), "{body}");
    assert_eq!(body["identifiers"], wishes(&[&laptop_name("alice")])["identifiers"]);
    assert_eq!((&body["profile"], &body["expires"]), (&json!("device"), &json!("2026-06-02T12:00:00Z")));
    let authorization = alice.post(&world, body["authorizations"][0].as_str().unwrap()).send().await.json();
    assert_eq!(authorization["status"], "valid");
    assert_eq!(authorization["identifier"], body["identifiers"][0]);
    let [challenge] = authorization["challenges"].as_array().unwrap().as_slice() else { panic!("{authorization}") };
    assert_eq!((&challenge["type"], &challenge["status"]), (&json!("http-01"), &json!("valid")));
    assert!(challenge["token"].as_str().unwrap().len() >= 22 && challenge["validated"].is_string());

    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let polled = alice.post(&world, &certified.order).send().await;
    assert_eq!((&polled.json()["status"], polled.header("location")), (&json!("valid"), Some(certified.order.clone())));
    let chain = alice.post(&world, &certified.url).send().await;
    assert_eq!(chain.header("content-type").as_deref(), Some("application/pem-certificate-chain"));
    let [alternate] = chain.links("alternate").try_into().unwrap();
    let alternate = alice.post(&world, &alternate).send().await;
    assert_eq!(alternate.status(), 200);
    assert_eq!(alternate.links("alternate"), std::slice::from_ref(&certified.url));
    assert_ne!(alternate.body(), chain.body());
    let none = alice.post(&world, &format!("{}/1", certified.url)).send().await;
    none.is("no such chain", 403, "unauthorized", "no such certificate");
    let orders = alice.post(&world, &format!("{}/orders", alice.kid)).send().await.json();
    assert_eq!(orders["orders"].as_array().unwrap().len(), 2);
    let write = alice.post(&world, &certified.order).json(&json!({})).send().await;
    write.is("`{}` on POST-as-GET", 400, "malformed", "payload must be empty");
    let write = alice.post(&world, &certified.url).json(&json!({})).send().await;
    write.is("`{}` on a certificate", 400, "malformed", "payload must be empty");
}

#[tokio::test]
async fn names_that_are_not_ones_own_or_misspelt_are_refused() {
    let world = World::new();
    let (alice, web) = (world.client(laptop("alice")).await, world.client(service()).await);
    for name in [
        "nb.bob.clients.corp.example",
        "corp.example",
        "alice.clients.corp.example",
        "x.nb.alice.clients.corp.example",
        "*.alice.clients.corp.example",
        "*.nb.alice.clients.corp.example",
        "nb.alice.clients.corp.example.evil.example",
        "xn--nb-kva.alice.clients.corp.example",
        "10.0.0.1",
        "2001:db8::1",
    ] {
        let reply = alice.order(&world, &[name]).await;
        reply.is(name, 403, "rejectedIdentifier", "not among the names of this enrolment");
        assert_eq!(reply.json()["identifier"]["value"], name);
    }
    let long_label = format!("{}.corp.example", "a".repeat(64));
    let long_name = format!("{}corp.example", "a.".repeat(122));
    for name in [
        "NB.alice.clients.corp.example",
        "nb.alice.clients.corp.example.",
        "nb..corp.example",
        ".corp.example",
        "",
        "*",
        "*.",
        "*.example",
        "a.*.corp.example",
        "*a.corp.example",
        "**.corp.example",
        "n\u{fc}.corp.example",
        "nb_1.corp.example",
        "-nb.corp.example",
        "nb-.corp.example",
        "ab--c.corp.example",
        "xn--.corp.example",
        "nb.corp.example\0.evil.example",
        "nb .corp.example",
        "nb/x.corp.example",
        "1.2.3.4.5",
        &long_label,
        &long_name,
    ] {
        let payload = json!({"identifiers": [{"type": "dns", "value": name}]});
        let reply = web.post(&world, "new-order").json(&payload).send().await;
        reply.is(name, 400, "malformed", "DNS name");
    }
    for address in ["10.1.2.03", "2001:DB8::7", "2001:db8:0:0:0:0:0:7", "10.1.2", "::ffff:1.2.3.4%1", "10.1.2.3/8"] {
        let payload = json!({"identifiers": [{"type": "ip", "value": address}]});
        web.post(&world, "new-order").json(&payload).send().await.is(address, 400, "malformed", "usual spelling");
    }
    for kind in ["email", "permanent-identifier", "DNS", ""] {
        let payload = json!({"identifiers": [{"type": kind, "value": "a"}]});
        web.post(&world, "new-order").json(&payload).send().await.is(
            kind,
            400,
            "unsupportedIdentifier",
            "`dns` or `ip`",
        );
    }
    // The client zone lies below what the service may prove, and is not its to prove.
    for name in ["nb.alice.clients.corp.example", "clients.corp.example", "*.clients.corp.example"] {
        web.order(&world, &[name]).await.is(name, 403, "rejectedIdentifier", "not among the names");
    }
    let two = web.order(&world, &["a.other.example", "ok.corp.example", "b.other.example"]).await;
    two.is("two of three", 403, "rejectedIdentifier", "2 of the identifiers");
    let about =
        two.json()["subproblems"].as_array().unwrap().iter().map(|sub| sub["identifier"]["value"].clone()).collect();
    assert_eq!(Value::Array(about), json!(["a.other.example", "b.other.example"]));
}

#[tokio::test]
async fn orders_of_another_form_are_refused() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let own = wishes(&[&laptop_name("alice")]);
    let with = |name: &str, value: Value| {
        let mut order = own.clone();
        order[name] = value;
        order
    };
    let many: Vec<String> = (0..101).map(|i| format!("n{i}.corp.example")).collect();
    let many = wishes(&many.iter().map(String::as_str).collect::<Vec<_>>());
    for (case, payload, kind, words) in [
        ("no identifiers", json!({"identifiers": []}), "malformed", "one to 100"),
        ("101 identifiers", many, "malformed", "one to 100"),
        ("no list", json!({}), "malformed", "identifiers"),
        ("no value", json!({"identifiers": [{"type": "dns"}]}), "malformed", "value"),
        ("notBefore", with("notBefore", json!("2026-06-01T12:00:00Z")), "malformed", "`notBefore`"),
        ("notAfter", with("notAfter", json!("2036-06-01T12:00:00Z")), "malformed", "`notAfter`"),
        ("an unknown profile", with("profile", json!("root")), "invalidProfile", "`device`"),
        ("a profile of others", with("profile", json!("server")), "invalidProfile", "`device`"),
        ("replaces nothing", with("replaces", json!("AAAA.BBBB")), "malformed", "`replaces`"),
    ] {
        alice.post(&world, "new-order").json(&payload).send().await.is(case, 400, kind, words);
    }
    for payload in [&b"[]"[..], b"", b"{", b"\xff"] {
        let reply = alice.post(&world, "new-order").raw(payload).send().await;
        reply.is("no object", 400, "malformed", "not a JSON object");
    }
    assert_eq!(alice.post(&world, "new-order").json(&with("profile", json!("device"))).send().await.status(), 201);
    let twice = alice.order(&world, &[&laptop_name("alice"), &laptop_name("alice")]).await;
    assert_eq!(twice.json()["authorizations"].as_array().unwrap().len(), 1);
    assert_eq!(twice.json()["identifiers"].as_array().unwrap().len(), 1);
}

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
async fn orders_expire_and_are_swept() {
    let world = World::new();
    let mut short = laptop("alice");
    short.until = NOW + Duration::days(3);
    let alice = world.client(short).await;
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    world.later(Duration::hours(24));
    let location = order.header("location").unwrap();
    let late = alice.post(&world, &location).send().await.json();
    assert_eq!((&late["status"], &late["error"]["detail"]), (&json!("invalid"), &json!("the order has expired")));
    let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
    alice.finalize(&world, &order, &csr).await.is("expired", 403, "orderNotReady", "not ready");
    assert_eq!(alice.post(&world, &certified.url).send().await.status(), 200);
    // The certificate ends with this day, its records a day later.
    world.later(Duration::hours(24) - Duration::minutes(1));
    world.store.sweep(world.now()).await.unwrap();
    assert_eq!(alice.post(&world, &certified.url).send().await.status(), 200);
    world.later(Duration::hours(1));
    assert!(world.store.sweep(world.now()).await.unwrap() > 0);
    for url in [&location, &certified.url, &certified.order] {
        alice.post(&world, url).send().await.is(url, 403, "unauthorized", "no such");
    }
    world.later(Duration::days(40));
    world.store.sweep(world.now()).await.unwrap();
    let gone = alice.order(&world, &[&laptop_name("alice")]).await;
    gone.is("the account", 400, "accountDoesNotExist", "`kid`");
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

#[tokio::test]
async fn challenges_are_proved_by_what_the_network_shows() {
    let world = World::new();
    let web = world.client(service()).await;
    let prove = async |name: &str, kind: &str, show: &dyn Fn(&str, &str)| {
        let order = web.order(&world, &[name]).await;
        assert_eq!(order.json()["status"], "pending", "{}", order.text());
        let url = order.json()["authorizations"][0].as_str().unwrap().to_owned();
        let authorization = web.post(&world, &url).send().await.json();
        let challenges = authorization["challenges"].as_array().unwrap().clone();
        let challenge = challenges.iter().find(|c| c["type"] == kind).unwrap();
        let token = challenge["token"].as_str().unwrap();
        show(token, &format!("{token}.{}", web.key.thumbprint()));
        let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[name]);
        web.finalize(&world, &order, &csr).await.is(name, 403, "orderNotReady", "not ready");
        let answer = web.post(&world, challenge["url"].as_str().unwrap()).json(&json!({})).send().await;
        assert_eq!((answer.status(), answer.links("up")), (200, vec![url.clone()]));
        assert_eq!(answer.json()["url"], challenge["url"]);
        let order = web.post(&world, &order.header("location").unwrap()).send().await;
        let authorization = web.post(&world, &url).send().await.json();
        (answer.json(), authorization, order)
    };
    let good = async |name: &str, kind: &str, show: &dyn Fn(&str, &str)| {
        let (challenge, authorization, order) = prove(name, kind, show).await;
        let statuses = [&challenge["status"], &authorization["status"], &order.json()["status"]];
        assert_eq!(statuses, ["valid", "valid", "ready"], "{name} {kind}: {challenge}");
        let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[name]);
        assert_eq!(web.finalize(&world, &order, &csr).await.json()["status"], "valid");
    };
    let bad = async |name: &str, kind: &str, error: &str, words: &str, show: &dyn Fn(&str, &str)| {
        let (challenge, authorization, order) = prove(name, kind, show).await;
        let statuses = [&challenge["status"], &authorization["status"], &order.json()["status"]];
        assert_eq!(statuses, ["invalid", "invalid", "invalid"], "{name} {kind}");
        let urn = format!("urn:ietf:params:acme:error:{error}");
        assert_eq!(challenge["error"]["type"], urn, "{challenge}");
        assert!(challenge["error"]["detail"].as_str().unwrap().contains(words), "{challenge}");
        assert_eq!(order.json()["error"], challenge["error"]);
    };
    let http = |name: &str, token: &str, answer: Result<Vec<u8>, Unseen>| {
        let path = format!("/.well-known/acme-challenge/{token}");
        world.probe.lock().unwrap().http.insert((name.to_owned(), path), answer);
    };
    let txt = |name: &str, values: Vec<Vec<u8>>| {
        world.probe.lock().unwrap().txt.insert(format!("_acme-challenge.{name}"), Ok(values));
    };
    let tls =
        |name: &str, answer: Result<Vec<u8>, Unseen>| drop(world.probe.lock().unwrap().tls.insert(name.into(), answer));
    let hash = |text: &str| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref().to_vec();
    let alpn = |names: &[&str], hash: Vec<u8>, critical: bool| {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let mut mark = CustomExtension::new_acme_identifier(&hash);
        mark.set_criticality(critical);
        params.custom_extensions.push(mark);
        params.self_signed(&key).unwrap().der().to_vec()
    };

    good("a.corp.example", "http-01", &|token, auth| http("a.corp.example", token, Ok(format!("{auth}\n").into())))
        .await;
    good("10.1.2.3", "http-01", &|token, auth| http("10.1.2.3", token, Ok(auth.into()))).await;
    let values = |auth: &str| vec![b"other".to_vec(), b64(&hash(auth)).into_bytes()];
    good("b.corp.example", "dns-01", &|_, auth| txt("b.corp.example", values(auth))).await;
    good("*.corp.example", "dns-01", &|_, auth| txt("corp.example", values(auth))).await;
    good("c.corp.example", "tls-alpn-01", &|_, auth| {
        tls("c.corp.example", Ok(alpn(&["c.corp.example"], hash(auth), true)));
    })
    .await;
    good("10.1.2.3", "tls-alpn-01", &|_, auth| tls("3.2.1.10.in-addr.arpa", Ok(alpn(&["10.1.2.3"], hash(auth), true))))
        .await;
    let reverse = "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    good("2001:db8::7", "tls-alpn-01", &|_, auth| tls(reverse, Ok(alpn(&["2001:db8::7"], hash(auth), true)))).await;

    bad("d.corp.example", "http-01", "connection", "refused", &|_, _| ()).await;
    bad("d.corp.example", "http-01", "connection", "does not probe", &|token, _| {
        http("d.corp.example", token, Err(Unseen::NotAllowed));
    })
    .await;
    bad("d.corp.example", "http-01", "incorrectResponse", "key authorization", &|token, _| {
        http("d.corp.example", token, Ok(token.into()));
    })
    .await;
    bad("d.corp.example", "http-01", "dns", "no address", &|token, _| {
        http("d.corp.example", token, Err(Unseen::Dns("the name has no address".into())));
    })
    .await;
    bad("e.corp.example", "dns-01", "dns", "no such name", &|_, _| ()).await;
    bad("e.corp.example", "dns-01", "incorrectResponse", "no TXT record", &|_, auth| {
        txt("e.corp.example", vec![auth.as_bytes().to_vec()]);
    })
    .await;
    let alpn_bad = async |words: &str, certificate: &dyn Fn(&str) -> Vec<u8>| {
        bad("f.corp.example", "tls-alpn-01", "incorrectResponse", words, &|_, auth| {
            tls("f.corp.example", Ok(certificate(auth)));
        })
        .await;
    };
    alpn_bad("exactly the identifier", &|auth| alpn(&["f.corp.example", "g.corp.example"], hash(auth), true)).await;
    alpn_bad("exactly the identifier", &|auth| alpn(&["g.corp.example"], hash(auth), true)).await;
    alpn_bad("not critical", &|auth| alpn(&["f.corp.example"], hash(auth), false)).await;
    alpn_bad("hash", &|_| alpn(&["f.corp.example"], hash("other"), true)).await;
    alpn_bad("cannot be read", &|_| b"no certificate".to_vec()).await;
    alpn_bad("not self-signed", &|auth| {
        let mut der = alpn(&["f.corp.example"], hash(auth), true);
        *der.last_mut().unwrap() ^= 1;
        der
    })
    .await;
    bad("f.corp.example", "tls-alpn-01", "tls", "no acme-tls/1", &|_, _| {
        tls("f.corp.example", Err(Unseen::Tls("no acme-tls/1".into())));
    })
    .await;
}

#[tokio::test]
async fn authorizations_are_given_up_and_failures_are_limited() {
    let mut config = config();
    config.rates.failed_validations = torhaus_certs::acme::Rate { count: 2, window: Duration::hours(1) };
    let world = World::with(config, torhaus_certs::acme::Nonces::alone().unwrap(), Arc::default());
    let web = world.client(service()).await;
    let order = web.order(&world, &["a.corp.example", "b.corp.example"]).await;
    let url = order.json()["authorizations"][1].as_str().unwrap().to_owned();
    let odd = web.post(&world, &url).json(&json!({"status": "valid"})).send().await;
    odd.is("valid by itself", 400, "malformed", "only become `deactivated`");
    let given_up = web.post(&world, &url).json(&json!({"status": "deactivated"})).send().await;
    assert_eq!((given_up.status(), &given_up.json()["status"]), (200, &json!("deactivated")));
    let polled = web.post(&world, &order.header("location").unwrap()).send().await;
    assert_eq!(polled.json()["status"], "invalid");

    let ready = async || {
        let order = web.order(&world, &["a.corp.example"]).await;
        let authorization = order.json()["authorizations"][0].as_str().unwrap().to_owned();
        let authorization = web.post(&world, &authorization).send().await.json();
        let url = authorization["challenges"][0]["url"].as_str().unwrap().to_owned();
        let bad = web.post(&world, &url).raw(b"ready").send().await;
        bad.is("no JSON", 400, "malformed", "not a JSON object");
        web.post(&world, &url).json(&json!({})).send().await
    };
    for _ in 0..2 {
        assert_eq!(ready().await.json()["status"], "invalid");
    }
    ready().await.is("the third", 429, "rateLimited", "failed validations");
    world.later(Duration::hours(1));
    assert_eq!(ready().await.json()["status"], "invalid");
}

#[tokio::test]
async fn orders_and_finalizes_are_limited_by_account() {
    let mut config = config();
    config.rates.new_orders = torhaus_certs::acme::Rate { count: 2, window: Duration::hours(1) };
    config.rates.finalizes = torhaus_certs::acme::Rate { count: 1, window: Duration::hours(1) };
    let world = World::with(config, torhaus_certs::acme::Nonces::alone().unwrap(), Arc::default());
    let (alice, bob) = (world.client(laptop("alice")).await, world.client(laptop("bob")).await);
    alice.certificate(&world, &laptop_name("alice")).await;
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    alice.order(&world, &[&laptop_name("alice")]).await.is("third order", 429, "rateLimited", "orders of one account");
    let csr = csr(&rcgen::KeyPair::generate().unwrap(), &[&laptop_name("alice")]);
    alice.finalize(&world, &order, &csr).await.is("second finalize", 429, "rateLimited", "finalized orders");
    bob.certificate(&world, &laptop_name("bob")).await;
}
