//! What a permitted request takes along to its application. Never decides, never records.
//!
//! A [`Forward`] cannot be made without a [`Permit`] and the proof that the decision is recorded, and only a
//! `&Forward` yields an upstream peer: there is no way to an application around the decision.
use crate::audit::Recorded;
use crate::edge::connection::{ConnectionInfo, Headers, Origin};
use crate::identify::Caller;
use crate::request::Request;
use crate::streams::Registration;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::header::{AUTHORIZATION, FORWARDED, HeaderName, HeaderValue};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Fact, Permit};
use torhaus_config::Route;

/// A request on its way to an application.
pub struct Forward {
    permit: Permit,
    _recorded: Recorded,
    _open: Registration,
    pub route: Arc<Route>,
    /// Where the caller comes from, and who it is. Set on the request after everything reserved was stripped from it.
    origin: Headers,
    identity: Option<Headers>,
    certificate: Option<(HeaderName, HeaderValue)>,
    access_token: Option<(HeaderName, HeaderValue)>,
    /// The same for all requests of a session, a certificate, or else an address; tells nothing about it.
    pub affinity: u64,
    /// The client's `Authorization` was meant for us, or ours takes its place.
    strip_authorization: bool,
}

impl Forward {
    /// Consumes the permit: one decision, one request.
    pub fn new(
        permit: Permit,
        recorded: Recorded,
        open: Registration,
        request: &Request<'_>,
        caller: &Caller,
        route: &Arc<Route>,
        identity: Option<Headers>,
    ) -> Self {
        let believed = matches!(caller.certificate, Fact::Known(Some(_)));
        Self {
            permit,
            _recorded: recorded,
            _open: open,
            route: route.clone(),
            origin: origin(request),
            identity,
            certificate: (route.headers.client_certificate && believed)
                .then(|| client_certificate(request.connection))
                .flatten(),
            access_token: None,
            affinity: affinity(request, caller),
            strip_authorization: caller.bearer.is_some(),
        }
    }

    /// With the person's access token, for an application that asks for it.
    #[must_use]
    pub fn with_access_token(self, header: Option<(HeaderName, HeaderValue)>) -> Self {
        let replaces = header.as_ref().is_some_and(|(name, _)| *name == AUTHORIZATION);
        Self { strip_authorization: self.strip_authorization || replaces, access_token: header, ..self }
    }

    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What to set on the request that leaves.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let told = self.origin.iter().chain(self.identity.iter().flat_map(|headers| headers.iter()));
        told.chain(&self.certificate).chain(&self.access_token).map(|(name, value)| (name, value))
    }

    /// Who the caller is, without where it comes from.
    pub fn told(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let told = self.identity.iter().flat_map(|headers| headers.iter()).chain(&self.certificate);
        told.chain(&self.access_token).map(|(name, value)| (name, value))
    }

    /// Headers of the client that were meant for us.
    pub fn stripped(&self) -> Option<HeaderName> {
        self.strip_authorization.then_some(AUTHORIZATION)
    }
}

fn affinity(request: &Request<'_>, caller: &Caller) -> u64 {
    let mut hasher = DefaultHasher::new();
    match (&caller.session, caller.certificate.known()) {
        (Some(live), _) => live.id.hash(&mut hasher),
        (None, Some(Some(certificate))) => certificate.sha256.hash(&mut hasher),
        _ => request.connection.client.ip().hash(&mut hasher),
    }
    hasher.finish()
}

/// One consistent set (RFC 7239, and the names from before it); nothing of what the client sent survives. Made once per
/// connection, as long as it asks for the same host.
fn origin(request: &Request<'_>) -> Headers {
    let made = request.connection.origin.get_or_init(|| Origin {
        host: request.host.into(),
        port: request.port,
        headers: make_origin(request),
    });
    if *made.host == *request.host && made.port == request.port { made.headers.clone() } else { make_origin(request) }
}

fn make_origin(request: &Request<'_>) -> Headers {
    let address = request.connection.client.ip();
    let authority = request.authority();
    let node = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    [
        (HeaderName::from_static("x-forwarded-for"), address.to_string()),
        (HeaderName::from_static("x-real-ip"), address.to_string()),
        (HeaderName::from_static("x-forwarded-proto"), "https".to_owned()),
        (HeaderName::from_static("x-forwarded-port"), request.port.unwrap_or(443).to_string()),
        (FORWARDED, format!("for={node};host=\"{authority}\";proto=https")),
        (HeaderName::from_static("x-forwarded-host"), authority),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
    .collect()
}

/// RFC 9440 section 2.1: a byte sequence of structured fields, with its colons.
fn client_certificate(connection: &ConnectionInfo) -> Option<(HeaderName, HeaderValue)> {
    let leaf = connection.tls.as_ref()?.peer_chain.first()?;
    let value = HeaderValue::try_from(format!(":{}:", BASE64_STANDARD.encode(leaf))).ok()?;
    Some((HeaderName::from_static("client-cert"), value))
}
