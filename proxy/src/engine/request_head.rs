//! The head of a request before anybody decides on it: strictly framed, of a bounded size, without what `Connection`
//! nominates, with one path and one host that policy, routing and application share.
use crate::headers::{Changes, disarmed_connection, size_of};
use crate::request::Target;
use crate::snapshot::Snapshot;
use crate::strict;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Uri};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use std::mem;
use torhaus_authz::Reason;

/// Why a request gets no further before it is decided on, and a sentence about it.
pub type Unfit = (Reason, Option<&'static str>);

/// What is asked for, of whom. The head is made the one that is decided on and forwarded.
///
/// # Errors
/// Outer: the engine's own. Inner: the request has no one reading, or is too large.
pub fn read(session: &mut Session, snapshot: &Snapshot) -> Result<std::result::Result<Target, Unfit>> {
    if let Some(h1) = session.as_downstream().as_http1()
        && let Err(why) = strict::check_head(&h1.get_headers_raw_bytes())
    {
        return Ok(Err((Reason::BadRequest, Some(why.sentence()))));
    }
    let head = session.req_header_mut();
    let in_origin_form = head.raw_path().starts_with(b"/");
    let changes = disarmed_connection(&head.headers);
    edit(head, |headers| apply(headers, changes));
    if size_of(&head.headers) > snapshot.config.limits.max_header_bytes {
        return Ok(Err((Reason::HeaderTooLarge, None)));
    }
    match snapshot.read(&head.method, &head.uri, head.version, &head.headers) {
        Ok(target) => {
            make_canonical(head, &target, in_origin_form)?;
            Ok(Ok(target))
        }
        Err(why) => Ok(Err((why.reason(), Some(why.sentence())))),
    }
}

/// From here on there is one path: this one is routed, decided on, and forwarded. An absolute target has its authority
/// beside the address, or lost it there.
fn make_canonical(head: &mut RequestHeader, target: &Target, in_origin_form: bool) -> Result<()> {
    if head.uri.path() == target.path && head.uri.authority().is_none() && in_origin_form {
        return Ok(());
    }
    // ... and one host: `:authority` (HTTP/2) is lost with the old address, and applications read `Host`.
    if let Some(authority) = head.uri.authority().map(ToString::to_string) {
        let host = HeaderValue::try_from(authority).map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
        edit(head, |headers| headers.insert(HOST, host));
    }
    let query = head.uri.query();
    let rewritten = query.map_or_else(|| target.path.clone(), |query| format!("{}?{query}", target.path));
    let uri = rewritten.parse::<Uri>().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
    head.set_uri(uri);
    Ok(())
}

/// Changes a block of headers. Their names go on in lower case, as HTTP/2 has them (RFC 9113 section 8.2.1): pingora keeps
/// how HTTP/1.1 spelled them in a second map, which would take as long as all the rest of the changes.
///
/// What it kept of a target beside the address goes as well.
pub fn edit<T>(head: &mut RequestHeader, change: impl FnOnce(&mut HeaderMap) -> T) -> T {
    let ends_with_head = head.send_end_stream();
    let nothing = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(mem::replace(head, nothing));
    let changed = change(&mut parts.headers);
    *head = parts.into();
    head.set_send_end_stream(ends_with_head.unwrap_or(true));
    changed
}

pub fn apply(headers: &mut HeaderMap, changes: Changes) {
    for name in changes.remove {
        headers.remove(name);
    }
    if let Some((name, values)) = changes.replace {
        headers.remove(&name);
        for value in values {
            headers.append(name.clone(), value);
        }
    }
}
