//! What a permitted request takes along to its application. Never decides, never records.
//!
//! A [`Forward`] cannot be made without a [`Permit`] and the proof that the decision is recorded, and only a
//! `&Forward` yields an upstream peer: there is no way to an application around the decision.
use crate::assertion::Assertions;
use crate::audit::Recorded;
use crate::identify::Caller;
use crate::request::Request;
use crate::streams::Registration;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::header::{AUTHORIZATION, FORWARDED, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Fact, Identity, Name, Permit, Timestamp};
use torhaus_config::Route;

/// Most bytes of group names told to an application; servers behind us stop reading headers at 8 KiB.
const MAX_GROUPS_BYTES: usize = 4096;

/// A request on its way to an application.
pub struct Forward {
    permit: Permit,
    _recorded: Recorded,
    _registration: Registration,
    pub route: Arc<Route>,
    /// Set on the request after everything reserved was stripped from what the client sent.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's `Authorization` was meant for us.
    strip_authorization: bool,
}

impl Forward {
    /// Consumes the permit: one decision, one request.
    pub fn new(permit: Permit, recorded: Recorded, registration: Registration, route: &Arc<Route>) -> Self {
        Self {
            permit,
            _recorded: recorded,
            _registration: registration,
            route: route.clone(),
            headers: Vec::new(),
            strip_authorization: false,
        }
    }

    /// Says to the application who the caller is and where it comes from.
    #[must_use]
    pub fn telling(
        mut self,
        assertions: &Assertions,
        request: &Request<'_>,
        caller: &Caller,
        tier: Option<&Name>,
        now: Timestamp,
    ) -> Self {
        self.strip_authorization = caller.bearer.is_some();
        self.tell_origin(request);
        self.tell_identity(assertions, caller, tier, now);
        if self.route.headers.client_certificate
            && let Fact::Known(Some(_)) = caller.certificate
            && let Some(leaf) = request.connection.tls.as_ref().and_then(|tls| tls.peer_chain.first())
        {
            // RFC 9440 section 2.1: a byte sequence of structured fields, with its colons.
            self.set("client-cert", &format!(":{}:", BASE64_STANDARD.encode(leaf.as_ref())));
        }
        self
    }

    /// What to set on the request that leaves.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Headers of the client that were meant for us.
    pub fn stripped(&self) -> Option<HeaderName> {
        self.strip_authorization.then_some(AUTHORIZATION)
    }

    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// One consistent set (RFC 7239, and the names from before it); nothing of what the client sent survives.
    fn tell_origin(&mut self, request: &Request<'_>) {
        let address = request.connection.client.ip();
        let authority = request.authority();
        self.set("x-forwarded-for", &address.to_string());
        self.set("x-real-ip", &address.to_string());
        self.set("x-forwarded-proto", "https");
        self.set("x-forwarded-host", &authority);
        self.set("x-forwarded-port", &request.port.unwrap_or(443).to_string());
        let node = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        self.set(FORWARDED.as_str(), &format!("for={node};host=\"{authority}\";proto=https"));
    }

    fn tell_identity(&mut self, assertions: &Assertions, caller: &Caller, tier: Option<&Name>, now: Timestamp) {
        let told = self.route.headers.clone();
        let name: Name = match self.permit.identity() {
            Identity::Anonymous => return,
            Identity::User(user) => user.name.clone(),
            Identity::Service(service) => service.id.as_str().into(),
        };
        let groups = groups_told(caller, told.groups_limited_to.as_deref());
        if let Some(header) = &told.user {
            self.set(header, &name);
        }
        if let (Some(header), Some(email)) = (&told.email, &caller.email) {
            self.set(header, email);
        }
        if let (Some(header), Some(display_name)) = (&told.name, &caller.display_name) {
            self.set(header, display_name);
        }
        if let (Some(header), Some(groups)) = (&told.groups, &groups) {
            self.set(header, &groups.join(","));
        }
        if told.assertion
            && let Some(jwt) = assertions.about(caller, &name, groups.as_deref(), tier, &self.route.name, now)
        {
            self.headers.push((HeaderName::from_static("x-torhaus-assertion"), jwt));
        }
    }

    /// A value that is no header value (a name with a line break) is not sent at all.
    fn set(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            self.headers.push((name, value));
        }
    }
}

/// The groups an application may know, as many as fit; a comma in a name would make two of one.
fn groups_told(caller: &Caller, limited_to: Option<&[String]>) -> Option<Vec<Name>> {
    let groups = caller.groups.known()?;
    let mut bytes = 0;
    let told = groups
        .iter()
        .filter(|group| limited_to.is_none_or(|names| names.iter().any(|name| **name == ***group)))
        .filter(|group| !group.contains(',') && !group.contains(char::is_control))
        .take_while(|group| {
            bytes += group.len() + 1;
            bytes <= MAX_GROUPS_BYTES
        });
    Some(told.cloned().collect())
}
