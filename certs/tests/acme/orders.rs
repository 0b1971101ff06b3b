//! Orders: which names, in which form, for how long.
use crate::harness::*;
use serde_json::{Value, json};
use std::sync::Arc;
use time::Duration;
use torhaus_certs::acme::Store as _;

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
