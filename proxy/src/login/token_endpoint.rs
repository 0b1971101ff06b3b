//! The token endpoint (RFC 6749 s3.2): a code or a refresh token in, tokens out.
use super::error::error_code;
use super::http_client::{FetchError, HttpClient};
use super::metadata::TokenAuth;
use crate::login::session::AccessToken;
use http::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use torhaus_authz::Timestamp;
use torhaus_config::OidcClient;
use url::Url;
use zeroize::Zeroizing;

/// A session has ended long before.
const LONGEST_LIFE: u64 = 365 * 24 * 3600;
/// What is believed of an access token whose provider does not say: less than any that we know.
const UNSAID_LIFE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token endpoint could not be asked: {0}")]
    Fetch(#[from] FetchError),
    #[error("the token endpoint is not available (status {0})")]
    Unavailable(u16),
    #[error("the token endpoint refused: `{0}`")]
    Refused(String),
    #[error("the token endpoint answered with something that is not a bearer token")]
    Malformed,
}

/// Secrets: no `Debug`.
pub struct TokenResponse {
    pub access_token: Zeroizing<String>,
    /// How long the access token lives, as far as the provider says (RFC 6749 s5.1: recommended).
    pub expires_in: Option<Duration>,
    pub id_token: Option<Zeroizing<String>>,
    pub refresh_token: Option<Zeroizing<String>>,
}

impl TokenResponse {
    /// The access token, of an answer that came at `now`.
    pub fn access_token(&self, now: Timestamp) -> AccessToken {
        AccessToken { secret: self.access_token.clone(), expires: now.plus(self.expires_in.unwrap_or(UNSAID_LIFE)) }
    }
}

/// RFC 6749 s5.1.
#[derive(Deserialize)]
struct Success {
    access_token: String,
    token_type: String,
    expires_in: Option<serde_json::Value>,
    id_token: Option<String>,
    refresh_token: Option<String>,
}

/// RFC 6749 s5.2. The description is not kept: it is for people at the provider.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Asks for tokens as `client`.
///
/// # Errors
/// 1. no answer; 2. busy or broken (5xx, 429); 3. a refusal, with its code; 4. an answer of another shape.
pub async fn ask(
    http: &HttpClient,
    endpoint: &Url,
    auth: TokenAuth,
    client: &OidcClient,
    grant: &[(&str, &str)],
) -> Result<TokenResponse, TokenError> {
    let mut fields = grant.to_vec();
    let secret = client.secret.expose();
    let (id, encoded_secret) = (form_encode(&client.id), Zeroizing::new(form_encode(secret)));
    let answer = if secret.is_empty() {
        // A public client: PKCE alone binds the code.
        fields.push(("client_id", &client.id));
        http.post_form(endpoint, &fields, None).await?
    } else if auth == TokenAuth::Basic {
        http.post_form(endpoint, &fields, Some((&id, &encoded_secret))).await?
    } else {
        fields.extend([("client_id", client.id.as_str()), ("client_secret", secret)]);
        http.post_form(endpoint, &fields, None).await?
    };
    // RFC 6749 s5.2: a refusal is 400, or 401. Anything else is not the token endpoint's word: a proxy before it, a path that
    // is not there (any more).
    let is_refusal = matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
    if !is_refusal && !answer.status.is_success() {
        return Err(TokenError::Unavailable(answer.status.as_u16()));
    }
    if answer.status != StatusCode::OK {
        let failure: Failure = answer.json(endpoint).map_err(|_| TokenError::Malformed)?;
        return Err(TokenError::Refused(error_code(&failure.error)));
    }
    let success: Success = answer.json(endpoint).map_err(|_| TokenError::Malformed)?;
    // RFC 6749 s7.1: a token of an unknown type MUST NOT be used (`DPoP` would need a key of ours).
    if !success.token_type.eq_ignore_ascii_case("bearer") || success.access_token.is_empty() {
        return Err(TokenError::Malformed);
    }
    Ok(TokenResponse {
        access_token: Zeroizing::new(success.access_token),
        expires_in: success.expires_in.as_ref().and_then(seconds),
        id_token: success.id_token.map(Zeroizing::new),
        refresh_token: success.refresh_token.map(Zeroizing::new),
    })
}

/// A number, or, of some providers, a number in a text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number.min(LONGEST_LIFE)))
}

/// RFC 6749 s2.3.1: id and secret are form-encoded before they become user and password.
fn form_encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
