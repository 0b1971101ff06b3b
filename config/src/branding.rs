//! What operators make of the gate's pages: names, texts, a logo, a colour. Checked; made only by [`crate::load`].
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branding {
    /// Shown on every page, unless a language has a name of its own.
    pub organisation: String,
    /// Where people get help: an address, a URL, or words.
    pub contact: Option<String>,
    /// An https URL.
    pub imprint: Option<String>,
    pub logo: Option<Logo>,
    pub accent: Option<Accent>,
    pub texts: Texts,
}

/// What is said differently in a language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    pub english: Words,
    pub german: Words,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Instead of the organisation's name.
    pub product: Option<String>,
    /// Stands below every page.
    pub help: Option<String>,
    pub contact: Option<String>,
    pub imprint: Option<String>,
}

/// A picture of bounded size, kept in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    pub kind: LogoKind,
    pub bytes: Arc<[u8]>,
    /// Lower-case hex: its name, so that a new picture has a new one.
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoKind {
    Svg,
    Png,
}

/// The colour of links and buttons; each can be read on the grounds of its kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accent {
    pub light: Colour,
    pub dark: Colour,
}

/// sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
}

/// What text of the accent's colour stands on: `--ground` and `--sheet` of the pages' style sheet, and the ink on its
/// buttons.
pub const PAGE_LIGHT: [Colour; 2] = [Colour::of(0xf4_f6_f8), Colour::of(0xff_ff_ff)];
/// The same for people who prefer a dark page.
pub const PAGE_DARK: [Colour; 2] = [Colour::of(0x10_15_1b), Colour::of(0x19_20_2a)];

impl Colour {
    /// `0xrrggbb`.
    pub const fn of(rgb: u32) -> Self {
        let [_, red, green, blue] = rgb.to_be_bytes();
        Self { red, green, blue }
    }

    /// Of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(self) -> f64 {
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(self.red) + 0.7152 * part(self.green) + 0.0722 * part(self.blue)
    }
}

impl LogoKind {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Png => "image/png",
        }
    }

    /// Of its file.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
        }
    }
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes, {}", self.kind, self.bytes.len(), self.sha256)
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        let (black, white, grey) = (Colour::of(0), Colour::of(0xff_ff_ff), Colour::of(0x76_76_76));
        assert!((black.contrast(white) - 21.0).abs() < 1e-9);
        assert!((white.contrast(white) - 1.0).abs() < 1e-9);
        // The lightest grey that passes on white, and the first that does not: known values of WCAG tools.
        assert!(grey.contrast(white) >= 4.5 && Colour::of(0x77_77_77).contrast(white) < 4.5);
        assert_eq!(Colour::of(0x1d_5f_82).to_string(), "#1d5f82");
    }
}
