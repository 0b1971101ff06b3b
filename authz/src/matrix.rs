//! Who can open what from where, read off the policy alone: for reviews and auditors. `torhaus policy matrix` prints it.
use crate::exception::Exception;
use crate::identity::Name;
use crate::policy::Policy;
use crate::row::{Cell, Row};
use crate::table::line;
use crate::time::Timestamp;
use crate::zone::ZoneId;

/// Serialise it for JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Matrix {
    pub file: Name,
    pub policy: Name,
    /// `external` last, as tables on paper have it.
    pub zones: Vec<Name>,
    /// Everybody whom the policy names, once each: `group:hr`, `user:carol`, `service:…`, `authenticated`, `anyone`.
    pub subjects: Vec<MatrixSubject>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MatrixSubject {
    pub subject: Name,
    /// What they can open from anywhere; a row that stays closed to them is left out.
    pub rows: Vec<MatrixRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MatrixRow {
    pub resource: Name,
    pub line: u32,
    /// The file of the line, where it is not the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    pub sensitivity: Option<String>,
    /// One for each of `Matrix::zones`.
    pub cells: Vec<MatrixCell>,
    /// What must hold besides, or asks for more: names of conditions.
    pub conditions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MatrixCell {
    /// `deny`, `anonymous` or a tier.
    pub answer: String,
    /// The exception by which it is open, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Policy {
    /// Exceptions count as far as they are live at `now`.
    pub fn matrix(&self, now: Timestamp) -> Matrix {
        let mut zones = self.zones().to_vec();
        zones.rotate_left(1);
        let subjects = self.named_subjects().into_iter().map(|subject| {
            let rows = self.rows().iter().filter_map(|row| self.matrix_row(row, &subject, now)).collect();
            MatrixSubject { subject, rows }
        });
        Matrix { file: self.file().clone(), policy: self.version().clone(), zones, subjects: subjects.collect() }
    }

    /// In the order in which the file names them first.
    fn named_subjects(&self) -> Vec<Name> {
        let mut found: Vec<Name> = Vec::new();
        let of_rows = self.rows().iter().flat_map(|row| row.allow.texts());
        for name in of_rows.chain(self.exceptions().flat_map(|exception| exception.allow.texts())) {
            if !found.contains(name) {
                found.push(name.clone());
            }
        }
        found
    }

    fn matrix_row(&self, row: &Row, subject: &Name, now: Timestamp) -> Option<MatrixRow> {
        let cell = |index: usize| {
            let zone = ZoneId::of_index(index)?;
            Some(matrix_cell(row, zone, subject, now))
        };
        let mut cells: Vec<MatrixCell> = (0..self.zones().len()).filter_map(cell).collect();
        cells.rotate_left(1);
        if cells.iter().all(|cell| cell.answer == "deny") {
            return None;
        }
        let conditions = [("deny", &row.deny), ("require", &row.require)].into_iter();
        let conditions =
            conditions.flat_map(|(effect, guards)| guards.iter().map(move |guard| format!("{effect} {}", guard.name)));
        let raises = row.raise.iter().map(|raise| format!("{} to {}", raise.guard.name, raise.to.name));
        Some(MatrixRow {
            resource: row.resource.clone(),
            line: self.place(row.line).line,
            file: self.other_file(row.line),
            sensitivity: row.sensitivity.clone(),
            cells,
            conditions: conditions.chain(raises).collect(),
        })
    }
}

/// As `decide` grants it: an exception that fits replaces the cell, of several the lowest tier counts.
fn matrix_cell(row: &Row, zone: ZoneId, subject: &Name, now: Timestamp) -> MatrixCell {
    let cell = row.cell(zone);
    let fits = |exception: &&Exception| {
        exception.zone == zone && exception.is_live(now) && includes(exception.allow.texts(), subject)
    };
    if *cell != Cell::Anonymous
        && let Some(exception) = row.exceptions.iter().find(fits)
    {
        return MatrixCell {
            answer: exception.tier.name.to_string(),
            exception: Some(exception.id.clone()),
            until: Some(exception.expires.to_string()),
        };
    }
    let open = match cell {
        Cell::Missing | Cell::Deny => false,
        Cell::Anonymous => true,
        Cell::Tier(_) => includes(row.allow.texts(), subject),
    };
    let answer = if open { cell.text() } else { "deny" };
    MatrixCell { answer: answer.to_owned(), exception: None, until: None }
}

/// Whoever is named is also somebody who signed in; `anyone` need not be.
fn includes(allow: &[Name], subject: &Name) -> bool {
    allow.contains(subject) || (**subject != *"anyone" && allow.iter().any(|own| **own == *"authenticated"))
}

impl Matrix {
    pub fn to_markdown(&self) -> String {
        let mut out = String::new();
        let mut head = vec!["who".to_owned(), "resource".to_owned(), "sensitivity".to_owned()];
        head.extend(self.zones.iter().map(|zone| format!("from {zone}")));
        head.push("conditions".to_owned());
        line(&mut out, &head);
        line(&mut out, &vec!["---".to_owned(); head.len()]);
        for subject in &self.subjects {
            for row in &subject.rows {
                let sensitivity = row.sensitivity.clone().unwrap_or_default();
                let mut cells = vec![subject.subject.to_string(), row.resource.to_string(), sensitivity];
                cells.extend(row.cells.iter().map(MatrixCell::text));
                cells.push(row.conditions.join("; "));
                line(&mut out, &cells);
            }
        }
        let nothing = self.subjects.iter().filter(|subject| subject.rows.is_empty());
        let nothing: Vec<&Name> = nothing.map(|subject| &subject.subject).collect();
        if !nothing.is_empty() {
            out.push_str("\nNamed, but nothing is open to them: ");
            out.push_str(&crate::problems::listed(&nothing));
            out.push_str(".\n");
        }
        out.push_str(
            "\nA person is in several groups: what one of them opens is open. What is not listed is closed to everybody.\n",
        );
        out
    }
}

impl MatrixCell {
    fn text(&self) -> String {
        match (&self.exception, &self.until) {
            (Some(id), Some(until)) => format!("{} ({id} until {until})", self.answer),
            _ => self.answer.clone(),
        }
    }
}
