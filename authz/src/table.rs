//! The policy table for people (Markdown) and programs (JSON), as `torhaus policy table` prints it.
use crate::exception::Exception;
use crate::identity::Name;
use crate::policy::Policy;
use crate::row::{Guard, Row};
use crate::time::short;
use std::fmt::Write;

/// Serialise it for JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    pub file: Name,
    pub policy: Name,
    pub zones: Vec<Name>,
    pub tiers: Vec<TableTier>,
    pub rows: Vec<TableRow>,
    pub exceptions: Vec<TableException>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableTier {
    pub name: Name,
    pub factors: String,
    pub max_age_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableRow {
    pub resource: Name,
    pub line: u32,
    /// The file of the line, where it is not the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    pub sensitivity: Option<String>,
    pub description: Option<String>,
    pub allow: Vec<Name>,
    /// One cell per zone, in the order of `Table::zones`: `deny`, `anonymous` or a tier. A missing cell is `deny`.
    pub cells: Vec<String>,
    pub conditions: Vec<TableCondition>,
    pub max_age_seconds: Option<u64>,
    pub owner: Option<String>,
    pub review_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableCondition {
    pub name: Name,
    /// `deny`, `require` or `raise to TIER`.
    pub effect: String,
    pub when: String,
    pub line: u32,
    /// The file of the line, where it is not the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableException {
    pub id: Name,
    pub line: u32,
    /// The file of the line, where it is not the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    pub resource: Name,
    pub zone: Name,
    pub tier: Name,
    pub allow: Vec<Name>,
    pub owner: String,
    pub reason: String,
    pub expires: String,
}

impl Policy {
    pub fn table(&self) -> Table {
        Table {
            file: self.file.clone(),
            policy: self.version.clone(),
            zones: self.in_reading_order(),
            tiers: self
                .tiers()
                .map(|tier| TableTier {
                    name: tier.name.clone(),
                    factors: tier.factors.clone(),
                    max_age_seconds: tier.max_age.as_secs(),
                })
                .collect(),
            rows: self.rows.iter().map(|row| self.table_row(row)).collect(),
            exceptions: self.exceptions().map(|exception| self.table_exception(exception)).collect(),
        }
    }

    /// `external` last, as tables on paper have it.
    fn in_reading_order(&self) -> Vec<Name> {
        let mut zones = self.zones.names().to_vec();
        zones.rotate_left(1);
        zones
    }

    fn table_row(&self, row: &Row) -> TableRow {
        let mut cells: Vec<String> =
            row.cells.iter().map(|cell| if cell.text().is_empty() { "deny" } else { cell.text() }.to_owned()).collect();
        cells.rotate_left(1);
        let condition = |guard: &Guard, effect: String, line: Option<u32>| TableCondition {
            name: guard.name.clone(),
            effect,
            when: guard.term.describe(),
            line: self.place(line.unwrap_or(row.line)).line,
            file: self.other_file(line.unwrap_or(row.line)),
        };
        let deny = row.deny.iter().enumerate();
        let deny = deny.map(|(n, guard)| condition(guard, "deny".to_owned(), row.deny_line(n)));
        let require = row.require.iter().enumerate();
        let require = require.map(|(n, guard)| condition(guard, "require".to_owned(), row.require_line(n)));
        let raise = row.raise.iter().enumerate().map(|(n, raise)| {
            let unless = if raise.ignore_unknown { ", not if unknown" } else { "" };
            let effect = format!("raise to {}{unless}", raise.to.name);
            condition(&raise.guard, effect, row.raise_line(n))
        });
        TableRow {
            resource: row.resource.clone(),
            line: self.place(row.line).line,
            file: self.other_file(row.line),
            sensitivity: row.sensitivity.clone(),
            description: row.description.clone(),
            allow: row.allow.texts().to_vec(),
            cells,
            conditions: deny.chain(require).chain(raise).collect(),
            max_age_seconds: row.max_age.map(|age| age.as_secs()),
            owner: row.owner.clone(),
            review_by: row.review_by.map(|due| due.to_string()),
        }
    }

    fn table_exception(&self, exception: &Exception) -> TableException {
        TableException {
            id: exception.id.clone(),
            line: self.place(exception.line).line,
            file: self.other_file(exception.line),
            resource: exception.resource.clone(),
            zone: self.zones.name(exception.zone),
            tier: exception.tier.name.clone(),
            allow: exception.allow.texts().to_vec(),
            owner: exception.owner.clone(),
            reason: exception.reason.clone(),
            expires: exception.expires.to_string(),
        }
    }
}

impl Table {
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let zones: Vec<String> = self.zones.iter().map(|zone| format!("from {zone}")).collect();
        let mut head = vec!["resource".to_owned(), "sensitivity".to_owned(), "who".to_owned()];
        head.extend(zones);
        head.push("conditions".to_owned());
        line(&mut out, &head);
        line(&mut out, &vec!["---".to_owned(); head.len()]);
        for row in &self.rows {
            let mut cells =
                vec![row.resource.to_string(), row.sensitivity.clone().unwrap_or_default(), row.allow.join(", ")];
            cells.extend(row.cells.iter().cloned());
            let mut conditions: Vec<String> =
                row.conditions.iter().map(|c| format!("{}: {} ({})", c.effect, c.name, c.when)).collect();
            if let Some(seconds) = row.max_age_seconds {
                conditions.push(format!("proof not older than {}", short(std::time::Duration::from_secs(seconds))));
            }
            cells.push(conditions.join("; "));
            line(&mut out, &cells);
        }
        out.push('\n');
        line(&mut out, &["tier", "factors", "proof lasts"].map(str::to_owned));
        line(&mut out, &["---", "---", "---"].map(str::to_owned));
        for tier in &self.tiers {
            let lasts = short(std::time::Duration::from_secs(tier.max_age_seconds));
            line(&mut out, &[tier.name.to_string(), tier.factors.clone(), lasts]);
        }
        if !self.exceptions.is_empty() {
            out.push('\n');
            line(
                &mut out,
                &["exception", "resource", "who", "from", "tier", "until", "owner", "reason"].map(str::to_owned),
            );
            line(&mut out, &vec!["---".to_owned(); 8]);
        }
        for e in &self.exceptions {
            let from =
                [e.id.to_string(), e.resource.to_string(), e.allow.join(", "), e.zone.to_string(), e.tier.to_string()];
            let until = [e.expires.clone(), e.owner.clone(), e.reason.clone()];
            line(&mut out, &from.into_iter().chain(until).collect::<Vec<_>>());
        }
        out
    }
}

pub(crate) fn line(out: &mut String, cells: &[String]) {
    for cell in cells {
        // What people typed must not break the table or become markup of its own.
        let mut text = String::with_capacity(cell.len());
        for c in cell.chars() {
            match c {
                '|' | '<' | '>' | '\\' | '`' | '[' | ']' | '*' | '_' => text.extend(['\\', c]),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        // Writing into a String cannot fail.
        let _ = write!(out, "| {text} ");
    }
    out.push_str("|\n");
}
