//! Where a person is signed in, and how to end it.
use super::browser::describe;
use super::icon::Icon;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use super::when::{ago, moment, rfc3339};
use askama::Template;
use torhaus_authz::{Language, Timestamp};

/// Its forms post `end` (and `csrf`, if there is one) to `/sessions`; `end` is a session's id,
/// [`Sessions::ALL_OTHERS`] or [`Sessions::EVERYWHERE`].
#[derive(Clone)]
pub struct Sessions {
    /// In the order to show them; the current one is moved to the front.
    pub sessions: Vec<OpenSession>,
    pub csrf: String,
    /// Origins that the form may lead on to: signing out everywhere goes by way of the provider.
    pub form_targets: Vec<String>,
    /// How many the last press of a button ended, if the page follows one.
    pub just_ended: Option<usize>,
    pub now: Timestamp,
}

#[derive(Clone, Debug)]
pub struct OpenSession {
    pub id: String,
    pub current: bool,
    /// As the browser sent it.
    pub user_agent: String,
    /// An address, or the name of a network.
    pub place: String,
    pub started: Timestamp,
    pub last_used: Timestamp,
    pub expires: Timestamp,
}

impl Sessions {
    /// The value of `end` that means every session but this one.
    pub const ALL_OTHERS: &'static str = "all-others";

    /// The value of `end` that means every session, this one and the provider's too.
    pub const EVERYWHERE: &'static str = "everywhere";

    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Sessions);
        let shell = Shell { title: shell.words.sessions.title, ..shell };
        let words = shell.words;
        let (current, others): (Vec<_>, Vec<_>) = self.sessions.iter().partition(|session| session.current);
        let rows = current
            .into_iter()
            .chain(others.iter().copied())
            .map(|session| Row {
                id: &session.id,
                current: session.current,
                name: describe(&session.user_agent, words),
                user_agent: &session.user_agent,
                place: &session.place,
                started: moment(session.started, words),
                started_iso: rfc3339(session.started),
                last_used: ago(self.now, session.last_used, words),
                last_used_iso: rfc3339(session.last_used),
                ends: moment(session.expires, words),
                ends_iso: rfc3339(session.expires),
            })
            .collect();
        let notice = self.just_ended.map(words.sessions.ended);
        let template = SessionsHtml {
            shell,
            csrf: &self.csrf,
            rows,
            others: !others.is_empty(),
            all_others: Self::ALL_OTHERS,
            everywhere: Self::EVERYWHERE,
            notice,
            check: Icon::Check,
            screen: Icon::Screen,
        };
        html(200, look, language, Forms::Own(&self.form_targets), &template)
    }
}

struct Row<'a> {
    id: &'a str,
    current: bool,
    name: String,
    user_agent: &'a str,
    place: &'a str,
    started: String,
    started_iso: String,
    last_used: String,
    last_used_iso: String,
    ends: String,
    ends_iso: String,
}

#[derive(Template)]
#[template(path = "pages/sessions.html")]
struct SessionsHtml<'a> {
    shell: Shell<'a>,
    csrf: &'a str,
    rows: Vec<Row<'a>>,
    others: bool,
    all_others: &'static str,
    everywhere: &'static str,
    notice: Option<String>,
    check: Icon,
    screen: Icon,
}
