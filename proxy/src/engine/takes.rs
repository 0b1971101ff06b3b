//! Makes a request what its application's server can take, or says that it cannot be: header budget, a length for its
//! body, what it must not see, and the secrets that it is sent.
use crate::forward::Forward;
use crate::headers::{normal_form, size_of};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use std::time::Duration;
use torhaus_authz::Reason;

/// How long a body that has to be read first may take.
const SPOOL_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether the body has to be read before the request can be sent on: its length is not said, and has to be.
pub fn needs_length(session: &mut Session, forward: &Forward) -> bool {
    forward.route.takes.content_length
        && !session.req_header().headers.contains_key(CONTENT_LENGTH)
        && !session.as_mut().is_body_empty()
}

/// Reads a body of unknown length, as far as the engine keeps it (64 KiB); its length, or none if it is longer. The
/// engine sends what it kept.
pub async fn spool(session: &mut Session) -> Result<Option<usize>> {
    session.as_mut().enable_retry_buffering();
    let read = async {
        let mut length = 0;
        while let Some(part) = session.as_mut().read_request_body().await? {
            length += part.len();
            if session.as_ref().retry_buffer_truncated() {
                return Ok(None);
            }
        }
        Ok(Some(length))
    };
    let too_slow = |_| Error::explain(ErrorType::ReadTimedout, "a body without a length");
    tokio::time::timeout(SPOOL_TIMEOUT, read).await.map_err(too_slow)?
}

/// Changes the head that leaves.
///
/// # Errors
/// Outer: the engine's own. Inner: the application's server would not read a head of this size; nothing is sent to it.
pub fn fit(headers: &mut HeaderMap, forward: &Forward, spooled: Option<usize>) -> Result<Result<(), Reason>> {
    let takes = &forward.route.takes;
    // In every spelling, as an application may read `X_Api_Key` for `X-Api-Key`.
    let ours = takes.strip.iter().chain(takes.sent.iter().map(|sent| &sent.name));
    let ours: Vec<_> = ours.map(|name| normal_form(name)).collect();
    if !ours.is_empty() {
        let known = headers.keys().filter(|name| ours.contains(&normal_form(name.as_str())));
        for name in known.cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
    for sent in &takes.sent {
        let name = HeaderName::from_bytes(sent.name.as_bytes());
        let value = HeaderValue::from_str(sent.value.expose());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Error::e_explain(ErrorType::InternalError, "a header that was checked at loading");
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if let Some(length) = spooled {
        headers.remove(TRANSFER_ENCODING);
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let too_many = takes.max_headers.is_some_and(|most| headers.len() > most);
    let too_large = takes.max_header_bytes.is_some_and(|most| size_of(headers) > most);
    Ok(if too_many || too_large { Err(Reason::HeaderTooLarge) } else { Ok(()) })
}
