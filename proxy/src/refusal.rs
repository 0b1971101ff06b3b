//! A refusal and its answer: the page or the problem document that says why, and what to do.
use crate::identify::Caller;
use crate::portal::pages::{self, Detail, Encoding, Kept, Look, Offer, Page, SessionEnded};
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use torhaus_authz::{Identity, Name, Reason, Timestamp};

/// What is known about a refusal.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    pub reason: Reason,
    /// The number under which it is recorded.
    pub decision: Option<Name>,
    pub resource: Option<Name>,
    /// The condition of the row that refused.
    pub condition: Option<Name>,
    pub caller: Option<&'a Caller>,
    /// For a refusal at the portal, on the way to an application.
    pub going_to: Option<GoingTo>,
}

/// The application that a person wanted when the sign-in ended.
#[derive(Clone, Debug)]
pub struct GoingTo {
    pub title: Option<String>,
    pub url: String,
    /// What its tier asks for.
    pub factors: Option<String>,
}

impl Refused<'_> {
    pub fn because(reason: Reason) -> Self {
        Self { reason, decision: None, resource: None, condition: None, caller: None, going_to: None }
    }
}

/// The answer in the caller's language, as HTML or JSON, as its headers ask.
pub fn respond(snapshot: &Snapshot, request: &Request<'_>, refused: &Refused<'_>, now: Timestamp) -> Response {
    let going_to = refused.going_to.as_ref();
    let here = || snapshot.routes.find(request.host, request.path).map(|route| route.title.clone());
    let application = going_to.map_or_else(here, |going_to| going_to.title.clone());
    let user = match refused.caller.map(|caller| &caller.identity) {
        Some(Identity::User(user)) => Some(user),
        _ => None,
    };
    let person = refused.caller.and_then(|caller| caller.display_name.as_deref().map(str::to_owned));
    let again = format!("{}/login?again=1", crate::login::handover::portal_origin(snapshot));
    let mut offers = Vec::new();
    match refused.reason {
        Reason::NotAllowed if user.is_some() => offers.push(Offer::SignInAsSomeoneElse(again.into())),
        Reason::LoginInvalid | Reason::LoginFailed | Reason::SessionExpired | Reason::SessionRevoked => {
            let home = if snapshot.is_portal(request.host) { "/login" } else { "/" };
            offers.push(Offer::TryAgain(going_to.map_or(home, |going_to| going_to.url.as_str()).into()));
        }
        Reason::StepUpFailed => offers.extend(going_to.map(|going_to| Offer::TryAgain(going_to.url.as_str().into()))),
        Reason::CertificateInvalid | Reason::CertificateExpired | Reason::CertificateOfAnother => {
            offers.push(Offer::Certificate(request.path.into()));
        }
        Reason::ProviderUnavailable
        | Reason::UpstreamTimeout
        | Reason::UpstreamUnavailable
        | Reason::UpstreamFailed => {
            // Not the portal's own address: the provider's answer in it counts once.
            let again = going_to.map_or_else(|| request.path_and_query(), |going_to| going_to.url.clone());
            offers.push(Offer::TryAgain(again.into()));
        }
        _ => {}
    }
    let factors = going_to.filter(|_| refused.reason == Reason::StepUpFailed).and_then(|to| to.factors.clone());
    let view = pages::Refusal {
        detail: match &refused.condition {
            Some(name) => Some(Detail::Condition(name.to_string())),
            None => factors.map(Detail::Factors),
        },
        resource: application.or_else(|| refused.resource.as_ref().map(ToString::to_string)),
        decision: refused.decision.as_ref().map(ToString::to_string),
        person: person.or_else(|| user.map(|user| user.name.to_string())),
        offers,
        ..pages::Refusal::new(refused.reason, now)
    };
    page(view.answer(request.headers, &look(snapshot)))
}

/// The answer to somebody whose request is not even one: a problem document without anything that it said.
pub fn bare(reason: Reason, detail: Option<&str>) -> Response {
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let words = reason.words(torhaus_authz::Language::English);
    let body = serde_json::json!({
        "type": format!("urn:torhaus:reason:{reason}"),
        "title": words.sentence,
        "status": reason.status(),
        "detail": detail.unwrap_or(words.what_to_do),
    });
    Response::bytes(status, "application/problem+json", body.to_string().into()).closing()
}

/// A form that met an ended session: its fields stay in the browser, and the person presses "send again".
pub fn keep_form(snapshot: &Snapshot, request: &Request<'_>, sign_in: &str) -> Response {
    let application = snapshot.routes.find(request.host, request.path).map(|route| route.title.clone());
    let content_type = request.header(CONTENT_TYPE).unwrap_or_default();
    let is_form = content_type.split(';').next().is_some_and(|t| t.trim() == "application/x-www-form-urlencoded");
    let kept = if is_form && !request.body.is_empty() && request.same_origin() {
        Kept::Form {
            action: request.path_and_query().into(),
            encoding: Encoding::UrlEncoded,
            fields: url::form_urlencoded::parse(request.body).into_owned().collect(),
            files: Vec::new(),
            form_targets: Vec::new(),
        }
    } else {
        Kept::Nothing
    };
    let view = SessionEnded { application, sign_in: sign_in.into(), kept };
    page(view.render(&look(snapshot), pages::language(request.headers)))
}

/// What the operator gives every page.
pub fn look(snapshot: &Snapshot) -> Look {
    Look {
        brand: snapshot.brand.clone(),
        portal: crate::login::handover::portal_origin(snapshot).to_owned(),
        devices: snapshot.config.acme.is_some() || snapshot.lookups.know_devices(),
    }
}

/// A rendered page as a response.
pub fn page(page: Page) -> Response {
    let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let header = |(name, value): &(&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
    };
    let headers = page.headers.iter().filter_map(header).collect();
    Response { status, headers, body: Bytes::from(page.body), trailers: HeaderMap::new(), close: false }
}
