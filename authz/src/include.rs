//! Project files beside the base policy. The base is the floor: a project may tighten its rows and add rows of its own,
//! and whatever opens more than the floor is a mistake that names both lines.
//!
//! Merges what was typed and decides nothing: the result is an ordinary draft, checked and evaluated as any other.
use crate::draft::{CellDraft, ExceptionDraft, Located, PolicyDraft, RowDraft, TierDraft};
use crate::problems::Problems;
use crate::time::short;
use std::collections::HashMap;
use std::time::Duration;

/// What a project file says, before it is checked. It defines no zones and no tiers: they are the base's words.
#[derive(Clone, Debug, Default)]
pub struct ProjectDraft {
    /// Name of the file, for explanations: `projects/hr.yaml`.
    pub file: String,
    /// The number of the line before its first one: the lines of a policy count through all its files.
    pub lines_before: u32,
    pub rows: Vec<RowDraft>,
    pub exceptions: Vec<ExceptionDraft>,
}

/// The base with what its projects say.
pub(crate) fn merge(mut base: PolicyDraft, projects: Vec<ProjectDraft>, problems: &mut Problems) -> PolicyDraft {
    let of_base: HashMap<String, usize> =
        base.rows.iter().enumerate().map(|(index, row)| (row.resource.value.clone(), index)).collect();
    // Line of the row that tightened or added it first.
    let mut taken: HashMap<String, u32> = HashMap::new();
    let base_exceptions = base.exceptions.clone();
    for project in projects {
        let mut own: Vec<String> = Vec::new();
        for row in project.rows {
            let (name, line) = (row.resource.value.clone(), row.resource.line);
            if let Some(first) = taken.get(&name).copied() {
                let first = problems.on_line(first, line);
                problems.add(
                    line,
                    format!("resource `{name}` has a row on {first} already, and a project file may not add to it"),
                    "keep what belongs to one resource in one file beside the base",
                );
                continue;
            }
            taken.insert(name.clone(), line);
            match of_base.get(&name).and_then(|index| base.rows.get_mut(*index)) {
                Some(floor) => {
                    let exceptions = base_exceptions.iter().filter(|own| own.resource.value == name);
                    tighten(floor, row, &Floor::of(floor, &base.tiers, exceptions), problems);
                }
                None => {
                    own.push(name);
                    base.rows.push(row);
                }
            }
        }
        for exception in project.exceptions {
            match of_base.get(&exception.resource.value).and_then(|index| base.rows.get(*index)) {
                Some(floor) => {
                    let (line, id) = (exception.id.line, &exception.id.value);
                    let place = problems.on_line(floor.resource.line, line);
                    problems.add(
                        line,
                        format!("exception `{id}` opens row `{}` of the base ({place})", floor.resource.value),
                        "a project file may only tighten it; who owns the base policy can add the exception there",
                    );
                }
                None if own.contains(&exception.resource.value) || !taken.contains_key(&exception.resource.value) => {
                    base.exceptions.push(exception);
                }
                None => {
                    let (line, id) = (exception.id.line, &exception.id.value);
                    problems.add(
                        line,
                        format!("exception `{id}` opens a row of another project file"),
                        format!("write it beside the row `{}`", exception.resource.value),
                    );
                }
            }
        }
    }
    base
}

/// What a row of the base asks for, as it was before anybody tightened it.
struct Floor {
    ranks: HashMap<String, (usize, Duration)>,
    /// Every tier by which somebody may come in, with how old its proof may be.
    tiers: Vec<(String, usize, Duration)>,
    max_age: Option<Duration>,
}

impl Floor {
    fn of<'a>(row: &RowDraft, ladder: &[TierDraft], exceptions: impl Iterator<Item = &'a ExceptionDraft>) -> Self {
        let ranks: HashMap<String, (usize, Duration)> =
            ladder.iter().enumerate().map(|(rank, tier)| (tier.name.value.clone(), (rank, tier.max_age))).collect();
        let of_cells = row.zones.iter().filter_map(|(_, cell)| match &cell.value {
            CellDraft::Tier(name) => Some(name),
            CellDraft::Deny | CellDraft::Anonymous => None,
        });
        let named = of_cells.chain(row.raise.iter().map(|raise| &raise.to.value));
        let named = named.chain(exceptions.map(|exception| &exception.tier.value));
        let tiers = named.filter_map(|name| ranks.get(name).map(|(rank, age)| (name.clone(), *rank, *age))).collect();
        Self { ranks, tiers, max_age: row.max_age }
    }

    /// Higher is stricter; an unknown tier is reported elsewhere.
    fn strictness(&self, cell: &CellDraft) -> Option<usize> {
        match cell {
            CellDraft::Anonymous => Some(0),
            CellDraft::Tier(name) => self.ranks.get(name).map(|(rank, _)| rank + 1),
            CellDraft::Deny => Some(usize::MAX),
        }
    }

    /// A higher tier may be proven longer ago than the lower one it takes the place of. Then asking for more would let
    /// in a proof that the floor finds too old.
    fn age_of(&self, tier: &Located<String>, problems: &mut Problems) {
        let Some((rank, age)) = self.ranks.get(&tier.value) else { return };
        let lower = self.tiers.iter().filter(|(_, lower, _)| lower < rank).min_by_key(|(_, _, age)| *age);
        if let Some((name, _, limit)) = lower
            && age > limit
        {
            problems.add(
                tier.line,
                format!(
                    "a proof of `{}` may be {} old, and the base asks for `{name}` not older than {}",
                    tier.value,
                    short(*age),
                    short(*limit)
                ),
                format!("add `max_age: {}` to this row", short(*limit)),
            );
        }
    }
}

fn tighten(floor: &mut RowDraft, row: RowDraft, asks: &Floor, problems: &mut Problems) {
    let resource = row.resource.value.clone();
    tighten_cells(floor, &row, asks, problems);
    if !row.allow.is_empty() {
        for subject in row.allow.iter().filter(|subject| !covers(&floor.allow, &subject.value)) {
            let place = problems.on_line(floor.resource.line, subject.line);
            problems.add(
                subject.line,
                format!("`{}` is not allowed by row `{resource}` of the base ({place})", subject.value),
                "a project file may only leave people out; remove it, or ask who owns the base policy",
            );
        }
        floor.allow = row.allow;
    }
    if let Some(age) = row.max_age {
        let limit = asks.max_age.or_else(|| asks.tiers.iter().map(|(_, _, age)| *age).min());
        if let Some(limit) = limit.filter(|limit| age > *limit) {
            let place = problems.on_line(floor.resource.line, row.resource.line);
            problems.add(
                row.resource.line,
                format!(
                    "`max_age` of row `{resource}` is {}, and the base takes proofs for {} ({place})",
                    short(age),
                    short(limit)
                ),
                format!("write `max_age: {}` or less", short(limit)),
            );
        }
        floor.max_age = Some(age);
    }
    if floor.max_age.is_none() {
        row.raise.iter().for_each(|raise| asks.age_of(&raise.to, problems));
    }
    floor.deny.extend(row.deny);
    floor.require.extend(row.require);
    floor.raise.extend(row.raise);
    floor.record_every |= row.record_every;
    let own = &row.resource;
    said_once("owner", &mut floor.owner, row.owner, own, problems);
    said_once("review_by", &mut floor.review_by, row.review_by, own, problems);
    said_once("sensitivity", &mut floor.sensitivity, row.sensitivity, own, problems);
    said_once("description", &mut floor.description, row.description, own, problems);
}

fn tighten_cells(floor: &mut RowDraft, row: &RowDraft, asks: &Floor, problems: &mut Problems) {
    let mut lines: HashMap<&str, u32> = HashMap::new();
    for (zone, cell) in &row.zones {
        if let Some(first) = lines.insert(&zone.value, zone.line) {
            problems.duplicate("zone", zone, first);
            continue;
        }
        let own = floor.zones.iter().position(|(of_floor, _)| of_floor.value == zone.value);
        let own = own.and_then(|index| floor.zones.get_mut(index));
        // No cell is a closed one.
        let (closed, line) = (CellDraft::Deny, floor.resource.line);
        let (before, line) = own.as_ref().map_or((&closed, line), |(_, cell)| (&cell.value, cell.line));
        let opens = asks.strictness(&cell.value).zip(asks.strictness(before)).is_some_and(|(new, old)| new < old);
        if opens {
            let place = problems.on_line(line, cell.line);
            let floor = match before {
                CellDraft::Deny => "is closed".to_owned(),
                CellDraft::Anonymous | CellDraft::Tier(_) => format!("asks for `{}`", word(before)),
            };
            problems.add(
                cell.line,
                format!(
                    "row `{}` is `{}` from zone `{}` here, and the base {floor} ({place})",
                    row.resource.value,
                    word(&cell.value),
                    zone.value
                ),
                "a project file may only ask for more, or close; change the base if it should be open",
            );
            continue;
        }
        if let CellDraft::Tier(name) = &cell.value
            && row.max_age.or(floor.max_age).is_none()
        {
            asks.age_of(&Located { value: name.clone(), line: cell.line }, problems);
        }
        match own {
            Some(own) => own.1 = cell.clone(),
            None => floor.zones.push((zone.clone(), cell.clone())),
        }
    }
}

fn word(cell: &CellDraft) -> &str {
    match cell {
        CellDraft::Deny => "deny",
        CellDraft::Anonymous => "anonymous",
        CellDraft::Tier(name) => name,
    }
}

/// Whether everybody whom `subject` means is meant by the floor, too.
fn covers(floor: &[Located<String>], subject: &str) -> bool {
    floor.iter().any(|own| match own.value.as_str() {
        "anyone" => true,
        "authenticated" => subject != "anyone",
        name => name == subject,
    })
}

/// A project may say what the base leaves open, and may not say otherwise.
fn said_once<T: PartialEq>(
    what: &str,
    floor: &mut Option<T>,
    own: Option<T>,
    row: &Located<String>,
    problems: &mut Problems,
) {
    let Some(own) = own else { return };
    if floor.as_ref().is_some_and(|floor| *floor != own) {
        problems.add(
            row.line,
            format!("`{what}` of row `{}` is another one in the base", row.value),
            "remove it: what the base says stands",
        );
    }
    floor.get_or_insert(own);
}
