//! No, and why, and what helps: one view, as a page for people and as a problem document (RFC 9457) for programs.
use super::icon::Icon;
use super::link::Link;
use super::look::Look;
use super::negotiate::{language, prefers_html};
use super::page::{Forms, Here, Page, Shell, html, problem_json};
use super::strings::{Headings, RefusalWords, strings};
use super::when::{moment, rfc3339};
use askama::Template;
use serde_json::{Map, Value, json};
use std::time::Duration;
use torhaus_authz::{Language, Reason, Timestamp, Words};

#[derive(Clone, Debug)]
pub struct Refusal {
    pub reason: Reason,
    pub detail: Option<Detail>,
    /// Name of the application as people know it.
    pub resource: Option<String>,
    /// Id of the recorded decision.
    pub decision: Option<String>,
    pub at: Timestamp,
    /// Who is signed in.
    pub person: Option<String>,
    /// What helps, the best first. Asking the contact and the list of applications are added by the page.
    pub offers: Vec<Offer>,
    pub retry_after: Option<Duration>,
}

/// What the reason's sentence cannot know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Name of the `require` or `deny` condition, as in the table.
    Condition(String),
    /// What the tier asks for: "password + hardware key".
    Factors(String),
    /// Title of the identity provider.
    Provider(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    StepUp(Link),
    SignIn(Link),
    SignInAsSomeoneElse(Link),
    /// Ask the browser for a certificate again.
    Certificate(Link),
    TryAgain(Link),
}

impl Refusal {
    /// A refusal of which nothing else is known.
    pub fn new(reason: Reason, at: Timestamp) -> Self {
        Self {
            reason,
            detail: None,
            resource: None,
            decision: None,
            at,
            person: None,
            offers: Vec::new(),
            retry_after: None,
        }
    }

    /// A page or a problem document in the caller's language, as its headers ask.
    pub fn answer(&self, headers: &http::HeaderMap, look: &Look) -> Page {
        let language = language(headers);
        if prefers_html(headers) { self.render(look, language) } else { self.problem(language) }
    }

    pub fn render(&self, look: &Look, language: Language) -> Page {
        let words = strings(language);
        let Words { sentence, what_to_do } = self.reason.words(language);
        let shell = Shell::new(look, language, self.heading(&words.headings), Here::Outside);
        let (tone, icon) = self.tone();
        let template = RefusalHtml {
            tone,
            icon,
            sentence,
            note: self.note(&words.refusal),
            what_to_do,
            actions: self.actions(look, language, sentence),
            home_first: self.reason == Reason::NoRoute,
            hint: self.offers.iter().any(|offer| matches!(offer, Offer::Certificate(_))),
            moment: moment(self.at, words),
            iso: rfc3339(self.at),
            page: self,
            shell,
        };
        self.finish(html(self.reason.status(), look, language, Forms::None, &template))
    }

    pub fn problem(&self, language: Language) -> Page {
        let words = strings(language);
        let Words { sentence, what_to_do } = self.reason.words(language);
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        put("type", json!(format!("urn:torhaus:reason:{}", self.reason)));
        put("title", json!(self.heading(&words.headings)));
        put("status", json!(self.reason.status()));
        put(
            "detail",
            json!(self.note(&words.refusal).map_or(sentence.to_owned(), |note| format!("{sentence} {note}"))),
        );
        put("what_to_do", json!(what_to_do));
        put("time", json!(rfc3339(self.at)));
        if let Some(decision) = &self.decision {
            put("decision", json!(decision));
        }
        if let Some(resource) = &self.resource {
            put("resource", json!(resource));
        }
        match &self.detail {
            Some(Detail::Condition(name)) => drop(put("condition", json!(name))),
            Some(Detail::Factors(factors)) => drop(put("factors", json!(factors))),
            Some(Detail::Provider(_)) | None => {}
        }
        // A script cannot follow a redirect to a sign-in, but it can show a link to it.
        for offer in &self.offers {
            match offer {
                Offer::SignIn(link) => drop(put("sign_in", json!(link.as_str()))),
                Offer::StepUp(link) => drop(put("step_up", json!(link.as_str()))),
                Offer::SignInAsSomeoneElse(_) | Offer::Certificate(_) | Offer::TryAgain(_) => {}
            }
        }
        self.finish(problem_json(self.reason.status(), language, &Value::Object(document)))
    }

    fn finish(&self, page: Page) -> Page {
        match self.retry_after {
            Some(wait) => page.with("retry-after", wait.as_secs().max(1).to_string()),
            None => page,
        }
    }

    fn note(&self, words: &RefusalWords) -> Option<String> {
        match self.detail.as_ref()? {
            Detail::Condition(name) => Some((words.condition)(name)),
            Detail::Factors(factors) => Some((words.factors)(factors)),
            Detail::Provider(name) => Some((words.provider)(name)),
        }
    }

    fn actions(&self, look: &Look, language: Language, sentence: &str) -> Vec<Action> {
        let refusal = &strings(language).refusal;
        let action = |offer: &Offer| match (offer, &self.detail) {
            (Offer::StepUp(link), Some(Detail::Factors(factors))) => Action::new((refusal.step_up_with)(factors), link),
            (Offer::StepUp(link), _) => Action::new(refusal.step_up, link),
            (Offer::SignIn(link), _) => Action::new(refusal.sign_in, link),
            (Offer::SignInAsSomeoneElse(link), _) => Action::new(refusal.sign_in_as, link),
            (Offer::Certificate(link), _) => Action::new(refusal.certificate, link),
            (Offer::TryAgain(link), _) => Action::new(refusal.try_again, link),
        };
        // Few people have a second account: asking helps more of them.
        let (others, likely): (Vec<_>, Vec<_>) =
            self.offers.iter().partition(|offer| matches!(offer, Offer::SignInAsSomeoneElse(_)));
        let mut actions: Vec<Action> = likely.into_iter().map(action).collect();
        if let Some(ask) = self.ask(look, language, sentence) {
            actions.push(Action::new(refusal.ask, &ask));
        }
        actions.extend(others.into_iter().map(action));
        actions
    }

    /// A message to the contact, prepared with what the helper will ask for first; or the contact's website.
    fn ask(&self, look: &Look, language: Language, sentence: &str) -> Option<Link> {
        let contact = look.contact(language)?;
        let Some(address) = contact.address else {
            return contact.link;
        };
        let refusal = &strings(language).refusal;
        let application = self.resource.as_deref().unwrap_or(look.brand.organisation());
        let decision = self.decision.as_deref().unwrap_or("-");
        let mut body = format!("{}{}\n", refusal.mail_wish, refusal.mail_details);
        for (name, value) in [
            (refusal.application, Some(application)),
            (refusal.person, self.person.as_deref()),
            (refusal.reason, Some(&*format!("{} ({sentence})", self.reason))),
            (refusal.decision, self.decision.as_deref()),
            (refusal.time, Some(&*rfc3339(self.at))),
        ] {
            if let Some(value) = value {
                body.push_str(&format!("{name}: {}\n", shortened(value)));
            }
        }
        let subject = (refusal.mail_subject)(shortened(application), shortened(decision));
        Some(Link::mailto(&address, Some((&subject, &body))))
    }

    fn heading(&self, headings: &Headings) -> &'static str {
        match self.reason {
            Reason::Allowed => headings.allowed,
            Reason::LoginNeeded => headings.sign_in,
            Reason::StepUpNeeded => headings.one_more_step,
            Reason::ZoneDenied => headings.not_from_here,
            Reason::NoRule
            | Reason::NotAllowed
            | Reason::ConditionDenied
            | Reason::RequirementMissing
            | Reason::ServiceTierMissing
            | Reason::IdentityConflict
            | Reason::AccountDisabled => headings.refused,
            Reason::BadRequest
            | Reason::MethodNotAllowed
            | Reason::BodyTooLarge
            | Reason::HeaderTooLarge
            | Reason::UriTooLong
            | Reason::RequestTooSlow
            | Reason::UpgradeRefused
            | Reason::CrossOrigin
            | Reason::PeerNotTrusted => headings.request,
            Reason::WrongHost => headings.reload,
            Reason::NoRoute => headings.not_found,
            Reason::RateLimited => headings.too_many,
            Reason::SessionExpired | Reason::SessionRevoked => headings.session_ended,
            Reason::BearerInvalid | Reason::BearerExpired => headings.token,
            Reason::CertificateMissing => headings.certificate_missing,
            Reason::CertificateInvalid
            | Reason::CertificateExpired
            | Reason::CertificateRevoked
            | Reason::CertificateOfAnother
            | Reason::RevocationUnknown => headings.certificate,
            Reason::CookiesMissing => headings.cookies,
            Reason::LoginInvalid | Reason::LoginFailed => headings.sign_in_failed,
            Reason::StepUpFailed => headings.not_strong_enough,
            Reason::GroupsUnknown
            | Reason::ProviderUnavailable
            | Reason::RecordUnavailable
            | Reason::StoreUnavailable
            | Reason::Overloaded
            | Reason::Draining => headings.not_available,
            Reason::UpstreamFailed | Reason::UpstreamNotTrusted | Reason::UpstreamUnavailable => {
                headings.application_down
            }
            Reason::UpstreamTimeout => headings.application_slow,
            Reason::InternalError => headings.internal_error,
        }
    }

    /// Class and drawing of the badge. What they say is also in the heading.
    fn tone(&self) -> (&'static str, Icon) {
        match (self.reason, self.reason.status()) {
            (Reason::LoginNeeded | Reason::StepUpNeeded | Reason::StepUpFailed, _) => ("step", Icon::Key),
            (Reason::ZoneDenied, _) => ("stop", Icon::Place),
            (Reason::SessionExpired | Reason::SessionRevoked, _) => ("wait", Icon::Clock),
            (Reason::NoRoute, _) => ("wait", Icon::Search),
            (_, 421 | 429 | 503 | 504) => ("wait", Icon::Clock),
            (_, 400 | 405..=431 | 500..) => ("fault", Icon::Warning),
            _ => ("stop", Icon::Lock),
        }
    }
}

/// Mail programs drop addresses of more than about 2,000 characters, so that no value may fill one alone.
fn shortened(text: &str) -> &str {
    const MAX: usize = 120;
    text.char_indices().nth(MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

struct Action {
    label: String,
    link: Link,
}

impl Action {
    fn new(label: impl Into<String>, link: &Link) -> Self {
        Self { label: label.into(), link: link.clone() }
    }
}

#[derive(Template)]
#[template(path = "pages/refusal.html")]
struct RefusalHtml<'a> {
    shell: Shell<'a>,
    page: &'a Refusal,
    tone: &'static str,
    icon: Icon,
    sentence: &'static str,
    note: Option<String>,
    what_to_do: &'static str,
    actions: Vec<Action>,
    /// The list of applications helps most.
    home_first: bool,
    /// Explain how to be asked for a certificate again.
    hint: bool,
    moment: String,
    iso: String,
}
