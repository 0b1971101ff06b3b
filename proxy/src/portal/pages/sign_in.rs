//! The choice between several identity providers: one link each.
use super::icon::Icon;
use super::link::Link;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use askama::Template;
use torhaus_authz::Language;

#[derive(Clone, Debug)]
pub struct SignIn {
    pub providers: Vec<ProviderChoice>,
    /// The application that the person is on the way to.
    pub going_to: Option<String>,
    /// What the row asks for, in the policy's words: "password + hardware key".
    pub factors: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ProviderChoice {
    pub title: String,
    pub url: Link,
}

impl SignIn {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Outside);
        let shell = Shell { title: shell.words.sign_in.title, ..shell };
        html(200, look, language, Forms::None, &SignInHtml { shell, page: self, arrow: Icon::Arrow, key: Icon::Key })
    }
}

#[derive(Template)]
#[template(path = "pages/sign_in.html")]
struct SignInHtml<'a> {
    shell: Shell<'a>,
    page: &'a SignIn,
    arrow: Icon,
    key: Icon,
}
