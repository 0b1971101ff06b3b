//! An authorization request, from query text to something that can be trusted (OpenID Connect Core s3.1.2.1).
use super::assurance::{Level, Wanted};
use super::client::Client;
use serde_json::Value;
use std::collections::HashMap;
use time::Duration;
use url::form_urlencoded;

/// A checked request. Its redirect URI is the client's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub client: String,
    pub redirect_uri: String,
    pub state: Option<String>,
    pub nonce: Option<String>,
    pub scopes: Vec<String>,
    /// PKCE, S256.
    pub challenge: String,
    pub wanted: Wanted,
    pub max_age: Option<Duration>,
    /// `prompt=login` or `select_account`: what was proven before does not count.
    pub again: bool,
    /// `prompt=none`: answer without a page.
    pub silent: bool,
    pub login_hint: Option<String>,
    pub locales: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody to send the browser back to: an unknown client or a foreign redirect URI (RFC 6749 s4.1.2.1).
    Here(&'static str),
    Back(Back),
}

/// An error for the client, by way of the browser.
#[derive(Debug, PartialEq, Eq)]
pub struct Back {
    pub redirect_uri: String,
    pub state: Option<String>,
    pub error: &'static str,
    pub description: &'static str,
}

pub fn parse(query: &str, clients: &[Client]) -> Result<Request, Refused> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut fields = HashMap::new();
    let mut twice = false;
    for (name, value) in pairs {
        twice |= fields.insert(name, value).is_some();
    }
    let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_empty());

    let id = take("client_id").ok_or(Refused::Here("client_id is missing"))?;
    let client = clients.iter().find(|client| client.id == id).ok_or(Refused::Here("this client is not known"))?;
    let redirect_uri = take("redirect_uri").ok_or(Refused::Here("redirect_uri is missing"))?;
    if twice || !client.redirect_uris.contains(&redirect_uri) {
        return Err(Refused::Here("this redirect_uri is not registered"));
    }

    let state = take("state");
    let back = |error, description| {
        Refused::Back(Back { redirect_uri: redirect_uri.clone(), state: state.clone(), error, description })
    };
    if take("request").is_some() {
        return Err(back("request_not_supported", "no request objects here"));
    }
    if take("request_uri").is_some() {
        return Err(back("request_uri_not_supported", "no request objects here"));
    }
    if take("response_type").as_deref() != Some("code") {
        return Err(back("unsupported_response_type", "only the authorization code flow"));
    }
    if take("response_mode").is_some_and(|mode| mode != "query") {
        return Err(back("invalid_request", "only response_mode=query"));
    }
    let scopes: Vec<String> = words(take("scope"));
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(back("invalid_scope", "scope must contain openid"));
    }
    let challenge = take("code_challenge").ok_or_else(|| back("invalid_request", "PKCE is required (RFC 9700)"))?;
    // 43 characters: the base64url of a SHA-256 (RFC 7636 s4.2).
    if take("code_challenge_method").as_deref() != Some("S256") || challenge.len() != 43 {
        return Err(back("invalid_request", "code_challenge_method must be S256"));
    }
    let prompts = words(take("prompt"));
    let silent = prompts.iter().any(|prompt| prompt == "none");
    if silent && prompts.len() > 1 {
        return Err(back("invalid_request", "prompt=none stands alone"));
    }
    let max_age = match take("max_age") {
        None => None,
        Some(text) => match text.parse::<u32>() {
            Ok(seconds) => Some(Duration::seconds(seconds.into())),
            Err(_) => return Err(back("invalid_request", "max_age is a number of seconds")),
        },
    };
    let acr_values = words(take("acr_values"));
    let wanted = match take("claims") {
        None => preferred(&acr_values),
        Some(text) => match serde_json::from_str::<Value>(&text) {
            Ok(claims) => essential(&claims).unwrap_or_else(|| preferred(&acr_values)),
            Err(_) => return Err(back("invalid_request", "claims is not JSON")),
        },
    };
    Ok(Request {
        client: id,
        nonce: take("nonce"),
        scopes,
        challenge,
        wanted,
        max_age,
        again: prompts.iter().any(|prompt| prompt == "login" || prompt == "select_account"),
        silent,
        login_hint: take("login_hint"),
        locales: take("ui_locales"),
        redirect_uri,
        state,
    })
}

/// The essential `acr` of `claims={"id_token":{"acr":{"essential":true,"values":[...]}}}`, if there is one.
fn essential(claims: &Value) -> Option<Wanted> {
    let acr = claims.pointer("/id_token/acr")?;
    if acr.get("essential") != Some(&Value::Bool(true)) {
        return None;
    }
    let named = match (acr.get("value"), acr.get("values").and_then(Value::as_array)) {
        (Some(value), _) => vec![value],
        (None, Some(values)) => values.iter().collect(),
        // Essential without a value: any acr will do, and there always is one.
        (None, None) => return None,
    };
    Some(Wanted::Essential(named.into_iter().filter_map(Value::as_str).filter_map(Level::parse).collect()))
}

fn preferred(acr_values: &[String]) -> Wanted {
    if acr_values.is_empty() {
        return Wanted::Any;
    }
    Wanted::Preferred(acr_values.iter().filter_map(|acr| Level::parse(acr)).collect())
}

fn words(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
