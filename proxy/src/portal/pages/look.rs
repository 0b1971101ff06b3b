//! What the operator gives every page: the organisation's name, where help is, where the portal is.
use super::link::Link;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub organisation: String,
    /// An address, a URL, or any other words ("extension 4711").
    pub contact: Option<String>,
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

impl Look {
    pub(super) fn contact(&self) -> Option<Contact> {
        let text = self.contact.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Some(Contact { text: text.to_owned(), link: Some(Link::from(text)), address: None });
        }
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        if address.contains('@') && !address.contains(char::is_whitespace) {
            let link = Some(Link::mailto(address, None));
            return Some(Contact { text: address.to_owned(), link, address: Some(address.to_owned()) });
        }
        Some(Contact { text: text.to_owned(), link: None, address: None })
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
        let contact = |text: &str| {
            let look = Look {
                organisation: "Example".into(),
                contact: Some(text.into()),
                portal: "https://a.test".into(),
                devices: false,
            };
            look.contact().map(|c| (c.text, c.link.map(|l| l.to_string())))
        };
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
