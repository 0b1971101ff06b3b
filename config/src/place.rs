//! Where a value stands: the file, the line, and its path in the tree.
use std::sync::Arc;

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileId {
    Main,
    Policy,
}

/// A stretch of a text. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub line: u32,
    pub column: u32,
    pub chars: u32,
    pub byte: usize,
    pub bytes: usize,
}

impl Span {
    pub const START: Self = Self { line: 1, column: 1, chars: 0, byte: 0, bytes: 0 };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: FileId,
    pub line: u32,
    pub column: u32,
    pub chars: u32,
    /// `routes[3].upstream`; empty for the file itself.
    pub path: Arc<str>,
}

impl Place {
    pub fn new(file: FileId, span: Span, path: &str) -> Self {
        Self { file, line: span.line, column: span.column, chars: span.chars, path: path.into() }
    }

    /// The whole file, when nothing narrower is to blame.
    pub fn file(file: FileId) -> Self {
        Self::new(file, Span::START, "")
    }
}
