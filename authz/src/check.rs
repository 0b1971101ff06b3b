//! From a draft to a policy: all mistakes at once, and what a checked policy can tell about itself.
use crate::draft::{Condition, Located, PolicyDraft, Problem, RowDraft};
use crate::exception::Exception;
use crate::facts::Proof;
use crate::identity::Name;
use crate::include::{ProjectDraft, merge};
use crate::intern::Interner;
use crate::policy::Policy;
use crate::problems::Problems;
use crate::row::Row;
use crate::sources::{FileLine, Sources};
use crate::tier::{Ladder, Proven, Tier};
use crate::time::Timestamp;
use crate::zone::Zones;
use std::collections::HashMap;
use std::time::Duration;

impl Policy {
    /// # Errors
    /// Every mistake of the draft, in the order of its lines: names that refer to nothing, duplicates, subjects that
    /// are none, cells and conditions that contradict each other.
    pub fn build(draft: PolicyDraft) -> Result<Self, Vec<Problem>> {
        Self::build_with(draft, Vec::new())
    }

    /// The same with project files beside the base, in ascending order of their lines.
    ///
    /// # Errors
    /// As [`Policy::build`], and whatever in a project file opens more than the base does.
    pub fn build_with(draft: PolicyDraft, projects: Vec<ProjectDraft>) -> Result<Self, Vec<Problem>> {
        let included = projects.iter().map(|project| (project.file.as_str().into(), project.lines_before));
        let sources = Sources::new(draft.file.as_str().into(), included);
        let mut problems = Problems::of(sources.clone());
        let draft = merge(draft, projects, &mut problems);
        let zones = Zones::check(&draft.zones, &mut problems);
        let ladder = Ladder::check(&draft.tiers, &mut problems);
        let mut rows: Vec<Row> = Vec::with_capacity(draft.rows.len());
        let mut by_resource: HashMap<Name, usize> = HashMap::with_capacity(draft.rows.len());
        for row_draft in &draft.rows {
            let row = Row::check(row_draft, &zones, &ladder, &mut problems);
            match by_resource.get(&row.resource).and_then(|first| rows.get(*first)) {
                Some(first) => problems.duplicate("resource", &row_draft.resource, first.line),
                None => {
                    by_resource.insert(row.resource.clone(), rows.len());
                    rows.push(row);
                }
            }
        }
        Exception::check_all(&draft.exceptions, &mut rows, &by_resource, &zones, &ladder, &mut problems);
        let problems = problems.finish();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut interner = Interner::default();
        rows.iter_mut().for_each(|row| interner.share(row));
        Ok(Self {
            named_trust_domains: trust_domains(&draft.rows),
            file: draft.file.into(),
            sources,
            version: draft.version.into(),
            zones,
            ladder,
            rows: rows.into(),
            by_resource,
        })
    }

    /// Name of the file, for explanations.
    pub fn file(&self) -> &Name {
        &self.file
    }

    /// The file and the line in it that a line of this policy stands for.
    pub fn place(&self, line: u32) -> FileLine {
        self.sources.place(line)
    }

    /// The file that a line stands in, where that is not the base.
    pub(crate) fn other_file(&self, line: u32) -> Option<Name> {
        Some(self.place(line).file).filter(|file| *file != self.file)
    }

    /// Stands in every record.
    pub fn version(&self) -> &Name {
        &self.version
    }

    pub fn row(&self, resource: &str) -> Option<&Row> {
        self.by_resource.get(resource).and_then(|index| self.rows.get(*index))
    }

    /// As the file has them.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Lowest first.
    pub fn tiers(&self) -> impl ExactSizeIterator<Item = &Tier> {
        self.ladder.iter().map(|tier| &**tier)
    }

    /// Whether these proofs satisfy a tier: one of it or of a higher one, not older than `max_age` (the tier's own if not
    /// given). An unknown tier is proven by nothing.
    pub fn is_proven(&self, proofs: &[Proof], tier: &str, max_age: Option<Duration>, now: Timestamp) -> bool {
        let Some(tier) = self.ladder.find(tier) else {
            return false;
        };
        matches!(self.ladder.proven(proofs, tier, max_age.unwrap_or(tier.max_age), now), Proven::Fresh(_))
    }

    /// `external` first.
    pub fn zones(&self) -> &[Name] {
        self.zones.names()
    }

    pub fn exceptions(&self) -> impl Iterator<Item = &Exception> {
        self.rows.iter().flat_map(|row| &row.exceptions)
    }

    /// Every trust domain that a condition names, each time it does: the configuration must define them.
    pub fn named_trust_domains(&self) -> &[Located<Name>] {
        &self.named_trust_domains
    }

    /// Every listener that a zone names: the configuration must define them.
    pub fn named_listeners(&self) -> &[Located<Name>] {
        self.zones.named_listeners()
    }
}

/// With their lines, which equal conditions of different rows do not keep.
fn trust_domains(rows: &[RowDraft]) -> Box<[Located<Name>]> {
    let mut found = Vec::new();
    for row in rows {
        let guards = row.deny.iter().chain(&row.require).map(|guard| &guard.condition);
        let mut open: Vec<&Condition> = guards.chain(row.raise.iter().map(|raise| &raise.when)).collect();
        while let Some(condition) = open.pop() {
            match condition {
                Condition::ClientCertificate(domain) => {
                    let value = domain.value.as_str().into();
                    found.push(Located { value, line: domain.line });
                }
                Condition::All(parts) | Condition::Any(parts) => open.extend(parts),
                Condition::Not(part) => open.push(part),
                _ => {}
            }
        }
    }
    found.sort_by_key(|domain| domain.line);
    found.into()
}
