//! Signs and checks the provider's tokens: ES256, one key per run.
use super::grant::Grant;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::error::Error;
use time::{Duration, OffsetDateTime};

pub struct Keys {
    issuer: String,
    kid: String,
    sign: EncodingKey,
    check: DecodingKey,
    public: Jwk,
}

/// How long an ID token and an access token live.
pub const TOKEN_LIFE: Duration = Duration::minutes(5);

/// What our own tokens are read for again.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Ours {
    pub sub: String,
    pub aud: String,
    #[serde(default)]
    pub sid: String,
    #[serde(default)]
    pub scope: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `typ: JWT`. As a hint at logout an expired one is good too (RP-Initiated Logout s2).
    IdTokenHint,
    /// `typ: at+jwt` (RFC 9068).
    AccessToken,
}

impl Keys {
    pub fn generate(issuer: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let sign = EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref());
        let mut public = Jwk::from_encoding_key(&sign, Algorithm::ES256)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        public.common.key_algorithm = Some(KeyAlgorithm::ES256);
        Ok(Self { issuer: issuer.to_owned(), kid, check: DecodingKey::from_jwk(&public)?, sign, public })
    }

    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.public] })
    }

    /// OpenID Connect Core s2. `access_token` is the one beside it, `further` claims that no scope tells.
    pub fn id_token(
        &self,
        grant: &Grant,
        access_token: &str,
        further: Value,
        now: OffsetDateTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let half = digest(&SHA256, access_token.as_bytes());
        let mut claims = json!({
            "iss": self.issuer,
            "sub": grant.person.subject,
            "aud": grant.client,
            "iat": now.unix_timestamp(),
            "exp": (now + TOKEN_LIFE).unix_timestamp(),
            "auth_time": grant.authenticated.unix_timestamp(),
            "acr": grant.level.acr(),
            "amr": grant.methods,
            "sid": grant.sid,
            "at_hash": URL_SAFE_NO_PAD.encode(half.as_ref().get(..16).unwrap_or_default()),
        });
        if let (Some(nonce), Value::Object(claims)) = (&grant.nonce, &mut claims) {
            claims.insert("nonce".into(), json!(nonce));
        }
        add(&mut claims, about(grant.person, &grant.scopes));
        add(&mut claims, further);
        self.encode("JWT", &claims)
    }

    pub fn access_token(&self, grant: &Grant, now: OffsetDateTime) -> Result<String, jsonwebtoken::errors::Error> {
        self.encode(
            "at+jwt",
            &json!({
                "iss": self.issuer,
                "sub": grant.person.subject,
                "aud": self.issuer,
                "client_id": grant.client,
                "iat": now.unix_timestamp(),
                "exp": (now + TOKEN_LIFE).unix_timestamp(),
                "jti": super::shelf::token(),
                "scope": grant.scopes.join(" "),
                "sid": grant.sid,
                "acr": grant.level.acr(),
                "auth_time": grant.authenticated.unix_timestamp(),
            }),
        )
    }

    /// A token that we signed, of that kind.
    pub fn read(&self, token: &str, kind: Kind) -> Option<Ours> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let typ = match kind {
            Kind::IdTokenHint => {
                validation.validate_exp = false;
                // Which client it was for is read from it, and compared by the caller.
                validation.validate_aud = false;
                "JWT"
            }
            Kind::AccessToken => {
                validation.leeway = 0;
                validation.set_audience(&[&self.issuer]);
                "at+jwt"
            }
        };
        let data = decode::<Ours>(token, &self.check, &validation).ok()?;
        (data.header.typ.as_deref() == Some(typ)).then_some(data.claims)
    }

    pub fn encode(&self, typ: &str, claims: &Value) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &self.sign)
    }
}

/// What the scopes tell about a person (OpenID Connect Core s5.4).
pub fn about(person: &super::people::Person, scopes: &[String]) -> Value {
    let mut claims = json!({});
    let asked = |scope: &str| scopes.iter().any(|asked| asked == scope);
    if asked("profile") {
        add(&mut claims, json!({ "name": person.name, "preferred_username": person.user }));
    }
    if asked("email") {
        add(&mut claims, json!({ "email": person.email(), "email_verified": true }));
    }
    if asked("groups") {
        add(&mut claims, json!({ "groups": person.groups }));
    }
    claims
}

pub fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}
