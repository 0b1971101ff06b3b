//! The pages on which a person signs in or adds a factor.
use super::assurance::{Ask, Next, Proven};
use super::authorize::{back, finish, send_back, step};
use super::pages::{self, Notice};
use super::people::{self, Person};
use super::request::Request;
use super::session::Session;
use super::{Provider, cookie, set_cookie};
use crate::clock;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::{Arc, PoisonError};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

/// One authorization request that waits for its person.
#[derive(Clone)]
pub struct Interaction {
    pub request: Arc<Request>,
    /// Proofs before this do not count. Fixed at the start, so that typing slowly cannot make a loop.
    pub since: Option<OffsetDateTime>,
    /// The browser that began it; no other may go on.
    pub browser: String,
}

#[derive(Deserialize)]
pub struct Answer {
    #[serde(default)]
    user: String,
    password: Option<String>,
    code: Option<String>,
    key: Option<String>,
    cancel: Option<String>,
}

pub async fn show(State(provider): State<Arc<Provider>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(interaction) = find(&provider, &id, &headers) else {
        return gone(&headers);
    };
    let session = provider.session(&headers);
    ask_or_finish(&provider, &id, &interaction, session, &headers, None)
}

pub async fn answer(
    State(provider): State<Arc<Provider>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(answer): Form<Answer>,
) -> Response {
    let now = clock::now();
    let Some(interaction) = find(&provider, &id, &headers) else {
        return gone(&headers);
    };
    if answer.cancel.is_some() {
        provider.interactions.take(&id, now);
        return send_back(&provider, &back(&interaction.request, "access_denied", "cancelled by the person"));
    }
    let session = provider.session(&headers);
    let asked = step(&interaction.request, interaction.since, session.as_ref());
    let checked = match (asked, &session) {
        (Next::Ask(Ask::Password), _) => check_password(&provider, &answer, now),
        (Next::Ask(ask), Some(session)) => check_second(&provider, session.person, ask, &answer, now),
        _ => return ask_or_finish(&provider, &id, &interaction, session, &headers, None),
    };
    let (person, change) = match checked {
        Ok(proof) => proof,
        Err(notice) => return ask_or_finish(&provider, &id, &interaction, session, &headers, Some(notice)),
    };
    let old = cookie(&headers, &provider.cookie);
    let key = provider.sessions.prove(old.as_deref(), person, |proven| change(proven, now), now);
    let session = provider.sessions.find(&key, now);
    let mut response = match step(&interaction.request, interaction.since, session.as_ref()) {
        Next::Ask(_) => pages::see_other(&format!("/interaction/{id}")),
        decided => {
            provider.interactions.take(&id, now);
            finish(&provider, &interaction.request, session, decided, now)
        }
    };
    pages::add_cookie(&mut response, &set_cookie(&provider.cookie, &key));
    response
}

/// The code that an authenticator app would show: this is a demo, nobody should need an app to try it.
pub async fn demo_code(State(provider): State<Arc<Provider>>, Path(user): Path<String>) -> Response {
    match people::find(&user).and_then(|person| usable_code(&provider, person)) {
        Some(code) => format!("{code}\n").into_response(),
        None => (StatusCode::NOT_FOUND, "no such user\n").into_response(),
    }
}

type Change = fn(&mut Proven, OffsetDateTime);

fn check_password(
    provider: &Provider,
    answer: &Answer,
    now: OffsetDateTime,
) -> Result<(&'static Person, Change), Notice> {
    let who = people::find(&answer.user).map_or("nobody", |person| person.user);
    if provider.guesses.must_wait(who, now) {
        return Err(Notice::Wait);
    }
    let person = people::sign_in(&answer.user, answer.password.as_deref().unwrap_or_default());
    provider.guesses.note(who, person.is_some(), now);
    Ok((person.ok_or(Notice::WrongPassword)?, |proven, now| proven.password = Some(now)))
}

fn check_second(
    provider: &Provider,
    person: &'static Person,
    ask: Ask,
    answer: &Answer,
    now: OffsetDateTime,
) -> Result<(&'static Person, Change), Notice> {
    if answer.key.is_some() && person.has_key {
        return Ok((person, |proven, now| proven.key = Some(now)));
    }
    if ask == Ask::Key {
        return Err(Notice::TouchTheKey);
    }
    if provider.guesses.must_wait(person.user, now) {
        return Err(Notice::Wait);
    }
    let right = use_code(provider, person, answer.code.as_deref().unwrap_or_default(), now);
    provider.guesses.note(person.user, right, now);
    if right { Ok((person, |proven, now| proven.code = Some(now))) } else { Err(Notice::WrongCode) }
}

/// A code counts once, and none of an earlier step after it (RFC 6238 s5.2).
fn use_code(provider: &Provider, person: &'static Person, code: &str, now: OffsetDateTime) -> bool {
    let Some(step) = person.code_step(code, now) else {
        return false;
    };
    let mut used = provider.used_codes.lock().unwrap_or_else(PoisonError::into_inner);
    if used.get(person.user).is_some_and(|last| step <= *last) {
        return false;
    }
    used.insert(person.user, step);
    true
}

fn usable_code(provider: &Provider, person: &'static Person) -> Option<String> {
    let used = provider.used_codes.lock().unwrap_or_else(PoisonError::into_inner).get(person.user).copied();
    person.usable_code(used, clock::now())
}

fn find(provider: &Provider, id: &str, headers: &HeaderMap) -> Option<Interaction> {
    let browser = cookie(headers, &provider.browser_cookie())?;
    let interaction = provider.interactions.find(id, clock::now())?;
    bool::from(interaction.browser.as_bytes().ct_eq(browser.as_bytes())).then_some(interaction)
}

fn ask_or_finish(
    provider: &Provider,
    id: &str,
    interaction: &Interaction,
    session: Option<Session>,
    headers: &HeaderMap,
    notice: Option<Notice>,
) -> Response {
    let now = clock::now();
    match step(&interaction.request, interaction.since, session.as_ref()) {
        Next::Ask(ask) => {
            let person = session.map(|session| session.person).filter(|_| ask != Ask::Password);
            let code = person.filter(|_| ask == Ask::SecondFactor).and_then(|person| usable_code(provider, person));
            pages::ask(headers, &interaction.request, ask, id, person, code, notice)
        }
        decided => {
            provider.interactions.take(id, now);
            finish(provider, &interaction.request, session, decided, now)
        }
    }
}

fn gone(headers: &HeaderMap) -> Response {
    pages::error(headers, StatusCode::GONE, "this sign-in has ended, or began in another browser")
}
