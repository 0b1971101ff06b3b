//! A small OpenID provider: real protocol, pretended people. It keeps everything in memory and listens on loopback.
//!
//! ```text
//! /authorize -> (pages of /interaction/{id}) -> redirect with a code -> /token -> /userinfo      /end-session
//! ```
//!
//! It is there to be tried against, and strict where a good provider is strict: PKCE, exact redirect URIs, one-time
//! codes, rotating refresh tokens, `iss` in the response, essential `acr`. It asks nobody for consent.
mod assurance;
mod authorize;
pub mod client;
mod grant;
mod guesses;
mod interaction;
mod keys;
mod language;
mod logout;
mod pages;
pub mod people;
mod request;
mod session;
mod shelf;
mod token;

use crate::clock;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use client::Client;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Provider {
    issuer: String,
    /// `127.0.0.1:9480`: what `Host` must say, else a page of another origin could reach us by DNS rebinding.
    authority: String,
    /// Cookies know no ports: two demos on one machine need two names.
    cookie: String,
    clients: Vec<Client>,
    keys: keys::Keys,
    sessions: session::Sessions,
    interactions: shelf::Shelf<interaction::Interaction>,
    grants: grant::Grants,
    guesses: guesses::Guesses,
    /// What ID tokens say beside what the scopes tell.
    further: Mutex<Value>,
    /// The last step whose code each user used.
    used_codes: Mutex<HashMap<&'static str, u64>>,
    /// What `expires_in` of access tokens says, in seconds.
    token_life: AtomicI64,
    /// Whether logins come with a refresh token.
    refreshes: AtomicBool,
}

impl Provider {
    /// # Errors
    /// The signing key could not be made.
    pub fn new(port: u16, clients: Vec<Client>) -> Result<Arc<Self>, Box<dyn Error + Send + Sync>> {
        let authority = format!("127.0.0.1:{port}");
        let issuer = format!("http://{authority}");
        Ok(Arc::new(Self {
            keys: keys::Keys::generate(&issuer)?,
            cookie: format!("demo_idp_{port}"),
            clients,
            sessions: session::Sessions::new(),
            interactions: shelf::Shelf::new(),
            grants: grant::Grants::new(),
            guesses: guesses::Guesses::default(),
            used_codes: Mutex::default(),
            further: Mutex::new(json!({})),
            token_life: AtomicI64::new(keys::TOKEN_LIFE.whole_seconds()),
            refreshes: AtomicBool::new(true),
            issuer,
            authority,
        }))
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A token that is signed as ours are, for whoever plays this provider in a test: a logout token, true or not.
    ///
    /// # Errors
    /// The claims are not JSON.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String, Box<dyn Error + Send + Sync>> {
        Ok(self.keys.encode(typ, claims)?)
    }

    /// From now on every ID token says this as well, as a scope mapping of an administrator makes it.
    pub fn says(&self, claims: Value) {
        *self.further.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// From now on clients are told that access tokens live so many seconds.
    pub fn set_token_life(&self, seconds: i64) {
        self.token_life.store(seconds, Ordering::Relaxed);
    }

    /// From now on no login and no refresh comes with a refresh token; those that are out go on.
    pub fn give_no_refresh_tokens(&self) {
        self.refreshes.store(false, Ordering::Relaxed);
    }

    /// Whether it is an access token of ours that has not ended.
    pub fn knows_access_token(&self, token: &str) -> bool {
        self.keys.read(token, keys::Kind::AccessToken).is_some()
    }

    /// Ends what a person has here and tells nobody: the next refresh is refused.
    pub fn end_sessions(&self, user: &str) {
        for sid in self.session_ids(user) {
            self.sessions.end(&sid);
            self.grants.end_session(&sid);
        }
    }

    /// The `sid` of each session that a person has here.
    pub fn session_ids(&self, user: &str) -> Vec<String> {
        self.sessions.of(user, clock::now())
    }

    /// The browser's session here.
    fn session(&self, headers: &HeaderMap) -> Option<session::Session> {
        self.sessions.find(&cookie(headers, &self.cookie)?, clock::now())
    }

    fn browser_cookie(&self) -> String {
        format!("{}_browser", self.cookie)
    }
}

/// A secret for a client.
pub fn random_secret() -> String {
    shelf::token()
}

pub fn router(provider: Arc<Provider>) -> Router {
    Router::new()
        .route("/", get(pages::home))
        .route("/style.css", get(pages::style))
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize::get).post(authorize::post))
        .route("/interaction/{id}", get(interaction::show).post(interaction::answer))
        .route("/token", post(token::token))
        .route("/userinfo", get(token::userinfo).post(token::userinfo))
        .route("/end-session", get(logout::get).post(logout::post))
        .route("/demo/code/{user}", get(interaction::demo_code))
        .layer(from_fn_with_state(Arc::clone(&provider), only_our_name))
        .with_state(provider)
}

/// OpenID Connect Discovery s3.
async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "end_session_endpoint": format!("{issuer}/end-session"),
        "scopes_supported": ["openid", "profile", "email", "groups"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": assurance::Level::ALL.map(assurance::Level::acr),
        "prompt_values_supported": ["none", "login", "select_account"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash",
            "name", "preferred_username", "email", "email_verified", "groups"],
        "claims_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
        "ui_locales_supported": ["en", "de"],
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(provider.keys.jwks())
}

async fn only_our_name(State(provider): State<Arc<Provider>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host != Some(&provider.authority) {
        return (StatusCode::MISDIRECTED_REQUEST, "this is another host\n").into_response();
    }
    next.run(request).await
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// For the browser's session only. Not `Secure`: the demo's provider is plain http on loopback.
fn set_cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax")
}
