//! YAML text -> a tree whose every node knows where it stands. Knows no key of ours.
//!
//! The parser's events become the tree without a model between them: with 10,000 routes that is a third of a reload.
mod build;
mod scalar;

use crate::place::Span;
use granit_parser::Parser;

#[derive(Clone)]
pub(crate) struct Node {
    pub span: Span,
    pub kind: Kind,
}

impl Node {
    /// Says of all of it that it stands there: where it was named, when it was written elsewhere.
    pub fn stand_at(&mut self, span: Span) {
        self.span = span;
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.stand_at(span)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.stand_at(span);
                value.stand_at(span);
            }),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        }
    }

    /// Counts the lines of this file on from those of another one.
    pub fn count_from(&mut self, lines_before: u32) {
        self.span.line = self.span.line.saturating_add(lines_before);
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.count_from(lines_before)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.count_from(lines_before);
                value.count_from(lines_before);
            }),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        }
    }
}

#[derive(Clone)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// As it was typed, so that `client_id: 007` is not 7.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Key by key in the file's order, duplicates included; behind them what merge keys (`<<`) bring.
    Map(Vec<(Node, Node)>),
}

impl Kind {
    /// What a person calls it.
    pub fn describe(&self) -> String {
        /// Longer values are cut: the excerpt below shows them anyway.
        const SHOWN: usize = 60;
        let text = match self {
            Self::Null => return "nothing".to_owned(),
            Self::List(_) => return "a list".to_owned(),
            Self::Map(_) => return "a mapping (`key: value`)".to_owned(),
            Self::Bool(value) => return format!("`{value}`"),
            Self::Number(text) | Self::Text(text) => text,
        };
        let line = text.lines().next().unwrap_or("");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("`{}…`", line.get(..end).unwrap_or("")),
            None => format!("`{line}`"),
        }
    }
}

/// Why a text is not YAML, or more than a configuration needs of it.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub message: String,
    pub hint: &'static str,
    pub span: Span,
}

/// One document of YAML 1.2 (core schema), with aliases and merge keys, without tags but `!!str`, `!!seq` and `!!map`.
///
/// # Errors
/// 1. not YAML; 2. more than one document; 3. larger or deeper than any configuration (alias bombs); 4. other tags.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let events = Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false });
    let mut tree = build::Builder::default();
    for event in events {
        let (event, span) = event.map_err(|error| not_yaml(text, &error))?;
        tree.add(event, build::span(&span))?;
    }
    Ok(tree.finish())
}

fn not_yaml(text: &str, error: &granit_parser::ScanError) -> SyntaxError {
    let span = Span { chars: 1, ..build::position(error.marker()) };
    let message = error.info();
    match tab(text, &message, span.line) {
        Some(span) => SyntaxError { message: "a tab in the indentation".to_owned(), hint: "indent with spaces", span },
        None => SyntaxError {
            message,
            hint: "look at this line and the one before: a bracket, a quote or the indentation is not right",
            span,
        },
    }
}

/// The parser stops where it no longer understands; a tab is the usual reason and stands a line or two further on.
fn tab(text: &str, message: &str, from: u32) -> Option<Span> {
    if !message.contains("tab") {
        return None;
    }
    let lines = (1..).zip(text.lines()).skip_while(|(line, _)| *line < from);
    let indented =
        |line: &str| line.find(|c| c != ' ').filter(|at| line.get(*at..).is_some_and(|rest| rest.starts_with('\t')));
    lines.into_iter().find_map(|(line, text)| {
        let column = u32::try_from(indented(text)? + 1).ok()?;
        Some(Span { line, column, chars: 1, ..Span::START })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[(Node, Node)] {
        match &node.kind {
            Kind::Map(entries) => entries,
            _ => panic!("not a map"),
        }
    }

    #[test]
    fn every_node_knows_its_line_and_column() {
        let node = parse("a: 1\nb:\n  - { c: x, c: 007 }\n").unwrap();
        let [(a, one), (b, list)] = entries(&node) else { panic!("two keys") };
        assert_eq!((a.span.line, a.span.column, a.span.chars), (1, 1, 1));
        assert_eq!((one.span.line, one.span.column), (1, 4));
        assert_eq!(b.span.line, 2);
        let Kind::List(items) = &list.kind else { panic!("a list") };
        let [(first, _), (second, value)] = entries(&items[0]) else { panic!("two keys, both kept") };
        assert_eq!((first.span.line, first.span.column), (3, 7));
        assert_eq!((second.span.line, second.span.column), (3, 13));
        assert!(matches!(&value.kind, Kind::Number(text) if text == "007"));
    }

    #[test]
    fn norway_and_off_are_words() {
        let node = parse("{ a: NO, b: off, c: yes, d: 10.0.0.1:80, e: 2026-12-01 }").unwrap();
        assert!(entries(&node).iter().all(|(_, value)| matches!(value.kind, Kind::Text(_))));
    }

    #[test]
    fn broken_yaml_says_where() {
        let error = parse("a: [1, 2\nb: 3\n").err().unwrap();
        assert!(error.span.line >= 1 && !error.message.contains("at line"), "{}", error.message);
    }

    /// What a tree says, without places.
    fn shown(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "~".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(text) => format!("#{text}"),
            Kind::Text(text) => text.clone(),
            Kind::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Kind::Map(entries) => {
                let pair = |(key, value): &(Node, Node)| format!("{}:{}", shown(key), shown(value));
                format!("{{{}}}", entries.iter().map(pair).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn quotes_make_a_text_of_anything() {
        let node = parse("{ a: '1', b: \"true\", c: '', d: \"~\", e: !!str 5, f: , g: 5 }").unwrap();
        assert_eq!(shown(&node), "{a:1 b:true c: d:~ e:5 f:~ g:#5}");
        assert_eq!(shown(&parse("a: |\n  one\n  two\nb: >-\n  3\n").unwrap()), "{a:one\ntwo\n b:3}");
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let node = parse("a: &x { p: [1] }\nb: *x\n").unwrap();
        assert_eq!(shown(&node), "{a:{p:[#1]} b:{p:[#1]}}");
        let Some((_, Node { span, kind: Kind::Map(inner) })) = entries(&node).last() else { panic!("a mapping") };
        assert_eq!((span.line, span.column, span.chars), (2, 4, 2));
        assert_eq!(inner.first().map(|(key, _)| key.span), Some(*span));
    }

    #[test]
    fn a_merge_key_gives_what_the_mapping_does_not_say_itself() {
        let text = "a: &x { p: 1, q: 2 }\nb: &y { q: 3, r: 4 }\nc: { <<: [*x, *y], p: 5 }\nd: { <<: *y }\n";
        let node = parse(text).unwrap();
        let [.., (_, c), (_, d)] = entries(&node) else { panic!("four keys") };
        assert_eq!((shown(c).as_str(), shown(d).as_str()), ("{p:#5 q:#2 r:#4}", "{q:#3 r:#4}"));
        assert_eq!(shown(&parse("{ '<<': 3 }").unwrap()), "{<<:#3}", "in quotes it is a key like any other");
        assert!(parse("a: { <<: 3 }").err().unwrap().message.starts_with("`<<` takes"));
    }

    #[test]
    fn what_a_configuration_does_not_need_is_refused_by_name() {
        for (text, message, line) in [
            ("a: 1\nb: !env SECRET\n", "the tag `!env` means nothing here", 2),
            ("a: !!int \"5\"\n", "the tag `!!int` means nothing here", 1),
            ("a: 1\n---\nb: 2\n", "a second document begins here", 2),
            ("a: &x [*x]\n", "an alias inside of what it names", 1),
            ("a: *nobody\n", "while parsing node, found unknown anchor", 1),
            ("a:\n\tb: 1\n", "a tab in the indentation", 2),
        ] {
            let error = parse(text).err().unwrap();
            assert_eq!((error.message.as_str(), error.span.line), (message, line), "{text}");
        }
    }

    #[test]
    fn no_text_makes_a_tree_that_is_too_large_or_too_deep_to_walk_through() {
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(63)).is_ok());
        assert_eq!(parse(&nested(64)).err().unwrap().message, "more than 64 lists and mappings inside of each other");
        // Each a few deep, and all of them far more.
        let mut chain = format!("a0: &a0 {}x{}\n", "[".repeat(20), "]".repeat(20));
        for n in 1..9 {
            chain += &format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(20), n - 1, "]".repeat(20));
        }
        let error = parse(&chain).err().unwrap();
        assert_eq!(
            (error.message.as_str(), error.span.line),
            ("more than 64 lists and mappings inside of each other", 4)
        );
        // Few values, and gigabytes of text.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(5_000));
        assert_eq!(parse(&long).err().unwrap().message, "more than five million values");
    }
}
