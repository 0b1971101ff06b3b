//! Leaving: the question before, and the page after.
use super::icon::Icon;
use super::link::Link;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use askama::Template;
use torhaus_authz::Language;

/// The question. A link alone never signs anybody out: its form posts to `action`.
#[derive(Clone)]
pub struct SignOut {
    /// A path on the host of this page: `/logout` at the portal, `/.torhaus/logout` elsewhere.
    pub action: Link,
    pub person: Option<String>,
    /// Title of the provider whose own session ends as well.
    pub provider: Option<String>,
    /// Left out of the form if empty.
    pub csrf: String,
    /// Origins that the answer may redirect to besides this host and the portal: the providers' end-session addresses.
    /// Browsers stop the redirect to any other.
    pub form_targets: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SignedOut {
    pub sign_in: Link,
    /// Title of a provider whose own session goes on.
    pub provider_stays: Option<String>,
}

impl SignOut {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::SignOut);
        let shell = Shell { title: shell.words.sign_out.title, ..shell };
        let template = SignOutHtml { shell, page: self, icon: Icon::Door };
        let portal = std::iter::once(look.portal.trim_end_matches('/').to_owned());
        let targets: Vec<String> = portal.chain(self.form_targets.iter().cloned()).collect();
        html(200, look, language, Forms::Own(&targets), &template)
    }
}

impl SignedOut {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Outside);
        let shell = Shell { title: shell.words.sign_out.done_title, ..shell };
        html(200, look, language, Forms::None, &SignedOutHtml { shell, page: self, icon: Icon::Check })
    }
}

#[derive(Template)]
#[template(path = "pages/sign_out.html")]
struct SignOutHtml<'a> {
    shell: Shell<'a>,
    page: &'a SignOut,
    icon: Icon,
}

#[derive(Template)]
#[template(path = "pages/signed_out.html")]
struct SignedOutHtml<'a> {
    shell: Shell<'a>,
    page: &'a SignedOut,
    icon: Icon,
}
