//! Forged and confused tokens, for API callers (RFC 8725).
use super::bearer::{Bearer, BearerError, BearerVerifier, token_of};
use crate::login::claims::odd;
use crate::login::jws::JwsError;
use crate::login::keys::KeyError;
use crate::login::names::NameError;
use crate::login::tests::fake::{Fake, FakeKey, NOW, Reply, b64, sign_hs256, unsigned};
use crate::login::tests::{acr, client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Fact, Timestamp, Why};
use torhaus_config::{BearerIssuer, TierProof};
use url::Url;

fn config(fake: &Fake) -> BearerIssuer {
    let tiers = [
        ("standard", TierProof::default()),
        ("mfa", acr(&["gold"])),
        ("robot", TierProof { client: Some(client("backup")), ..TierProof::default() }),
    ];
    BearerIssuer {
        issuer: Url::parse(&fake.issuer()).unwrap(),
        issuer_text: fake.issuer().into(),
        audience: "torhaus".to_owned(),
        ca_file: None,
        provider: "corp".into(),
        first: true,
        federated: false,
        user_claim: "preferred_username".to_owned(),
        groups_claim: "groups".to_owned(),
        tiers: tiers.into_iter().map(|(name, proof)| (name.into(), proof)).collect(),
    }
}

fn verifier(issuers: &[BearerIssuer]) -> BearerVerifier {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    build(issuers, None)
}

fn build(issuers: &[BearerIssuer], before: Option<&BearerVerifier>) -> BearerVerifier {
    BearerVerifier::new(issuers, &["corp".into(), "partner".into()].into(), before).unwrap()
}

/// An access token of Keycloak.
fn claims(fake: &Fake) -> Value {
    json!({
        "iss": fake.issuer(), "aud": ["account", "torhaus"], "sub": "a-1", "azp": "cli", "typ": "Bearer",
        "exp": NOW.seconds() + 300, "iat": NOW.seconds() - 10, "auth_time": NOW.seconds() - 100, "acr": "gold",
        "preferred_username": "alice", "groups": ["/it-admins"], "scope": "openid", "jti": "j-1",
    })
}

async fn judged(fake: &Fake, header: Value, lie: impl FnOnce(&mut Value)) -> Bearer {
    let mut claims = claims(fake);
    lie(&mut claims);
    verifier(&[config(fake)]).verify(&fake.key.sign(&header, &claims), None, NOW).await
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

fn refusal(bearer: Bearer) -> BearerError {
    match bearer {
        Bearer::Refused(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_names_its_caller() {
    let fake = Fake::start().await;
    for header in [es256(), json!({"alg": "ES256", "kid": "k1"}), json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"})]
    {
        let Bearer::Identified(identity) = judged(&fake, header.clone(), |_| {}).await else { panic!("{header}") };
        assert_eq!((&*identity.user.name, &*identity.user.subject, &*identity.user.provider), ("alice", "a-1", "corp"));
        assert!(matches!(&identity.groups, Fact::Known(groups) if groups.iter().map(|g| &**g).eq(["/it-admins"])));
        let proofs: Vec<_> =
            identity.proofs.iter().map(|p| (&*p.tier, NOW.seconds() - p.proven_at.seconds())).collect();
        assert_eq!(proofs, [("mfa", 100), ("standard", 100)]);
        assert_eq!(identity.expires, Timestamp::from_seconds(NOW.seconds() + 300));
    }
}

#[tokio::test]
async fn a_service_without_auth_time_proves_since_the_token_was_issued() {
    let fake = Fake::start().await;
    let bearer = judged(&fake, es256(), |claims| {
        let claims = claims.as_object_mut().unwrap();
        for claim in ["auth_time", "acr", "groups"] {
            claims.remove(claim);
        }
        claims.insert("azp".to_owned(), json!("backup"));
        claims.insert("preferred_username".to_owned(), json!("service-account-backup"));
    })
    .await;
    let Bearer::Identified(identity) = bearer else { panic!("{bearer:?}") };
    let proofs: Vec<_> = identity.proofs.iter().map(|p| (&*p.tier, NOW.seconds() - p.proven_at.seconds())).collect();
    assert_eq!(proofs, [("robot", 10), ("standard", 10)]);
    assert_eq!(identity.groups, Fact::Unknown(Why::NotGiven));
    let bearer = judged(&fake, es256(), |claims| {
        claims.as_object_mut().unwrap().remove("auth_time");
        claims.as_object_mut().unwrap().remove("iat");
    })
    .await;
    assert!(matches!(bearer, Bearer::Identified(identity) if identity.proofs.is_empty()), "of unknown age: nothing");
}

#[tokio::test]
async fn a_token_of_another_issuer_passes_untouched() {
    let fake = Fake::start().await;
    let verifier = verifier(&[config(&fake)]);
    let foreign = |issuer: Value| fake.key.sign(&es256(), &json!({"iss": issuer, "aud": "torhaus", "sub": "x"}));
    for token in [
        "opaque-token".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d.e".to_owned(),
        String::new(),
        foreign(json!("https://other.test")),
        foreign(json!(format!("{}/", fake.issuer()))),
        foreign(json!([fake.issuer()])),
        foreign(Value::Null),
        "x".repeat(500_000),
    ] {
        assert!(matches!(verifier.verify(&token, None, NOW).await, Bearer::NotOurs), "{:.60}", token);
    }
    assert_eq!(fake.asked("/jwks"), 0, "nobody is asked about them");
}

#[tokio::test]
async fn a_token_of_our_issuer_that_is_not_right_is_refused() {
    use BearerError as E;
    let fake = Fake::start().await;
    let now = NOW.seconds();
    type Lie = Box<dyn FnOnce(&mut Value)>;
    let set = |claim: &'static str, value: Value| -> Lie { Box::new(move |claims| claims[claim] = value) };
    let gone =
        |claim: &'static str| -> Lie { Box::new(move |claims| drop(claims.as_object_mut().unwrap().remove(claim))) };
    for (name, lie, expected) in [
        ("another audience", set("aud", json!("other")), E::Audience),
        ("no audience", gone("aud"), E::Audience),
        ("an audience that begins alike", set("aud", json!(["torhaus2", "TORHAUS"])), E::Audience),
        ("an odd audience", set("aud", json!({"torhaus": 1})), E::Odd(odd("aud", "a list of strings"))),
        ("expired", set("exp", json!(now - 60)), E::Expired),
        ("no exp", gone("exp"), E::NoExpiry),
        ("from the future", set("iat", json!(now + 61)), E::NotYetValid),
        ("not yet valid", set("nbf", json!(now + 61)), E::NotYetValid),
        ("signed in in the future", set("auth_time", json!(now + 61)), E::NotYetValid),
        ("no subject", gone("sub"), E::Subject),
        ("no name", gone("preferred_username"), E::Name(NameError::NoUser("preferred_username".to_owned()))),
        (
            "someone else's name",
            set("preferred_username", json!("partner/bob")),
            E::Name(NameError::Reserved { claim: "preferred_username".to_owned(), prefix: "partner".into() }),
        ),
        ("an ID token: nonce", set("nonce", json!("n")), E::NotAnAccessToken),
        ("an ID token: at_hash", set("at_hash", json!("n")), E::NotAnAccessToken),
        ("an ID token of Keycloak", set("typ", json!("ID")), E::NotAnAccessToken),
        ("a refresh token of Keycloak", set("typ", json!("Refresh")), E::NotAnAccessToken),
        ("an ID token of Cognito", set("token_use", json!("id")), E::NotAnAccessToken),
        ("a logout token", set("events", json!({})), E::NotAnAccessToken),
        ("bound to a key", set("cnf", json!({"jkt": "x"})), E::UnknownBinding),
        ("bound in two ways", set("cnf", json!({"x5t#S256": b64(&[0; 32]), "jkt": "x"})), E::UnknownBinding),
        ("bound to nonsense", set("cnf", json!("x")), E::UnknownBinding),
        ("bound to a certificate", set("cnf", json!({"x5t#S256": b64(&[7; 32])})), E::WrongCertificate),
    ] {
        assert_eq!(refusal(judged(&fake, es256(), lie).await), expected, "{name}");
    }
    for (claim, value) in [("exp", now - 59), ("iat", now + 60), ("nbf", now + 60)] {
        assert!(
            matches!(judged(&fake, es256(), set(claim, json!(value))).await, Bearer::Identified(_)),
            "the leeway: {claim}"
        );
    }
    // RFC 9068: a token that says it is an access token may carry a nonce.
    let at = json!({"alg": "ES256", "kid": "k1", "typ": "application/at+jwt"});
    assert!(matches!(judged(&fake, at, set("nonce", json!("n"))).await, Bearer::Identified(_)));
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "x"] {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": typ});
        assert_eq!(refusal(judged(&fake, header, |_| {}).await), E::NotAnAccessToken, "{typ}");
    }
}

#[tokio::test]
async fn a_forged_token_is_refused_and_sends_torhaus_nowhere() {
    use BearerError as E;
    let fake = Fake::start().await;
    let verifier = verifier(&[config(&fake)]);
    let (claims, stranger) = (claims(&fake), FakeKey::es256("k1"));
    let mut cases = vec![
        (unsigned(&json!({"alg": "none"}), &claims), E::Token(JwsError::NotSigned)),
        (unsigned(&json!({"alg": "NONE", "kid": "k1"}), &claims), E::Token(JwsError::NotSigned)),
        (unsigned(&es256(), &claims), E::Key(KeyError::Signature)),
        (stranger.sign(&es256(), &claims), E::Key(KeyError::Signature)),
        (
            stranger.sign(
                &json!({"alg": "ES256", "jwk": stranger.jwk, "jku": fake.url("/evil"), "x5u": fake.url("/evil")}),
                &claims,
            ),
            E::Key(KeyError::Signature),
        ),
        (fake.key.sign(&json!({"alg": "ES256", "kid": "k1", "crit": ["x"]}), &claims), E::Token(JwsError::Critical)),
        (fake.key.sign(&json!({"alg": "ES256", "kid": "../k1"}), &claims), E::Key(KeyError::UnknownKey)),
    ];
    for form in fake.key.public_forms() {
        cases.push((sign_hs256(&json!({"alg": "HS256", "kid": "k1"}), &claims, &form), E::Token(JwsError::Symmetric)));
    }
    for (token, expected) in cases {
        assert_eq!(refusal(verifier.verify(&token, None, NOW).await), expected);
    }
    for _ in 0..50 {
        let token = fake.key.sign(&json!({"alg": "ES256", "kid": "unknown"}), &claims);
        verifier.verify(&token, None, NOW).await;
    }
    assert_eq!((fake.asked("/evil"), fake.asked("/jwks")), (0, 1));
}

#[tokio::test]
async fn a_bound_token_counts_only_with_its_certificate() {
    let fake = Fake::start().await;
    let verifier = verifier(&[config(&fake)]);
    let mut claims = claims(&fake);
    claims["cnf"] = json!({"x5t#S256": b64(&[0xa7; 32])});
    let token = fake.key.sign(&es256(), &claims);
    let hex = "a7".repeat(32);
    for _ in 0..2 {
        // The second time from memory.
        assert!(matches!(verifier.verify(&token, Some(&hex), NOW).await, Bearer::Identified(_)));
        for other in [None, Some("b8".repeat(32))] {
            assert_eq!(refusal(verifier.verify(&token, other.as_deref(), NOW).await), BearerError::WrongCertificate);
        }
    }
}

#[tokio::test]
async fn a_verified_token_is_remembered_until_it_expires_or_the_keys_change() {
    let fake = Fake::start().await;
    let verifier = verifier(&[config(&fake)]);
    let token = fake.sign(&claims(&fake));
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let Bearer::Identified(first) = verifier.verify(&token, None, NOW).await else { panic!("not identified") };
    let Bearer::Identified(second) = verifier.verify(&token, None, at(1)).await else { panic!("not identified") };
    assert!(Arc::ptr_eq(&first, &second), "from memory");
    assert_eq!(refusal(verifier.verify(&token, None, at(360)).await), BearerError::Expired, "also from memory");
    // The issuer withdraws its key; another caller's new token makes Torhaus look.
    let new = FakeKey::es256("k2");
    fake.publish(&[&new]);
    assert!(matches!(verifier.verify(&token, None, at(70)).await, Bearer::Identified(_)), "not known yet");
    let fresh = new.sign(&json!({"alg": "ES256", "kid": "k2"}), &claims(&fake));
    assert!(matches!(verifier.verify(&fresh, None, at(71)).await, Bearer::Identified(_)));
    assert_eq!(refusal(verifier.verify(&token, None, at(72)).await), BearerError::Key(KeyError::UnknownKey));
}

#[tokio::test]
async fn an_issuer_that_is_down_is_not_the_callers_fault() {
    let fake = Fake::start().await;
    fake.reply("/jwks", Reply::text(503, "marked"));
    let error = refusal(judged(&fake, es256(), |_| {}).await);
    assert!(error.is_unavailable());
    assert_eq!(
        error.challenge(),
        r#"Bearer realm="torhaus", error="invalid_token", error_description="the issuer's keys are not available""#
    );
    let error = refusal(judged(&fake, es256(), |claims| claims["aud"] = json!("x")).await);
    assert!(!error.is_unavailable());
    assert!(
        error
            .challenge()
            .contains(r#"error="invalid_token", error_description="the token is not for this service (`aud`)""#)
    );
}

#[tokio::test]
async fn an_issuer_may_serve_two_audiences_and_another_issuers_names_are_prefixed() {
    let fake = Fake::start().await;
    let partner = BearerIssuer {
        audience: "partner-api".to_owned(),
        first: false,
        federated: true,
        provider: "partner".into(),
        ..config(&fake)
    };
    let verifier = verifier(&[config(&fake), partner]);
    let mut claims = claims(&fake);
    claims["aud"] = json!("partner-api");
    let Bearer::Identified(identity) = verifier.verify(&fake.sign(&claims), None, NOW).await else {
        panic!("not identified")
    };
    assert_eq!((&*identity.user.name, identity.user.federated), ("partner/alice", true));
    claims["aud"] = json!("torhaus");
    let Bearer::Identified(identity) = verifier.verify(&fake.sign(&claims), None, NOW).await else {
        panic!("not identified")
    };
    assert_eq!(&*identity.user.name, "alice");
    assert_eq!(fake.asked("/jwks"), 1);
}

#[tokio::test]
async fn a_reload_keeps_the_keys_and_judges_anew() {
    let fake = Fake::start().await;
    let before = verifier(&[config(&fake)]);
    let token = fake.sign(&claims(&fake));
    assert!(matches!(before.verify(&token, None, NOW).await, Bearer::Identified(_)));
    fake.reply("/jwks", Reply::text(503, ""));
    let by_subject = BearerIssuer { user_claim: "sub".to_owned(), ..config(&fake) };
    let Bearer::Identified(identity) = build(&[by_subject], Some(&before)).verify(&token, None, NOW).await else {
        panic!("not identified")
    };
    assert_eq!((&*identity.user.name, fake.asked("/jwks")), ("a-1", 1));
}

#[tokio::test]
async fn a_step_up_is_asked_for_in_the_words_of_rfc_9470() {
    let fake = Fake::start().await;
    let Bearer::Identified(identity) = judged(&fake, es256(), |_| {}).await else { panic!("not identified") };
    let challenge = identity.step_up_challenge("mfa", Some(Duration::from_secs(300)));
    assert!(challenge.contains(r#"error="insufficient_user_authentication""#));
    assert!(challenge.ends_with(r#", acr_values="gold", max_age="300""#), "{challenge}");
    assert!(!identity.step_up_challenge("unknown", None).contains("acr_values"));
}

#[test]
fn only_the_bearer_scheme_carries_a_token() {
    for (header, token) in [
        ("Bearer abc", Some("abc")),
        ("bEARER  abc ", Some("abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("DPoP abc", None),
        ("Bearerabc", None),
        ("", None),
    ] {
        assert_eq!(token_of(header), token, "{header:?}");
    }
}
