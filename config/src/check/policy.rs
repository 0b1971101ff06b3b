//! `policy.yaml` -> `PolicyDraft` -> `Policy`. Whether names, cells and conditions fit together is judged by `authz`;
//! its problems come back with a line, which we turn into a place.
use super::condition::condition;
use super::settings::network;
use super::{Cx, suite};
use crate::at::{At, List};
use crate::file;
use crate::file::policy as typed;
use crate::place::{FileId, Place, Span};
use crate::units::{self, Mistake};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{
    CellDraft, ExceptionDraft, GuardDraft, LONGEST_EXCEPTION, Located, Policy, PolicyDraft, Problem, ProjectDraft,
    RaiseDraft, RowDraft, TierDraft, Timestamp, ZoneDraft,
};

/// What a policy is called in explanations and records.
pub(crate) struct PolicySource {
    pub file: String,
    /// SHA-256 of the text, lower-case hex.
    pub version: String,
    /// Name of each project file, and the number of the line before its first one.
    pub projects: Vec<(String, u32)>,
}

pub(crate) fn check(
    policy: &typed::Policy,
    source: PolicySource,
    tree: &file::Torhaus,
    cx: &mut Cx<'_>,
) -> Option<Arc<Policy>> {
    super::version(&policy.version, cx);
    let draft = draft(policy, source, cx);
    // A name that could not be read would make every reference to it a mistake, too.
    let draft = draft.filter(|_| policy.zones.whole && policy.tiers.whole && policy.table.whole);
    let built = draft.map(|(base, projects)| Policy::build_with(base, projects));
    let checked = match built {
        Some(Ok(policy)) => Some(policy),
        Some(Err(problems)) => {
            for problem in problems {
                let place = place_of(policy, problem.line);
                cx.mistake(&place, Mistake { message: problem.message, hint: problem.hint });
            }
            None
        }
        None => None,
    };
    suite::check(policy, checked.as_ref(), tree, cx);
    let checked = checked?;
    let longest = cx.parse_or(policy.longest_exception.as_ref(), LONGEST_EXCEPTION, units::duration);
    for Problem { line, message, hint } in checked.overlong_exceptions(cx.now, longest.unwrap_or(LONGEST_EXCEPTION)) {
        cx.mistake(&place_of(policy, line), Mistake { message, hint });
    }
    for Problem { line, message, hint } in checked.warnings(cx.now) {
        cx.findings.warning(&place_of(policy, line), Mistake { message, hint });
    }
    Some(Arc::new(checked))
}

/// The item that a line belongs to. Column 0: the excerpt marks what the message names.
pub(crate) fn place_of(policy: &typed::Policy, line: u32) -> Place {
    let zones = policy.zones.entries.iter().map(|(name, _)| &name.place);
    let items = policy.tiers.items.iter().map(|at| &at.place);
    let items = items.chain(policy.table.items.iter().map(|at| &at.place));
    let items = items.chain(policy.exceptions.items.iter().map(|at| &at.place));
    let nearest = zones.chain(items).filter(|place| place.line <= line).max_by_key(|place| place.line);
    let path = nearest.map_or("", |place| &place.path);
    Place::new(FileId::Policy, Span { line, column: 0, ..Span::START }, path)
}

/// `None` when a name could not be read. Other mistakes leave a stand-in: nothing is built from a draft with errors.
fn draft(policy: &typed::Policy, source: PolicySource, cx: &mut Cx<'_>) -> Option<(PolicyDraft, Vec<ProjectDraft>)> {
    let zones = policy.zones.iter().map(|(name, place, zone)| zone_draft(name, place, zone, cx)).collect();
    let tiers: Vec<Option<TierDraft>> = policy.tiers.iter().map(|(_, tier)| tier_draft(tier, cx)).collect();
    let rows: Vec<Option<RowDraft>> = policy.table.iter().map(|(_, row)| row_draft(row, cx)).collect();
    let exceptions: Vec<Option<ExceptionDraft>> =
        policy.exceptions.iter().map(|(_, exception)| exception_draft(exception, cx)).collect();
    let project = |(file, lines_before): (String, u32)| ProjectDraft { file, lines_before, ..ProjectDraft::default() };
    let mut projects: Vec<ProjectDraft> = source.projects.into_iter().map(project).collect();
    let mut base = PolicyDraft {
        file: source.file,
        version: source.version,
        zones,
        tiers: tiers.into_iter().collect::<Option<_>>()?,
        ..PolicyDraft::default()
    };
    for row in rows.into_iter().collect::<Option<Vec<_>>>()? {
        of_line(&mut projects, row.resource.line).map_or(&mut base.rows, |own| &mut own.rows).push(row);
    }
    // One that could not be read is nobody's reference.
    for exception in exceptions.into_iter().flatten() {
        of_line(&mut projects, exception.id.line)
            .map_or(&mut base.exceptions, |own| &mut own.exceptions)
            .push(exception);
    }
    Some((base, projects))
}

/// The project file that a line stands in.
fn of_line(projects: &mut [ProjectDraft], line: u32) -> Option<&mut ProjectDraft> {
    projects.iter_mut().rfind(|project| project.lines_before < line)
}

fn zone_draft(name: &str, place: &Place, zone: &At<typed::Zone>, cx: &mut Cx<'_>) -> ZoneDraft {
    let name = Located { value: name.to_owned(), line: place.line };
    let Some(zone) = zone.get() else {
        return ZoneDraft { name, networks: Vec::new(), listeners: Vec::new() };
    };
    let networks = zone
        .networks
        .items
        .iter()
        .filter_map(|at| cx.parse(at, network).map(|value| Located { value, line: at.line() }));
    ZoneDraft { name, networks: networks.collect(), listeners: located_all(&zone.listeners) }
}

/// Stands in for a duration that was reported.
const REPORTED: Duration = Duration::from_secs(3600);

fn tier_draft(tier: &typed::Tier, cx: &mut Cx<'_>) -> Option<TierDraft> {
    let max_age = cx.parse(&tier.max_age, units::duration).unwrap_or(REPORTED);
    Some(TierDraft { name: located(&tier.name)?, max_age, factors: text(tier.factors.as_ref()).unwrap_or_default() })
}

fn row_draft(row: &typed::Row, cx: &mut Cx<'_>) -> Option<RowDraft> {
    let cells = row.zones.iter().filter_map(|(zone, place, cell)| {
        let zone = Located { value: zone.to_owned(), line: place.line };
        let value = match cell.text()? {
            "deny" => CellDraft::Deny,
            "anonymous" => CellDraft::Anonymous,
            tier => CellDraft::Tier(tier.to_owned()),
        };
        Some((zone, Located { value, line: cell.line() }))
    });
    Some(RowDraft {
        resource: located(&row.resource)?,
        sensitivity: text(row.sensitivity.as_ref()),
        description: text(row.description.as_ref()),
        owner: text(row.owner.as_ref()),
        review_by: row.review_by.as_ref().and_then(|at| cx.parse(at, units::timestamp)),
        allow: located_all(&row.allow),
        zones: cells.collect(),
        require: guards(&row.require, cx),
        deny: guards(&row.deny, cx),
        raise: row.raise.iter().filter_map(|(_, raise)| raise_draft(raise, cx)).collect(),
        max_age: row.max_age.as_ref().and_then(|at| cx.parse(at, units::duration)),
        record_every: row.record.as_ref().and_then(At::get) == Some(&typed::Record::Every),
    })
}

fn guards(list: &List<typed::Condition>, cx: &mut Cx<'_>) -> Vec<GuardDraft> {
    let guards = list.iter().filter_map(|(place, guard)| {
        let condition = condition(guard, place, cx);
        let Some(name) = &guard.name else {
            cx.error(
                place,
                "this condition has no name",
                "add one for pages and logs: `{ name: company-device, client_certificate: devices }`",
            );
            return None;
        };
        Some(GuardDraft { name: located(name)?, condition: condition? })
    });
    guards.collect()
}

fn raise_draft(raise: &typed::Raise, cx: &mut Cx<'_>) -> Option<RaiseDraft> {
    let when = condition(raise.when.get()?, &raise.when.place, cx);
    Some(RaiseDraft {
        name: located(&raise.name)?,
        when: when?,
        to: located(&raise.to)?,
        ignore_unknown: raise.on_unknown.as_ref().and_then(At::get) == Some(&typed::OnUnknown::Ignore),
    })
}

fn exception_draft(exception: &typed::Exception, cx: &mut Cx<'_>) -> Option<ExceptionDraft> {
    let expires = cx.parse(&exception.expires, units::timestamp);
    Some(ExceptionDraft {
        id: located(&exception.id)?,
        resource: located(&exception.resource)?,
        allow: located_all(&exception.allow),
        zone: located(&exception.zone)?,
        tier: located(&exception.tier)?,
        owner: exception.owner.text()?.to_owned(),
        reason: exception.reason.text()?.to_owned(),
        // Reported above; the other checks have nothing to say about one that ends soon.
        expires: expires.unwrap_or_else(|| cx.now.plus(Duration::from_secs(86_400))),
    })
}

pub(crate) fn located(at: &At<String>) -> Option<Located<String>> {
    Some(Located { value: at.text()?.to_owned(), line: at.line() })
}

fn located_all(list: &List<String>) -> Vec<Located<String>> {
    list.items.iter().filter_map(located).collect()
}

fn text(at: Option<&At<String>>) -> Option<String> {
    at.and_then(At::text).map(str::to_owned)
}
