//! The portal's front page: what this person can open, now, from here.
use super::icon::Icon;
use super::link::Link;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use super::strings::{ApplicationsWords, Strings};
use super::when::{ago, rfc3339};
use askama::Template;
use torhaus_authz::{Language, Timestamp};

#[derive(Clone, Debug)]
pub struct Applications {
    pub viewer: Viewer,
    /// In the order to show them. Those the person may never open do not belong here.
    pub applications: Vec<Application>,
    /// What the person searches for (`?q=`); empty: everything.
    pub query: String,
    /// `?by=`
    pub grouping: Grouping,
    pub now: Timestamp,
}

/// Who is looking, and how the policy sees them.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub name: String,
    /// The highest proof that still counts.
    pub tier: Option<ProvenTier>,
    pub zone: String,
}

#[derive(Clone, Debug)]
pub struct ProvenTier {
    pub name: String,
    /// "password + hardware key"; the tier's name is shown if empty.
    pub factors: String,
    pub proven_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Application {
    pub title: String,
    pub description: Option<String>,
    /// The policy's word; `low`, `medium`, `high`, `critical` are translated.
    pub sensitivity: Option<String>,
    pub url: Link,
    pub access: Access,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    OpenNow,
    /// The link leads to the application; the gate then asks for these.
    StepUp {
        factors: String,
    },
    /// The link leads to the application, which asks the browser for the certificate of its device: the portal does not.
    WithDevice,
    NotFromHere,
    /// Not now, for another reason: its sentence (`Reason::words`).
    Closed {
        sentence: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    #[default]
    Access,
    Sensitivity,
}

/// Fewer applications than this are seen at a glance, and a search would only be in the way.
const SEARCH_FROM: usize = 6;

impl Grouping {
    /// The value of `?by=`; anything unknown is the default.
    pub fn parse(text: &str) -> Self {
        if text == Self::Sensitivity.as_str() { Self::Sensitivity } else { Self::Access }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Sensitivity => "sensitivity",
        }
    }
}

impl Applications {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Applications);
        let shell = Shell { title: shell.words.applications.title, ..shell };
        let words = shell.words;
        let query = self.query.trim();
        let shown: Vec<&Application> = self.applications.iter().filter(|app| app.matches(query)).collect();
        let template = ApplicationsHtml {
            tools: self.applications.len() >= SEARCH_FROM || !query.is_empty(),
            found: (!query.is_empty()).then(|| (words.applications.found)(shown.len(), query)),
            sections: self.sections(&shown, &words.applications),
            page: self,
            query,
            zone: zone(&self.viewer.zone, &words.applications),
            proof: self.viewer.tier.as_ref().map(|tier| Proof::new(tier, self.now, words)),
            by_sensitivity: self.grouping == Grouping::Sensitivity,
            icons: Icons { person: Icon::Person, key: Icon::Key, place: Icon::Place, search: Icon::Search },
            shell,
        };
        html(200, look, language, Forms::Own(&[]), &template)
    }

    fn sections<'a>(&self, shown: &[&'a Application], words: &'static ApplicationsWords) -> Vec<Section<'a>> {
        let mut sections: Vec<Section<'a>> = Vec::new();
        for app in shown {
            let card = Card::new(app, self.grouping, words);
            let (rank, title) = match self.grouping {
                Grouping::Access => app.access.section(words),
                Grouping::Sensitivity => app.sensitivity_section(words),
            };
            match sections.iter_mut().find(|section| section.title == title) {
                Some(section) => section.cards.push(card),
                None => sections.push(Section { rank, title, cards: vec![card] }),
            }
        }
        // Stable: an operator's own words keep the order they first appear in.
        sections.sort_by_key(|section| section.rank);
        sections
    }
}

impl Application {
    fn matches(&self, query: &str) -> bool {
        let text = format!("{} {}", self.title, self.description.as_deref().unwrap_or("")).to_lowercase();
        query.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }

    fn sensitivity_section(&self, words: &ApplicationsWords) -> (u8, String) {
        let Some(level) = self.sensitivity.as_deref() else {
            return (u8::MAX, words.sensitivity.unnamed.to_owned());
        };
        let rank = ["low", "medium", "high", "critical"].iter().position(|known| *known == level);
        let rank = rank.and_then(|rank| u8::try_from(rank).ok()).unwrap_or(u8::MAX - 1);
        (rank, (words.sensitivity.section)(sensitivity(level, words)))
    }
}

impl Access {
    fn section(&self, words: &ApplicationsWords) -> (u8, String) {
        match self {
            Self::OpenNow => (0, words.open_now.to_owned()),
            Self::StepUp { .. } | Self::WithDevice => (1, words.step_up.to_owned()),
            Self::NotFromHere | Self::Closed { .. } => (2, words.closed.to_owned()),
        }
    }
}

fn sensitivity<'a>(level: &'a str, words: &ApplicationsWords) -> &'a str {
    match level {
        "low" => words.sensitivity.low,
        "medium" => words.sensitivity.medium,
        "high" => words.sensitivity.high,
        "critical" => words.sensitivity.critical,
        own => own,
    }
}

fn zone<'a>(zone: &'a str, words: &ApplicationsWords) -> &'a str {
    match zone {
        "internal" => words.internal,
        "external" => words.external,
        own => own,
    }
}

struct Section<'a> {
    rank: u8,
    title: String,
    cards: Vec<Card<'a>>,
}

struct Card<'a> {
    app: &'a Application,
    /// None: nothing behind it can be opened now.
    link: Option<&'a Link>,
    /// Class of the card and its chip.
    class: &'static str,
    icon: Icon,
    chip: &'static str,
    note: Option<String>,
    /// "Sensitivity: high"; none where the section says it.
    sensitivity: Option<String>,
    monogram: String,
    /// One of eight tints, always the same for the same name.
    tint: u8,
}

impl<'a> Card<'a> {
    fn new(app: &'a Application, grouping: Grouping, words: &'static ApplicationsWords) -> Self {
        let (class, icon, chip, note) = match &app.access {
            Access::OpenNow => ("open", Icon::Check, words.chip_open, None),
            Access::StepUp { factors } => ("step", Icon::Key, words.chip_step_up, Some((words.needs)(factors))),
            Access::WithDevice => ("step", Icon::Key, words.chip_with_device, Some(words.with_device.to_owned())),
            Access::NotFromHere => {
                ("shut", Icon::Place, words.chip_not_from_here, Some(words.not_from_here.to_owned()))
            }
            Access::Closed { sentence } => ("shut", Icon::Lock, words.chip_closed, Some(sentence.clone())),
        };
        let leads = matches!(app.access, Access::OpenNow | Access::StepUp { .. } | Access::WithDevice);
        let link = leads.then_some(&app.url);
        let sum = app.title.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        Self {
            app,
            link,
            class,
            icon,
            chip,
            note,
            sensitivity: app
                .sensitivity
                .as_deref()
                .filter(|_| grouping == Grouping::Access)
                .map(|level| (words.sensitivity.section)(sensitivity(level, words))),
            monogram: monogram(&app.title),
            tint: u8::try_from(sum % 8).unwrap_or(0),
        }
    }
}

/// First letters of the first two words: `Samba HR` -> `SH`, `wiki` -> `W`.
fn monogram(title: &str) -> String {
    let letters = title.split(|c: char| !c.is_alphanumeric()).filter_map(|word| word.chars().next());
    letters.take(2).flat_map(char::to_uppercase).collect()
}

struct Proof {
    what: String,
    age: String,
    iso: String,
}

impl Proof {
    fn new(tier: &ProvenTier, now: Timestamp, words: &Strings) -> Self {
        let what = if tier.factors.is_empty() { &tier.name } else { &tier.factors };
        Self { what: what.clone(), age: ago(now, tier.proven_at, words), iso: rfc3339(tier.proven_at) }
    }
}

struct Icons {
    person: Icon,
    key: Icon,
    place: Icon,
    search: Icon,
}

#[derive(Template)]
#[template(path = "pages/applications.html")]
struct ApplicationsHtml<'a> {
    shell: Shell<'a>,
    page: &'a Applications,
    sections: Vec<Section<'a>>,
    query: &'a str,
    found: Option<String>,
    tools: bool,
    zone: &'a str,
    proof: Option<Proof>,
    by_sensitivity: bool,
    icons: Icons,
}
