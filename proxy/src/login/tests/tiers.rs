//! What comes back is checked; what was asked for proves nothing.
use super::fake::{Fake, NOW};
use super::*;
use crate::login::proofs::NotProven;
use std::time::Duration;
use torhaus_authz::Timestamp;

/// Proven tiers and since when, in seconds before `NOW`.
fn proven(signed_in: &SignedIn) -> Vec<(&str, i64)> {
    assert!(signed_in.proofs.iter().all(|proof| &*proof.provider == "corp"));
    signed_in.proofs.iter().map(|proof| (&*proof.tier, NOW.seconds() - proof.proven_at.seconds())).collect()
}

async fn with(wish: Wish, lie: impl FnOnce(&mut Value)) -> SignedIn {
    let fake = Fake::start().await;
    login(&build(config(&fake)), &fake, wish, lie).await.unwrap()
}

fn forget_auth_time(claims: &mut Value) {
    claims.as_object_mut().unwrap().remove("auth_time");
}

#[tokio::test]
async fn a_tier_is_proven_by_what_the_token_says() {
    // wish, acr, amr, the client is the wish's; expected proofs and what is missing of the wish
    type Row<'a> = (Wish, Value, Value, &'a [&'a str], Option<NotProven>);
    let rows: [Row<'_>; 12] = [
        (Wish::default(), Value::Null, Value::Null, &["standard"], None),
        (wish("mfa"), json!("gold"), Value::Null, &["mfa", "standard"], None),
        (wish("mfa"), json!("platinum"), Value::Null, &["mfa", "standard"], None),
        // The person took `acr_values` and `claims` out of the address, or the provider cannot do better.
        (wish("mfa"), json!("silver"), Value::Null, &["standard"], Some(NotProven::Acr)),
        (wish("mfa"), json!("0"), Value::Null, &["standard"], Some(NotProven::Acr)),
        (wish("mfa"), json!("Gold"), Value::Null, &["standard"], Some(NotProven::Acr)),
        (wish("mfa"), json!("gold platinum"), Value::Null, &["standard"], Some(NotProven::Acr)),
        (wish("mfa"), Value::Null, Value::Null, &["standard"], Some(NotProven::Acr)),
        (wish("otp"), Value::Null, json!(["otp", "pwd"]), &["otp", "standard"], None),
        (wish("otp"), Value::Null, json!(["otp"]), &["standard"], Some(NotProven::Amr)),
        (wish("otp"), Value::Null, json!(["pwd", "mfa"]), &["standard"], Some(NotProven::Amr)),
        (wish("hardware"), Value::Null, Value::Null, &["hardware", "standard"], None),
    ];
    for (wish, acr, amr, expected, not_proven) in rows {
        let name = format!("{wish:?} {acr} {amr}");
        let signed_in = with(wish, |claims| (claims["acr"], claims["amr"]) = (acr, amr)).await;
        let expected: Vec<_> = expected.iter().map(|tier| (*tier, 30)).collect();
        assert_eq!((proven(&signed_in), signed_in.not_proven), (expected, not_proven), "{name}");
    }
}

#[tokio::test]
async fn an_old_sign_in_is_an_old_proof_whatever_was_asked_for() {
    let old = |claims: &mut Value| {
        claims["acr"] = json!("gold");
        claims["auth_time"] = json!(NOW.seconds() - 5000);
    };
    let minutes = |n: u64| Wish { max_age: Some(Duration::from_secs(60 * n)), force: true, ..wish("mfa") };
    let signed_in = with(minutes(5), old).await;
    assert_eq!(proven(&signed_in), [("mfa", 5000), ("standard", 5000)]);
    assert_eq!(signed_in.not_proven, Some(NotProven::TooLongAgo));
    let signed_in = with(minutes(90), old).await;
    assert_eq!((proven(&signed_in).len(), signed_in.not_proven), (2, None));
    // A tier with a client of its own too: the round trip is no better than the sign-in that the token tells of.
    let signed_in = with(wish("hardware"), |claims| claims["auth_time"] = json!(NOW.seconds() - 5000)).await;
    assert_eq!(proven(&signed_in), [("hardware", 5000), ("standard", 5000)]);
}

#[tokio::test]
async fn without_auth_time_only_the_round_trip_itself_is_a_proof() {
    let signed_in = with(Wish::default(), forget_auth_time).await;
    assert_eq!(proven(&signed_in), [("standard", 1)], "since the token was issued");
    let signed_in = with(wish("hardware"), forget_auth_time).await;
    assert_eq!((proven(&signed_in), signed_in.not_proven), (vec![("hardware", 1), ("standard", 1)], None));
    let signed_in = with(wish("otp"), |claims| {
        forget_auth_time(claims);
        claims["amr"] = json!(["pwd", "otp"]);
    })
    .await;
    assert_eq!((proven(&signed_in), signed_in.not_proven), (vec![("standard", 1)], Some(NotProven::NoAuthTime)));
    // It was demanded: by `max_age`, or as an essential claim.
    for wish in [
        Wish { max_age: Some(Duration::from_secs(300)), ..wish("hardware") },
        Wish { max_age: Some(Duration::from_secs(300)), ..wish("standard") },
        wish("mfa"),
    ] {
        let signed_in = with(wish, |claims| {
            forget_auth_time(claims);
            claims["acr"] = json!("gold");
        })
        .await;
        assert_eq!((proven(&signed_in), signed_in.not_proven), (vec![], Some(NotProven::NoAuthTime)));
    }
}

#[tokio::test]
async fn the_lax_client_never_proves_the_strict_clients_tier() {
    // The person replaced `client_id` in the address: the code is then for another client and the token says so.
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let error = login(&provider, &fake, wish("hardware"), |claims| claims["aud"] = json!("torhaus")).await.err();
    assert_eq!(error, Some(LoginError::IdToken(crate::login::id_token::IdTokenError::Audience)));
    let signed_in = login(&provider, &fake, Wish::default(), |_| {}).await.unwrap();
    assert_eq!(proven(&signed_in), [("standard", 30)]);
}

#[tokio::test]
async fn all_that_a_tier_is_configured_with_must_hold() {
    let fake = Fake::start().await;
    let mut config = config(&fake);
    let both = TierProof { client: Some(client("torhaus-hw")), amr_any: vec!["hwk".to_owned()], ..acr(&["phr"]) };
    config.tiers = [("hardware".into(), both)].into();
    let provider = build(config);
    for (acr, amr, expected) in [
        ("phr", json!(["hwk"]), None),
        ("phr", json!(["otp"]), Some(NotProven::Amr)),
        ("gold", json!(["hwk"]), Some(NotProven::Acr)),
    ] {
        let signed_in =
            login(&provider, &fake, wish("hardware"), |claims| (claims["acr"], claims["amr"]) = (json!(acr), amr))
                .await
                .unwrap();
        assert_eq!(signed_in.not_proven, expected);
        assert_eq!(signed_in.proofs.is_empty(), expected.is_some());
    }
}

#[tokio::test]
async fn a_proof_is_never_from_the_future() {
    let signed_in = with(Wish::default(), |claims| {
        forget_auth_time(claims);
        claims["iat"] = json!(NOW.seconds() + 60);
    })
    .await;
    assert!(signed_in.proofs.iter().all(|proof| proof.proven_at == Timestamp::from_seconds(NOW.seconds())));
}
