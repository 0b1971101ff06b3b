//! Exceptions: owner, reason and expiry, all three required; inert when expired.
use crate::draft::{ExceptionDraft, Located};
use crate::identity::Name;
use crate::problems::Problems;
use crate::row::{Cell, Row};
use crate::subject::Subjects;
use crate::tier::{Ladder, Tier};
use crate::time::Timestamp;
use crate::zone::{ZoneId, Zones};
use std::collections::HashMap;
use std::sync::Arc;

/// Replaces one cell and `allow` of a row for its subjects, until it expires. It waives no `require` and no `deny`.
#[derive(Clone, Debug)]
pub struct Exception {
    pub id: Name,
    pub line: u32,
    pub resource: Name,
    pub owner: String,
    pub reason: String,
    pub expires: Timestamp,
    pub tier: Arc<Tier>,
    pub(crate) allow: Arc<Subjects>,
    pub(crate) zone: ZoneId,
}

impl Exception {
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// Checks all exceptions and hangs each on its row.
    pub(crate) fn check_all(
        drafts: &[ExceptionDraft],
        rows: &mut [Row],
        by_resource: &HashMap<Name, usize>,
        zones: &Zones,
        ladder: &Ladder,
        problems: &mut Problems,
    ) {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut of_row: HashMap<usize, Vec<Self>> = HashMap::new();
        for draft in drafts {
            if let Some(first) = seen.insert(&draft.id.value, draft.id.line) {
                problems.duplicate("exception", &draft.id, first);
            }
            let index = by_resource.get(draft.resource.value.as_str());
            if index.is_none() {
                problems.unknown("resource", &draft.resource, by_resource.keys().map(|name| &**name));
            }
            let row = index.and_then(|index| rows.get(*index));
            if let (Some(exception), Some(index)) = (Self::check(draft, row, zones, ladder, problems), index) {
                of_row.entry(*index).or_default().push(exception);
            }
        }
        for (index, mut exceptions) in of_row {
            exceptions.sort_by(|a, b| (a.tier.rank, &a.id).cmp(&(b.tier.rank, &b.id)));
            if let Some(row) = rows.get_mut(index) {
                row.exceptions = exceptions.into();
            }
        }
    }

    fn check(
        draft: &ExceptionDraft,
        row: Option<&Row>,
        zones: &Zones,
        ladder: &Ladder,
        problems: &mut Problems,
    ) -> Option<Self> {
        let id = &draft.id;
        problems.name("exception", id);
        required(id, "owner", &draft.owner, "say who answers for it: `owner: alice@example.test`", problems);
        required(id, "reason", &draft.reason, "say why it exists: `reason: audit on site`", problems);
        let allow = Subjects::check(&draft.allow, problems);
        if draft.allow.is_empty() {
            problems.add(
                id.line,
                format!("exception `{}` allows nobody", id.value),
                "name who it is for: `allow: [\"user:carol\"]`",
            );
        }
        if allow.anyone() {
            problems.add(
                id.line,
                format!("exception `{}` allows `anyone`", id.value),
                "an exception asks for a tier, so it needs people: write `user:`, `group:` or `authenticated`",
            );
        }
        let (zone, tier) = (zones.named(&draft.zone, problems), ladder.named(&draft.tier, problems));
        if let (Some(row), Some(zone)) = (row, zone)
            && *row.cell(zone) == Cell::Anonymous
        {
            problems.add(
                id.line,
                format!("exception `{}` is for a zone from which `{}` is `anonymous`", id.value, row.resource),
                "everybody may come in there already; remove the exception",
            );
        }
        Some(Self {
            id: id.value.as_str().into(),
            line: id.line,
            resource: draft.resource.value.as_str().into(),
            owner: draft.owner.clone(),
            reason: draft.reason.clone(),
            expires: draft.expires,
            tier: tier?,
            allow: allow.into(),
            zone: zone?,
        })
    }
}

fn required(id: &Located<String>, field: &str, value: &str, hint: &str, problems: &mut Problems) {
    if value.trim().is_empty() {
        problems.add(id.line, format!("exception `{}` has no {field}", id.value), hint);
    }
}
