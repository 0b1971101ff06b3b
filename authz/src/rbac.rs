//! The policy as a document for auditors (Markdown): roles, what each may open, under which conditions, who answers for
//! it, and what is an exception. Written from the table and the matrix; says nothing that they do not.
use crate::identity::Name;
use crate::matrix::Matrix;
use crate::policy::Policy;
use crate::problems::listed;
use crate::table::{Table, TableRow, line};
use crate::time::{Timestamp, short};
use std::fmt::Write as _;
use std::time::Duration;

impl Policy {
    /// As of `now`: exceptions that have expired are left out, reviews that are overdue are named.
    pub fn rbac(&self, now: Timestamp) -> String {
        let (table, matrix) = (self.table(), self.matrix(now));
        let mut out = String::new();
        let file = &table.file;
        // Writing into a String cannot fail.
        let _ = writeln!(out, "# Access concept\n");
        let _ = writeln!(out, "Generated from `{file}` at {now}. Version of the policy: `{}`.\n", table.policy);
        let _ = writeln!(
            out,
            "What is not listed is closed to everybody. A condition that cannot be judged counts against the request.\n"
        );
        tiers(&mut out, &table);
        roles(&mut out, &matrix);
        resources(&mut out, &table, now);
        exceptions(&mut out, self, now);
        out
    }
}

fn tiers(out: &mut String, table: &Table) {
    let _ = writeln!(
        out,
        "## How strongly somebody must be proven\n\nThe lowest first; a higher one serves for a lower.\n"
    );
    head(out, &["tier", "factors", "a proof lasts"]);
    for tier in &table.tiers {
        let lasts = short(Duration::from_secs(tier.max_age_seconds));
        line(out, &[tier.name.to_string(), tier.factors.clone(), lasts]);
    }
    out.push('\n');
}

fn roles(out: &mut String, matrix: &Matrix) {
    let _ = writeln!(
        out,
        "## Roles\n\nA person with several roles may open what one of them opens. Cells: what must be proven from there.\n"
    );
    for subject in &matrix.subjects {
        let _ = writeln!(out, "### {}\n", heading(&subject.subject));
        if subject.rows.is_empty() {
            let _ = writeln!(out, "Nothing is open.\n");
            continue;
        }
        let mut titles = vec!["resource".to_owned(), "sensitivity".to_owned()];
        titles.extend(matrix.zones.iter().map(|zone| format!("from {zone}")));
        titles.push("conditions".to_owned());
        head(out, &titles);
        for row in &subject.rows {
            let mut cells = vec![row.resource.to_string(), row.sensitivity.clone().unwrap_or_default()];
            cells.extend(row.cells.iter().map(|cell| match &cell.exception {
                Some(id) => format!("{} ({id})", cell.answer),
                None => cell.answer.clone(),
            }));
            cells.push(row.conditions.join("; "));
            line(out, &cells);
        }
        out.push('\n');
    }
}

fn resources(out: &mut String, table: &Table, now: Timestamp) {
    let _ = writeln!(out, "## Resources and who answers for them\n");
    head(out, &["resource", "purpose", "owner", "next review", "conditions", "stands in"]);
    for row in &table.rows {
        let file = row.file.as_ref().unwrap_or(&table.file);
        line(
            out,
            &[
                row.resource.to_string(),
                row.description.clone().unwrap_or_default(),
                row.owner.clone().unwrap_or_else(|| "nobody".to_owned()),
                review(row, now),
                row.conditions.iter().map(|c| format!("{}: {}", c.effect, c.when)).collect::<Vec<_>>().join("; "),
                format!("{file}:{}", row.line),
            ],
        );
    }
    out.push('\n');
}

fn review(row: &TableRow, now: Timestamp) -> String {
    match &row.review_by {
        None => "none".to_owned(),
        Some(due) if Timestamp::parse(due).is_some_and(|due| due <= now) => format!("OVERDUE since {due}"),
        Some(due) => due.clone(),
    }
}

fn exceptions(out: &mut String, policy: &Policy, now: Timestamp) {
    let live: Vec<_> = policy.exceptions().filter(|exception| exception.is_live(now)).collect();
    let _ = writeln!(out, "## Exceptions in force\n");
    if live.is_empty() {
        let _ = writeln!(out, "None.");
        return;
    }
    head(out, &["exception", "resource", "who", "from", "tier", "until", "owner", "reason"]);
    for exception in live {
        line(
            out,
            &[
                exception.id.to_string(),
                exception.resource.to_string(),
                listed(exception.allow.texts()).replace('`', ""),
                policy.zones.name(exception.zone).to_string(),
                exception.tier.name.to_string(),
                exception.expires.to_string(),
                exception.owner.clone(),
                exception.reason.clone(),
            ],
        );
    }
}

/// Who is meant, as a title.
fn heading(subject: &Name) -> String {
    let plain = |text: &str| text.replace(['\n', '#', '<', '>', '`'], " ");
    match subject.split_once(':') {
        Some(("group", name)) => format!("Group {}", plain(name)),
        Some(("user", name)) => format!("Person {}", plain(name)),
        Some(("service", name)) => format!("Service {}", plain(name)),
        _ if **subject == *"authenticated" => "Everybody who signs in".to_owned(),
        _ if **subject == *"anyone" => "Anyone, without signing in".to_owned(),
        _ => plain(subject),
    }
}

fn head<T: AsRef<str>>(out: &mut String, titles: &[T]) {
    line(out, &titles.iter().map(|title| title.as_ref().to_owned()).collect::<Vec<_>>());
    line(out, &vec!["---".to_owned(); titles.len()]);
}
