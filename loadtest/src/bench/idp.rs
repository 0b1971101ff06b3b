//! An OpenID provider that says yes to everybody, so that a login can be scripted. Each login is another person's.
//!
//! Discovery, keys, authorization code, token: what a relying party needs, on loopback, for one client. It checks
//! nothing (no password, no PKCE, no secret) and must never stand before anything but a benchmark.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use crate::error::{Doing, Error, Result};
use crate::target::Loopback;

const KEY_ID: &str = "bench";

/// Longer than any benchmark.
const TOKEN_SECONDS: i64 = 6 * 3600;

/// Runs until the program ends.
#[derive(Debug, Clone)]
pub struct Provider(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: Loopback,
    key: EcdsaKeyPair,
    /// The nonce of each authorization request whose code was not redeemed yet.
    codes: Mutex<HashMap<String, String>>,
    next_code: AtomicU64,
    /// Codes are not redeemed: the question stays open.
    is_silent: AtomicBool,
}

impl Provider {
    pub const CLIENT: &'static str = "torhaus";

    /// Must be started inside the runtime that serves it.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(Loopback::port(0).address()).await.doing("provider's port")?;
        let address = Loopback::new(listener.local_addr().doing("provider's port")?)?;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).doing("provider's key")?;
        let inner = Inner {
            address,
            key,
            codes: Mutex::default(),
            next_code: AtomicU64::new(1),
            is_silent: AtomicBool::new(false),
        };
        let provider = Self(Arc::new(inner));
        tokio::spawn(provider.clone().serve(listener));
        Ok(provider)
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.0.address.address())
    }

    /// Anything will do; relying parties insist on having one.
    pub fn client_secret(&self) -> &'static str {
        "not-a-secret-only-a-benchmark"
    }

    /// Whether it leaves the gate's questions unanswered from now on.
    pub fn be_silent(&self, silent: bool) {
        self.0.is_silent.store(silent, Ordering::Relaxed);
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let provider = self.clone();
            let service = service_fn(move |request| {
                let provider = provider.clone();
                async move { Ok::<_, Infallible>(provider.answer(request).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answered = match request.uri().path() {
            "/.well-known/openid-configuration" => Ok(self.discovery()),
            "/keys" => Ok(self.keys()),
            "/authorize" => self.authorize(request.uri().query().unwrap_or_default()),
            "/token" => self.token(request).await,
            path => Err(Error::new(format!("no such page `{path}`"))),
        };
        answered.unwrap_or_else(|error| {
            let mut response = body(&json!({ "error": "invalid_request", "error_description": error.to_string() }));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        })
    }

    /// OpenID Connect Discovery 1.0 s3.
    fn discovery(&self) -> Response<Full<Bytes>> {
        let issuer = self.issuer();
        body(&json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "authorization_response_iss_parameter_supported": true,
        }))
    }

    /// RFC 7518 s6.2.1: the public key is 0x04, then both coordinates.
    fn keys(&self) -> Response<Full<Bytes>> {
        let point = self.0.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len().saturating_sub(1) / 2);
        body(&json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] }))
    }

    /// Sends everybody straight back with a code.
    fn authorize(&self, query: &str) -> Result<Response<Full<Bytes>>> {
        let asked: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let wanted = |name: &str| asked.get(name).ok_or_else(|| Error::new(format!("`{name}` is missing")));
        let code = format!("code-{}", self.0.next_code.fetch_add(1, Ordering::Relaxed));
        self.codes().insert(code.clone(), asked.get("nonce").cloned().unwrap_or_default());
        let mut back = Url::parse(wanted("redirect_uri")?).doing("redirect_uri")?;
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", wanted("state")?)
            .append_pair("iss", &self.issuer()); // RFC 9207
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(LOCATION, HeaderValue::from_str(back.as_str()).doing("redirect_uri")?);
        Ok(response)
    }

    /// A JWT for an API caller, of the same person (RFC 9068 section 2).
    pub fn access_token(&self) -> Result<String> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.sign("at+jwt", &self.claims("api", now, [("client_id", json!(Self::CLIENT)), ("jti", json!("bench"))]))
    }

    fn claims(&self, who: &str, now: i64, more: [(&str, Value); 2]) -> Value {
        let common = [
            ("iss", json!(self.issuer())),
            ("aud", json!(Self::CLIENT)),
            ("iat", json!(now)),
            ("exp", json!(now + TOKEN_SECONDS)),
        ];
        let mut claims = person(who);
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(common.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)));
        }
        claims
    }

    async fn token(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        if self.0.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let form = request.into_body().collect().await.doing("form")?.to_bytes();
        let code = form_urlencoded::parse(&form).find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
        let code = code.unwrap_or_default();
        let nonce = self.codes().remove(&code).ok_or_else(|| Error::new("unknown code"))?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = self.claims(&code, now, [("auth_time", json!(now)), ("nonce", json!(nonce))]);
        Ok(body(&json!({
            "access_token": "unused", "token_type": "Bearer", "expires_in": TOKEN_SECONDS,
            "id_token": self.sign("JWT", &claims)?,
        })))
    }

    fn sign(&self, kind: &str, claims: &Value) -> Result<String> {
        let header = json!({ "alg": "ES256", "typ": kind, "kid": KEY_ID });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.0.key.sign(&SystemRandom::new(), signed.as_bytes()).doing("signature")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn codes(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.0.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn person(who: &str) -> Value {
    json!({
        "sub": format!("4711-{who}"), "preferred_username": format!("alice-{who}"), "name": format!("Alice {who}"),
        "email": format!("alice-{who}@bench.test"), "email_verified": true,
        "groups": ["load", "all-employees", "developers"],
    })
}

fn body(value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[tokio::test]
    async fn a_code_carries_the_nonce_into_a_signed_token_once() {
        let provider = Provider::start().await.unwrap();
        let back = provider.authorize("redirect_uri=https%3A%2F%2Fa.test%2Fcallback&state=s%26t&nonce=n").unwrap();
        let back = Url::parse(back.headers()[LOCATION].to_str().unwrap()).unwrap();
        let sent: HashMap<_, _> = back.query_pairs().into_owned().collect();
        assert_eq!((sent["state"].as_str(), sent["iss"].as_str()), ("s&t", provider.issuer().as_str()));
        assert_eq!(provider.codes().remove(&sent["code"]).as_deref(), Some("n"));
        assert!(provider.codes().remove(&sent["code"]).is_none());

        let token = provider.sign("JWT", &person("a")).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, provider.0.key.public_key().as_ref());
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }
}
