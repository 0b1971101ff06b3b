//! From claims to the names of the policy.
use super::fake::{ACCESS_TOKEN, Fake, Reply};
use super::*;
use crate::login::claims::odd;
use crate::login::error::UserInfoError;
use crate::login::names::NameError;
use torhaus_authz::{Fact, Groups, Why};

fn groups(signed_in: &SignedIn) -> Vec<&str> {
    let mut names: Vec<&str> = match &signed_in.groups {
        Fact::Known(groups) => groups.iter().map(|name| &**name).collect(),
        Fact::Unknown(why) => panic!("groups unknown: {why:?}"),
    };
    names.sort_unstable();
    names
}

#[tokio::test]
async fn names_of_the_first_provider_are_bare_and_of_others_prefixed() {
    let fake = Fake::start().await;
    let signed_in = login(&build(config(&fake)), &fake, Wish::default(), |_| {}).await.unwrap();
    assert_eq!((&*signed_in.user.name, &*signed_in.user.subject, &*signed_in.user.provider), ("alice", "a-1", "corp"));
    assert_eq!(*signed_in.user.issuer, *fake.issuer());
    assert_eq!(groups(&signed_in), ["/it-admins", "all-employees"], "Keycloak's paths stay as they are");
    assert_eq!(
        (signed_in.display_name.as_deref(), signed_in.email.as_deref()),
        (Some("Alice"), Some("alice@example.test"))
    );
    assert_eq!(signed_in.provider_session.as_deref(), Some("s-1"));

    let partner = Provider {
        name: "partner".into(),
        first: false,
        federated: true,
        user_claim: "sub".to_owned(),
        ..config(&fake)
    };
    let signed_in = login(&build(partner), &fake, Wish::default(), |_| {}).await.unwrap();
    assert_eq!((&*signed_in.user.name, signed_in.user.federated), ("partner/a-1", true));
    assert_eq!(groups(&signed_in), ["partner//it-admins", "partner/all-employees"]);
}

#[tokio::test]
async fn a_name_that_could_be_someone_elses_is_refused() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let claim = |name: &str| name.to_owned();
    let reserved = |name: &str| NameError::Reserved { claim: claim(name), prefix: "partner".into() };
    let many: Vec<String> = (0..5001).map(|n| n.to_string()).collect();
    for (name, value, expected) in [
        ("preferred_username", json!("partner/bob"), reserved("preferred_username")),
        ("preferred_username", json!(""), NameError::Malformed(claim("preferred_username"))),
        ("preferred_username", json!("a\nb"), NameError::Malformed(claim("preferred_username"))),
        ("preferred_username", json!("x".repeat(513)), NameError::Malformed(claim("preferred_username"))),
        ("preferred_username", json!(["alice"]), NameError::Odd(odd("preferred_username", "a string"))),
        ("preferred_username", Value::Null, NameError::NoUser(claim("preferred_username"))),
        ("groups", json!(["partner/admins"]), reserved("groups")),
        ("groups", json!({"it-admins": true}), NameError::Odd(odd("groups", "a list of strings"))),
        ("groups", json!([["it-admins"]]), NameError::Odd(odd("groups", "a list of strings"))),
        ("groups", json!(["ok", 7]), NameError::Odd(odd("groups", "a list of strings"))),
        ("groups", json!(["ok", ""]), NameError::Malformed(claim("groups"))),
        ("groups", json!(true), NameError::Odd(odd("groups", "a list of strings"))),
        ("groups", json!(many), NameError::TooManyGroups(claim("groups"))),
    ] {
        let shown = format!("{name} {:.40}", value.to_string());
        let error = login(&provider, &fake, Wish::default(), |claims| claims[name] = value).await.err();
        assert_eq!(error, Some(LoginError::Name(expected)), "{shown}");
    }
}

#[tokio::test]
async fn a_missing_groups_claim_is_unknown_and_an_empty_one_is_no_group() {
    let fake = Fake::start().await;
    let provider = build(config(&fake));
    let signed_in =
        login(&provider, &fake, Wish::default(), |claims| drop(claims.as_object_mut().unwrap().remove("groups"))).await;
    assert_eq!(signed_in.unwrap().groups, Fact::Unknown(Why::NotGiven));
    let signed_in = login(&provider, &fake, Wish::default(), |claims| claims["groups"] = json!([])).await.unwrap();
    assert_eq!(signed_in.groups, Fact::Known(Arc::new(Groups::default())));
    // One string is one group, never a list in disguise.
    let signed_in = login(&provider, &fake, Wish::default(), |claims| claims["groups"] = json!("a,b c")).await.unwrap();
    assert_eq!(groups(&signed_in), ["a,b c"]);
}

#[tokio::test]
async fn an_address_that_is_not_verified_names_nobody() {
    let fake = Fake::start().await;
    let unverified = |claims: &mut Value| claims["email_verified"] = json!(false);
    let signed_in = login(&build(config(&fake)), &fake, Wish::default(), unverified).await.unwrap();
    assert_eq!(signed_in.email, None, "applications take it for an identity");
    let by_email = || build(Provider { user_claim: "email".to_owned(), ..config(&fake) });
    let error = login(&by_email(), &fake, Wish::default(), unverified).await.err();
    assert_eq!(error, Some(LoginError::Name(NameError::UnverifiedEmail)));
    let signed_in = login(&by_email(), &fake, Wish::default(), |claims| claims["email_verified"] = json!("true")).await;
    assert_eq!(&*signed_in.unwrap().user.name, "alice@example.test");
}

/// A provider with UserInfo whose ID token lacks the groups.
async fn with_user_info(reply: Reply, drop_user: bool) -> (Fake, Result<SignedIn, LoginError>) {
    let fake = Fake::start().await;
    fake.discovery(|document| document["userinfo_endpoint"] = json!(fake.url("/userinfo")));
    fake.reply("/userinfo", reply);
    let result = login(&build(config(&fake)), &fake, Wish::default(), |claims| {
        let claims = claims.as_object_mut().unwrap();
        claims.remove("groups");
        if drop_user {
            claims.remove("preferred_username");
        }
    })
    .await;
    (fake, result)
}

#[tokio::test]
async fn user_info_fills_what_the_id_token_lacks_and_changes_nothing_else() {
    let more =
        json!({"sub": "a-1", "groups": ["hr"], "preferred_username": "mallory", "acr": "gold", "name": "Mallory"});
    let (fake, result) = with_user_info(Reply::json(&more), false).await;
    let signed_in = result.unwrap();
    assert_eq!(groups(&signed_in), ["hr"]);
    assert_eq!((&*signed_in.user.name, signed_in.display_name.as_deref()), ("alice", Some("Alice")));
    assert_eq!(signed_in.proofs.len(), 1, "UserInfo proves no tier");
    assert_eq!(fake.seen("/userinfo").remove(0).authorization, Some(format!("Bearer {ACCESS_TOKEN}")));
}

#[tokio::test]
async fn user_info_of_another_person_is_refused() {
    for sub in [json!("b-2"), json!(""), Value::Null, json!(["a-1"])] {
        let (_, result) = with_user_info(Reply::json(&json!({"sub": sub, "groups": ["it-admins"]})), false).await;
        assert_eq!(result.err(), Some(LoginError::UserInfo(UserInfoError::OtherSubject)));
    }
}

#[tokio::test]
async fn without_user_info_groups_are_unknown_and_a_missing_name_is_no_login() {
    for reply in [Reply::text(500, ""), Reply::text(401, ""), Reply::text(200, "eyJ.not.json")] {
        let (_, result) = with_user_info(reply.clone(), false).await;
        assert_eq!(result.unwrap().groups, Fact::Unknown(Why::SourceDown));
        let (_, result) = with_user_info(reply, true).await;
        assert!(matches!(result, Err(LoginError::UserInfo(_))));
    }
}

#[tokio::test]
async fn user_info_is_not_asked_for_what_is_there() {
    let fake = Fake::start().await;
    fake.discovery(|document| document["userinfo_endpoint"] = json!(fake.url("/userinfo")));
    login(&build(config(&fake)), &fake, Wish::default(), |_| {}).await.unwrap();
    assert_eq!(fake.asked("/userinfo"), 0);
}
