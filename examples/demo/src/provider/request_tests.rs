//! Rows: a change to a good request, and what becomes of it.
use super::*;

const CALLBACK: &str = "https://auth.localhost:8443/callback/demo";

fn clients() -> [Client; 1] {
    [Client {
        id: "torhaus".into(),
        secret: "s".into(),
        redirect_uris: vec![CALLBACK.into()],
        post_logout_redirect_uris: vec![],
    }]
}

/// A good request with these fields set, or taken out where the value is empty, and `more` appended as it is.
fn query(changes: &[(&str, &str)], more: &str) -> String {
    let challenge = "a".repeat(43);
    let mut fields = vec![
        ("client_id", "torhaus"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid groups"),
        ("state", "st"),
        ("nonce", "no"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    fields.extend(changes.iter().copied().filter(|(_, value)| !value.is_empty()));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish() + more
}

#[test]
fn a_good_request_is_read_as_it_is() {
    let text = query(&[("max_age", "300"), ("login_hint", "alice"), ("prompt", "login consent")], "&unknown=1");
    let request = parse(&text, &clients()).unwrap();
    assert_eq!(request.redirect_uri, CALLBACK);
    assert_eq!(request.scopes, ["openid", "groups"]);
    assert_eq!((request.state.as_deref(), request.nonce.as_deref()), (Some("st"), Some("no")));
    assert_eq!(request.max_age, Some(Duration::seconds(300)));
    assert!(request.again && !request.silent);
    assert_eq!(request.wanted, Wanted::Any);
}

#[test]
fn a_request_without_a_known_way_back_is_refused_here() {
    let rows = [
        query(&[("client_id", "")], ""),
        query(&[("client_id", "other")], ""),
        query(&[("redirect_uri", "")], ""),
        query(&[("redirect_uri", "https://auth.localhost:8443/callback/demo/")], ""),
        query(&[("redirect_uri", "https://auth.localhost:8443/callback/DEMO")], ""),
        query(&[("redirect_uri", "https://evil.test/callback/demo")], ""),
        query(&[], "&redirect_uri=https%3A%2F%2Fevil.test"),
        query(&[], "&state=other"),
    ];
    for text in rows {
        assert!(matches!(parse(&text, &clients()), Err(Refused::Here(_))), "{text}");
    }
}

#[test]
fn every_other_mistake_goes_back_with_its_error_and_the_state() {
    let rows = [
        ("response_type", "token", "unsupported_response_type"),
        ("response_mode", "fragment", "invalid_request"),
        ("scope", "groups", "invalid_scope"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("prompt", "none login", "invalid_request"),
        ("max_age", "-1", "invalid_request"),
        ("max_age", "soon", "invalid_request"),
        ("claims", "{", "invalid_request"),
        ("request", "e30.e30.", "request_not_supported"),
        ("request_uri", "https://evil.test/r", "request_uri_not_supported"),
    ];
    for (name, value, expected) in rows {
        match parse(&query(&[(name, value)], ""), &clients()) {
            Err(Refused::Back(back)) => {
                assert_eq!((back.error, back.state.as_deref()), (expected, Some("st")), "{name}={value}");
            }
            other => panic!("{name}={value}: {other:?}"),
        }
    }
}

#[test]
fn an_essential_acr_is_a_demand_and_acr_values_are_a_wish() {
    use Level::{Gold, Phrh};
    let rows = [
        ("gold", "", Wanted::Preferred(vec![Gold])),
        ("phrh gold", "", Wanted::Preferred(vec![Phrh, Gold])),
        ("platinum", "", Wanted::Preferred(vec![])),
        ("gold", r#"{"id_token":{"acr":{"essential":true,"values":["phrh"]}}}"#, Wanted::Essential(vec![Phrh])),
        ("", r#"{"id_token":{"acr":{"essential":true,"value":"gold"}}}"#, Wanted::Essential(vec![Gold])),
        ("", r#"{"id_token":{"acr":{"essential":true,"value":"platinum"}}}"#, Wanted::Essential(vec![])),
        ("gold", r#"{"id_token":{"acr":{"essential":true}}}"#, Wanted::Preferred(vec![Gold])),
        ("", r#"{"id_token":{"acr":{"values":["gold"]},"auth_time":{"essential":true}}}"#, Wanted::Any),
        ("", r#"{"id_token":{"acr":null}}"#, Wanted::Any),
    ];
    for (acr_values, claims, expected) in rows {
        let text = query(&[("acr_values", acr_values), ("claims", claims)], "");
        assert_eq!(parse(&text, &clients()).unwrap().wanted, expected, "{acr_values} {claims}");
    }
}
