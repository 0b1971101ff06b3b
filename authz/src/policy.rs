//! The checked policy table, and `decide`: the only evaluator.
use crate::condition::Holds;
use crate::decision::{Decision, Learns, Permit, RowRef, Verdict};
use crate::draft::Located;
use crate::exception::Exception;
use crate::facts::Facts;
use crate::identity::{Identity, Name};
use crate::reason::Reason;
use crate::row::{Cell, Guard, Row};
use crate::sources::Sources;
use crate::tier::{Ladder, Proven, Tier};
use crate::time::Timestamp;
use crate::trace::{Step, Trace};
use crate::zone::{ZoneId, Zones};
use std::collections::HashMap;
use std::sync::Arc;

/// A policy without mistakes. Made by [`Policy::build`]; never changed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Name of the base's file.
    pub(crate) file: Name,
    pub(crate) sources: Sources,
    pub(crate) version: Name,
    pub(crate) zones: Zones,
    pub(crate) ladder: Ladder,
    pub(crate) rows: Box<[Row]>,
    pub(crate) by_resource: HashMap<Name, usize>,
    pub(crate) named_trust_domains: Box<[Located<Name>]>,
}

impl Policy {
    /// Whether a window of time that the row of this resource asks about opened or closed between these moments, so that
    /// what was decided then may be decided otherwise now.
    pub fn time_differs(&self, resource: &str, then: Timestamp, now: Timestamp) -> bool {
        let row = self.by_resource.get(resource).and_then(|index| self.rows.get(*index));
        row.is_some_and(|row| row.terms().any(|term| term.time_differs(then, now)))
    }

    /// Decides one request. The first step that applies answers.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let mut case = Case::open(self, facts);

        // 1. A row, and a cell or a live exception for the zone.
        let Some(row) = case.find_row() else {
            return case.deny(Reason::NoRule);
        };
        let cell = row.cell(case.zone);
        let live = case.live_exceptions(row, cell);
        if cell.is_closed() && live == 0 {
            return case.deny(Reason::ZoneDenied);
        }

        // 2. Open to anyone: nobody is asked who they are.
        if *cell == Cell::Anonymous {
            case.note(Step::Anonymous);
            return match case.guards(row) {
                Err(reason) => case.deny(reason),
                Ok(()) => case.allow(),
            };
        }

        // 3. Nobody is identified: sign in, at once for the tier that is known to be needed.
        let identified = facts.identity != Identity::Anonymous;
        case.note(Step::Identified(identified));
        if !identified {
            return match case.entry_tier(row, cell) {
                Some(tier) => case.login(row, tier),
                None => case.deny(Reason::ZoneDenied),
            };
        }

        // 4. Who it is, by an exception or by the row.
        let tier = match case.grant(row, cell) {
            Err(reason) => return case.deny(reason),
            Ok(tier) => tier,
        };

        // 5. No `deny` holds or is unknown; every `require` holds.
        if let Err(reason) = case.guards(row) {
            return case.deny(reason);
        }

        // 6. Proven strongly enough, and recently enough.
        let tier = case.raised(row, tier);
        let max_age = row.max_age.unwrap_or(tier.max_age);
        let proven = self.ladder.proven(&facts.proofs, &tier, max_age, facts.now);
        case.note(Step::Proof { rank: tier.rank, max_age, proven });
        case.tier = Some(tier.name.clone());
        match (proven, &facts.identity) {
            // 7. Allow.
            (Proven::Fresh(_), _) => case.allow(),
            (_, Identity::Service(_)) => case.deny(Reason::ServiceTierMissing),
            _ => {
                let tier = tier.name.clone();
                case.close(Verdict::StepUp { tier, max_age }, Reason::StepUpNeeded)
            }
        }
    }
}

/// One decision while it is made.
struct Case<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    zone: ZoneId,
    row: Option<&'a Row>,
    exception: Option<Name>,
    until: Option<Timestamp>,
    tier: Option<Name>,
    condition: Option<Name>,
    trace: Trace,
}

impl<'a> Case<'a> {
    fn open(policy: &'a Policy, facts: &'a Facts<'a>) -> Self {
        let (zone, because) = policy.zones.locate(facts);
        let mut trace = Trace::new();
        trace.note(Step::Place { zone, because });
        Self { policy, facts, zone, row: None, exception: None, until: None, tier: None, condition: None, trace }
    }

    fn note(&mut self, step: Step) {
        self.trace.note(step);
    }

    fn find_row(&mut self) -> Option<&'a Row> {
        let index = self.policy.by_resource.get(self.facts.resource).copied();
        self.note(Step::Row(index));
        self.row = index.and_then(|index| self.policy.rows.get(index));
        self.row
    }

    fn live_exceptions(&mut self, row: &Row, cell: &Cell) -> usize {
        let live = self.exceptions(row).count();
        self.note(Step::Cell { open: !cell.is_closed() });
        if !row.exceptions.is_empty() {
            self.note(Step::LiveExceptions(live));
        }
        live
    }

    /// The row's live exceptions for this zone, with their positions; lowest tier first.
    fn exceptions<'r>(&self, row: &'r Row) -> impl Iterator<Item = (usize, &'r Exception)> + use<'r> {
        let (zone, now) = (self.zone, self.facts.now);
        let all = row.exceptions.iter().enumerate();
        all.filter(move |(_, exception)| exception.zone == zone && exception.is_live(now))
    }

    /// The tier to ask for at sign-in: the cell's, or where it is closed the lowest of its exceptions.
    fn entry_tier(&self, row: &Row, cell: &Cell) -> Option<Arc<Tier>> {
        let excepted = || self.exceptions(row).next().map(|(_, exception)| &exception.tier);
        cell.tier().or_else(excepted).cloned()
    }

    /// The tier by which the subject comes in, before conditions raise it.
    ///
    /// An exception that fits replaces cell and `allow`; of several the lowest tier counts. Where it is unknown
    /// whether one fits, the worst case counts: an unknown fact must never ask for less than a known one would.
    fn grant(&mut self, row: &Row, cell: &Cell) -> Result<Arc<Tier>, Reason> {
        let mut uncertain: Option<Arc<Tier>> = None;
        for (index, exception) in self.exceptions(row) {
            let member = exception.allow.contain(self.facts);
            self.note(Step::Exception { index, member });
            match member {
                Holds::Yes => {
                    self.exception = Some(exception.id.clone());
                    self.until = Some(exception.expires);
                    return Ok(exception.tier.clone());
                }
                Holds::No => {}
                // Sorted by tier: the last one is the highest.
                Holds::Unknown(_) | Holds::Pending => uncertain = Some(exception.tier.clone()),
            }
        }
        let Some(tier) = cell.tier() else {
            return Err(if uncertain.is_some() { Reason::GroupsUnknown } else { Reason::ZoneDenied });
        };
        let member = row.allow.contain(self.facts);
        self.note(Step::Allow(member));
        match (member, uncertain) {
            (Holds::Yes, Some(other)) if other.rank > tier.rank => Ok(other),
            (Holds::Yes, _) => Ok(tier.clone()),
            (Holds::No, None) => Err(Reason::NotAllowed),
            (Holds::No, Some(_)) | (Holds::Unknown(_) | Holds::Pending, _) => Err(Reason::GroupsUnknown),
        }
    }

    fn guards(&mut self, row: &Row) -> Result<(), Reason> {
        for (index, guard) in row.deny.iter().enumerate() {
            let holds = guard.term.holds(self.facts, self.zone);
            self.note(Step::Deny { index, holds });
            if holds != Holds::No {
                return Err(self.refused_by(guard, Reason::ConditionDenied));
            }
        }
        for (index, guard) in row.require.iter().enumerate() {
            let holds = guard.term.holds(self.facts, self.zone);
            self.note(Step::Require { index, holds });
            if holds != Holds::Yes {
                return Err(self.refused_by(guard, Reason::RequirementMissing));
            }
        }
        Ok(())
    }

    fn refused_by(&mut self, guard: &Guard, reason: Reason) -> Reason {
        self.condition = Some(guard.name.clone());
        reason
    }

    /// Raised by every condition that holds, or is unknown unless it says `on_unknown: ignore`.
    fn raised(&mut self, row: &Row, mut tier: Arc<Tier>) -> Arc<Tier> {
        for (index, raise) in row.raise.iter().enumerate() {
            let holds = raise.guard.term.holds(self.facts, self.zone);
            self.note(Step::Raise { index, holds });
            let ignored = raise.ignore_unknown && matches!(holds, Holds::Unknown(_));
            if holds.fires() && !ignored && raise.to.rank > tier.rank {
                tier = raise.to.clone();
            }
        }
        tier
    }

    fn allow(self) -> Decision {
        let resource = self.row.map_or_else(|| self.facts.resource.into(), |row| row.resource.clone());
        let permit = Permit { resource, identity: self.facts.identity.clone() };
        self.close(Verdict::Allow(permit), Reason::Allowed)
    }

    fn login(mut self, row: &Row, tier: Arc<Tier>) -> Decision {
        let tier = self.raised(row, tier).name.clone();
        self.tier = Some(tier.clone());
        self.close(Verdict::Login { tier }, Reason::LoginNeeded)
    }

    fn deny(self, reason: Reason) -> Decision {
        self.close(Verdict::Deny, reason)
    }

    fn close(self, verdict: Verdict, reason: Reason) -> Decision {
        let request_class = self.request_class();
        let learns = if matches!(verdict, Verdict::Allow(_)) { self.learns() } else { Learns::No };
        Decision {
            verdict,
            reason,
            zone: self.policy.zones.name(self.zone),
            row: self.row.map(|row| RowRef { resource: row.resource.clone(), line: row.line }),
            exception: self.exception,
            tier: self.tier,
            condition: self.condition,
            record_every: self.row.is_some_and(|row| row.record_every),
            learns,
            until: self.until,
            policy: self.policy.version.clone(),
            request_class,
            compared: None,
            trace: self.trace,
        }
    }

    fn learns(&self) -> Learns {
        let (Identity::User(_), Some(row), Some(tier)) = (&self.facts.identity, self.row, &self.tier) else {
            return Learns::No;
        };
        let rank = self.policy.ladder.find(tier).map_or(0, |tier| tier.rank);
        if rank > 0 && rank >= row.new_place_rank { Learns::Learn } else { Learns::Refresh }
    }

    /// Tells two requests apart that the row's conditions on method and path tell apart, also where the verdict is the
    /// same: an allowed `/admin` must not hide behind an allowed `/`.
    fn request_class(&self) -> u64 {
        let mut class = 0u64;
        let asking = self.row.filter(|row| row.asks_request_line).into_iter().flat_map(Row::terms);
        for term in asking {
            term.of_request_line(self.facts, self.zone, &mut |holds| {
                let answer = match holds {
                    Holds::No => 1,
                    Holds::Yes => 2,
                    Holds::Unknown(_) | Holds::Pending => 3,
                };
                // Base four, one digit for each: more than 32 conditions of the kind fold over, as a hash would.
                class = class.rotate_left(2) ^ answer;
            });
        }
        class
    }
}
