//! What of a policy deserves a look: reviews that are due, rows and exceptions that nobody uses, rows without an owner.
//! Reads the policy and what the audit log says of its use; changes nothing.
use crate::identity::Name;
use crate::policy::Policy;
use crate::record::{Entry, Kind};
use crate::time::{Timestamp, short};
use crate::warnings::EXPIRES_SOON;
use crate::{FileLine, VerdictKind};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// When rows and exceptions let somebody in last, out of the audit log.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Of the first record: what came before, nobody knows.
    begins: Option<Timestamp>,
    rows: HashMap<Name, Timestamp>,
    exceptions: HashMap<Name, Timestamp>,
}

/// In the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Review {
    pub file: Name,
    pub policy: Name,
    /// The log begins here; it says nothing of the time before.
    pub log_begins: Option<String>,
    /// What has not been used for this long counts as unused.
    pub unused_after_days: u64,
    pub findings: Vec<ReviewFinding>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReviewFinding {
    /// `review_overdue`, `review_due`, `no_owner`, `row_unused`, `exception_unused`, `exception_expired`,
    /// `exception_expires`.
    pub what: &'static str,
    pub file: Name,
    pub line: u32,
    /// Resource, or identifier of the exception.
    pub name: Name,
    pub owner: Option<String>,
    pub text: String,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Usage {
    /// One line of the log.
    pub fn add(&mut self, entry: &Entry) {
        self.begins.get_or_insert(entry.time);
        let decided = entry.kind == Kind::Decision;
        if !decided || entry.verdict != Some(VerdictKind::Allow) {
            return;
        }
        let newest = |seen: &mut HashMap<Name, Timestamp>, name: &Option<Name>| {
            let Some(name) = name else { return };
            match seen.get_mut(name) {
                Some(last) => *last = (*last).max(entry.time),
                None => drop(seen.insert(name.clone(), entry.time)),
            }
        };
        newest(&mut self.rows, &entry.resource);
        newest(&mut self.exceptions, &entry.exception);
    }
}

impl Policy {
    /// `unused_after`: how long nobody must have used something for it to be named.
    pub fn review(&self, usage: &Usage, unused_after: Duration, now: Timestamp) -> Review {
        let mut findings = Vec::new();
        let since = now.minus(unused_after);
        let mut found = |what, line, name: &Name, owner: Option<&str>, text: String| {
            let FileLine { file, line } = self.place(line);
            findings.push(ReviewFinding {
                what,
                file,
                line,
                name: name.clone(),
                owner: owner.map(str::to_owned),
                text,
            });
        };
        for row in self.rows() {
            let (name, owner) = (&row.resource, row.owner.as_deref());
            if owner.is_none() {
                found("no_owner", row.line, name, None, "nobody answers for it: add `owner`".to_owned());
            }
            match row.review_by {
                Some(due) if due <= now => {
                    let late = short(now.since(due).max(DAY));
                    found("review_overdue", row.line, name, owner, format!("was to be reviewed by {due}, {late} ago"));
                }
                Some(due) if due.since(now) <= EXPIRES_SOON => {
                    found("review_due", row.line, name, owner, format!("is to be reviewed by {due}"));
                }
                _ => {}
            }
            if let Some(text) = usage.unused(usage.rows.get(name), since) {
                found("row_unused", row.line, name, owner, text);
            }
        }
        for exception in self.exceptions() {
            let (id, owner, expires) = (&exception.id, Some(exception.owner.as_str()), exception.expires);
            if !exception.is_live(now) {
                found("exception_expired", exception.line, id, owner, format!("expired at {expires}: remove it"));
                continue;
            }
            if expires.since(now) <= EXPIRES_SOON {
                found("exception_expires", exception.line, id, owner, format!("expires at {expires}"));
            }
            if let Some(text) = usage.unused(usage.exceptions.get(id), since) {
                found("exception_unused", exception.line, id, owner, text);
            }
        }
        Review {
            file: self.file().clone(),
            policy: self.version().clone(),
            log_begins: usage.begins.map(|begins| begins.to_string()),
            unused_after_days: unused_after.as_secs() / DAY.as_secs(),
            findings,
        }
    }
}

impl Usage {
    /// Why something counts as unused. A log that does not reach back so far says nothing against what it does not hold.
    fn unused(&self, last: Option<&Timestamp>, since: Timestamp) -> Option<String> {
        match (last, self.begins) {
            (Some(last), _) if *last < since => Some(format!("let nobody in since {last}")),
            (None, Some(begins)) if begins <= since => Some(format!("let nobody in since the log begins ({begins})")),
            _ => None,
        }
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let owner = finding.owner.as_deref().map(|owner| format!(" (owner {owner})")).unwrap_or_default();
            let ReviewFinding { what, file, line, name, text, .. } = finding;
            writeln!(f, "{file}:{line}: {what}: `{name}`{owner}: {text}")?;
        }
        match (self.findings.len(), &self.log_begins) {
            (0, _) => writeln!(f, "{}: nothing needs a look", self.file)?,
            (count, _) => writeln!(f, "{}: {count} to look at", self.file)?,
        }
        match &self.log_begins {
            None => writeln!(f, "there are no records: nothing is known of what is used"),
            Some(begins) => writeln!(
                f,
                "the log begins at {begins}; unused is what let nobody in for {} days",
                self.unused_after_days
            ),
        }
    }
}
