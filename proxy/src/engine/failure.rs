//! What a request that failed on its way is told.
use pingora_core::{Error, ErrorSource, ErrorType};
use torhaus_authz::Reason;

/// None: the client is gone.
pub fn reason_of(error: &Error) -> Option<Reason> {
    Some(match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::HTTPStatus(413)) => Reason::BodyTooLarge,
        (ErrorSource::Downstream, ErrorType::HTTPStatus(408) | ErrorType::ReadTimedout) => Reason::RequestTooSlow,
        (_, ErrorType::InvalidCert | ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError) => {
            Reason::UpstreamNotTrusted
        }
        (_, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::TLSHandshakeTimedout) => {
            Reason::UpstreamTimeout
        }
        (_, ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError) => {
            Reason::UpstreamUnavailable
        }
        (ErrorSource::Upstream, _) => Reason::UpstreamFailed,
        (ErrorSource::Downstream, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed) => {
            return None;
        }
        // What it sent was nonsense.
        (ErrorSource::Downstream, _) => Reason::BadRequest,
        _ => Reason::InternalError,
    })
}

/// What is wrong with an application's answer.
pub fn by_the_application<T>(what: &'static str) -> pingora_core::Result<T> {
    let mut error = Error::explain(ErrorType::InvalidHTTPHeader, what);
    error.esource = ErrorSource::Upstream;
    Err(error)
}
