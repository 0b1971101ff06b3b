//! The head of a request before anybody decides on it: strictly framed, of a bounded size, without what `Connection`
//! nominates, with one path and one host that policy, routing and application share.
use crate::headers::{Changes, disarmed_connection, size_of};
use crate::request::Target;
use crate::snapshot::Snapshot;
use crate::strict;
use http::Uri;
use http::header::HOST;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
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
    let changes = disarmed_connection(&head.headers);
    apply(head, changes)?;
    if size_of(&head.headers) > snapshot.config.limits.max_header_bytes {
        return Ok(Err((Reason::HeaderTooLarge, None)));
    }
    match snapshot.read(&head.method, &head.uri, head.version, &head.headers) {
        Ok(target) => {
            make_canonical(head, &target)?;
            Ok(Ok(target))
        }
        Err(why) => Ok(Err((why.reason(), Some(why.sentence())))),
    }
}

/// From here on there is one path: this one is routed, decided on, and forwarded. The engine keeps an absolute target
/// beside the URI and would send that.
fn make_canonical(head: &mut RequestHeader, target: &Target) -> Result<()> {
    if head.uri.path() == target.path && head.uri.authority().is_none() && head.raw_path().starts_with(b"/") {
        return Ok(());
    }
    // ... and one host: `:authority` (HTTP/2) is lost with the old address, and applications read `Host`.
    if let Some(authority) = head.uri.authority().map(ToString::to_string) {
        head.insert_header(HOST, authority)?;
    }
    let query = head.uri.query();
    let rewritten = query.map_or_else(|| target.path.clone(), |query| format!("{}?{query}", target.path));
    let uri = rewritten.parse::<Uri>().map_err(|_| Error::new(ErrorType::InvalidHTTPHeader))?;
    head.set_uri(uri);
    Ok(())
}

/// pingora keeps the spelling of h1 headers beside the map; its own methods keep both in step.
pub fn apply(head: &mut RequestHeader, changes: Changes) -> Result<()> {
    for name in changes.remove {
        head.remove_header(&name);
    }
    if let Some((name, values)) = changes.replace {
        head.remove_header(&name);
        for value in values {
            head.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}
