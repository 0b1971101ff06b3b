//! Renewal information (RFC 9773): when a client should come back. Anybody may ask; the answer says nothing about
//! whose certificate it is.
use super::issuer::Known;
use super::problem::Problem;
use super::reply::Reply;
use super::server::Server;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

/// What RFC 9773 s4.3 takes as an example, and plenty for certificates of days.
const MAX_RETRY: Duration = Duration::hours(6);
/// For certificates of minutes.
const MIN_RETRY: Duration = Duration::minutes(1);

/// RFC 9773 s4.1: the authority's key identifier and the serial number as it stands in the DER.
pub(super) fn id(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let authority = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })?;
    let b64 = |bytes| BASE64_URL_SAFE_NO_PAD.encode::<&[u8]>(bytes);
    Some(format!("{}.{}", b64(authority), b64(certificate.raw_serial())))
}

impl Server {
    pub(super) async fn renewal_info(&self, id: &str) -> Result<Reply, Problem> {
        let unknown = || Problem::malformed("no certificate has this renewal id").status(404);
        let certificate = self.store.certificate_by_renewal_id(id).await?.ok_or_else(unknown)?;
        let known = self.issuer.find(&certificate.serial()).await?.ok_or_else(unknown)?;
        let life = certificate.not_after - certificate.not_before;
        let (start, end) = window(&known, certificate.not_before, life);
        let retry = Duration::clamp(life / 8, MIN_RETRY, MAX_RETRY);
        let body = json!({"suggestedWindow": {"start": super::rfc3339(start), "end": super::rfc3339(end)}});
        Ok(Reply::json(body).retry_after(u64::try_from(retry.whole_seconds()).unwrap_or_default()))
    }
}

/// From two thirds of the life on, for a twelfth of it. In the past if it should be replaced at once (RFC 9773 s4.2).
fn window(known: &Known, not_before: OffsetDateTime, life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    if known.revoked || known.renew_now {
        return (not_before, not_before + Duration::SECOND);
    }
    let start = not_before + life * 2 / 3;
    // Never of no length: clients take that for an error.
    (start, start + Duration::max(life / 12, Duration::SECOND))
}
