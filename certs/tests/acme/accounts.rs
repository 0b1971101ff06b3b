//! Accounts, the EAB keys that make them, and their ends.
use crate::harness::*;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use time::Duration;
use torhaus_certs::acme::{Answer, EabKey, Owner, Store as _};

#[tokio::test]
async fn the_directory_says_what_is_there_under_the_name_the_client_used() {
    let mut config = config();
    config.terms_of_service = Some("https://corp.example/terms".into());
    let world = World::with(config, torhaus_certs::acme::Nonces::alone().unwrap(), std::sync::Arc::default());
    let reply = world.get(Method::GET, "/acme/directory").await;
    assert_eq!(reply.header("content-type").as_deref(), Some("application/json"));
    assert!(reply.links("index").is_empty());
    let directory = reply.json();
    for (member, path) in [
        ("newNonce", "new-nonce"),
        ("newAccount", "new-account"),
        ("newOrder", "new-order"),
        ("revokeCert", "revoke-cert"),
        ("keyChange", "key-change"),
        ("renewalInfo", "renewal-info"),
    ] {
        assert_eq!(directory[member], format!("{ORIGIN}/acme/{path}"));
    }
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    assert_eq!(directory["meta"]["termsOfService"], "https://corp.example/terms");
    assert!(directory["meta"]["profiles"]["device"].is_string());
    let other = http::Request::get("/acme/directory").header("host", "ca.other.example:8443");
    let other = world.send(other.body(vec![]).unwrap()).await.json();
    assert_eq!(other["newOrder"], "https://ca.other.example:8443/acme/new-order");

    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204)] {
        let reply = world.get(method, "/acme/new-nonce").await;
        assert_eq!(reply.status(), status);
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(reply.links("index").len(), 1);
        assert!(reply.header("replay-nonce").is_some());
    }
    let key = Key::new();
    let disagrees = world.post(&key, "new-account").jwk().json(&json!({"contact": []})).send().await;
    disagrees.is("no terms agreed", 403, "userActionRequired", "terms of service");
    assert_eq!(disagrees.links("terms-of-service"), ["https://corp.example/terms"]);
}

#[tokio::test]
async fn an_account_is_made_once_and_found_again_by_its_key() {
    let world = World::new();
    let (key, eab) = (Key::new(), world.eab(laptop("alice")).await);
    let existing = json!({"onlyReturnExisting": true});
    let look = world.post(&key, "new-account").jwk().json(&existing).send().await;
    look.is("nobody yet", 400, "accountDoesNotExist", "no account");

    let contact = json!(["mailto:alice@corp.example"]);
    let payload = json!({"contact": contact, "externalAccountBinding": binding(&eab, &key)});
    let made = world.post(&key, "new-account").jwk().json(&payload).send().await;
    assert_eq!(made.status(), 201, "{}", made.text());
    let url = made.header("location").unwrap();
    assert_eq!((&made.json()["status"], &made.json()["contact"]), (&json!("valid"), &contact));
    assert_eq!(made.json()["orders"], format!("{url}/orders"));
    assert_eq!(made.told().action, "new-account");

    for (case, payload) in [("look", existing), ("empty", json!({})), ("the same again", payload)] {
        let again = world.post(&key, "new-account").jwk().json(&payload).send().await;
        assert_eq!((again.status(), again.header("location")), (200, Some(url.clone())), "{case}");
    }
    let stored = world.store.accounts().await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].enrolment, laptop("alice"));
    assert_eq!(world.store.eab(&eab.kid).await.unwrap().unwrap().used_by.as_deref(), Some(stored[0].id.as_str()));
}

#[tokio::test]
async fn every_eab_key_that_does_not_fit_gets_the_same_bytes() {
    let world = World::new();
    let used = world.eab(laptop("alice")).await;
    assert_eq!(world.new_account(&Key::new(), &used).await.status(), 201);
    let revoked = world.eab(laptop("alice")).await;
    assert!(world.store.revoke_eab(&revoked.kid).await.unwrap());
    let expired = world.eab(laptop("alice")).await;
    world.later(Duration::minutes(15));
    let good = world.eab(laptop("alice")).await;
    let unknown = EabKey::new(laptop("alice"), world.now(), world.now() + Duration::HOUR).unwrap();

    let mut answers = BTreeSet::new();
    let mut refused = async |case: &str, binding: &dyn Fn(&Key) -> Value| {
        let key = Key::new();
        let payload = json!({"externalAccountBinding": binding(&key)});
        let reply = world.post(&key, "new-account").jwk().json(&payload).send().await;
        reply.is(case, 403, "unauthorized", "external account binding is not accepted");
        answers.insert((reply.text(), reply.links("index"), reply.links("help"), reply.header("retry-after")));
    };
    refused("used by another key", &|key| binding(&used, key)).await;
    refused("revoked", &|key| binding(&revoked, key)).await;
    refused("expired", &|key| binding(&expired, key)).await;
    refused("unknown", &|key| binding(&unknown, key)).await;
    refused("wrong MAC", &|key| {
        let mut binding = binding(&good, key);
        binding["signature"] = json!(b64(&[0; 32]));
        binding
    })
    .await;
    refused("short MAC", &|key| {
        let mut binding = binding(&good, key);
        binding["signature"] = json!(b64(&[0; 3]));
        binding
    })
    .await;
    refused("the secret of another key", &|key| {
        let header = json!({"alg": "HS256", "kid": good.kid, "url": format!("{ORIGIN}/acme/new-account")});
        mac(&unknown.secret_base64(), &header, &key.jwk())
    })
    .await;
    refused("the zeros that stand in for unknown keys", &|key| {
        let header = json!({"alg": "HS256", "kid": "nobody", "url": format!("{ORIGIN}/acme/new-account")});
        mac(&b64(&[0; 32]), &header, &key.jwk())
    })
    .await;
    refused("wrong MAC and used", &|key| {
        let mut binding = binding(&used, key);
        binding["signature"] = json!(b64(&[0; 32]));
        binding
    })
    .await;
    assert_eq!(answers.len(), 1, "answers differ: {answers:#?}");
    assert_eq!(world.new_account(&Key::new(), &good).await.status(), 201, "tries do not use a key up");
}

#[tokio::test]
async fn bindings_of_another_form_are_refused_before_any_key_is_looked_up() {
    let world = World::new();
    let eab = world.eab(laptop("alice")).await;
    let (key, other) = (Key::new(), Key::new());
    let url = format!("{ORIGIN}/acme/new-account");
    let header = |changes: Value| {
        let mut header = json!({"alg": "HS256", "kid": eab.kid, "url": url});
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        header
    };
    let signed = |changes: Value| mac(&eab.secret_base64(), &header(changes), &key.jwk());
    let bare = mac(&eab.secret_base64(), &json!({"alg": "HS256", "url": url}), &key.jwk());
    for (case, binding, words) in [
        ("another url", signed(json!({"url": format!("{ORIGIN}/acme/new-order")})), "another URL"),
        ("a nonce", signed(json!({"nonce": "AAAA"})), "must not have a nonce"),
        ("alg none", signed(json!({"alg": "none"})), "HS256"),
        ("a public-key alg", signed(json!({"alg": "ES256"})), "HS256"),
        ("a jwk", signed(json!({"jwk": key.jwk()})), "`kid` and no `jwk`"),
        ("crit", signed(json!({"crit": ["x"]})), "`crit`"),
        ("no kid", bare, "`kid` and no `jwk`"),
        ("another account key", mac(&eab.secret_base64(), &header(json!({})), &other.jwk()), "another account key"),
        ("no key", mac(&eab.secret_base64(), &header(json!({})), &json!({})), "another account key"),
        ("no JWS", json!({"kid": "x"}), "inner JWS"),
        ("a string", json!("kid"), "inner JWS"),
    ] {
        let payload = json!({"externalAccountBinding": binding});
        let reply = world.post(&key, "new-account").jwk().json(&payload).send().await;
        reply.is(case, 400, "malformed", words);
    }
    let bare = world.post(&key, "new-account").jwk().raw(b"{}").send().await;
    bare.is("none", 403, "externalAccountRequired", "EAB key");
    assert_eq!(bare.links("help"), [PORTAL]);
    assert_eq!(world.new_account(&key, &eab).await.status(), 201);
}

#[tokio::test]
async fn of_many_accounts_that_claim_one_eab_key_one_gets_it() {
    let world = std::sync::Arc::new(World::new());
    let eab = world.eab(laptop("alice")).await;
    let tries = (0..8).map(|_| {
        let (world, eab) = (std::sync::Arc::clone(&world), eab.clone());
        tokio::spawn(async move { world.new_account(&Key::new(), &eab).await.status() })
    });
    let mut statuses = vec![];
    for attempt in tries.collect::<Vec<_>>() {
        statuses.push(attempt.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
}

#[tokio::test]
async fn signing_in_again_renews_the_enrolment_of_the_same_owner() {
    let world = World::new();
    let (key, first) = (Key::new(), world.eab(laptop("alice")).await);
    let made = world.new_account(&key, &first).await;
    let alice = Client { kid: made.header("location").unwrap(), key };
    world.later(Duration::days(31));
    let over = alice.order(&world, &[&laptop_name("alice")]).await;
    over.is("over", 403, "userActionRequired", "sign in and enrol again");
    assert_eq!((over.json()["instance"].as_str(), over.links("help")), (Some(PORTAL), vec![PORTAL.to_owned()]));

    let bob = world.eab(laptop("bob")).await;
    let stolen = world.new_account(&alice.key, &bob).await;
    stolen.is("another's key", 403, "unauthorized", "external account binding is not accepted");

    let mut longer = laptop("alice");
    longer.until = world.now() + Duration::days(30);
    let renewed = world.new_account(&alice.key, &world.eab(longer).await).await;
    assert_eq!((renewed.status(), renewed.header("location")), (200, Some(alice.kid.clone())));
    assert_eq!(world.new_account(&alice.key, &first).await.status(), 200, "its own first key changes nothing");
    assert_eq!(alice.order(&world, &[&laptop_name("alice")]).await.status(), 201);
}

#[tokio::test]
async fn a_leaver_makes_no_account_and_an_unknown_state_is_no_yes() {
    let world = World::new();
    let eab = world.eab(laptop("alice")).await;
    *world.standing.lock().unwrap() = Answer::Refused("alice has left; her account was closed on 1 May".into());
    world.new_account(&Key::new(), &eab).await.is("leaver", 403, "unauthorized", "alice has left");
    *world.standing.lock().unwrap() = Answer::Unknown("the directory".into());
    let down = world.new_account(&Key::new(), &eab).await;
    down.is("directory down", 503, "serverInternal", "the directory does not answer");
    assert!(down.header("retry-after").is_some());
    *world.standing.lock().unwrap() = Answer::Good;
    assert_eq!(world.new_account(&Key::new(), &eab).await.status(), 201, "the key was not used up");
}

#[tokio::test]
async fn contacts_are_checked_and_changed() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let set = async |contact: Value| alice.post(&world, &alice.kid).json(&json!({"contact": contact})).send().await;
    for (contact, kind) in [
        ("tel:+4930123456", "unsupportedContact"),
        ("https://corp.example", "unsupportedContact"),
        ("alice@corp.example", "invalidContact"),
        ("mailto:", "invalidContact"),
        ("mailto:alice", "invalidContact"),
        ("mailto:alice@", "invalidContact"),
        ("mailto:a@corp.example,b@corp.example", "invalidContact"),
        ("mailto:a@corp.example?subject=x", "invalidContact"),
        ("mailto:a b@corp.example", "invalidContact"),
    ] {
        set(json!([contact])).await.is(contact, 400, kind, "");
    }
    set(json!(vec!["mailto:a@corp.example"; 11])).await.is("eleven", 400, "invalidContact", "ten");
    set(json!("mailto:a@corp.example")).await.is("no list", 400, "malformed", "payload");
    let changed = set(json!(["mailto:al@corp.example"])).await;
    assert_eq!((changed.status(), &changed.json()["contact"]), (200, &json!(["mailto:al@corp.example"])));
    let seen = alice.post(&world, &alice.kid).send().await;
    assert_eq!(seen.json()["contact"], json!(["mailto:al@corp.example"]), "POST-as-GET");
}

#[tokio::test]
async fn an_ended_account_can_do_nothing() {
    let world = World::new();
    let alice = world.client(laptop("alice")).await;
    let odd = alice.post(&world, &alice.kid).json(&json!({"status": "revoked"})).send().await;
    odd.is("a client cannot revoke", 400, "malformed", "only become `deactivated`");
    let ended = alice.post(&world, &alice.kid).json(&json!({"status": "deactivated"})).send().await;
    assert_eq!((ended.status(), &ended.json()["status"]), (200, &json!("deactivated")));
    let words = "deactivated or revoked";
    alice.order(&world, &[&laptop_name("alice")]).await.is("order", 403, "unauthorized", words);
    alice.post(&world, &alice.kid).send().await.is("look", 403, "unauthorized", words);
    let back = json!({"status": "valid"});
    alice.post(&world, &alice.kid).json(&back).send().await.is("back", 403, "unauthorized", words);
    let again = world.new_account(&alice.key, &world.eab(laptop("alice")).await).await;
    again.is("the same key again", 403, "unauthorized", words);
}

#[tokio::test]
async fn what_belongs_to_others_looks_like_what_does_not_exist() {
    let world = World::new();
    let (alice, bob) = (world.client(laptop("alice")).await, world.client(laptop("bob")).await);
    let order = alice.order(&world, &[&laptop_name("alice")]).await;
    let authorization = order.json()["authorizations"][0].as_str().unwrap().to_owned();
    let id = authorization.rsplit('/').next().unwrap().to_owned();
    let certified = alice.certificate(&world, &laptop_name("alice")).await;
    let finalize = order.json()["finalize"].as_str().unwrap().to_owned();
    for (own, unknown) in [
        (order.header("location").unwrap(), "order/0"),
        (authorization, "authorization/0"),
        (format!("{ORIGIN}/acme/challenge/{id}/http-01"), "challenge/0/http-01"),
        (certified.url, "certificate/0"),
        (finalize, "order/0/finalize"),
        (alice.kid.clone(), "account/0"),
        (format!("{}/orders", alice.kid), "account/0/orders"),
    ] {
        let (foreign, missing) = (bob.post(&world, &own).send().await, bob.post(&world, unknown).send().await);
        foreign.is(&own, 403, "unauthorized", "no such");
        assert_eq!((foreign.status(), foreign.text()), (missing.status(), missing.text()), "{own}");
    }
    for kid in ["https://ca.evil.example/acme/account/x", "x", "", &format!("{}/orders", alice.kid)] {
        let reply =
            alice.post(&world, "new-order").header("kid", json!(kid)).json(&wishes(&["a.example"])).send().await;
        reply.is(kid, 400, "accountDoesNotExist", "`kid`");
    }
    let by_jwk = world.post(&alice.key, "new-order").jwk().json(&wishes(&["a.example"])).send().await;
    by_jwk.is("jwk on new-order", 400, "malformed", "takes `kid`");
    let by_kid = alice.post(&world, "new-account").json(&json!({})).send().await;
    by_kid.is("kid on new-account", 400, "malformed", "signs with `jwk`");
}

#[tokio::test]
async fn keys_change_only_by_both_keys_and_to_a_free_one() {
    let world = World::new();
    let (alice, bob) = (world.client(laptop("alice")).await, world.client(laptop("bob")).await);
    let (new, url) = (Key::new(), format!("{ORIGIN}/acme/key-change"));
    let statement = json!({"account": alice.kid, "oldKey": alice.key.jwk()});
    let header = json!({"alg": "ES256", "jwk": new.jwk(), "url": url});
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let of = |header: &Value, statement: &Value| new.sign(header, statement.to_string().as_bytes());
    let bobs = json!({"account": bob.kid, "oldKey": alice.key.jwk()});
    let wrong_old = json!({"account": alice.kid, "oldKey": bob.key.jwk()});
    let elsewhere = with("url", json!(format!("{ORIGIN}/acme/new-order")));
    let forged = bob.key.sign(&header, statement.to_string().as_bytes());
    for (case, inner, kind, words) in [
        ("another account", of(&header, &bobs), "malformed", "another account"),
        ("another old key", of(&header, &wrong_old), "malformed", "`oldKey`"),
        ("another url", of(&elsewhere, &statement), "malformed", "same `url`"),
        ("a nonce", of(&with("nonce", json!("AAAA")), &statement), "malformed", "no nonce"),
        ("not signed by the new key", forged, "malformed", "signature"),
        ("kid inside", of(&json!({"alg": "ES256", "kid": alice.kid, "url": url}), &statement), "malformed", "`jwk`"),
        ("alg none", of(&with("alg", json!("none")), &statement), "badSignatureAlgorithm", ""),
        ("a weak key", of(&with("jwk", json!({"kty": "oct", "k": "AA"})), &statement), "badPublicKey", ""),
        ("no statement", of(&header, &json!({})), "malformed", "payload"),
        ("no JWS", json!({}), "malformed", "inner JWS"),
    ] {
        alice.post(&world, "key-change").json(&inner).send().await.is(case, 400, kind, words);
    }
    let taken = json!({"alg": "ES256", "jwk": bob.key.jwk(), "url": url});
    let taken = bob.key.sign(&taken, statement.to_string().as_bytes());
    let conflict = alice.post(&world, "key-change").json(&taken).send().await;
    conflict.is("bob's key", 409, "malformed", "has this key");
    assert_eq!(conflict.header("location"), Some(bob.kid.clone()));

    let changed = alice.post(&world, "key-change").json(&of(&header, &statement)).send().await;
    assert_eq!(changed.status(), 200, "{}", changed.text());
    let old = alice.order(&world, &[&laptop_name("alice")]).await;
    old.is("the old key", 400, "malformed", "signature of the request is wrong");
    let renamed = Client { kid: alice.kid, key: new };
    assert_eq!(renamed.order(&world, &[&laptop_name("alice")]).await.status(), 201);
}

#[tokio::test]
async fn tries_at_accounts_are_limited_by_address() {
    let mut config = config();
    config.rates.new_accounts = torhaus_certs::acme::Rate { count: 3, window: Duration::hours(1) };
    let world = World::with(config, torhaus_certs::acme::Nonces::alone().unwrap(), std::sync::Arc::default());
    let eab = EabKey::new(laptop("alice"), NOW, NOW + Duration::HOUR).unwrap();
    for _ in 0..3 {
        assert_eq!(world.new_account(&Key::new(), &eab).await.status(), 403);
    }
    world.later(Duration::minutes(10));
    let limited = world.new_account(&Key::new(), &eab).await;
    limited.is("the fourth", 429, "rateLimited", "new accounts from one address");
    assert_eq!((limited.header("retry-after"), limited.links("help")), (Some("3000".into()), vec![PORTAL.into()]));
    world.later(Duration::minutes(50));
    assert_eq!(world.new_account(&Key::new(), &world.eab(laptop("alice")).await).await.status(), 201);
}

#[tokio::test]
async fn eab_keys_fit_command_lines_and_hide_their_secret() {
    for _ in 0..300 {
        let key = EabKey::new(laptop("alice"), NOW, NOW + Duration::HOUR).unwrap();
        assert!(!key.secret_base64().starts_with('-') && !key.kid.starts_with('-'));
        assert_eq!(key.secret_base64().len(), 43);
        assert!(!format!("{key:?}").contains("secret"));
    }
    let service = EabKey::new(service(), NOW, NOW + Duration::HOUR).unwrap();
    assert_eq!(service.enrolment.owner, Owner::Service("web".into()));
}
