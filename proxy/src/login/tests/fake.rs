//! An OpenID provider on loopback that says what it is told to say, true or not.
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{hmac, rsa::KeySize};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use torhaus_authz::Timestamp;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const ACCESS_TOKEN: &str = "marked-access-token";

/// What one path answers.
#[derive(Clone)]
pub(crate) struct Reply {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
    pub delay: Duration,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self::text(200, &value.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, location: None, body: body.to_owned(), delay: Duration::ZERO }
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// A request as it arrived.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub authorization: Option<String>,
    pub form: HashMap<String, String>,
}

#[derive(Default)]
struct Inner {
    replies: HashMap<String, Reply>,
    seen: HashMap<String, Vec<Seen>>,
}

pub(crate) struct Fake {
    base: String,
    inner: Arc<Mutex<Inner>>,
    pub(crate) key: FakeKey,
}

impl Fake {
    /// A provider with one ES256 key `k1` that tells the truth.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner::default()));
        let app = axum::Router::new().fallback(serve).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let fake = Self { base, inner, key: FakeKey::es256("k1") };
        fake.discovery(|_| {});
        fake.publish(&[&fake.key]);
        fake
    }

    /// With a path and without a slash at its end, as Keycloak's.
    pub(crate) fn issuer(&self) -> String {
        format!("{}/realms/corp", self.base)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.inner.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.get(path).cloned().unwrap_or_default()
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        self.seen(path).len()
    }

    pub(crate) fn discovery(&self, lie: impl FnOnce(&mut Value)) {
        let mut document = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": self.url("/auth?realm=corp"),
            "token_endpoint": self.url("/token"),
            "jwks_uri": self.url("/jwks"),
            "end_session_endpoint": self.url("/logout"),
            "id_token_signing_alg_values_supported": ["ES256", "RS256", "HS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "some_future_member": {"a": [1]},
        });
        lie(&mut document);
        self.reply("/realms/corp/.well-known/openid-configuration", Reply::json(&document));
    }

    pub(crate) fn publish(&self, keys: &[&FakeKey]) {
        // As Keycloak: beside the signing keys one for encryption, and one of a kind that nobody knows.
        let mut all: Vec<Value> = keys.iter().map(|key| key.jwk.clone()).collect();
        all.push(json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e1", "n": "AQAB", "e": "AQAB"}));
        all.push(json!({"kty": "quantum", "kid": "q1", "z": 1}));
        self.reply("/jwks", Reply::json(&json!({"keys": all})));
    }

    /// Signs with the provider's key, honestly.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key.sign(&json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), claims)
    }

    /// What the token endpoint answers next, and from then on.
    pub(crate) fn answer_with(&self, id_token: &str) {
        self.reply(
            "/token",
            Reply::json(&json!({
                "access_token": ACCESS_TOKEN, "token_type": "bearer", "expires_in": 300,
                "id_token": id_token, "refresh_token": "marked-refresh-2",
            })),
        );
    }
}

async fn serve(State(inner): State<Arc<Mutex<Inner>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reply = {
        let mut inner = inner.lock().unwrap();
        let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let form = url::form_urlencoded::parse(&body).into_owned().collect();
        inner.seen.entry(uri.path().to_owned()).or_default().push(Seen { authorization, form });
        inner.replies.get(uri.path()).cloned().unwrap_or_else(|| Reply::text(404, "no such page"))
    };
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    if let Some(location) = reply.location {
        response = response.header("location", location);
    }
    response.body(Body::from(reply.body)).unwrap()
}

enum Signer {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

pub(crate) struct FakeKey {
    signer: Signer,
    pub(crate) jwk: Value,
}

impl FakeKey {
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": b64(x), "y": b64(y)});
        Self { signer: Signer::Ec(Box::new(pair)), jwk }
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let n = b64(public.modulus().big_endian_without_leading_zero());
        let e = b64(public.exponent().big_endian_without_leading_zero());
        let jwk = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e});
        Self { signer: Signer::Rsa(Box::new(pair)), jwk }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.signer {
            Signer::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", b64(&signature))
    }

    /// The public key as anyone can compute it from the JWKS, in the forms that the HS256 trick uses.
    pub(crate) fn public_forms(&self) -> Vec<Vec<u8>> {
        let der: Vec<u8> = match &self.signer {
            Signer::Ec(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        };
        let base64 = base64::prelude::BASE64_STANDARD.encode(&der);
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        vec![pem.into_bytes(), der, self.jwk.to_string().into_bytes()]
    }
}

/// A token "signed" with HMAC.
pub(crate) fn sign_hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", b64(tag.as_ref()))
}

/// A token without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", b64(header.to_string().as_bytes()), b64(claims.to_string().as_bytes()))
}

pub(crate) fn half_sha256(text: &str) -> String {
    b64(&Sha256::digest(text)[..16])
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
