//! The operators' own: name, texts, logo and colour, made ready once for each configuration.
use super::icon::FAVICON;
use super::page::CSS;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use torhaus_authz::Language;
use torhaus_config::{Accent, Branding, Colour, Logo, PAGE_DARK, PAGE_LIGHT, Words};

/// On every host, so that a refusal at an application's host shows it, too; its name follows.
pub const LOGO_PREFIX: &str = "/.torhaus/logo-";

#[derive(Clone, Debug)]
pub struct Brand {
    branding: Branding,
    /// The whole style sheet; its hash is in the policy of each page.
    css: String,
    css_hash: String,
    /// Where the logo is, on any host.
    logo: Option<String>,
}

impl Brand {
    pub fn of(branding: &Branding) -> Self {
        let css = match &branding.accent {
            Some(accent) => format!("{CSS}{}", colours(accent)),
            None => CSS.to_owned(),
        };
        Self {
            css_hash: BASE64_STANDARD.encode(Sha256::digest(css.as_bytes())),
            css,
            logo: branding.logo.as_ref().map(|logo| format!("{LOGO_PREFIX}{}", file_name(logo))),
            branding: branding.clone(),
        }
    }

    /// What this gate is called.
    pub(super) fn name(&self, language: Language) -> &str {
        self.words(language).product.as_deref().unwrap_or(&self.branding.organisation)
    }

    pub(super) fn organisation(&self) -> &str {
        &self.branding.organisation
    }

    pub(super) fn contact(&self, language: Language) -> Option<&str> {
        self.words(language).contact.as_deref().or(self.branding.contact.as_deref())
    }

    pub(super) fn help(&self, language: Language) -> Option<&str> {
        self.words(language).help.as_deref()
    }

    pub(super) fn imprint(&self, language: Language) -> Option<&str> {
        self.words(language).imprint.as_deref().or(self.branding.imprint.as_deref())
    }

    pub(super) fn logo(&self) -> Option<&str> {
        self.logo.as_deref()
    }

    pub(super) fn icon(&self) -> &str {
        self.logo().unwrap_or(FAVICON)
    }

    pub(super) fn css(&self) -> &str {
        &self.css
    }

    /// Base64 of the SHA-256 of the style sheet.
    pub(super) fn css_hash(&self) -> &str {
        &self.css_hash
    }

    /// The picture at this path, if it is the one of now.
    pub fn logo_at(&self, path: &str) -> Option<&Logo> {
        let logo = self.branding.logo.as_ref()?;
        (path.strip_prefix(LOGO_PREFIX)? == file_name(logo)).then_some(logo)
    }

    fn words(&self, language: Language) -> &Words {
        match language {
            Language::English => &self.branding.texts.english,
            Language::German => &self.branding.texts.german,
        }
    }
}

fn file_name(logo: &Logo) -> String {
    format!("{}.{}", logo.sha256.get(..16).unwrap_or(&logo.sha256), logo.kind.ending())
}

/// Text on a button has the colour of the page behind it, which the accent's contrast was checked against.
fn colours(accent: &Accent) -> String {
    let [_, sheet] = PAGE_LIGHT;
    let [ground, _] = PAGE_DARK;
    let rule = |colour: Colour, on: Colour, towards: Colour| {
        format!(":root{{--accent:{colour};--on-accent:{on};--accent-hover:{}}}", between(colour, towards))
    };
    let light = rule(accent.light, sheet, Colour::of(0));
    let dark = rule(accent.dark, ground, Colour::of(0xff_ff_ff));
    format!("{light}@media (prefers-color-scheme: dark){{{dark}}}")
}

/// A quarter of the way, away from the page: the contrast only grows.
fn between(colour: Colour, towards: Colour) -> Colour {
    let part = |from: u8, to: u8| {
        let mixed = (u16::from(from) * 3 + u16::from(to)) / 4;
        u8::try_from(mixed).unwrap_or(to)
    };
    Colour {
        red: part(colour.red, towards.red),
        green: part(colour.green, towards.green),
        blue: part(colour.blue, towards.blue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grounds_that_an_accent_is_checked_against_are_those_of_the_style_sheet() {
        let (light, dark) = CSS.split_once("@media (prefers-color-scheme: dark)").unwrap();
        let named = |part: &str, name: &str| {
            let value = part.split_once(&format!("{name}: ")).unwrap().1.split(';').next().unwrap().to_owned();
            if value == "#fff" { "#ffffff".to_owned() } else { value }
        };
        for (part, [ground, sheet]) in [(light, PAGE_LIGHT), (dark, PAGE_DARK)] {
            assert_eq!(named(part, "--ground"), ground.to_string());
            assert_eq!(named(part, "--sheet"), sheet.to_string());
        }
    }
}
