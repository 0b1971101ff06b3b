//! What a candidate policy would have changed: the decisions of the audit log, decided once more by both policies.
//!
//! Memory is bounded whatever the log holds: people and kinds of change are listed up to a limit, and counted beyond it.
use crate::condition::Holds;
use crate::decision::{Decision, Verdict};
use crate::explain::explain;
use crate::facts::Facts;
use crate::groups::Groups;
use crate::identity::{Identity, Name};
use crate::policy::Policy;
use crate::problems::listed;
use crate::reason::Reason;
use crate::record::{Entry, Kind};
use crate::time::Timestamp;
use crate::trace::Step;
use crate::zone::Because;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Kinds of change that are listed. More would be read by nobody; all are counted.
const MOST_CHANGES: usize = 10_000;
/// People that are told apart per effect.
const MOST_PEOPLE: usize = 100_000;
/// Lines per effect that are printed for people; JSON has all.
const SHOWN: usize = 10;

/// What changes for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Opens, or asks for less.
    Gain,
    /// Refused from now on.
    Loss,
    /// Has to prove more than before.
    StepUp,
    /// The answer changes, and rests on a fact that the record does not know.
    CannotTell,
}

impl Effect {
    pub const ALL: [Self; 4] = [Self::Gain, Self::Loss, Self::StepUp, Self::CannotTell];
}

/// Replays one record after the other.
#[derive(Debug)]
pub struct Replay<'a> {
    running: &'a Policy,
    candidate: &'a Policy,
    report: ReplayReport,
    changes: HashMap<Key, Change>,
    people: HashMap<Effect, HashSet<Name>>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

type Key = (Effect, Name, Name, Reason, Reason);

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReplayReport {
    pub running: Name,
    pub candidate: Name,
    /// Decisions of the log that were decided again.
    pub records: u64,
    /// Requests that they stand for: a line counts those that came out the same after it.
    pub requests: u64,
    /// Of the first and the last of them.
    pub first: Option<String>,
    pub last: Option<String>,
    /// Requests whose answer stays.
    pub unchanged: u64,
    /// Records that the running policy decides in another way than they were decided: it has changed since.
    pub decided_otherwise_then: u64,
    /// Requests of callers nobody knew that were only counted, by network; where they went is not recorded.
    pub only_counted: u64,
    pub effects: Vec<EffectReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EffectReport {
    pub effect: Effect,
    pub requests: u64,
    /// People and services, told apart up to a limit.
    pub people: usize,
    pub people_are_more: bool,
    /// The most frequent first.
    pub changes: Vec<Change>,
    /// Requests of changes that are not listed.
    pub not_listed: u64,
}

/// What changes for one person at one resource.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    pub who: Name,
    pub resource: Name,
    pub before: String,
    pub after: String,
    pub requests: u64,
    /// Number of one of the decisions, for `policy explain --decision`.
    pub decision: Option<Name>,
    /// Why the candidate answers so.
    pub why: String,
}

impl<'a> Replay<'a> {
    pub fn new(running: &'a Policy, candidate: &'a Policy) -> Self {
        let effect = |effect| EffectReport {
            effect,
            requests: 0,
            people: 0,
            people_are_more: false,
            changes: Vec::new(),
            not_listed: 0,
        };
        let report = ReplayReport {
            running: running.version.clone(),
            candidate: candidate.version.clone(),
            records: 0,
            requests: 0,
            first: None,
            last: None,
            unchanged: 0,
            decided_otherwise_then: 0,
            only_counted: 0,
            effects: Effect::ALL.map(effect).into(),
        };
        Self { running, candidate, report, changes: HashMap::new(), people: HashMap::new(), first: None, last: None }
    }

    /// One line of the log; those that are no decisions of a policy are passed over. `groups`: see [`Entry::facts`].
    pub fn add(&mut self, entry: &Entry, groups: Option<&Arc<Groups>>) {
        if entry.kind == Kind::Refusals {
            self.report.only_counted += entry.before;
        }
        let Some(facts) = entry.facts(groups) else { return };
        let requests = if entry.kind == Kind::Decision { 1 + entry.before } else { 1 };
        self.first.get_or_insert(entry.time);
        self.last = Some(entry.time);
        self.report.records += 1;
        self.report.requests += requests;
        let (before, after) = (self.running.decide(&facts), self.candidate.decide(&facts));
        if entry.verdict.is_some_and(|verdict| verdict != before.verdict.kind()) {
            self.report.decided_otherwise_then += 1;
        }
        match effect(&before, &after, self.candidate) {
            None => self.report.unchanged += requests,
            Some(effect) => self.change(effect, &facts, (&before, &after), requests, entry.decision.as_ref()),
        }
    }

    fn change(
        &mut self,
        effect: Effect,
        facts: &Facts<'_>,
        (before, after): (&Decision, &Decision),
        requests: u64,
        decision: Option<&Name>,
    ) {
        let who = who(&facts.identity);
        let Some(report) = self.report.effects.iter_mut().find(|report| report.effect == effect) else { return };
        report.requests += requests;
        if facts.identity != Identity::Anonymous {
            let people = self.people.entry(effect).or_default();
            if people.len() < MOST_PEOPLE {
                people.insert(who.clone());
            } else if !people.contains(&who) {
                report.people_are_more = true;
            }
        }
        let key = (effect, who.clone(), Name::from(facts.resource), before.reason, after.reason);
        if let Some(change) = self.changes.get_mut(&key) {
            change.requests += requests;
        } else if self.changes.len() < MOST_CHANGES {
            let change = Change {
                who,
                resource: key.2.clone(),
                before: answer(before),
                after: answer(after),
                requests,
                decision: decision.cloned(),
                why: explain(self.candidate, facts, after).summary,
            };
            self.changes.insert(key, change);
        } else {
            report.not_listed += requests;
        }
    }

    pub fn finish(mut self) -> ReplayReport {
        self.report.first = self.first.map(|time| time.to_string());
        self.report.last = self.last.map(|time| time.to_string());
        for ((effect, ..), change) in self.changes {
            if let Some(report) = self.report.effects.iter_mut().find(|report| report.effect == effect) {
                report.changes.push(change);
            }
        }
        for report in &mut self.report.effects {
            report.people = self.people.get(&report.effect).map_or(0, HashSet::len);
            report.changes.sort_by(|a, b| {
                (b.requests, &a.resource, &a.who, &a.after).cmp(&(a.requests, &b.resource, &b.who, &b.after))
            });
        }
        self.report
    }
}

/// What changes between two answers to the same facts, if anything does.
fn effect(before: &Decision, after: &Decision, candidate: &Policy) -> Option<Effect> {
    let rank = |tier: &Name| candidate.ladder.find(tier).map_or(u16::MAX, |tier| u16::from(tier.rank));
    // How much is asked for: nothing, a tier and how recent, what nobody has.
    let asked = |verdict: &Verdict| match verdict {
        Verdict::Allow(_) => (0, 0, 0),
        Verdict::Login { tier } => (1, rank(tier), 0),
        Verdict::StepUp { tier, max_age } => (1, rank(tier), u64::MAX - max_age.as_secs()),
        Verdict::Deny => (2, 0, 0),
    };
    let (old, new) = (asked(&before.verdict), asked(&after.verdict));
    if old == new {
        return None;
    }
    if rests_on_unknown(after) {
        return Some(Effect::CannotTell);
    }
    Some(match (new < old, new.0) {
        (true, _) => Effect::Gain,
        (false, 2) => Effect::Loss,
        (false, _) => Effect::StepUp,
    })
}

/// Whether some step of the answer asked for a fact that the record does not know.
fn rests_on_unknown(decision: &Decision) -> bool {
    decision.trace.steps().any(|step| match step {
        Step::Exception { member: holds, .. }
        | Step::Allow(holds)
        | Step::Deny { holds, .. }
        | Step::Require { holds, .. }
        | Step::Raise { holds, .. } => matches!(holds, Holds::Unknown(_)),
        Step::Place { because, .. } => because == Because::AddressUnknown,
        Step::Row(_) | Step::Cell { .. } | Step::LiveExceptions(_) | Step::Anonymous => false,
        Step::Identified(_) | Step::Proof { .. } => false,
    })
}

fn who(identity: &Identity) -> Name {
    match identity {
        Identity::Anonymous => "nobody".into(),
        Identity::User(user) => user.name.clone(),
        Identity::Service(service) => service.id.as_str().into(),
    }
}

fn answer(decision: &Decision) -> String {
    match (&decision.verdict, &decision.condition) {
        (Verdict::Allow(_), _) => "allow".to_owned(),
        (Verdict::Login { tier }, _) => format!("login for {tier}"),
        (Verdict::StepUp { tier, .. }, _) => format!("step-up to {tier}"),
        (Verdict::Deny, Some(condition)) => format!("deny ({}: {condition})", decision.reason.as_str()),
        (Verdict::Deny, None) => format!("deny ({})", decision.reason.as_str()),
    }
}

impl ReplayReport {
    pub fn of(&self, effect: Effect) -> Option<&EffectReport> {
        self.effects.iter().find(|report| report.effect == effect)
    }

    /// Whether anything of this kind changes. What cannot be told counts for each: it may be it.
    pub fn has(&self, effect: Effect) -> bool {
        [effect, Effect::CannotTell].iter().any(|effect| self.of(*effect).is_some_and(|report| report.requests > 0))
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = match (&self.first, &self.last) {
            (Some(first), Some(last)) => format!(" from {first} to {last}"),
            _ => String::new(),
        };
        writeln!(f, "{} requests in {} records{span}", self.requests, self.records)?;
        writeln!(f, "{} come out as before", self.unchanged)?;
        for report in &self.effects {
            let what = match report.effect {
                Effect::Gain => "GAIN: more is open, or less is asked for",
                Effect::Loss => "LOSS: refused from now on",
                Effect::StepUp => "STEP-UP: more must be proven",
                Effect::CannotTell => "CANNOT TELL: rests on facts that were not known then",
            };
            if report.requests == 0 {
                continue;
            }
            let more = if report.people_are_more { "more than " } else { "" };
            writeln!(f, "\n{what}\n  requests: {}, people and services: {more}{}", report.requests, report.people)?;
            for change in report.changes.iter().take(SHOWN) {
                let Change { who, resource, before, after, requests, why, .. } = change;
                writeln!(f, "  {who} -> {resource}: {before}, then {after} (requests: {requests})")?;
                writeln!(f, "      {why}")?;
                if let Some(decision) = &change.decision {
                    writeln!(f, "      for example decision {decision}")?;
                }
            }
            let hidden: Vec<&Change> = report.changes.iter().skip(SHOWN).collect();
            if !hidden.is_empty() {
                let mut rows: Vec<&Name> = hidden.iter().map(|change| &change.resource).collect();
                rows.sort_unstable();
                rows.dedup();
                writeln!(f, "  and {} more, at {} (all with --output json)", hidden.len(), listed(&rows))?;
            }
        }
        if self.decided_otherwise_then > 0 {
            let count = self.decided_otherwise_then;
            writeln!(f, "\n{count} records were decided otherwise then: the running policy has changed since")?;
        }
        if self.only_counted > 0 {
            let count = self.only_counted;
            writeln!(f, "\n{count} requests of unknown callers were only counted, and cannot be decided again")?;
        }
        Ok(())
    }
}
