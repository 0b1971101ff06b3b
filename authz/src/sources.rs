//! Which file a line stands in. A policy of several files counts its lines through, as if one file followed the other;
//! this is the way back to what a person can open.
use crate::identity::Name;
use std::fmt;

/// The files of a policy, in the order in which their lines count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    base: Name,
    /// Name of the file, and the number of the line before its first one.
    included: Box<[(Name, u32)]>,
}

/// A line of a file, as people know it: `projects/hr.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    pub file: Name,
    /// From 1.
    pub line: u32,
}

impl Sources {
    /// `included`: name and the number of the line before the first one, ascending.
    pub(crate) fn new(base: Name, included: impl IntoIterator<Item = (Name, u32)>) -> Self {
        Self { base, included: included.into_iter().collect() }
    }

    pub(crate) fn place(&self, line: u32) -> FileLine {
        match self.included.iter().rfind(|(_, before)| *before < line) {
            Some((file, before)) => FileLine { file: file.clone(), line: line - before },
            None => FileLine { file: self.base.clone(), line },
        }
    }

    /// For sentences: "line 12", and of which file where it is another one than that of `seen_from`.
    pub(crate) fn on_line(&self, line: u32, seen_from: u32) -> String {
        let place = self.place(line);
        match self.place(seen_from).file == place.file {
            true => format!("line {}", place.line),
            false => format!("line {} of `{}`", place.line, place.file),
        }
    }
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
