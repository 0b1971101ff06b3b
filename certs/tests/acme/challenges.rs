//! Challenges and the authorizations they decide.
use crate::harness::*;
use rcgen::CustomExtension;
use serde_json::json;
use std::sync::Arc;
use time::Duration;
use torhaus_certs::acme::Unseen;

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
