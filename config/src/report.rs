//! All mistakes of a configuration, as a person reads them and as a program does.
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Why a configuration was not loaded: everything, in the order of the files' lines.
#[derive(Debug, Serialize)]
pub struct Errors {
    pub errors: Vec<Mistake>,
}

/// One mistake. No field ever holds a secret: what looks like one is starred out of excerpts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub file: PathBuf,
    /// From 1; 0 when the file could not be read at all.
    pub line: u32,
    pub column: u32,
    /// Path in the file: `routes[3].upstream`.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
    pub excerpt: Option<Excerpt>,
}

/// The line, cut if it is long, and which characters of it are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    pub text: String,
    /// First marked character of `text`, from 0.
    pub start: usize,
    pub length: usize,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        match self.errors.len() {
            1 => write!(f, "1 error; nothing was loaded"),
            count => write!(f, "{count} errors; nothing was loaded"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        writeln!(f, "{}", self.message)?;
        let margin = self.line.to_string().len();
        if let Some(excerpt) = &self.excerpt {
            writeln!(f, "  {} | {}", self.line, excerpt.text)?;
            let before = " ".repeat(excerpt.start);
            writeln!(f, "  {:margin$} | {before}{}", "", "^".repeat(excerpt.length.max(1)))?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Errors {}
