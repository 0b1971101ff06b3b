//! A form was sent after the session had ended. Its fields stay in the browser; nothing is sent again by itself.
use super::icon::Icon;
use super::link::Link;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use askama::Template;
use std::fmt;
use torhaus_authz::Language;

#[derive(Clone, Debug)]
pub struct SessionEnded {
    /// The application's name.
    pub application: Option<String>,
    /// Where to sign in; opened in a new tab, so that this page stays.
    pub sign_in: Link,
    pub kept: Kept,
}

/// What could be kept of the request.
#[derive(Clone)]
pub enum Kept {
    Form {
        /// Path and query of the request, on the host of this page. Any other address keeps nothing.
        action: Link,
        encoding: Encoding,
        /// In their order; names may repeat.
        fields: Vec<(String, String)>,
        /// Names of the fields that held a file: they cannot be kept and are asked for again.
        files: Vec<String>,
        /// Origins that the application redirects to after the form, if any are known.
        form_targets: Vec<String>,
    },
    /// Not a form, or too large: the page says so.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    UrlEncoded,
    Multipart,
    PlainText,
}

/// Fields may be passwords: never in Debug.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form { fields, .. } => write!(f, "Form({} fields)", fields.len()),
            Self::Nothing => f.write_str("Nothing"),
        }
    }
}

impl SessionEnded {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Outside);
        let shell = Shell { title: shell.words.rescue.title, ..shell };
        let (form, targets) = match &self.kept {
            Kept::Form { action, encoding, fields, files, form_targets } if action.is_local_path() => {
                (Some(Form { action, encoding: encoding.as_str(), fields, files }), Forms::Own(form_targets))
            }
            Kept::Form { .. } | Kept::Nothing => (None, Forms::None),
        };
        let template = RescueHtml { shell, page: self, form, icon: Icon::Clock };
        // RFC 9110 s15.5.2 wants a challenge with a 401; `Cookie` is no scheme that browsers would open a dialog for.
        html(401, look, language, targets, &template).with("www-authenticate", "Cookie realm=\"torhaus\"".to_owned())
    }
}

impl Encoding {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UrlEncoded => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data",
            Self::PlainText => "text/plain",
        }
    }
}

struct Form<'a> {
    action: &'a Link,
    encoding: &'static str,
    fields: &'a [(String, String)],
    files: &'a [String],
}

#[derive(Template)]
#[template(path = "pages/rescue.html")]
struct RescueHtml<'a> {
    shell: Shell<'a>,
    page: &'a SessionEnded,
    form: Option<Form<'a>>,
    icon: Icon,
}
