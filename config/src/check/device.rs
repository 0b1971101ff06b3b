//! What a rule asks of the device and its state, and what a policy test says of them.
use super::Cx;
use super::condition::filled;
use super::policy::located;
use crate::at::At;
use crate::file::policy as typed;
use crate::place::Place;
use crate::units::{self, Mistake};
use torhaus_authz::{
    Condition, DeviceDraft, Edr, NewPlace, OsFamily, OsVersion, PostureAsk, PostureDraft, SourceTrust, TestDevice,
    TestPosture,
};

/// What `owner` says for the person who asks.
const SELF: &str = "self";
/// What a test says of the owner of a device that has none, and of a device that is in no list.
const NONE: &str = "none";

/// Each key is a question of its own.
pub(crate) fn device(typed: &typed::Device, place: &Place, cx: &mut Cx<'_>) -> Option<Condition> {
    let mut asks = Vec::new();
    asks.extend(typed.known.as_ref().map(|at| at.get().map(|known| DeviceDraft::Known(*known))));
    asks.extend(typed.managed.as_ref().map(|at| at.get().map(|managed| DeviceDraft::Managed(*managed))));
    asks.extend(typed.owner.as_ref().map(|at| owner(at, cx)));
    asks.extend(typed.tags.as_ref().map(|at| Some(DeviceDraft::Tags(names(at, cx)?))));
    if asks.is_empty() && !cx.is_reported(place) {
        cx.error(
            place,
            "this asks nothing of the device",
            "say what: `known: true`, `managed: true`, `owner: self`, `tags: [kiosk]`",
        );
    }
    let mut asks: Vec<Condition> = asks.into_iter().map(|ask| ask.map(Condition::Device)).collect::<Option<_>>()?;
    match asks.len() {
        0 => None,
        1 => asks.pop(),
        _ => Some(Condition::All(asks)),
    }
}

fn owner(at: &At<typed::Owner>, cx: &mut Cx<'_>) -> Option<DeviceDraft> {
    match at.get()? {
        typed::Owner::One(one) => Some(match one.text()? {
            SELF => DeviceDraft::Own,
            _ => DeviceDraft::Owners(vec![located(one)?]),
        }),
        typed::Owner::OneOf(list) => {
            if list.items.is_empty() {
                cx.error(&at.place, "this list is empty", "name at least one, or remove the condition");
                return None;
            }
            Some(DeviceDraft::Owners(list.items.iter().filter_map(located).collect()))
        }
    }
}

fn names(at: &At<Vec<At<String>>>, cx: &mut Cx<'_>) -> Option<Vec<torhaus_authz::Located<String>>> {
    filled(at, cx).map(|names| names.iter().filter_map(located).collect())
}

pub(crate) fn posture(typed: &typed::Posture, place: &Place, cx: &mut Cx<'_>) -> Option<Condition> {
    let mut asks: Vec<Option<PostureAsk>> = Vec::new();
    type OfYesNo = fn(bool) -> PostureAsk;
    let yes_no: [(_, OfYesNo); 4] = [
        (&typed.disk_encrypted, PostureAsk::DiskEncrypted),
        (&typed.firewall, PostureAsk::Firewall),
        (&typed.secure_boot, PostureAsk::SecureBoot),
        (&typed.compliant, PostureAsk::Compliant),
    ];
    for (at, make) in yes_no {
        asks.extend(at.as_ref().map(|at| at.get().map(|wanted| make(*wanted))));
    }
    asks.extend(typed.edr.as_ref().map(|at| {
        let states = filled(at, cx)?.iter().map(|at| cx.parse(at, edr)).collect::<Option<_>>()?;
        Some(PostureAsk::Edr(states))
    }));
    asks.extend(typed.patched_within.as_ref().map(|at| cx.parse(at, units::duration).map(PostureAsk::PatchedWithin)));
    asks.extend(typed.os.as_ref().map(|at| {
        let families = filled(at, cx)?.iter().map(|at| cx.parse(at, os)).collect::<Option<_>>()?;
        Some(PostureAsk::Os(families))
    }));
    let version = |at: &At<String>, cx: &mut Cx<'_>| cx.parse(at, os_version).map(PostureAsk::OsVersionAtLeast);
    asks.extend(typed.min_os_version.as_ref().map(|at| version(at, cx)));
    if typed.min_os_version.is_some() && typed.os.as_ref().and_then(At::get).is_none_or(|os| os.len() != 1) {
        cx.error(place, "`min_os_version` compares versions of one system", "say of which: `os: [windows]`");
    }
    let max_report_age = cx.parse_or(typed.max_report_age.as_ref(), cx.posture_max_age, units::duration);
    let source = cx.parse_or(typed.source_trust.as_ref(), SourceTrust::SelfReported, source_trust);
    if asks.is_empty() && !cx.is_reported(place) {
        cx.error(
            place,
            "this asks nothing of the state of the device",
            "say what: `disk_encrypted: true`, `firewall: true`, `patched_within: 30d`",
        );
        return None;
    }
    let asks = asks.into_iter().collect::<Option<_>>()?;
    Some(Condition::Posture(PostureDraft { asks, max_report_age: max_report_age?, source: source? }))
}

pub(crate) fn new_place(text: &str) -> Result<NewPlace, Mistake> {
    match text {
        "country" => Ok(NewPlace::Country),
        "network" => Ok(NewPlace::Network),
        _ => Err(Mistake::new(format!("`{text}` is no part of a place"))
            .hint("write `country`, or `network` for the closer look")),
    }
}

/// What a test says of the device.
pub(crate) fn tested_device(typed: &typed::TestDevice, cx: &mut Cx<'_>) -> Option<TestDevice> {
    match typed {
        typed::TestDevice::Word(at) if at.text()? == NONE => Some(TestDevice::InNoList),
        typed::TestDevice::Word(at) => {
            let hint = "write `none` for a device that is in no list, or what is known of it: `{ managed: true }`";
            cx.error(&at.place, format!("`{}` says nothing of a device", at.text()?), hint);
            None
        }
        typed::TestDevice::Is(device) => Some(TestDevice::Is {
            owner: device.owner.as_ref().and_then(At::text).map(|owner| (owner != NONE).then(|| owner.to_owned())),
            managed: device.managed.as_ref().and_then(At::get).copied(),
            tags: device.tags.iter().map(|(_, tag)| tag.clone()).collect(),
        }),
    }
}

/// What a test says of its state.
pub(crate) fn tested_posture(typed: &typed::TestPosture, cx: &mut Cx<'_>) -> Option<TestPosture> {
    let yes_no = |at: &Option<At<bool>>| at.as_ref().and_then(At::get).copied();
    let edr = optional(typed.edr.as_ref(), edr, cx);
    let os = optional(typed.os.as_ref(), os, cx);
    let os_version = optional(typed.os_version.as_ref(), os_version, cx);
    let patched = optional(typed.patched.as_ref(), units::duration, cx);
    let reported = cx.parse_or(typed.reported.as_ref(), std::time::Duration::ZERO, units::duration);
    let source = cx.parse_or(typed.source_trust.as_ref(), SourceTrust::SelfReported, source_trust);
    Some(TestPosture {
        disk_encrypted: yes_no(&typed.disk_encrypted),
        firewall: yes_no(&typed.firewall),
        secure_boot: yes_no(&typed.secure_boot),
        compliant: yes_no(&typed.compliant),
        edr: edr?,
        patched: patched?,
        os: os?,
        os_version: os_version?,
        reported: reported?,
        source: source?,
    })
}

/// What is new about the place, for the person of a test: whether country and network were seen before.
pub(crate) fn tested_place(text: &str) -> Result<(bool, bool), Mistake> {
    match text {
        "country" => Ok((false, false)),
        "network" => Ok((true, false)),
        NONE => Ok((true, true)),
        _ => Err(Mistake::new(format!("`{text}` is not what can be new about a place"))
            .hint("write `country`, `network` (of a known country), or `none`")),
    }
}

/// The outer `None`: given, and wrong.
fn optional<T>(
    at: Option<&At<String>>,
    parse: impl FnOnce(&str) -> Result<T, Mistake>,
    cx: &mut Cx<'_>,
) -> Option<Option<T>> {
    at.map_or(Some(None), |at| cx.parse(at, parse).map(Some))
}

fn edr(text: &str) -> Result<Edr, Mistake> {
    one_of(text, "a state of malware protection", Edr::ALL.map(Edr::as_str), Edr::parse)
}

fn os(text: &str) -> Result<OsFamily, Mistake> {
    one_of(text, "a system", OsFamily::ALL.map(OsFamily::as_str), OsFamily::parse)
}

fn source_trust(text: &str) -> Result<SourceTrust, Mistake> {
    one_of(text, "a kind of source", SourceTrust::ALL.map(SourceTrust::as_str), SourceTrust::parse)
}

fn os_version(text: &str) -> Result<OsVersion, Mistake> {
    OsVersion::parse(text).ok_or_else(|| {
        Mistake::new(format!("`{text}` is not a version")).hint("write numbers and dots: `\"10.0.22631\"`")
    })
}

fn one_of<T, const N: usize>(
    text: &str,
    what: &str,
    known: [&'static str; N],
    parse: fn(&str) -> Option<T>,
) -> Result<T, Mistake> {
    parse(text)
        .ok_or_else(|| Mistake { message: format!("`{text}` is not {what}"), hint: crate::suggest::hint(text, known) })
}
