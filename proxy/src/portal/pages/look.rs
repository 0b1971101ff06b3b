//! What the operator gives every page: names, where help is, where the portal is, a logo and a colour.
use super::brand::Brand;
use super::link::Link;
use std::sync::Arc;
use torhaus_authz::Language;

#[derive(Clone, Debug)]
pub struct Look {
    pub brand: Arc<Brand>,
    /// As browsers reach it, without a trailing slash. Refusals on an application's host link back to it.
    pub portal: String,
    /// People can enrol devices: the navigation says so.
    pub devices: bool,
}

/// A contact as a page can show it: its words, and where a click goes, if anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub text: String,
    pub link: Option<Link>,
    /// The bare address, so that a message can be prepared for it.
    pub address: Option<String>,
}

impl Contact {
    /// An address, a URL, or any other words ("extension 4711").
    fn of(text: &str) -> Option<Self> {
        let text = Some(text.trim()).filter(|text| !text.is_empty())?;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Some(Self { text: text.to_owned(), link: Some(Link::from(text)), address: None });
        }
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        if address.contains('@') && !address.contains(char::is_whitespace) {
            let link = Some(Link::mailto(address, None));
            return Some(Self { text: address.to_owned(), link, address: Some(address.to_owned()) });
        }
        Some(Self { text: text.to_owned(), link: None, address: None })
    }
}

impl Look {
    pub(super) fn contact(&self, language: Language) -> Option<Contact> {
        Contact::of(self.brand.contact(language)?)
    }

    /// `path` begins with `/`.
    pub(super) fn at_portal(&self, path: &str) -> Link {
        Link::from(format!("{}{path}", self.portal.trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_a_website_or_plain_words() {
        let contact = |text: &str| Contact::of(text).map(|c| (c.text, c.link.map(|l| l.to_string())));
        let mail = Some("mailto:it@example.test".to_owned());
        assert_eq!(contact("it@example.test"), Some(("it@example.test".into(), mail.clone())));
        assert_eq!(contact("mailto:it@example.test"), Some(("it@example.test".into(), mail)));
        assert_eq!(
            contact("https://help.test/"),
            Some(("https://help.test/".into(), Some("https://help.test/".into())))
        );
        assert_eq!(contact("extension 4711"), Some(("extension 4711".into(), None)));
        assert_eq!(contact("  "), None);
    }
}
