//! RP-Initiated Logout 1.0. With a valid hint nobody is asked; without one, the person is.
use super::keys::Kind;
use super::pages;
use super::{Provider, cookie};
use crate::clock;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::collections::HashMap;
use std::sync::Arc;
use url::form_urlencoded;

pub async fn get(State(provider): State<Arc<Provider>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    end(&provider, &headers, &query.unwrap_or_default(), false)
}

pub async fn post(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> Response {
    end(&provider, &headers, &body, true)
}

fn end(provider: &Provider, headers: &HeaderMap, query: &str, posted: bool) -> Response {
    let fields: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let text = |name: &str| fields.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let hint = match text("id_token_hint") {
        None => None,
        Some(token) => match provider.keys.read(token, Kind::IdTokenHint) {
            Some(ours) => Some(ours),
            None => return pages::error(headers, StatusCode::BAD_REQUEST, "id_token_hint is not from here"),
        },
    };
    let client_id = hint.as_ref().map(|hint| hint.aud.as_str()).or(text("client_id"));
    if text("client_id").is_some_and(|id| Some(id) != client_id) {
        return pages::error(headers, StatusCode::BAD_REQUEST, "client_id and id_token_hint do not belong together");
    }
    let client = provider.clients.iter().find(|client| Some(client.id.as_str()) == client_id);
    let return_to = match text("post_logout_redirect_uri") {
        None => None,
        // s3: "The value MUST have been previously registered"; nobody else's address is followed.
        Some(uri) => match client.filter(|client| client.post_logout_redirect_uris.iter().any(|known| known == uri)) {
            Some(_) => Some(uri),
            None => {
                return pages::error(headers, StatusCode::BAD_REQUEST, "this return address is not registered");
            }
        },
    };

    let session = provider.session(headers);
    let sid = match (&hint, &session) {
        (Some(hint), _) => Some(hint.sid.clone()),
        // The page's own button carries the session's id, which another site does not know.
        (None, Some(session)) if posted && text("confirm") == Some(&session.sid) => Some(session.sid.clone()),
        (None, Some(session)) => {
            let keep = ["client_id", "post_logout_redirect_uri", "state"];
            let keep = keep.iter().filter_map(|name| text(name).map(|value| (*name, value))).collect();
            return pages::confirm_logout(headers, session.person, &session.sid, keep);
        }
        (None, None) => None,
    };
    if let Some(sid) = &sid {
        provider.sessions.end(sid);
        provider.grants.end_session(sid);
    }
    let mut response = match return_to {
        None => pages::signed_out(headers),
        Some(uri) => pages::see_other(&with_state(uri, text("state"))),
    };
    let ended = cookie(headers, &provider.cookie).is_some_and(|key| {
        // Another person's session in this browser stays.
        provider.sessions.find(&key, clock::now()).is_none()
    });
    if ended {
        pages::add_cookie(&mut response, &format!("{}; Max-Age=0", super::set_cookie(&provider.cookie, "")));
    }
    response
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
    format!("{uri}{}{query}", if uri.contains('?') { '&' } else { '?' })
}
