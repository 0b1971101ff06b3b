//! `branding`: the operators' own name, logo, colours and texts on the gate's pages.
use super::settings::default;
use super::{Cx, host};
use crate::at::At;
use crate::branding::{Accent, Branding, Colour, Logo, LogoKind, PAGE_DARK, PAGE_LIGHT, Texts, Words};
use crate::file;
use crate::place::Place;
use crate::units::Mistake;
use sha2::{Digest as _, Sha256};

/// Every page shows it, also to phones on a bad line.
const LARGEST_LOGO: usize = 64 * 1024;
/// A name stands in one line of a phone, beside the logo.
const LONGEST_NAME: usize = 60;
/// A help text stands below every page.
const LONGEST_HELP: usize = 400;
/// For text, WCAG 2.2 section 1.4.3 (AA).
const LEAST_CONTRAST: f64 = 4.5;

/// None: something of it is wrong, and was reported.
pub(crate) fn check(at: Option<&At<file::Branding>>, cx: &mut Cx<'_>) -> Option<Branding> {
    let Some(at) = at else { return Some(plain()) };
    let typed = at.get()?;
    let imprint = optional(typed.imprint.as_ref(), cx, address);
    let logo = match &typed.logo_file {
        Some(at) => logo(at, cx).map(Some),
        None => Some(None),
    };
    let accent = match &typed.accent {
        Some(at) => accent(at, cx).map(Some),
        None => Some(None),
    };
    let (english, german) = match typed.texts.as_ref().map(At::get) {
        Some(Some(texts)) => (words(texts.en.as_ref(), cx), words(texts.de.as_ref(), cx)),
        Some(None) => (None, None),
        None => (Some(Words::default()), Some(Words::default())),
    };
    let text = |at: &Option<At<String>>| at.as_ref().and_then(At::text).map(str::to_owned);
    Some(Branding {
        organisation: text(&typed.organisation).unwrap_or(plain().organisation),
        contact: text(&typed.contact),
        imprint: imprint?,
        logo: logo?,
        accent: accent?,
        texts: Texts { english: english?, german: german? },
    })
}

fn plain() -> Branding {
    Branding {
        organisation: default::ORGANISATION.to_owned(),
        contact: None,
        imprint: None,
        logo: None,
        accent: None,
        texts: Texts::default(),
    }
}

fn words(at: Option<&At<file::BrandingWords>>, cx: &mut Cx<'_>) -> Option<Words> {
    let Some(at) = at else { return Some(Words::default()) };
    let typed = at.get()?;
    let product = optional(typed.product.as_ref(), cx, |text| line(text, LONGEST_NAME));
    let help = optional(typed.help.as_ref(), cx, |text| line(text, LONGEST_HELP));
    let contact = optional(typed.contact.as_ref(), cx, |text| line(text, LONGEST_HELP));
    let imprint = optional(typed.imprint.as_ref(), cx, address);
    Some(Words { product: product?, help: help?, contact: contact?, imprint: imprint? })
}

fn optional<T>(
    at: Option<&At<String>>,
    cx: &mut Cx<'_>,
    parse: impl FnOnce(&str) -> Result<T, Mistake>,
) -> Option<Option<T>> {
    cx.parse_or(at, None, |text| parse(text).map(Some))
}

fn line(text: &str, longest: usize) -> Result<String, Mistake> {
    let text = text.trim();
    let length = text.chars().count();
    if length > longest {
        return Err(Mistake::new(format!("this text has {length} characters"))
            .hint(format!("write at most {longest}; it stands on every page, also on a phone")));
    }
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<String, Mistake> {
    host::url(text, &["https"]).map(String::from)
}

fn accent(at: &At<file::Accent>, cx: &mut Cx<'_>) -> Option<Accent> {
    let typed = at.get()?;
    let light = colour(&typed.light, &PAGE_LIGHT, "darker", cx);
    let dark = colour(&typed.dark, &PAGE_DARK, "lighter", cx);
    Some(Accent { light: light?, dark: dark? })
}

/// Links have this colour on each of these grounds, and the text of a button has a ground's colour on it.
fn colour(at: &At<String>, grounds: &[Colour], better: &str, cx: &mut Cx<'_>) -> Option<Colour> {
    let colour = cx.parse(at, parse_colour)?;
    let worst = grounds.iter().min_by(|a, b| colour.contrast(**a).total_cmp(&colour.contrast(**b)))?;
    let contrast = colour.contrast(*worst);
    if contrast < LEAST_CONTRAST {
        cx.error(
            &at.place,
            format!("`{colour}` has a contrast of {:.1} to the page's `{worst}`", (contrast * 10.0).floor() / 10.0),
            format!("text needs at least 4.5 to be read (WCAG 2.2, 1.4.3): take a {better} colour"),
        );
        return None;
    }
    Some(colour)
}

fn parse_colour(text: &str) -> Result<Colour, Mistake> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map(Colour::of).ok_or_else(|| {
        Mistake::new(format!("`{text}` is not a colour"))
            .hint("write red, green and blue as six hexadecimal digits: `\"#1d5f82\"`")
    })
}

/// A picture that browsers show without running or fetching anything: SVG only ever as `<img>`.
fn logo(at: &At<String>, cx: &mut Cx<'_>) -> Option<Logo> {
    let (path, bytes) = cx.read(at, "logo file")?;
    let shown = path.display().to_string();
    if bytes.len() > LARGEST_LOGO {
        cx.error(
            &at.place,
            format!("logo file `{shown}` has {} KiB", bytes.len().div_ceil(1024)),
            "at most 64 KiB: it is on every page; an SVG, or a PNG of 400 pixels, is smaller",
        );
        return None;
    }
    let kind = match kind(&bytes) {
        Ok(kind) => kind,
        Err(why) => {
            report(&at.place, &shown, why, cx);
            return None;
        }
    };
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Logo { kind, bytes: bytes.into(), sha256 })
}

#[derive(Clone, Copy)]
enum NoLogo {
    Unknown,
    Script,
    Foreign,
}

fn report(place: &Place, shown: &str, why: NoLogo, cx: &mut Cx<'_>) {
    let (what, hint) = match why {
        NoLogo::Unknown => ("is neither an SVG nor a PNG", "save the logo as one of them"),
        NoLogo::Script => {
            ("holds a script", "export it as a plain picture; browsers would not run it on a page anyway")
        }
        NoLogo::Foreign => (
            "names a file elsewhere, which browsers do not fetch for a picture on a page",
            "put fonts and pictures into the SVG itself: text as paths, pictures as `data:`",
        ),
    };
    cx.error(place, format!("logo file `{shown}` {what}"), hint);
}

fn kind(bytes: &[u8]) -> Result<LogoKind, NoLogo> {
    // PNG (third edition) section 5.2; the first chunk is IHDR.
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.get(12..16) == Some(b"IHDR") {
        return Ok(LogoKind::Png);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NoLogo::Unknown)?.to_ascii_lowercase();
    if !is_svg(&text) {
        return Err(NoLogo::Unknown);
    }
    if text.contains("<script") {
        return Err(NoLogo::Script);
    }
    let names = ["href=\"", "href='", "url(", "@import"];
    let foreign = names.iter().flat_map(|name| text.split(name).skip(1)).any(|rest| {
        let rest = rest.trim_start_matches(['"', '\'', ' ', '(']);
        !rest.starts_with('#') && !rest.starts_with("data:")
    });
    if foreign { Err(NoLogo::Foreign) } else { Ok(LogoKind::Svg) }
}

/// Whether the first element is `svg`: what stands before are a declaration, comments, a document type.
fn is_svg(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = match rest {
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!doctype") => ">",
            _ => return rest.strip_prefix("<svg").is_some_and(|rest| rest.starts_with([' ', '>', '\n', '\r', '\t'])),
        };
        let Some((_, after)) = rest.split_once(end) else { return false };
        rest = after.trim_start();
    }
}
