//! A person's devices: what to type on a new one, those that are enrolled, and how to end one.
use super::icon::Icon;
use super::look::Look;
use super::page::{Forms, Here, Page, Shell, html};
use super::strings::Strings;
use super::when::{moment, rfc3339};
use askama::Template;
use torhaus_authz::{Language, Timestamp};
use zeroize::Zeroizing;

/// Its forms post `add` (a label), `end` (an id) or `forget` (an id of those seen) to `/devices`.
pub struct Devices {
    /// In the order to show them.
    pub devices: Vec<Device>,
    /// The key that was just made: shown now and never again.
    pub new: Option<NewKey>,
    /// Devices can be enrolled here.
    pub enrols: bool,
    /// Those that came to the gate; none: they are not written down.
    pub seen: Option<Vec<SeenDevice>>,
    /// A device was just ended.
    pub ended: bool,
    /// What a command waits for was just confirmed.
    pub confirmed: bool,
    /// A device that was seen was just removed.
    pub forgotten: bool,
    pub bad_label: bool,
    pub too_many: bool,
    pub now: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Device {
    pub id: String,
    pub label: String,
    /// Of DNS.
    pub name: String,
    pub state: DeviceState,
    pub enrolled: Timestamp,
    pub until: Timestamp,
}

/// One that came to the gate.
#[derive(Clone, Debug)]
pub struct SeenDevice {
    pub id: String,
    /// The lists that know it.
    pub known_by: String,
    pub last_seen: Timestamp,
    /// When its state was reported last.
    pub reported: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Its key was made, and nobody used it yet.
    Waiting,
    Enrolled,
}

/// No `Debug`: it holds the key.
pub struct NewKey {
    pub label: String,
    pub name: String,
    pub directory: String,
    pub kid: String,
    /// base64url: stands on a command line as it is.
    pub hmac_key: Zeroizing<String>,
    /// How long it can be used.
    pub minutes: u64,
}

impl Devices {
    pub fn render(&self, look: &Look, language: Language) -> Page {
        let shell = Shell::new(look, language, "", Here::Devices);
        let shell = Shell { title: shell.words.devices.title, ..shell };
        let words = shell.words;
        let rows = self.devices.iter().map(|device| Row {
            device,
            waiting: device.state == DeviceState::Waiting,
            enrolled: moment(device.enrolled, words),
            enrolled_iso: rfc3339(device.enrolled),
            until: moment(device.until, words),
            until_iso: rfc3339(device.until),
        });
        let seen = self.seen.as_ref().map(|seen| {
            let row = |device| SeenRow::of(device, words);
            seen.iter().map(row).collect()
        });
        let wrong = match (self.bad_label, self.too_many) {
            (true, _) => Some(words.devices.bad_label),
            (_, true) => Some(words.devices.too_many),
            _ => None,
        };
        let template = DevicesHtml {
            rows: rows.collect(),
            enrols: self.enrols,
            seen,
            notice: match (self.ended, self.confirmed, self.forgotten) {
                (true, _, _) => Some(words.devices.ended),
                (_, true, _) => Some(words.devices.confirmed),
                (_, _, true) => Some(words.devices.forgotten),
                _ => None,
            },
            command: format!("torhaus enroll --portal {}", look.portal.trim_end_matches('/')),
            new_lead: self.new.as_ref().map(|new| (words.devices.new_lead)(new.minutes)).unwrap_or_default(),
            new: self.new.as_ref(),
            wrong,
            shell,
            check: Icon::Check,
            warning: Icon::Warning,
            screen: Icon::Screen,
        };
        let forms = match template.enrols || template.seen.as_ref().is_some_and(|seen| !seen.is_empty()) {
            true => Forms::Own(&[]),
            false => Forms::None,
        };
        html(if wrong.is_some() { 400 } else { 200 }, look, language, forms, &template)
    }
}

struct Row<'a> {
    device: &'a Device,
    waiting: bool,
    enrolled: String,
    enrolled_iso: String,
    until: String,
    until_iso: String,
}

struct SeenRow<'a> {
    device: &'a SeenDevice,
    last_seen: String,
    last_seen_iso: String,
    reported: Option<(String, String)>,
}

impl<'a> SeenRow<'a> {
    fn of(device: &'a SeenDevice, words: &Strings) -> Self {
        Self {
            device,
            last_seen: moment(device.last_seen, words),
            last_seen_iso: rfc3339(device.last_seen),
            reported: device.reported.map(|at| (rfc3339(at), moment(at, words))),
        }
    }
}

#[derive(Template)]
#[template(path = "pages/devices.html")]
struct DevicesHtml<'a> {
    shell: Shell<'a>,
    enrols: bool,
    rows: Vec<Row<'a>>,
    seen: Option<Vec<SeenRow<'a>>>,
    notice: Option<&'static str>,
    new: Option<&'a NewKey>,
    new_lead: String,
    wrong: Option<&'static str>,
    command: String,
    check: Icon,
    warning: Icon,
    screen: Icon,
}
