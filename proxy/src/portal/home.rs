//! The portal's front page: what this person can open, now, from here. Asked of the same policy, with the same facts,
//! as the gate will be when the link is followed, but for one: the portal asks no browser for a certificate.
use crate::identify::Caller;
use crate::identify::session::LiveSession;
use crate::lookup;
use crate::portal::pages::{self, Access, Application, Applications, Grouping, ProvenTier, Viewer};
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use std::collections::HashSet;
use std::sync::Arc;
use torhaus_authz::{Facts, Language, Name, Reason, Timestamp, Verdict};
use torhaus_config::{ClientAuthMode, HostPattern, Route};

/// # Errors
/// The account is out of use.
pub async fn page(
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &Arc<LiveSession>,
    now: Timestamp,
) -> Result<Response, Reason> {
    let language = pages::language(request.headers);
    let caller = Caller::of_session(snapshot, live, now).await?;
    let facts = lookup::about(snapshot, request, &caller, now);
    let mut seen = HashSet::new();
    let applications = snapshot
        .all_routes()
        .filter(|route| route.listed)
        .filter_map(|route| application(snapshot, route, &facts, language))
        .filter(|application| seen.insert(application.url.to_string()))
        .collect();
    let view = Applications {
        viewer: Viewer {
            name: live.display_name.as_ref().unwrap_or(&live.user.name).to_string(),
            tier: highest_tier(snapshot, live, now),
            zone: snapshot.decide(&facts).zone.to_string(),
        },
        applications,
        query: request.query_parameter("q").map(|q| q.into_owned()).unwrap_or_default(),
        grouping: request.query_parameter("by").map(|by| Grouping::parse(&by)).unwrap_or_default(),
        now,
    };
    Ok(refusal::page(view.render(&refusal::look(snapshot), language)))
}

/// How an application stands for this person; none if it will never be open to them.
fn application(snapshot: &Snapshot, route: &Route, facts: &Facts<'_>, language: Language) -> Option<Application> {
    let HostPattern::Exact(host) = &route.host else { return None };
    let facts = Facts { resource: &route.resource, path: &route.path, ..facts.clone() };
    let decision = snapshot.decide(&facts);
    let access = match (&decision.verdict, decision.reason) {
        (Verdict::Allow(_), _) => Access::OpenNow,
        (Verdict::StepUp { tier, .. } | Verdict::Login { tier }, _) => {
            Access::StepUp { factors: factors(snapshot, tier) }
        }
        (Verdict::Deny, Reason::ZoneDenied) => Access::NotFromHere,
        (Verdict::Deny, Reason::NotAllowed | Reason::NoRule) => return None,
        (Verdict::Deny, Reason::RequirementMissing) if route.client_auth.mode != ClientAuthMode::None => {
            Access::WithDevice
        }
        (Verdict::Deny, reason) => Access::Closed { sentence: reason.words(language).sentence.to_owned() },
    };
    let port = snapshot.config.portal.url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(Application {
        title: route.title.clone(),
        description: route.description.clone(),
        sensitivity: snapshot
            .policy
            .row(&route.resource)
            .and_then(|row| row.sensitivity.clone())
            .map(|s| s.to_string()),
        url: format!("https://{host}{port}{}", route.path).into(),
        access,
    })
}

fn factors(snapshot: &Snapshot, tier: &Name) -> String {
    snapshot.policy.tiers().find(|t| t.name == *tier).map(|t| t.factors.clone()).unwrap_or_default()
}

/// The highest tier whose proof still counts.
fn highest_tier(snapshot: &Snapshot, live: &LiveSession, now: Timestamp) -> Option<ProvenTier> {
    let proofs = &live.proofs;
    let tiers: Vec<_> = snapshot.policy.tiers().collect();
    let tier = tiers.into_iter().rev().find(|tier| snapshot.policy.is_proven(proofs, &tier.name, None, now))?;
    let proven_at = proofs.iter().filter(|proof| proof.tier == tier.name).map(|proof| proof.proven_at).max();
    Some(ProvenTier { name: tier.name.to_string(), factors: tier.factors.clone(), proven_at: proven_at.unwrap_or(now) })
}
