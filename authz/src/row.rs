//! One row of the table: who may come, from which zone, how strongly proven, and under which conditions.
use crate::condition::{Known, Term};
use crate::draft::{CellDraft, GuardDraft, Located, RaiseDraft, RowDraft};
use crate::exception::Exception;
use crate::identity::Name;
use crate::policy::Policy;
use crate::problems::Problems;
use crate::subject::Subjects;
use crate::tier::{Ladder, Tier};
use crate::time::Timestamp;
use crate::zone::{ZoneId, Zones};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A checked row. What pages, reports and header rules need of it is public; deciding is [`crate::Policy::decide`]'s.
#[derive(Clone, Debug)]
pub struct Row {
    pub resource: Name,
    /// Its line in the policy file.
    pub line: u32,
    pub sensitivity: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub review_by: Option<Timestamp>,
    /// `record: every`.
    pub record_every: bool,
    /// Overrides the tier's `max_age`.
    pub max_age: Option<Duration>,
    // Shared with the rows that say the same; their lines are kept apart for that.
    pub(crate) allow: Arc<Subjects>,
    pub(crate) cells: Arc<[Cell]>,
    pub(crate) deny: Arc<[Guard]>,
    pub(crate) require: Arc<[Guard]>,
    pub(crate) raise: Arc<[Raise]>,
    /// Lines of `deny`, `require` and `raise`, one after the other.
    condition_lines: Box<[u32]>,
    /// Some condition looks at method or path.
    pub(crate) asks_request_line: bool,
    /// The highest tier that is asked for because a place is new; 0: none is.
    pub(crate) new_place_rank: u8,
    /// Lowest tier first, so that the first that fits is the one that counts.
    pub(crate) exceptions: Box<[Exception]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    /// No cell: closed.
    Missing,
    Deny,
    Anonymous,
    Tier(Arc<Tier>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guard {
    pub(crate) name: Name,
    pub(crate) term: Arc<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Raise {
    pub(crate) guard: Guard,
    pub(crate) to: Arc<Tier>,
    pub(crate) ignore_unknown: bool,
}

impl Row {
    pub(crate) fn check(draft: &RowDraft, zones: &Zones, ladder: &Ladder, problems: &mut Problems) -> Self {
        problems.name("resource", &draft.resource);
        let known = Known { zones, ladder };
        let mut row = Self {
            resource: draft.resource.value.as_str().into(),
            line: draft.resource.line,
            sensitivity: draft.sensitivity.clone(),
            description: draft.description.clone(),
            owner: draft.owner.clone(),
            review_by: draft.review_by,
            record_every: draft.record_every,
            max_age: draft.max_age,
            allow: Subjects::check(&draft.allow, problems).into(),
            cells: cells(draft, zones, ladder, problems),
            require: guards(&draft.require, known, problems),
            deny: guards(&draft.deny, known, problems),
            raise: draft.raise.iter().filter_map(|raise| Raise::check(raise, known, problems)).collect(),
            condition_lines: condition_names(draft).map(|name| name.line).collect(),
            asks_request_line: false,
            new_place_rank: 0,
            exceptions: Box::default(),
        };
        let asks = |what: fn(&Term) -> bool| row.terms().any(what);
        row.asks_request_line = asks(Term::asks_request_line);
        let raised = row.raise.iter().filter(|raise| raise.guard.term.asks_new_place());
        row.new_place_rank = raised.map(|raise| raise.to.rank).max().unwrap_or(0);
        check_condition_names(draft, problems);
        row.check_anyone(draft, problems);
        if draft.max_age.is_some_and(|age| age < Duration::from_secs(1)) {
            problems.add(
                row.line,
                format!("row `{}` has a `max_age` of less than a second, so no proof could satisfy it", row.resource),
                "write how old a proof may be, such as `max_age: 15m`",
            );
        }
        row
    }

    pub(crate) fn deny_line(&self, index: usize) -> Option<u32> {
        self.condition_lines.get(index).copied()
    }

    pub(crate) fn require_line(&self, index: usize) -> Option<u32> {
        self.deny_line(self.deny.len() + index)
    }

    pub(crate) fn raise_line(&self, index: usize) -> Option<u32> {
        self.require_line(self.require.len() + index)
    }

    pub(crate) fn cell(&self, zone: ZoneId) -> &Cell {
        self.cells.get(zone.index()).unwrap_or(&Cell::Missing)
    }

    /// Every condition of the row.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &Term> {
        let guards = self.deny.iter().chain(self.require.iter()).chain(self.raise.iter().map(|raise| &raise.guard));
        guards.map(|guard| &*guard.term)
    }

    /// What the file says for the zone of this name.
    pub(crate) fn cell_named(&self, zone: &str, policy: &Policy) -> &str {
        let index = policy.zones.names().iter().position(|name| &**name == zone);
        index.and_then(|index| self.cells.get(index)).map_or("", Cell::text)
    }

    /// The groups that the row or an exception of it names: what an application behind it needs to be told.
    pub fn groups(&self) -> impl Iterator<Item = &Name> {
        let excepted = self.exceptions.iter().flat_map(|exception| exception.allow.groups());
        self.allow.groups().iter().chain(excepted)
    }

    /// `anyone` and `anonymous` belong together: elsewhere each would promise what the other takes back.
    fn check_anyone(&self, draft: &RowDraft, problems: &mut Problems) {
        let anonymous = draft.zones.iter().find(|(_, cell)| cell.value == CellDraft::Anonymous);
        let tier = draft.zones.iter().find(|(_, cell)| matches!(cell.value, CellDraft::Tier(_)));
        if let (true, Some((zone, cell))) = (self.allow.anyone(), tier) {
            problems.add(
                cell.line,
                format!("row `{}` allows `anyone`, but zone `{}` asks for a tier", self.resource, zone.value),
                "write `authenticated` in `allow` for everybody who signs in, or `anonymous` in the cell",
            );
        } else if self.allow.anyone() && anonymous.is_none() {
            problems.add(
                self.line,
                format!("row `{}` allows `anyone`, but no cell of it is `anonymous`", self.resource),
                "write `authenticated` in `allow` for everybody who signs in, or `anonymous` in a cell",
            );
        }
        let Some((zone, cell)) = anonymous else { return };
        if !self.allow.only_anyone() {
            problems.add(
                cell.line,
                format!(
                    "row `{}` is `anonymous` from zone `{}`, but `allow` is not `[anyone]`",
                    self.resource, zone.value
                ),
                "write `allow: [anyone]`, or a tier in the cell",
            );
        }
        let guards = draft.require.iter().zip(self.require.iter());
        for (guard, checked) in guards.chain(draft.deny.iter().zip(self.deny.iter())) {
            if checked.term.asks_person() {
                problems.add(
                    guard.name.line,
                    format!(
                        "condition `{}` asks for a person, but row `{}` is `anonymous`",
                        guard.name.value, self.resource
                    ),
                    "nobody signs in here: write a tier in the cell or remove the condition",
                );
            }
        }
        if let Some(raise) = draft.raise.first() {
            problems.add(
                raise.name.line,
                format!("condition `{}` raises a tier, but row `{}` is `anonymous`", raise.name.value, self.resource),
                "nobody signs in here: use `deny` or `require`, or write a tier in the cell",
            );
        }
    }
}

impl Cell {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Missing | Self::Deny)
    }

    pub(crate) fn tier(&self) -> Option<&Arc<Tier>> {
        match self {
            Self::Tier(tier) => Some(tier),
            Self::Missing | Self::Deny | Self::Anonymous => None,
        }
    }

    /// As the file has it; an empty cell is closed.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Missing => "",
            Self::Deny => "deny",
            Self::Anonymous => "anonymous",
            Self::Tier(tier) => &tier.name,
        }
    }
}

impl Guard {
    fn check(draft: &GuardDraft, known: Known<'_>, problems: &mut Problems) -> Self {
        Self {
            name: draft.name.value.as_str().into(),
            term: Term::check(&draft.condition, &draft.name, known, problems).into(),
        }
    }
}

impl Raise {
    fn check(draft: &RaiseDraft, known: Known<'_>, problems: &mut Problems) -> Option<Self> {
        let term = Term::check(&draft.when, &draft.name, known, problems);
        let to = known.ladder.named(&draft.to, problems)?;
        let guard = Guard { name: draft.name.value.as_str().into(), term: term.into() };
        Some(Self { guard, to, ignore_unknown: draft.ignore_unknown })
    }
}

fn guards(drafts: &[GuardDraft], known: Known<'_>, problems: &mut Problems) -> Arc<[Guard]> {
    drafts.iter().map(|draft| Guard::check(draft, known, problems)).collect()
}

fn cells(draft: &RowDraft, zones: &Zones, ladder: &Ladder, problems: &mut Problems) -> Arc<[Cell]> {
    let mut cells = vec![Cell::Missing; zones.names().len()];
    let mut lines: HashMap<ZoneId, u32> = HashMap::new();
    for (zone, cell) in &draft.zones {
        let value = match &cell.value {
            CellDraft::Deny => Some(Cell::Deny),
            CellDraft::Anonymous => Some(Cell::Anonymous),
            CellDraft::Tier(name) => {
                let name = Located { value: name.clone(), line: cell.line };
                ladder.named(&name, problems).map(Cell::Tier)
            }
        };
        let Some(id) = zones.named(zone, problems) else {
            continue;
        };
        if let Some(first) = lines.insert(id, zone.line) {
            problems.duplicate("zone", zone, first);
        }
        if let (Some(slot), Some(value)) = (cells.get_mut(id.index()), value) {
            *slot = value;
        }
    }
    cells.into()
}

/// In the order of `condition_lines`.
fn condition_names(draft: &RowDraft) -> impl Iterator<Item = &Located<String>> {
    let guards = draft.deny.iter().chain(&draft.require).map(|guard| &guard.name);
    guards.chain(draft.raise.iter().map(|raise| &raise.name))
}

/// One name per row and condition: a refusal names the condition, and nothing else tells them apart.
fn check_condition_names(draft: &RowDraft, problems: &mut Problems) {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for name in condition_names(draft) {
        problems.name("condition", name);
        if let Some(first) = seen.insert(&name.value, name.line) {
            problems.duplicate("condition", name, first);
        }
    }
}
