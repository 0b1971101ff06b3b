//! Whatever bytes arrive, the answer is a problem document and never a panic, a success, or a 500.
use crate::harness::*;
use http::Request;
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

/// A good request for an order, and the world it is good in.
struct Good {
    runtime: Runtime,
    world: World,
    client: Client,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let world = World::new();
    let client = runtime.block_on(world.client(laptop("alice")));
    Good { runtime, world, client }
});

fn body() -> Vec<u8> {
    let order = GOOD.client.post(&GOOD.world, "new-order").json(&wishes(&[&laptop_name("alice")]));
    GOOD.runtime.block_on(order.request()).into_body()
}

fn send(path: &str, body: Vec<u8>) -> Reply {
    let request = Request::post(format!("/acme/{path}")).header("host", "ca.corp.example");
    let request = request.header("content-type", "application/jose+json").body(body).unwrap();
    GOOD.runtime.block_on(GOOD.world.send(request))
}

fn refused(reply: &Reply) -> Result<(), TestCaseError> {
    let status = reply.status();
    prop_assert!((400..500).contains(&status), "{status}: {}", reply.text());
    prop_assert_eq!(reply.header("content-type"), Some("application/problem+json".to_owned()));
    prop_assert!(reply.json()["type"].as_str().unwrap().starts_with("urn:ietf:params:acme:error:"));
    Ok(())
}

const PATHS: [&str; 6] =
    ["new-account", "new-order", "revoke-cert", "key-change", "order/0/finalize", "challenge/0/http-01"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_signed_body_with_one_other_byte_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut body = body();
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        let reply = send("new-order", body);
        refused(&reply)?;
    }

    #[test]
    fn a_body_cut_short_or_with_a_hole_is_refused(from in any::<prop::sample::Index>(), length in 1..80usize) {
        let mut body = body();
        let from = from.index(body.len());
        body.drain(from..(from + length).min(body.len()));
        refused(&send("new-order", body))?;
    }

    #[test]
    fn noise_is_refused(path in prop::sample::select(&PATHS[..]), body in prop::collection::vec(any::<u8>(), 0..600)) {
        refused(&send(path, body))?;
    }

    #[test]
    fn signed_noise_is_refused(
        path in prop::sample::select(&PATHS[1..]),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..300),
            "\\{\"(csr|certificate|identifiers|contact|status|protected)\":(\"[A-Za-z0-9_-]{0,80}\"|\\[\\]|[0-9]{1,30}|null)\\}"
                .prop_map(String::into_bytes),
        ],
    ) {
        GOOD.world.later(time::Duration::hours(2));
        // Long past the end of alice's enrolment all orders would be refused for that alone: stay within it.
        if GOOD.world.now() > NOW + time::Duration::days(29) {
            *GOOD.world.now.lock().unwrap() = NOW;
        }
        let post = GOOD.client.post(&GOOD.world, path).raw(&payload);
        let reply = GOOD.runtime.block_on(post.send());
        refused(&reply)?;
    }

    #[test]
    fn any_name_is_ordered_as_it_is_or_refused(name in "[a-zA-Z0-9.*_\\-\u{e9} ]{0,70}") {
        let payload = json!({"identifiers": [{"type": "dns", "value": name}]});
        let post = GOOD.client.post(&GOOD.world, "new-order").json(&payload);
        refused(&GOOD.runtime.block_on(post.send()))?;
    }

    #[test]
    fn any_header_and_path_is_answered(path in "/[ -~]{0,60}", kid in "[ -~]{0,60}", nonce in "[ -~]{0,80}") {
        let post = GOOD.client.post(&GOOD.world, "new-order").header("kid", json!(kid)).header("nonce", json!(nonce));
        refused(&GOOD.runtime.block_on(post.send()))?;
        if let Ok(request) = Request::get(path).header("host", "ca.corp.example").body(vec![]) {
            let status = GOOD.runtime.block_on(GOOD.world.send(request)).status();
            prop_assert!(status == 404 || status == 405 || status == 200, "{}", status);
        }
    }
}
