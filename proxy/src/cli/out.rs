//! The one writer of the command line. What clients sent ends up on a terminal here: controls are shown, not obeyed.
use super::Failure;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};

pub struct Out(BufWriter<Box<dyn Write>>);

impl Out {
    pub fn stdout() -> Self {
        Self(BufWriter::new(Box::new(io::stdout())))
    }

    pub fn stderr() -> Self {
        Self(BufWriter::new(Box::new(io::stderr())))
    }

    /// Text for people, of one or more lines.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        let text = text.to_string();
        writeln!(self.0, "{}", shown(text.trim_end_matches('\n')))?;
        Ok(())
    }

    /// A value for programs.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failure::Failed(e.to_string()))?;
        writeln!(self.0, "{text}")?;
        Ok(())
    }

    /// A line that is JSON already, byte for byte.
    pub fn raw(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.0, "{line}")?;
        Ok(())
    }

    /// Text that was made for this purpose: a manual page, a script.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes)?;
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush()?;
        Ok(())
    }
}

/// A column of a table, padded to `width` characters.
pub fn column(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// Aligned columns, the last one as it is.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| column(cell, *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn shown(text: &str) -> String {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match obeyed(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_about_controls_and_does_not_obey_them() {
        assert_eq!(shown("a\u{1b}[31mb\u{9b}c\u{202e}d\n\te"), "a\\u{1b}[31mb\\u{9b}c\\u{202e}d\n\te");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "bb".into()], vec!["äöü".into(), "c".into()]];
        assert_eq!(table(&rows), "a    bb\näöü  c");
    }
}
