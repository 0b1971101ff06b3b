//! The way of a request, from arrival to answer. Read this first.
//!
//! ```text
//! route -> identify -> gather facts -> decide -> record -> act
//!                                                           allow    forward, with the permit
//!                                                           login    to the identity provider (401 for an API call)
//!                                                           step up  likewise, asking for the tier
//!                                                           deny     a page that says why and what to do
//! ```
//!
//! Knows no HTTP engine: the request is our own view of one, and what comes back is an action. Forward authentication,
//! `explain` and the tests come the same way. What few requests need is boxed: room for it would be moved for each.
use crate::acme::Acme;
use crate::audit::access::AccessLog;
use crate::audit::{Audit, Recorded};
use crate::ca::OwnCa;
use crate::cors;
use crate::forward::Forward;
use crate::identify::session::Sessions;
use crate::identify::{Caller, NotIdentified, identify};
use crate::login::access_token::{self, AccessTokens};
use crate::login::attempts::Attempts;
use crate::login::seal::SealKey;
use crate::login::sign_in::UsedLogins;
use crate::login::{challenge, own_pages};
use crate::lookup::{device_names, gather};
use crate::metrics::{Metrics, RouteHandles, Stage, Stages};
use crate::outcome::{Action, Note, Outcome};
use crate::posture::take::ReportAttempts;
use crate::recording;
use crate::refusal::{self, Refused};
use crate::request::Request;
use crate::snapshot::Snapshot;
use crate::streams::{Account, Allowed, Registration, Streams};
use crate::told::Told;
use arc_swap::ArcSwap;
use http::header::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use torhaus_authz::{Decision, Facts, Reason, Timestamp, Verdict, VerdictKind};
use torhaus_config::Route;

/// What outlives a configuration: the stores, the streams, the keys.
pub struct Gate {
    pub snapshot: ArcSwap<Snapshot>,
    pub sessions: Sessions,
    pub audit: Audit,
    pub streams: Arc<Streams>,
    pub told: Told,
    pub sealer: SealKey,
    pub used_logins: UsedLogins,
    pub attempts: Attempts,
    pub reports: ReportAttempts,
    pub access_tokens: AccessTokens,
    pub metrics: Arc<Metrics>,
    pub route_metrics: RouteHandles,
    pub access: AccessLog,
    pub ca: OwnCa,
    pub acme: Acme,
    /// The process is about to stop: whoever keeps a connection is told to leave it.
    pub leaving: AtomicBool,
}

/// One request, from arrival to answer. `now` and the snapshot are read once, by the caller.
pub async fn pass(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Outcome {
    let mut note = Note::empty();
    if request.connection.tls.is_none() {
        return note.respond(Box::pin(own_pages::plain(gate, snapshot, request)).await);
    }
    if !snapshot.belongs(request) {
        return refuse(snapshot, request, note, Reason::WrongHost, now);
    }
    if own_pages::serves(snapshot, request) {
        return note.respond(Box::pin(own_pages::answer(gate, snapshot, request, now)).await);
    }
    let Some(route) = snapshot.route_of(request) else {
        return refuse(snapshot, request, note, Reason::NoRoute, now);
    };
    note.route = Some(route.name.clone());
    if let Some(answer) = cors::preflight(route, request) {
        return note.respond(answer);
    }

    let stages = note.stages.insert(Stages::begin());
    let caller = match identify(gate, snapshot, request, now).await {
        Ok(caller) => caller,
        Err(why) => return Box::pin(refuse_identity(gate, snapshot, request, note, route, why, now)).await,
    };
    note.identity = caller.identity.clone();
    stages.done(Stage::Identify, &gate.metrics);

    let facts = gather(snapshot, request, route, &caller, now);
    stages.done(Stage::Facts, &gate.metrics);
    let decision = snapshot.decide(&facts);
    stages.done(Stage::Decide, &gate.metrics);
    note.reason = Some(decision.reason);
    gate.metrics.decided(&route.resource, decision.verdict.kind(), decision.reason);
    gate.metrics.policy.compared(&decision);

    let Ok(recorded) = recording::decision(&gate.audit, request, &facts, &decision, &caller).await else {
        return refuse(snapshot, request, note, Reason::RecordUnavailable, now);
    };
    note.decision = recorded.decision().cloned();
    stages.done(Stage::Record, &gate.metrics);
    snapshot.lookups.learn(&facts, &caller, &decision);
    if let Some(live) = &caller.session {
        gate.sessions.used_with(live, device_names(&facts, &caller));
    }
    let token = match &decision.verdict {
        Verdict::Allow(_) => access_token::of(gate, snapshot, &caller, route, now).await,
        _ => Ok(None),
    };
    match act(gate, snapshot, request, &caller, route, &facts, decision, recorded, token) {
        Action::Respond(response) => note.respond(cors::readable(snapshot, request, response)),
        action => Outcome { action, note },
    }
}

#[expect(clippy::too_many_arguments, reason = "the end of the one path: everything that was found on the way")]
fn act(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    caller: &Caller,
    route: &Arc<Route>,
    facts: &Facts<'_>,
    decision: Decision,
    recorded: Recorded,
    token: Result<Option<(HeaderName, HeaderValue)>, Reason>,
) -> Action {
    let refused = Refused {
        reason: decision.reason,
        decision: recorded.decision().cloned(),
        resource: Some(route.resource.clone()),
        condition: decision.condition.clone(),
        caller: Some(caller),
        going_to: None,
    };
    let now = facts.now;
    match decision.verdict {
        Verdict::Allow(permit) => {
            let open = gate.streams.enter(Account::of(caller, route, decision.until), Allowed::by(facts, request));
            // From here on a revocation or a reload finds it. What came between the first look and now, while the
            // record was written, did not: look again.
            if let Some(reason) = gate.overtaken(snapshot, caller, &open, now).or(token.as_ref().err().copied()) {
                return Action::Respond(refusal::respond(snapshot, request, &Refused { reason, ..refused }, now));
            }
            let identity = gate.told.about(caller, route, decision.tier.as_ref(), now);
            let forward = Forward::new(permit, recorded, open, request, caller, route, identity);
            Action::Forward(Box::new(forward.with_access_token(token.ok().flatten())))
        }
        Verdict::Login { tier } => challenge::login(gate, snapshot, request, &refused, &tier, now),
        Verdict::StepUp { tier, max_age } => challenge::step_up(gate, snapshot, request, &refused, &tier, max_age, now),
        Verdict::Deny => Action::Respond(refusal::respond(snapshot, request, &refused, now)),
    }
}

/// A caller whose identity is contradictory or does not check out.
async fn refuse_identity(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    mut note: Note,
    route: &Route,
    why: NotIdentified,
    now: Timestamp,
) -> Outcome {
    gate.metrics.decided(&route.resource, VerdictKind::Deny, why.reason);
    let Ok(recorded) = recording::not_identified(&gate.audit, request, route, &why, now).await else {
        return refuse(snapshot, request, note, Reason::RecordUnavailable, now);
    };
    note.decision = recorded.decision().cloned();
    note.reason = Some(why.reason);
    let refused = Refused { decision: note.decision.clone(), ..Refused::because(why.reason) };
    let response = challenge::with(refusal::respond(snapshot, request, &refused, now), why.challenge.as_deref());
    note.respond(cors::readable(snapshot, request, response))
}

fn refuse(snapshot: &Snapshot, request: &Request<'_>, mut note: Note, reason: Reason, now: Timestamp) -> Outcome {
    note.reason = Some(reason);
    let response = refusal::respond(snapshot, request, &Refused::because(reason), now);
    note.respond(cors::readable(snapshot, request, response))
}

impl Gate {
    /// Why a request that was just allowed is not any more: its session ended, its certificate was revoked,
    /// or a new configuration says no.
    fn overtaken(&self, snapshot: &Snapshot, caller: &Caller, open: &Registration, now: Timestamp) -> Option<Reason> {
        if caller.session.as_ref().is_some_and(|live| live.has_ended()) {
            return Some(Reason::SessionRevoked);
        }
        if caller.presented.as_ref().is_some_and(|shown| shown.is_revoked()) {
            return Some(Reason::CertificateRevoked);
        }
        let current = self.snapshot.load();
        let same = std::ptr::eq(Arc::as_ptr(&current), snapshot);
        (!same && !open.is_still_allowed(&current, now)).then_some(Reason::NotAllowed)
    }
}
