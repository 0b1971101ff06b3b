//! A decision in words, rendered from its own trace. Never decides anything.
use crate::condition::Holds;
use crate::decision::{Decision, Verdict, VerdictKind};
use crate::facts::{Fact, Facts};
use crate::identity::{Identity, Name};
use crate::policy::Policy;
use crate::reason::{Language, Reason};
use crate::row::{Guard, Row};
use crate::tier::Proven;
use crate::time::short;
use crate::trace::Step;
use crate::zone::Because;
use std::fmt;

/// For people by `Display`, for programs by `Serialize`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    pub verdict: VerdictKind,
    pub reason: Reason,
    /// One line: "refused: row `samba-hr` (policy.yaml:34) is closed from zone `external`; you came from 203.0.113.5".
    pub summary: String,
    /// What the person can do about it.
    pub what_to_do: &'static str,
    pub resource: String,
    pub file: Name,
    pub line: Option<u32>,
    pub zone: Name,
    pub tier: Option<Name>,
    pub condition: Option<Name>,
    pub exception: Option<Name>,
    pub policy: Name,
    pub steps: Vec<ExplainedStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ExplainedStep {
    /// The step of the documented order, 1 to 7; 0 is the place.
    pub step: u8,
    pub answer: Answer,
    pub text: String,
    /// Line of the policy file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The file of the line, where it is another one than that of the explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Yes,
    No,
    Unknown,
    /// Asked again when somebody has signed in.
    Pending,
}

/// `facts` and `policy` must be those that `decision` was made from.
pub fn explain(policy: &Policy, facts: &Facts<'_>, decision: &Decision) -> Explanation {
    let row = policy.row(facts.resource);
    let writer = Writer { policy, facts, decision, row };
    let place = decision.row.as_ref().map(|row| policy.place(row.line));
    let file = place.as_ref().map_or_else(|| policy.file.clone(), |place| place.file.clone());
    Explanation {
        verdict: decision.verdict.kind(),
        reason: decision.reason,
        summary: printable(&writer.summary()),
        what_to_do: decision.reason.words(Language::English).what_to_do,
        resource: printable(facts.resource),
        line: place.as_ref().map(|place| place.line),
        file: file.clone(),
        zone: decision.zone.clone(),
        tier: decision.tier.clone(),
        condition: decision.condition.clone(),
        exception: decision.exception.clone(),
        policy: decision.policy.clone(),
        steps: decision
            .trace
            .steps()
            .map(|step| writer.step(step))
            .map(|step| {
                let place = step.line.map(|line| policy.place(line));
                ExplainedStep {
                    text: printable(&step.text),
                    line: place.as_ref().map(|place| place.line),
                    file: place.map(|place| place.file).filter(|own| *own != file),
                    ..step
                }
            })
            .collect(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        for step in &self.steps {
            write!(f, "  {}. {:<8} {}", step.step, step.answer.as_str(), step.text)?;
            match step.line {
                Some(line) => writeln!(f, " ({}:{line})", step.file.as_ref().unwrap_or(&self.file))?,
                None => writeln!(f)?,
            }
        }
        if self.verdict == VerdictKind::Allow {
            return Ok(());
        }
        writeln!(f, "what to do: {}", self.what_to_do)
    }
}

impl Answer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Pending => "pending",
        }
    }
}

impl From<Holds> for Answer {
    fn from(holds: Holds) -> Self {
        match holds {
            Holds::Yes => Self::Yes,
            Holds::No => Self::No,
            Holds::Unknown(_) => Self::Unknown,
            Holds::Pending => Self::Pending,
        }
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

struct Writer<'a> {
    policy: &'a Policy,
    facts: &'a Facts<'a>,
    decision: &'a Decision,
    row: Option<&'a Row>,
}

impl Writer<'_> {
    fn summary(&self) -> String {
        let (zone, place, who) = (&self.decision.zone, self.place(), self.who());
        let row = match &self.decision.row {
            Some(row) => format!("row `{}` ({})", row.resource, self.policy.place(row.line)),
            None => format!("resource `{}`", self.facts.resource),
        };
        let by = match &self.decision.exception {
            Some(id) => format!(" by exception `{id}`"),
            None => String::new(),
        };
        match &self.decision.verdict {
            Verdict::Allow(_) => return format!("allowed{by}: {row} lets {who} in from zone `{zone}`; {place}"),
            Verdict::Login { tier } => {
                return format!("sign-in needed: {row} asks for `{tier}` from zone `{zone}`; {place}");
            }
            Verdict::StepUp { tier, max_age } => {
                let age = short(*max_age);
                return format!(
                    "step-up needed: {row} asks {who}{by} for `{tier}`, not older than {age}; {}",
                    self.proof()
                );
            }
            Verdict::Deny => {}
        }
        let condition = self.decision.condition.as_deref().unwrap_or("?");
        match self.decision.reason {
            Reason::NoRule => format!("refused: no row names {row} ({})", self.policy.file),
            Reason::ZoneDenied => format!("refused: {row} is closed from zone `{zone}`; {place}"),
            Reason::NotAllowed => format!("refused: {row} does not allow {who}; it allows {}", self.allowed()),
            Reason::GroupsUnknown => {
                format!(
                    "refused: {row} allows {}, and the groups of {who} are unknown: {}",
                    self.allowed(),
                    self.groups()
                )
            }
            Reason::ConditionDenied => format!("refused: {row} denies while `{condition}` holds or is unknown"),
            Reason::RequirementMissing => format!("refused: {row} requires `{condition}`"),
            Reason::ServiceTierMissing => {
                let tier = self.decision.tier.as_deref().unwrap_or("?");
                format!("refused: {row} asks for `{tier}`, {who} cannot step up; {}", self.proof())
            }
            other => format!("refused: {row}: {other}"),
        }
    }

    fn step(&self, step: Step) -> ExplainedStep {
        let done = |step: u8, answer: Answer, text: String, line: Option<u32>| ExplainedStep {
            step,
            answer,
            text,
            line,
            file: None,
        };
        let resource = self.facts.resource;
        match step {
            Step::Place { zone, because } => {
                let zone = self.policy.zones.name(zone);
                let answer = if because == Because::AddressUnknown { Answer::Unknown } else { Answer::Yes };
                done(0, answer, format!("zone `{zone}`: {}", self.because(because)), None)
            }
            Step::Row(found) => {
                let line = self.decision.row.as_ref().map(|row| row.line);
                done(1, found.is_some().into(), format!("a row for `{resource}`"), line)
            }
            Step::Cell { open } => {
                let text = self.row.map_or("", |row| row.cell_named(&self.decision.zone, self.policy));
                let cell =
                    if text.is_empty() { "there is no cell".to_owned() } else { format!("the cell is `{text}`") };
                done(1, open.into(), format!("open from zone `{}`: {cell}", self.decision.zone), None)
            }
            Step::LiveExceptions(count) => {
                let of = self.row.map_or(0, |row| row.exceptions.len());
                done(1, (count > 0).into(), format!("a live exception for this zone: {count} of {of}"), None)
            }
            Step::Anonymous => done(2, Answer::Yes, "open to anyone".to_owned(), None),
            Step::Identified(yes) => done(3, yes.into(), format!("identified: {}", self.who()), None),
            Step::Exception { index, member } => {
                let exception = self.row.and_then(|row| row.exceptions.get(index));
                let text = exception.map_or_else(String::new, |exception| {
                    let allows = crate::problems::listed(exception.allow.texts());
                    format!("exception `{}` of {} for {allows}{}", exception.id, exception.owner, self.why(member))
                });
                done(4, member.into(), text, exception.map(|exception| exception.line))
            }
            Step::Allow(member) => {
                done(4, member.into(), format!("{} is in {}{}", self.who(), self.allowed(), self.why(member)), None)
            }
            Step::Deny { index, holds } => {
                let guard = self.row.and_then(|row| Some((row.deny.get(index)?, row.deny_line(index))));
                self.guard(5, "deny", guard, holds)
            }
            Step::Require { index, holds } => {
                let guard = self.row.and_then(|row| Some((row.require.get(index)?, row.require_line(index))));
                self.guard(5, "require", guard, holds)
            }
            Step::Raise { index, holds } => {
                let raise = self.row.and_then(|row| row.raise.get(index));
                let step = if self.facts.identity == Identity::Anonymous { 3 } else { 6 };
                let to = raise.map_or_else(String::new, |raise| format!("raise to `{}`", raise.to.name));
                let line = self.row.and_then(|row| row.raise_line(index));
                let guard = raise.map(|raise| (&raise.guard, line));
                let mut explained = self.guard(step, &to, guard, holds);
                if raise.is_some_and(|raise| raise.ignore_unknown) && matches!(holds, Holds::Unknown(_)) {
                    explained.text.push_str("; ignored by `on_unknown: ignore`");
                }
                explained
            }
            Step::Proof { rank, max_age, proven } => {
                let tier = self.policy.ladder.at(rank).map_or("?", |tier| &tier.name);
                let found = match proven {
                    Proven::Fresh(age) | Proven::Stale(age) => format!("proven {} ago", short(age)),
                    Proven::Missing => "never proven".to_owned(),
                };
                let fresh = matches!(proven, Proven::Fresh(_));
                done(6, fresh.into(), format!("`{tier}` proven within {}: {found}", short(max_age)), None)
            }
        }
    }

    fn guard(&self, step: u8, kind: &str, guard: Option<(&Guard, Option<u32>)>, holds: Holds) -> ExplainedStep {
        let text = guard.map_or_else(String::new, |(guard, _)| {
            format!("{kind} `{}`: {}{}", guard.name, guard.term.describe(), self.why(holds))
        });
        ExplainedStep { step, answer: holds.into(), text, line: guard.and_then(|(_, line)| line), file: None }
    }

    fn why(&self, holds: Holds) -> String {
        match holds {
            Holds::Unknown(why) => format!("; unknown: {}", why.describe()),
            Holds::Pending => "; asked again after sign-in".to_owned(),
            Holds::Yes | Holds::No => String::new(),
        }
    }

    fn who(&self) -> String {
        match &self.facts.identity {
            Identity::Anonymous => "nobody".to_owned(),
            Identity::User(user) => format!("user `{}` ({})", user.name, user.provider),
            Identity::Service(service) => format!("service `{}`", service.id),
        }
    }

    fn allowed(&self) -> String {
        match self.row.map(|row| row.allow.texts()) {
            None | Some([]) => "nobody".to_owned(),
            Some(texts) => crate::problems::listed(texts),
        }
    }

    fn groups(&self) -> &'static str {
        match &self.facts.groups {
            Fact::Known(_) => "known",
            Fact::Unknown(why) => why.describe(),
        }
    }

    /// "you came from 203.0.113.5 (FR)".
    fn place(&self) -> String {
        match (&self.facts.address, &self.facts.country) {
            (Fact::Unknown(_), _) => "where you came from is unknown".to_owned(),
            (Fact::Known(address), Fact::Known(country)) => format!("you came from {address} ({country})"),
            (Fact::Known(address), Fact::Unknown(_)) => format!("you came from {address}"),
        }
    }

    fn because(&self, because: Because) -> String {
        let address = self.facts.address.known().map_or_else(|| "?".to_owned(), ToString::to_string);
        match because {
            Because::Federated => "identities of federated providers are external wherever they sit".to_owned(),
            Because::AddressUnknown => match self.facts.address {
                Fact::Unknown(why) => format!("the address is unknown: {}", why.describe()),
                Fact::Known(_) => "the address is unknown".to_owned(),
            },
            Because::Listener => format!("it came in by listener `{}`", self.facts.listener),
            Because::Network => format!("{address} is in one of its networks"),
            Because::CarrierNat => {
                format!("{address} is in 100.64.0.0/10, which only counts at a listener that a zone names")
            }
            Because::NoNetwork => format!("{address} is in no network of a zone"),
        }
    }

    fn proof(&self) -> String {
        let proofs: Vec<String> = self
            .facts
            .proofs
            .iter()
            .map(|proof| format!("`{}` {} ago", proof.tier, short(self.facts.now.since(proof.proven_at))))
            .collect();
        if proofs.is_empty() { "nothing is proven".to_owned() } else { format!("proven: {}", proofs.join(", ")) }
    }
}

/// Names come from clients and providers: a terminal must not obey them.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if crate::chain::is_unsafe(c) || c.is_control() { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}
