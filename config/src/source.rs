//! The text of a file and the pieces of it that are shown.
use crate::findings::Finding;
use crate::mask;
use crate::place::Place;
use crate::report::{Excerpt, Mistake};
use crate::yaml::Node;
use std::path::PathBuf;

pub(crate) struct Source {
    pub path: PathBuf,
    /// Without secrets; empty when the file could not be read.
    lines: Vec<String>,
    /// The number of the line before the first one, in the count that places use.
    lines_before: u32,
}

/// Characters of a line that are shown. A row of the table may be longer than a terminal is wide.
const WIDTH: usize = 160;

impl Source {
    pub fn new(path: PathBuf, text: &str, tree: Option<&Node>, lines_before: u32) -> Self {
        let shown = mask::text(text, tree);
        let lines = shown.lines().map(|line| line.replace('\t', " ").trim_end().to_owned()).collect();
        Self { path, lines, lines_before }
    }

    /// Whether a line, as places count them, can be one of this file or of a later one.
    pub fn begins_before(&self, line: u32) -> bool {
        self.lines_before < line
    }

    pub fn mistake(&self, finding: Finding) -> Mistake {
        let Finding { mut place, message, hint } = finding;
        place.line = place.line.saturating_sub(self.lines_before);
        let (line, column) = (place.line, place.column);
        let excerpt = self.excerpt(&place, &message);
        Mistake {
            file: self.path.clone(),
            line: if self.lines.is_empty() { 0 } else { line },
            column: column.max(1),
            path: place.path.to_string(),
            message,
            hint,
            excerpt,
        }
    }

    fn excerpt(&self, place: &Place, message: &str) -> Option<Excerpt> {
        let line = self.lines.get(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
        let chars: Vec<char> = line.chars().collect();
        if chars.is_empty() {
            return None;
        }
        let (start, length) = match place.column {
            0 => named(line, message),
            column => (usize::try_from(column).ok()? - 1, usize::try_from(place.chars).ok()?),
        };
        let start = start.min(chars.len());
        let length = length.min(chars.len() - start).max(1);
        // A long line is cut left and right of what is meant.
        let from = if chars.len() > WIDTH { start.saturating_sub(WIDTH / 2) } else { 0 };
        let to = chars.len().min(from + WIDTH);
        let mut text: String = chars.get(from..to)?.iter().collect();
        let mut start = start - from;
        if from > 0 {
            text = format!("…{text}");
            start += 1;
        }
        if to < chars.len() {
            text.push('…');
        }
        Some(Excerpt { text, start, length })
    }
}

/// Where the first thing in backticks of the message stands in the line, else the whole line.
fn named(line: &str, message: &str) -> (usize, usize) {
    let chars_before = |byte: usize| line.get(..byte).unwrap_or("").chars().count();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    for name in message.split('`').skip(1).step_by(2).filter(|name| !name.is_empty()) {
        let whole_word = line.match_indices(name).find(|(byte, _)| {
            let before = line.get(..*byte).and_then(|text| text.chars().next_back());
            let after = line.get(byte + name.len()..).and_then(|text| text.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        });
        if let Some((byte, name)) = whole_word {
            return (chars_before(byte), name.chars().count());
        }
    }
    let content = line.trim_start();
    (chars_before(line.len() - content.len()), content.chars().count())
}
