//! The few drawings of the pages, inline: no request for them, and they take the colour of the text around them.
use askama::filters::HtmlSafe;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Icon {
    /// The gatehouse.
    Mark,
    Check,
    Key,
    Lock,
    Clock,
    Warning,
    Door,
    Arrow,
    Screen,
    Search,
    Place,
    Person,
}

/// Constant markup of ours: the only values besides the style sheet that templates print unescaped.
impl HtmlSafe for Icon {}

impl fmt::Display for Icon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, paths) = match self {
            Self::Mark => return f.write_str(MARK),
            Self::Check => ("i", r#"<path d="m5 12.5 4.5 4.5L19 7.5"/>"#),
            Self::Key => ("i", r#"<circle cx="8" cy="15" r="4"/><path d="m11 12 8.5-8.5M16 7l3 3"/>"#),
            Self::Lock => {
                ("i", r#"<rect x="5" y="11" width="14" height="9" rx="2"/><path d="M8 11V8a4 4 0 0 1 8 0v3"/>"#)
            }
            Self::Clock => ("i", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>"#),
            Self::Warning => ("i", r#"<path d="M12 4 3 19.5h18L12 4ZM12 10v4.5"/><circle cx="12" cy="17" r=".6"/>"#),
            Self::Door => ("i", r#"<path d="M13 4H6v16h7M10 12h10M16.5 8.5 20 12l-3.5 3.5"/>"#),
            Self::Arrow => ("i", r#"<path d="m9 6 6 6-6 6"/>"#),
            Self::Screen => {
                ("i", r#"<rect x="3" y="5" width="18" height="11.5" rx="2"/><path d="M9 20h6M12 16.5V20"/>"#)
            }
            Self::Search => ("i", r#"<circle cx="11" cy="11" r="6.5"/><path d="m16 16 4.5 4.5"/>"#),
            Self::Place => (
                "i",
                r#"<path d="M12 21s7-6 7-11.5a7 7 0 0 0-14 0C5 15 12 21 12 21Z"/><circle cx="12" cy="9.5" r="2.5"/>"#,
            ),
            Self::Person => ("i", r#"<circle cx="12" cy="8" r="4"/><path d="M4.5 20.5c1-4 4-6 7.5-6s6.5 2 7.5 6"/>"#),
        };
        write!(f, r#"<svg class="{class}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{paths}</svg>"#)
    }
}

const MARK: &str = r#"<svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false"><path d="M3 28V5h3v2.5h2V5h3v7h10V5h3v2.5h2V5h3v23h-9v-7a4 4 0 0 0-8 0v7z"/></svg>"#;

/// The mark as a data URL, so that no browser asks an application's host for `/favicon.ico`.
pub(super) const FAVICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E\
    %3Cpath fill='%23256b8f' d='M3 28V5h3v2.5h2V5h3v7h10V5h3v2.5h2V5h3v23h-9v-7a4 4 0 0 0-8 0v7z'/%3E%3C/svg%3E";
