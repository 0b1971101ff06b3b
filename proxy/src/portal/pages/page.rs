//! A finished page: status, body, and the strict headers that every page carries.
use super::icon::Icon;
use super::link::Link;
use super::look::{Contact, Look};
use super::strings::{Strings, strings};
use askama::Template;
use askama::filters::HtmlSafe;
use std::fmt;
use torhaus_authz::Language;

/// An answer of ours, complete but for what only the connection knows (`Content-Length`, `Date`, cookies).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    /// HTML or JSON, as `content-type` says.
    pub body: String,
    /// Lower case, each name once.
    pub headers: Vec<(&'static str, String)>,
}

impl Page {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Where the forms of a page may lead.
#[derive(Clone, Copy, Debug)]
pub(super) enum Forms<'a> {
    None,
    /// To our own host, and on to these origins: Chromium applies `form-action` to the redirects after a form as well.
    Own(&'a [String]),
}

/// Which of the portal's pages is open, for the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// Not signed in, or on an application's host: no navigation.
    Outside,
    Applications,
    Sessions,
    Devices,
    SignOut,
}

/// What the frame around every page shows.
pub(super) struct Shell<'a> {
    pub look: &'a Look,
    pub words: &'static Strings,
    pub title: &'a str,
    pub here: Here,
    pub name: &'a str,
    pub contact: Option<Contact>,
    pub help: Option<&'a str>,
    pub imprint: Option<Link>,
    pub css: Css<'a>,
    pub icon: &'a str,
    /// Where the operators' logo is; without one, `mark` is shown.
    pub logo: Option<&'a str>,
    pub mark: Icon,
}

impl<'a> Shell<'a> {
    pub fn new(look: &'a Look, language: Language, title: &'a str, here: Here) -> Self {
        let brand = &*look.brand;
        Self {
            look,
            words: strings(language),
            title,
            here,
            name: brand.name(language),
            contact: look.contact(language),
            help: brand.help(language),
            imprint: brand.imprint(language).map(Link::from),
            css: Css(brand.css()),
            icon: brand.icon(),
            logo: brand.logo(),
            mark: Icon::Mark,
        }
    }

    pub fn at(&self, path: &str) -> Link {
        self.look.at_portal(path)
    }
}

/// The style sheet, printed as it stands: its hash is in the policy of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Css<'a>(&'a str);

impl HtmlSafe for Css<'_> {}

impl fmt::Display for Css<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

pub(super) const CSS: &str = include_str!("style.css");

pub(super) fn html(status: u16, look: &Look, language: Language, forms: Forms<'_>, template: &impl Template) -> Page {
    // Rendering writes to memory and cannot fail; if askama ever says so, an empty page with the right status is left.
    let body = template.render().unwrap_or_default();
    let mut headers = common(language, "text/html; charset=utf-8");
    let (form_action, referrer) = match forms {
        Forms::None => ("'none'".to_owned(), "no-referrer"),
        // With `no-referrer` a form would send `Origin: null`, which our own checks and those of applications refuse.
        Forms::Own(targets) => (form_targets(targets), "same-origin"),
    };
    let pictures = if look.brand.logo().is_some() { "data: 'self'" } else { "data:" };
    headers.extend([
        (
            "content-security-policy",
            format!(
                "default-src 'none'; style-src 'sha256-{}'; img-src {pictures}; form-action {form_action}; \
                 frame-ancestors 'none'; base-uri 'none'",
                look.brand.css_hash()
            ),
        ),
        ("referrer-policy", referrer.to_owned()),
        ("x-frame-options", "DENY".to_owned()),
        (
            "permissions-policy",
            "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()".to_owned(),
        ),
        ("cross-origin-opener-policy", "same-origin".to_owned()),
    ]);
    Page { status, body, headers }
}

pub(super) fn problem_json(status: u16, language: Language, document: &serde_json::Value) -> Page {
    let mut headers = common(language, "application/problem+json");
    headers.push(("content-security-policy", "default-src 'none'; frame-ancestors 'none'".to_owned()));
    headers.push(("referrer-policy", "no-referrer".to_owned()));
    Page { status, body: document.to_string(), headers }
}

fn common(language: Language, content_type: &str) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", content_type.to_owned()),
        ("content-language", strings(language).code.to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("vary", "accept, accept-language, sec-fetch-mode, x-requested-with".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("cross-origin-resource-policy", "same-origin".to_owned()),
    ]
}

/// `'self'` and those targets that are plain origins; anything else could add a directive of its own.
fn form_targets(targets: &[String]) -> String {
    let mut out = "'self'".to_owned();
    for target in targets.iter().filter(|target| is_origin(target)) {
        out.push(' ');
        out.push_str(target);
    }
    out
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_target_cannot_loosen_the_policy() {
        let targets = [
            "https://idp.test",
            "https://[::1]:8443",
            "https://a.test; script-src *",
            "*",
            "https://a.test/x",
            "'unsafe-inline'",
        ];
        let targets: Vec<String> = targets.iter().map(|&t| t.to_owned()).collect();
        assert_eq!(form_targets(&targets), "'self' https://idp.test https://[::1]:8443");
    }

    #[test]
    fn the_style_sheet_stays_small_and_fetches_nothing() {
        assert!(CSS.len() < 12 * 1024, "{} bytes", CSS.len());
        for foreign in ["url(", "@import", "</", "http"] {
            assert!(!CSS.contains(foreign), "{foreign}");
        }
    }
}
