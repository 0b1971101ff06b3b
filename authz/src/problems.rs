//! Collects every mistake of a policy file, so that a person fixes them in one go.
use crate::draft::{Located, Problem};
use crate::sources::Sources;

/// Longest name of a resource, zone, tier, exception, condition, group or user.
pub(crate) const MAX_NAME: usize = 256;

pub(crate) struct Problems {
    found: Vec<Problem>,
    sources: Sources,
}

impl Problems {
    /// `sources` says of which file a line is.
    pub(crate) fn of(sources: Sources) -> Self {
        Self { found: Vec::new(), sources }
    }

    /// `line 12`, for a message that stands at `seen_from`.
    pub(crate) fn on_line(&self, line: u32, seen_from: u32) -> String {
        self.sources.on_line(line, seen_from)
    }

    pub(crate) fn add(&mut self, line: u32, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Problem { line, message: message.into(), hint: Some(hint.into()) });
    }

    /// A name that refers to nothing: `what` is `zone`, `tier`, ...
    pub(crate) fn unknown<'a>(&mut self, what: &str, name: &Located<String>, known: impl Iterator<Item = &'a str>) {
        let known: Vec<&str> = known.collect();
        let hint = match (nearest(&name.value, known.iter().copied()), known.as_slice()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("no {what} is defined yet; define it first"),
            (None, few) if few.len() <= 8 => format!("defined are {}", listed(few)),
            (None, _) => format!("define the {what} or correct the name"),
        };
        self.add(name.line, format!("unknown {what} `{}`", name.value), hint);
    }

    /// The second of two things of one name.
    pub(crate) fn duplicate(&mut self, what: &str, name: &Located<String>, first_line: u32) {
        let first = self.on_line(first_line, name.line);
        self.add(
            name.line,
            format!("{what} `{}` is already defined on {first}", name.value),
            "remove one of them or rename it",
        );
    }

    /// Whether `name` can stand in a table, a log line and a page.
    pub(crate) fn name(&mut self, what: &str, name: &Located<String>) {
        let text = &name.value;
        if text.trim().is_empty() {
            self.add(name.line, format!("a {what} has no name"), "give it a name");
        } else if text.trim() != text || text.chars().any(char::is_control) {
            self.add(
                name.line,
                format!("the name of {what} `{}` has spaces around it or control characters", text.escape_debug()),
                "remove them",
            );
        } else if text.len() > MAX_NAME {
            self.add(
                name.line,
                format!("the name of a {what} is {} bytes long", text.len()),
                format!("use at most {MAX_NAME} bytes"),
            );
        }
    }

    /// In the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.line);
        self.found
    }
}

/// `a`, `b` and `c`, in backticks.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// The known name that a typing error would turn into `name`, if there is one.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = name.to_lowercase().chars().collect();
    if typed.len() > MAX_NAME {
        return None;
    }
    // A third of the letters may be wrong: `intern` still finds `internal`, `x` finds nothing.
    let limit = (typed.len() / 3).max(1);
    known
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let starts = typed.len() >= 3 && letters.starts_with(&typed);
            (if starts { 1 } else { distance(&typed, &letters) }, candidate)
        })
        .filter(|(far, candidate)| *far <= limit && *far < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap neighbours) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_letter = None;
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(left + 1);
            let swapped = j > 0 && previous_letter == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
            left = best;
        }
        before = std::mem::replace(&mut last, row);
        previous_letter = Some(x);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_a_stranger_does_not() {
        let known = || ["internal", "external", "mfa", "hardware"].into_iter();
        for (typed, found) in [
            ("intrenal", Some("internal")),
            ("intern", Some("internal")),
            ("Hardware", Some("hardware")),
            ("mfs", Some("mfa")),
            ("hardwrae", Some("hardware")),
            ("x", None),
            ("office", None),
        ] {
            assert_eq!(nearest(typed, known()), found, "{typed}");
        }
    }
}
