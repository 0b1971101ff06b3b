//! The portal's side of signing in: `/login` and `/callback/{provider}`.
use crate::gate::Gate;
use crate::identify::session::LiveSession;
use crate::login::callback::CallbackParams;
use crate::login::cookie;
use crate::login::error::LoginPage;
use crate::login::handover::{self, HostWish};
use crate::login::merge::merged;
use crate::login::oidc::{LOGIN_LIFETIME, SignedIn, Started, Wish};
use crate::login::provider::OidcProvider;
use crate::login::revoke;
use crate::login::session::{Session, SessionId, Ticket, TicketHash, Which};
use crate::metrics::LoginResult;
use crate::portal::pages;
use crate::recording;
use crate::refusal::{self, GoingTo, Refused};
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Entry, Identity, Kind, ProofNote, Reason, Timestamp, User, Who};

/// A login under way. The browser that began it keeps it, sealed, in a cookie named after its `state`: nobody else can
/// finish it, parallel tabs do not meet, and callers whom nobody knows cannot fill a store of ours.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    started: Started,
    /// Where to go afterwards; none: the portal itself.
    host: Option<HostWish>,
    /// How often this was tried: the provider is asked again once, then we say so.
    attempt: u8,
}

const SEAL_PURPOSE: &str = "login-under-way";
const MAX_ATTEMPTS: u8 = 2;
/// Only real logins get here, with a sealed cookie of ours: a thousand a minute for ten minutes.
const MAX_USED: u64 = 10_000;
/// Logins that one browser may have under way; cookies that pile up end in a 431 somewhere.
const MAX_UNDER_WAY: usize = 4;
/// Longest user agent kept with a session, in characters.
const MAX_USER_AGENT: usize = 200;

/// States of logins that were finished, as long as they could be used again.
pub type UsedLogins = moka::sync::Cache<TicketHash, ()>;

pub fn used_logins() -> UsedLogins {
    UsedLogins::builder().max_capacity(MAX_USED).time_to_live(LOGIN_LIFETIME).build()
}

/// `/login[?to=…][&provider=…]`
///
/// # Errors
/// What the refusal page says.
pub async fn login(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Response, Reason> {
    let sealed = request.query_parameter("to");
    let host = match &sealed {
        Some(sealed) => Some(handover::read_wish(gate, snapshot, sealed, now).ok_or(Reason::LoginInvalid)?),
        None => None,
    };
    let session = browser_session(gate, request, now).await?;
    // Signed in already, and strongly enough: no provider is asked.
    if let Some(live) = &session
        && host.as_ref().is_none_or(|wish| handover::satisfies(snapshot, &live.proofs, wish, now))
        && request.query_parameter("again").is_none()
    {
        return finish_at(gate, host.as_ref(), &live.id, now).await;
    }
    let known = session.as_ref().map(|live| live.user.provider.clone());
    let chosen = request.query_parameter("provider").map(|name| name.into_owned());
    let tier = host.as_ref().and_then(|wish| wish.tier.clone());
    let provider = match snapshot.providers.choose(chosen.as_deref(), known.as_deref(), tier.as_deref()) {
        Some(provider) => provider,
        None => return Ok(choice_page(snapshot, request, sealed.as_deref(), tier.as_deref())),
    };
    let going_to = host.as_ref().map(|wish| going_to(snapshot, wish));
    let begun = begin(gate, snapshot, request, provider, host, 1, now).await;
    Ok(begun.unwrap_or_else(|reason| refuse(snapshot, request, reason, going_to, now)))
}

/// `/callback/{provider}`
///
/// # Errors
/// What the refusal page says.
pub async fn callback(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    provider: &str,
    now: Timestamp,
) -> Result<Response, Reason> {
    let provider = snapshot.providers.named(provider).ok_or(Reason::LoginInvalid)?;
    let params = CallbackParams::parse(request.query.unwrap_or_default()).map_err(|_| Reason::LoginInvalid)?;
    let under_way = take_under_way(gate, request, &params, now)?;
    let going_to = under_way.host.as_ref().map(|wish| going_to(snapshot, wish));
    let signed_in = match provider.finish(&under_way.started, &params, now).await {
        Ok(signed_in) => signed_in,
        Err(error) => {
            tracing::warn!(provider = %provider.config().name, %error, "a login failed");
            gate.metrics.login(&provider.config().name, result_of(error.page()));
            let entry = Entry {
                detail: Some(error.to_string().into()),
                ..recording::of_request(request, Kind::LoginFailed, now)
            };
            // Whoever it was did not prove who they are: counted per network, so that trying cannot fill the disk.
            let reason = reason_of(error.page());
            let address = request.connection.client.ip();
            let recorded = gate.audit.refusal(Some(address), reason, now, || entry).await;
            recorded.map_err(|_| Reason::RecordUnavailable)?;
            return Ok(refuse(snapshot, request, reason, going_to, now));
        }
    };
    if let Some(why) = out_of_use(snapshot, &signed_in.user, now).await {
        gate.metrics.login(&provider.config().name, LoginResult::Failed);
        let entry = Entry {
            who: Some(Who::from(&Identity::User(Arc::new(signed_in.user)))),
            detail: Some(format!("the account is {why} in the directory").into()),
            ..recording::of_request(request, Kind::LoginFailed, now)
        };
        gate.audit.event(entry).await.map_err(|_| Reason::RecordUnavailable)?;
        return Ok(refuse(snapshot, request, Reason::AccountDisabled, going_to, now));
    }
    let not_proven = signed_in.not_proven.is_some();
    let result = if not_proven { LoginResult::NotProven } else { LoginResult::Done };
    gate.metrics.login(&provider.config().name, result);
    let before = browser_session(gate, request, now).await?;
    let (session, handle) = establish(gate, snapshot, request, before, signed_in, now).await?;
    still_signed_in(gate, &session, under_way.started.at, now).await?;

    let host = under_way.host;
    let response = if host.as_ref().is_none_or(|wish| handover::satisfies(snapshot, &session.proofs, wish, now)) {
        finish_at(gate, host.as_ref(), &session.id, now).await?
    } else if under_way.attempt < MAX_ATTEMPTS {
        // What came back is checked; what is not proven is not assumed. One retry, then a clear refusal, never a loop.
        begin(gate, snapshot, request, provider, host, under_way.attempt + 1, now).await?
    } else {
        refuse(snapshot, request, Reason::StepUpFailed, going_to, now)
    };
    let state = params.state.as_deref().map_or("", |state| state.as_str());
    Ok(response
        .with_cookie(&cookie::set(cookie::SESSION, handle.expose()))
        .with_cookie(&cookie::clear(&cookie::of_login(state))))
}

/// Why an account that the provider let in must not be used, by what the directory says at this moment. Groups are
/// known from here on, before the session is used.
async fn out_of_use(snapshot: &Snapshot, user: &User, now: Timestamp) -> Option<&'static str> {
    let people = snapshot.people.as_ref()?;
    let name = people.name_of(user)?;
    people.afresh(&name, now).await.is_out()
}

/// The session of this browser at this host.
///
/// # Errors
/// The store could not be asked.
pub async fn browser_session(
    gate: &Gate,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Option<Arc<LiveSession>>, Reason> {
    let Some(ticket) = request.cookie(cookie::SESSION).and_then(Ticket::parse) else { return Ok(None) };
    gate.sessions.find(ticket.hash(), request.host, now).await.map_err(|_| Reason::StoreUnavailable)
}

/// Back to the host that asked, or to the portal's front page.
async fn finish_at(
    gate: &Gate,
    host: Option<&HostWish>,
    session: &SessionId,
    now: Timestamp,
) -> Result<Response, Reason> {
    match host {
        Some(wish) if wish.at_portal => Ok(Response::redirect(&wish.return_to)),
        Some(wish) => handover::to_host(gate, wish, session, now).await.map_err(|_| Reason::StoreUnavailable),
        None => Ok(Response::redirect("/")),
    }
}

/// Sends the browser to the provider.
async fn begin(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    provider: &OidcProvider,
    host: Option<HostWish>,
    attempt: u8,
    now: Timestamp,
) -> Result<Response, Reason> {
    let tier = host.as_ref().and_then(|wish| wish.tier.clone());
    let step_up = host.as_ref().and_then(|wish| wish.max_age.map(Duration::from_secs));
    // An `acr` or `amr` of unknown age proves nothing, so the age is asked for with it. A plain login is new by itself,
    // and some providers never say when it was: asked for the age, they could prove nothing at all.
    let plain = tier.as_ref().is_none_or(|tier| provider.config().tiers.get(tier).is_none_or(|t| t.is_plain_login()));
    let own_max_age = snapshot.policy.tiers().find(|t| Some(&t.name) == tier.as_ref()).map(|t| t.max_age);
    let wish = Wish {
        max_age: step_up.or(own_max_age.filter(|_| !plain)),
        tier,
        force: attempt > 1,
        login_hint: None,
        ui_language: Some(language_tag(pages::language(request.headers)).to_owned()),
    };
    let state = Ticket::new().map_err(|_| Reason::StoreUnavailable)?;
    let started = provider.start(wish, state.expose(), now).await;
    let (url, started) = started.map_err(|error| {
        tracing::warn!(provider = %provider.config().name, %error, "a login could not begin");
        reason_of(error.page())
    })?;
    let under_way = UnderWay { started, host, attempt };
    let value = serde_json::to_vec(&under_way).unwrap_or_default();
    let sealed = gate.sealer.seal_text(SEAL_PURPOSE, &value, now.plus(LOGIN_LIFETIME));
    let sealed = sealed.map_err(|_| Reason::InternalError)?;
    let seconds = u32::try_from(LOGIN_LIFETIME.as_secs()).unwrap_or(u32::MAX);
    let mut response = Response::redirect(url.as_str());
    let others = request.cookie_names(cookie::LOGIN);
    if others.len() >= MAX_UNDER_WAY {
        response = others.iter().fold(response, |response, name| response.with_cookie(&cookie::clear(name)));
    }
    Ok(response.with_cookie(&cookie::set_for(&cookie::of_login(state.expose()), &sealed, seconds)))
}

/// The login that a callback belongs to: begun by this very browser, and not used yet. A second use here meets this
/// mark; on another replica it meets the provider, where a code works once (RFC 6749 section 4.1.2).
fn take_under_way(
    gate: &Gate,
    request: &Request<'_>,
    params: &CallbackParams,
    now: Timestamp,
) -> Result<UnderWay, Reason> {
    let state = params.state.as_deref().and_then(|state| Ticket::parse(state)).ok_or(Reason::LoginInvalid)?;
    let sealed = request.cookie(&cookie::of_login(state.expose())).ok_or(Reason::CookiesMissing)?;
    let value = gate.sealer.open_text(SEAL_PURPOSE, sealed, now).map_err(|_| Reason::LoginInvalid)?;
    let under_way: UnderWay = serde_json::from_slice(&value).map_err(|_| Reason::LoginInvalid)?;
    let fresh = gate.used_logins.entry(state.hash()).or_insert(()).is_fresh();
    if fresh { Ok(under_way) } else { Err(Reason::LoginInvalid) }
}

/// A new session, or, for the person who is signed in already, the same one with what was proven now. The handle at
/// the portal is new in either case.
async fn establish(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    before: Option<Arc<LiveSession>>,
    signed_in: SignedIn,
    now: Timestamp,
) -> Result<(Session, Ticket), Reason> {
    let unavailable = |_| Reason::StoreUnavailable;
    let signed_in = match snapshot.hands_on_access_tokens() {
        true => signed_in,
        false => SignedIn { tokens: signed_in.tokens.clone().without_access_token(), ..signed_in },
    };
    let handle = Ticket::new().map_err(unavailable)?;
    let same = |live: &LiveSession| {
        let user = &live.user;
        user.issuer == signed_in.user.issuer && user.subject == signed_in.user.subject
    };
    if let Some(live) = before.as_ref().filter(|live| same(live)) {
        // As it is now: its tokens may have been refreshed since it was read for this request.
        let stored = gate.sessions.stored(&live.id).await.map_err(unavailable)?;
        let session = merged(&stored.ok_or(Reason::SessionRevoked)?, signed_in);
        let old = request.cookie(cookie::SESSION).and_then(Ticket::parse).map(|old| old.hash());
        let kept = gate.sessions.update(&session).await.map_err(unavailable)?
            && gate.sessions.add_handle(&session.id, handle.hash(), request.host, old).await.map_err(unavailable)?;
        if !kept {
            return Err(Reason::SessionRevoked);
        }
        record_login(gate, request, &session, Kind::StepUp, now).await?;
        return Ok((session, handle));
    }
    let session = Session {
        id: format!("s-{:016x}", rand::random::<u64>()).into(),
        user: Arc::new(signed_in.user),
        display_name: signed_in.display_name,
        email: signed_in.email,
        groups: signed_in.groups,
        device: signed_in.device,
        proofs: signed_in.proofs.into(),
        provider_session: signed_in.provider_session,
        tokens: signed_in.tokens,
        created: now,
        expires: now.plus(snapshot.config.sessions.absolute),
        last_seen: now,
        opened_from: request.connection.client.ip().to_string(),
        user_agent: request.header("user-agent").unwrap_or_default().chars().take(MAX_USER_AGENT).collect(),
    };
    // No record, no session.
    record_login(gate, request, &session, Kind::Login, now).await?;
    gate.sessions.create(&session, handle.hash(), request.host).await.map_err(unavailable)?;
    if let Some(live) = before {
        // Somebody else signed in with this browser: the session before is over.
        revoke::end_sessions(gate, &Which::Session(live.id.clone()), "another person signed in", now).await?;
    }
    Ok((session, handle))
}

/// The provider may have signed the person out while the login was finishing; then the logout wins. Asked after the
/// session was kept: a logout that comes later ends it, one that came before is found here.
async fn still_signed_in(gate: &Gate, session: &Session, began: Timestamp, now: Timestamp) -> Result<(), Reason> {
    let over = gate.sessions.store.is_logged_out(session, began).await.map_err(|_| Reason::StoreUnavailable)?;
    if !over {
        return Ok(());
    }
    let which = Which::Session(session.id.clone());
    revoke::end_sessions(gate, &which, "signed out at the identity provider before the login was done", now).await?;
    Err(Reason::SessionRevoked)
}

async fn record_login(
    gate: &Gate,
    request: &Request<'_>,
    session: &Session,
    kind: Kind,
    now: Timestamp,
) -> Result<(), Reason> {
    let entry = Entry {
        who: Some(Who::from(&Identity::User(session.user.clone()))),
        session: Some(session.id.clone()),
        proofs: ProofNote::of(&session.proofs),
        ..recording::of_request(request, kind, now)
    };
    gate.audit.event(entry).await.map(|_| ()).map_err(|_| Reason::RecordUnavailable)
}

fn result_of(page: LoginPage) -> LoginResult {
    match page {
        LoginPage::TierNotProven => LoginResult::NotProven,
        LoginPage::ProviderDown => LoginResult::Unavailable,
        LoginPage::Declined | LoginPage::Expired | LoginPage::Misconfigured => LoginResult::Failed,
    }
}

/// A refusal that says where the person was going, so that they can try again from there.
fn refuse(
    snapshot: &Snapshot,
    request: &Request<'_>,
    reason: Reason,
    going_to: Option<GoingTo>,
    now: Timestamp,
) -> Response {
    refusal::respond(snapshot, request, &Refused { going_to, ..Refused::because(reason) }, now)
}

fn going_to(snapshot: &Snapshot, wish: &HostWish) -> GoingTo {
    let path = wish.return_to.split_once('?').map_or(wish.return_to.as_str(), |(path, _)| path);
    let tier = snapshot.policy.tiers().find(|tier| Some(&tier.name) == wish.tier.as_ref());
    GoingTo {
        title: snapshot.routes.find(&wish.host, path).map(|route| route.title.clone()),
        url: format!("https://{}{}", wish.authority, wish.return_to),
        factors: tier.map(|tier| tier.factors.clone()).filter(|factors| !factors.is_empty()),
    }
}

fn reason_of(page: LoginPage) -> Reason {
    match page {
        LoginPage::Declined | LoginPage::Misconfigured => Reason::LoginFailed,
        LoginPage::Expired => Reason::LoginInvalid,
        LoginPage::TierNotProven => Reason::StepUpFailed,
        LoginPage::ProviderDown => Reason::ProviderUnavailable,
    }
}

fn choice_page(snapshot: &Snapshot, request: &Request<'_>, sealed: Option<&str>, tier: Option<&str>) -> Response {
    let link = |name: &str| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("provider", name);
        if let Some(sealed) = sealed {
            query.append_pair("to", sealed);
        }
        format!("/login?{}", query.finish())
    };
    let providers = snapshot
        .providers
        .offering(tier)
        .map(|config| pages::ProviderChoice { title: config.title.clone(), url: link(&config.name).into() })
        .collect();
    let page = pages::SignIn { providers, going_to: None, factors: None };
    refusal::page(page.render(&refusal::look(snapshot), pages::language(request.headers)))
}

/// BCP 47, for the provider's pages.
fn language_tag(language: pages::Language) -> &'static str {
    match language {
        pages::Language::English => "en",
        pages::Language::German => "de",
    }
}
