//! What the browser brings back from the provider: the query of `/callback/{provider}`.
use super::error::LoginError;
use std::fmt;
use zeroize::Zeroizing;

/// Codes are under 2 KiB at every provider we know; some send JWTs as codes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// The authorization response (RFC 6749 s4.1.2, RFC 9207). Not trusted in any part.
#[derive(Clone, Default)]
pub struct CallbackParams {
    pub code: Option<Zeroizing<String>>,
    pub state: Option<Zeroizing<String>>,
    pub iss: Option<String>,
    pub error: Option<String>,
}

impl CallbackParams {
    /// Reads the query string. Parameters that Torhaus does not know are ignored (`session_state` of Keycloak).
    ///
    /// # Errors
    /// It is too long, or holds a known parameter twice (RFC 6749 s3.1: MUST NOT).
    pub fn parse(query: &str) -> Result<Self, LoginError> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(LoginError::MalformedAnswer);
        }
        let mut params = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            let twice = match &*name {
                "code" => params.code.replace(Zeroizing::new(value)).is_some(),
                "state" => params.state.replace(Zeroizing::new(value)).is_some(),
                "iss" => params.iss.replace(value).is_some(),
                "error" => params.error.replace(value).is_some(),
                _ => false,
            };
            if twice {
                return Err(LoginError::MalformedAnswer);
            }
        }
        Ok(params)
    }
}

impl fmt::Debug for CallbackParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackParams(…)")
    }
}
