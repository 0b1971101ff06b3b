//! A POST on its way in: which of our URLs it is for, whose signature it carries, and that it is not a replay
//! (RFC 8555 s6.2 to s6.5). After this file, a payload is what its signer wants.
use super::account::Account;
use super::issuer::Unavailable;
use super::jwk::Jwk;
use super::jws::{Flattened, Signer};
use super::nonce;
use super::problem::{Kind, Problem};
use super::server::Server;
use http::{Request, header};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use time::OffsetDateTime;

/// Orders of a hundred names and RSA keys have a tenth of it. Whoever listens should read no more either.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a handler needs to know of its request.
pub(super) struct Call {
    /// `https://ca.example/acme`, the one the client used.
    pub base: String,
    /// Of the request, as it was signed.
    pub url: String,
    /// Empty for POST-as-GET.
    pub payload: Vec<u8>,
    pub address: IpAddr,
    pub now: OffsetDateTime,
}

/// Whose signature was verified.
pub(super) enum Signed {
    Account(Box<Account>),
    Key(Jwk),
}

impl Call {
    /// The URL of a resource.
    pub fn at(&self, what: &str, id: &str) -> String {
        format!("{}/{what}/{id}", self.base)
    }
}

impl Server {
    /// Checks the envelope and puts the payload into the call.
    pub(super) async fn open(&self, request: &Request<Vec<u8>>, call: &mut Call) -> Result<Signed, Problem> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.and_then(|media| media.split(';').next()).unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/jose+json") {
            return Err(Problem::malformed("the content type must be `application/jose+json`").status(415));
        }
        if request.body().len() > MAX_BODY_BYTES {
            return Err(Problem::malformed("the body is larger than 64 KiB").status(413));
        }
        let jws = Flattened::parse(request.body())?;
        jws.check_algorithm()?;
        if jws.protected.url.as_deref() != Some(call.url.as_str()) {
            let detail = format!("the signed `url` is not the URL of the request, `{}`", call.url);
            return Err(Problem::new(Kind::Unauthorized, detail));
        }
        let signed = match jws.signer()? {
            Signer::Key(key) => Signed::Key(key),
            Signer::Kid(kid) => {
                let unknown = || Problem::new(Kind::AccountDoesNotExist, "`kid` is not the URL of an account here");
                let id = self.config.bases().find_map(|base| kid.strip_prefix(&format!("{base}/account/")));
                let id = id.filter(|id| !id.contains('/')).ok_or_else(unknown)?;
                Signed::Account(Box::new(self.store.account(id).await?.ok_or_else(unknown)?))
            }
        };
        match &signed {
            Signed::Account(account) => jws.verify(&account.key)?,
            Signed::Key(key) => jws.verify(key)?,
        }
        // Only now: a nonce cannot be used up by somebody who cannot sign.
        if !self.spend(&jws, call.now).await? {
            // In these words: acme.sh recognises a bad nonce by them.
            return Err(Problem::new(Kind::BadNonce, "JWS has an invalid anti-replay nonce"));
        }
        if let Signed::Account(account) = &signed {
            account.must_be_valid()?;
        }
        call.payload = jws.payload;
        Ok(signed)
    }

    async fn spend(&self, jws: &Flattened, now: OffsetDateTime) -> Result<bool, Unavailable> {
        let taken = jws.protected.nonce.as_deref().and_then(|nonce| self.nonces.take(nonce, now));
        let Some(id) = taken else { return Ok(false) };
        let writes = !jws.payload.is_empty();
        if writes && self.nonces.is_shared() {
            return self.store.spend_nonce(id, now + nonce::LIFE * 2).await;
        }
        Ok(true)
    }
}

/// A payload that must be a JSON object of this form; members that nobody knows are ignored (RFC 8555 s7.3).
pub(super) fn object<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    let value: serde_json::Map<_, _> =
        serde_json::from_slice(payload).map_err(|_| Problem::malformed("the payload is not a JSON object"))?;
    serde_json::from_value(value.into()).map_err(|error| {
        // serde's words name members of the client's own document.
        Problem::malformed(format!(
            "the payload does not fit the request: {}",
            super::identifier::shown(&error.to_string())
        ))
    })
}
