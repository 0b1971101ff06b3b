//! The files of a policy: the base and the project files that it includes, each read, checked for its signature and
//! hashed. Their lines count through, the base first, so that one number names a line wherever it stands.
use crate::at::At;
use crate::check;
use crate::config::PolicyText;
use crate::decode::decode;
use crate::file;
use crate::findings::Findings;
use crate::place::{FileId, Place};
use crate::read::Read;
use crate::signature::Signer;
use crate::source::Source;
use crate::units::Mistake;
use sha2::{Digest, Sha256};
use std::path::{Component, Path, PathBuf};

pub(crate) struct PolicyFiles {
    base: Read,
    projects: Vec<Read>,
    /// Paths of the projects as the base names them.
    names: Vec<String>,
    /// The base with what its projects say; whose a line is, its number tells.
    pub tree: Option<file::policy::Policy>,
}

impl PolicyFiles {
    /// Without the main file nobody knows where the policy is; if it is where it usually is, it is checked all the same.
    pub fn read(
        base: &Path,
        tree: Option<&file::Torhaus>,
        other: Option<&Path>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let named = tree.and_then(|tree| tree.policy_file.as_ref());
        let path = match other {
            Some(other) => other.to_owned(),
            None => check::resolve(base, named.and_then(At::text).unwrap_or(check::default::POLICY_FILE)),
        };
        if tree.is_none() && !path.is_file() {
            return None;
        }
        let blamed = named.filter(|_| other.is_none()).map_or_else(|| Place::file(FileId::Main), |at| at.place.clone());
        let signer = tree.and_then(|tree| tree.policy_signed_by.as_ref()).map(|at| Signer::of(at, findings));
        let base = Read::of_policy(path, &blamed, 0, signer.as_ref(), findings);
        let policy: Option<At<file::policy::Policy>> =
            base.tree.as_ref().and_then(|node| decode(node, FileId::Policy, findings));
        let mut files = Self { base, projects: Vec::new(), names: Vec::new(), tree: policy.and_then(At::into_value) };
        files.include(signer.as_ref(), findings);
        Some(files)
    }

    fn include(&mut self, signer: Option<&Signer>, findings: &mut Findings) {
        let Some(mut policy) = self.tree.take() else { return };
        let folder = self.base.path.parent().unwrap_or(Path::new("")).to_owned();
        let mut before = self.base.lines();
        for item in &policy.include.items {
            let Some(name) = item.text() else { continue };
            if !is_below(name) {
                let mistake = Mistake::new(format!("`{name}` is not below the folder of the policy"));
                findings.error(&item.place, mistake.hint("write a relative path without `..`: `projects/hr.yaml`"));
                continue;
            }
            if self.names.iter().any(|other| other == name) {
                let mistake = Mistake::new(format!("`{name}` is included twice"));
                findings.error(&item.place, mistake.hint("remove one of them"));
                continue;
            }
            let read = Read::of_policy(folder.join(name), &item.place, before, signer, findings);
            let project: Option<At<file::policy::Project>> =
                read.tree.as_ref().and_then(|node| decode(node, FileId::Policy, findings));
            match project.and_then(At::into_value) {
                Some(project) => policy.projects.push(project),
                None => policy.table.whole = false,
            }
            before += read.lines();
            self.names.push(name.to_owned());
            self.projects.push(read);
        }
        policy.absorb_projects(findings);
        self.tree = Some(policy);
    }

    /// What the policy is called in explanations.
    pub fn name(&self) -> String {
        self.base.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// SHA-256 of the text; of several files, over the hashes of each.
    pub fn version(&self) -> String {
        if self.projects.is_empty() {
            return self.base.sha256.clone();
        }
        let mut hash = Sha256::new();
        for read in std::iter::once(&self.base).chain(&self.projects) {
            hash.update(read.sha256.as_bytes());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Name of each project file and the number of the line before its first one.
    pub fn projects(&self) -> Vec<(String, u32)> {
        self.names.iter().cloned().zip(self.projects.iter().map(|read| read.lines_before)).collect()
    }

    /// Everything that was read, signatures included.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let all = std::iter::once(&self.base).chain(&self.projects);
        all.flat_map(|read| std::iter::once(&read.path).chain(read.signature.as_ref().map(|(path, _)| path))).cloned()
    }

    /// What was read, to be kept.
    pub fn texts(&self) -> Vec<PolicyText> {
        let names = std::iter::once(self.name()).chain(self.names.iter().cloned());
        let reads = std::iter::once(&self.base).chain(&self.projects);
        let text = |(name, read): (String, &Read)| PolicyText {
            path: read.path.clone(),
            name,
            text: read.text().to_owned(),
            signature: read.signature.as_ref().map(|(_, text)| text.clone()),
        };
        names.zip(reads).map(text).collect()
    }

    /// The file of a line, and the line in it.
    pub fn place(&self, line: u32) -> (PathBuf, u32) {
        let read = self.projects.iter().rfind(|read| read.lines_before < line).unwrap_or(&self.base);
        (read.path.clone(), line - read.lines_before)
    }

    pub fn into_sources(self) -> Vec<Source> {
        std::iter::once(self.base).chain(self.projects).map(Read::into_source).collect()
    }
}

/// Projects stand beside the base or below it: what is kept of a policy is a folder of its own.
fn is_below(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}
