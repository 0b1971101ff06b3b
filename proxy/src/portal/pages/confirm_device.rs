//! A command waits for a key in this person's name: is it theirs?
use super::icon::Icon;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use askama::Template;
use torhaus_authz::Language;

/// Its form posts to `/devices/enroll`: what waits, and `yes` or `no`, or the typed `code`.
pub struct ConfirmDevice {
    pub waiting: Waiting,
    /// What was typed is no code.
    pub wrong_code: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// On the machine of this browser, at a port of its loopback address.
    Here { label: String, challenge: String, port: u16, state: String },
    /// Somewhere; it shows a code.
    Elsewhere,
}

impl ConfirmDevice {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Devices);
        let words = &shell.words.confirm_device;
        let shell = Shell { title: words.title, ..shell };
        let (here, origins) = match &self.waiting {
            Waiting::Here { label, challenge, port, state } => {
                let here = HereFields { question: (words.question)(label), label, challenge, port: *port, state };
                (Some(here), vec![format!("http://127.0.0.1:{port}")])
            }
            Waiting::Elsewhere => (None, Vec::new()),
        };
        let template = ConfirmDeviceHtml {
            here,
            wrong: self.wrong_code.then_some(words.wrong_code),
            shell,
            warning: Icon::Warning,
        };
        html(if self.wrong_code { 400 } else { 200 }, look, language, Forms::Own(&origins), &template)
    }
}

struct HereFields<'a> {
    question: String,
    label: &'a str,
    challenge: &'a str,
    port: u16,
    state: &'a str,
}

#[derive(Template)]
#[template(path = "pages/confirm_device.html")]
struct ConfirmDeviceHtml<'a> {
    shell: Shell<'a>,
    here: Option<HereFields<'a>>,
    wrong: Option<&'static str>,
    warning: Icon,
}
