//! What is valid but should not stay: shown by `check`, in logs and metrics.
use crate::draft::Problem;
use crate::exception::Exception;
use crate::policy::Policy;
use crate::row::{Cell, Row};
use crate::time::{Timestamp, short};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// An exception that ends this soon is announced.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);
/// An exception may not be given for longer, unless the policy says so.
pub const LONGEST_EXCEPTION: Duration = Duration::from_secs(90 * 86_400);
/// A proof that ages faster than people sign in sends them round in circles.
const SHORT_MAX_AGE: Duration = Duration::from_secs(60);

impl Policy {
    /// In the order of the file.
    pub fn warnings(&self, now: Timestamp) -> Vec<Problem> {
        let mut found: Vec<Problem> = self.reminders(now);
        let mut warn = |line: u32, message: String, hint: &str| {
            found.push(Problem { line, message, hint: Some(hint.to_owned()) });
        };
        for zone in self.zones.empty() {
            let message = format!("zone `{}` has no networks and no listeners, so nobody is ever in it", zone.value);
            warn(zone.line, message, "name its networks or listeners, or remove it");
        }
        for network in self.zones.boundless() {
            let message = format!("network `{}` is the whole internet", network.value);
            warn(network.line, message, "name the networks that are meant; everything else is `external` by itself");
        }
        for row in &self.rows {
            warn_row(row, &mut warn);
        }
        found.sort_by_key(|problem| problem.line);
        found
    }

    /// Of the warnings, those that come with time: reviews that are due, exceptions that end.
    pub fn reminders(&self, now: Timestamp) -> Vec<Problem> {
        let mut found: Vec<Problem> = Vec::new();
        let mut warn = |line: u32, message: String, hint: &str| {
            found.push(Problem { line, message, hint: Some(hint.to_owned()) });
        };
        for row in &self.rows {
            warn_review(row, now, &mut warn);
        }
        for exception in self.exceptions() {
            warn_exception(exception, now, &mut warn);
        }
        found.sort_by_key(|problem| problem.line);
        found
    }

    /// Exceptions that live on for longer than `longest` from `now`: what stays belongs into the table.
    pub fn overlong_exceptions(&self, now: Timestamp, longest: Duration) -> Vec<Problem> {
        let overlong = self.exceptions().filter(|exception| exception.expires.since(now) > longest);
        let problem = |exception: &Exception| Problem {
            line: exception.line,
            message: format!(
                "exception `{}` of {} ends at {}, more than {} from now",
                exception.id,
                exception.owner,
                exception.expires,
                short(longest)
            ),
            hint: Some(format!(
                "let it end by {}; what stays belongs into the table, and `longest_exception` is the limit",
                now.plus(longest)
            )),
        };
        let mut found: Vec<Problem> = overlong.map(problem).collect();
        found.sort_by_key(|problem| problem.line);
        found
    }
}

fn warn_review(row: &Row, now: Timestamp, warn: &mut impl FnMut(u32, String, &str)) {
    if let Some(due) = row.review_by
        && due <= now
    {
        let owner = row.owner.as_deref().unwrap_or("nobody");
        let message = format!("row `{}` was to be reviewed by {due}; its owner is {owner}", row.resource);
        warn(row.line, message, "review it and move `review_by`");
    }
}

fn warn_row(row: &Row, warn: &mut impl FnMut(u32, String, &str)) {
    let resource = &row.resource;
    if row.cells.iter().all(Cell::is_closed) && row.exceptions.is_empty() {
        let message = format!("row `{resource}` is closed from every zone");
        warn(row.line, message, "open a cell, or remove the row: what has no row is closed as well");
    } else if row.allow.texts().is_empty() && row.exceptions.is_empty() {
        warn(row.line, format!("row `{resource}` allows nobody"), "name people, groups or services in `allow`");
    }
    if row.max_age.is_some_and(|age| age < SHORT_MAX_AGE) {
        let message = format!("row `{resource}` has a `max_age` under a minute, which people can hardly meet");
        warn(row.line, message, "allow at least a few minutes");
    }
    let lowest = row.cells.iter().filter_map(Cell::tier).chain(row.exceptions.iter().map(|e| &e.tier));
    let Some(lowest) = lowest.min_by_key(|tier| tier.rank) else {
        return;
    };
    let raises = row.raise.iter().enumerate();
    for (index, raise) in raises.filter(|(_, raise)| raise.to.rank <= lowest.rank) {
        let message = format!(
            "condition `{}` raises to `{}`, which every cell of row `{resource}` asks for anyway",
            raise.guard.name, raise.to.name
        );
        let line = row.raise_line(index).unwrap_or(row.line);
        warn(line, message, "raise to a higher tier, or remove it");
    }
}

fn warn_exception(exception: &Exception, now: Timestamp, warn: &mut impl FnMut(u32, String, &str)) {
    let (id, owner, expires) = (&exception.id, &exception.owner, exception.expires);
    let left = expires.since(now);
    if !exception.is_live(now) {
        let message = format!("exception `{id}` of {owner} expired at {expires} and does nothing");
        warn(exception.line, message, "remove it");
    } else if left <= EXPIRES_SOON {
        let message = format!("exception `{id}` of {owner} expires in {} ({expires})", short(left.max(DAY / 24)));
        warn(exception.line, message, "change the row, or decide on a new exception before then");
    }
}
