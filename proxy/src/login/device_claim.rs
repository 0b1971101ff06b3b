//! What a provider says, in a claim of its ID token, of the device that somebody signs in with. The form is that of a
//! device's own report (`posture/report.rs`); authentik fills it in by a scope mapping (docs/posture-claim.md).
//!
//! It belongs to the session that the token made, and to nothing else: it makes no connection a device's. Of a connection
//! that shows a device by itself it counts only where it names that very device. Never logs what the claim says.
use super::jws::Claims;
use crate::lookup::devices::Evidence;
use crate::posture::report::DeviceReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use torhaus_authz::{Device, Fact, Name, Posture, Timestamp, Why, serial};
use torhaus_config::Provider;

/// A report has some 300 bytes; it is kept with every session.
const MOST_BYTES: usize = 4096;

/// One device, as a provider saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Name>,
    pub posture: Posture,
}

/// What a session knows by its provider's claim.
pub type DeviceClaim = Fact<Arc<ClaimedDevice>>;

/// Reads the claim of an ID token that was checked. A login never fails by it: what cannot be read is unknown.
pub fn read(provider: &Provider, claims: &Claims, now: Timestamp) -> DeviceClaim {
    let Some(config) = &provider.posture else { return Fact::Unknown(Why::NotConfigured) };
    let value = match claims.get(&config.claim) {
        None | Some(Value::Null) => return Fact::Unknown(Why::NotGiven),
        Some(value) => value,
    };
    let source = Name::from(format!("claim of {}", provider.name));
    let report = form(value).and_then(|report| {
        let posture = report.posture(&source, config.trust, now);
        let posture = posture.map_err(|_| "its version, time, or system version is not one that counts here")?;
        Ok(ClaimedDevice { serial: report.serial.as_deref().and_then(serial), posture })
    });
    match report {
        Ok(claimed) => Fact::Known(Arc::new(claimed)),
        Err(why) => {
            tracing::warn!(provider = %provider.name, claim = config.claim, %why, "a device claim does not count");
            Fact::Unknown(Why::Malformed)
        }
    }
}

fn form(value: &Value) -> Result<DeviceReport, &'static str> {
    if value.to_string().len() > MOST_BYTES {
        return Err("it is longer than 4 KiB");
    }
    DeviceReport::deserialize(value).map_err(|_| "it is not of the form of a report")
}

/// What counts after the provider was asked again: without a word of it, what is known grows old.
pub fn newer(before: &DeviceClaim, now: DeviceClaim) -> DeviceClaim {
    match now {
        Fact::Unknown(Why::NotGiven) => before.clone(),
        now => now,
    }
}

/// What the sources say of the connection's device, and what the session's claim adds.
pub fn joined(
    found: Fact<Arc<Posture>>,
    device: &Fact<Option<Arc<Device>>>,
    evidence: &Evidence<'_>,
    claim: &DeviceClaim,
    young: impl Fn(Timestamp) -> bool,
) -> Fact<Arc<Posture>> {
    let bound = match device {
        Fact::Known(device) => device.as_ref(),
        // No list, or nothing was shown that one goes by.
        Fact::Unknown(Why::NotConfigured | Why::NotFound) => None,
        // Several devices, or one that a list would know which is down: the claim may be of another one.
        Fact::Unknown(_) => return found,
    };
    match (claim, bound, found) {
        (Fact::Known(claimed), bound, found) if !claimed.may_be_of(bound, evidence) => found,
        (Fact::Known(claimed), _, Fact::Known(posture)) => {
            Fact::Known(Arc::new(posture.as_ref().clone().worst_of(claimed.posture.clone(), young)))
        }
        (Fact::Known(claimed), _, Fact::Unknown(_)) => Fact::Known(Arc::new(claimed.posture.clone())),
        (Fact::Unknown(why), None, Fact::Unknown(Why::NotConfigured | Why::NotFound)) => Fact::Unknown(*why),
        (Fact::Unknown(_), _, found) => found,
    }
}

impl ClaimedDevice {
    /// Of a device that shows itself by its serial number, which the list of the device or its certificate has as well; a
    /// certificate shows a device also where no list knows it.
    fn may_be_of(&self, device: Option<&Arc<Device>>, evidence: &Evidence<'_>) -> bool {
        if device.is_none() && matches!(evidence.certificate, Fact::Known(None)) {
            return true;
        }
        let Some(own) = &self.serial else { return false };
        device.is_some_and(|device| device.serial.as_ref() == Some(own)) || evidence.names.contains(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torhaus_authz::{Certificate, Report, SourceTrust};

    const NOW: Timestamp = Timestamp::from_seconds(1_795_900_000);

    fn claimed(serial: Option<&str>, firewall: bool) -> DeviceClaim {
        let report = Report { value: firewall, source: "claim of corp".into(), trust: SourceTrust::Agent, at: NOW };
        let posture = Posture { firewall: Some(report), ..Posture::default() };
        Fact::Known(Arc::new(ClaimedDevice { serial: serial.map(Into::into), posture }))
    }

    #[test]
    fn a_claim_counts_for_its_session_and_of_a_device_that_shows_itself_only_where_it_names_it() {
        let laptop = |serial: Option<&str>| {
            let serial = serial.map(Into::into);
            Fact::Known(Some(Arc::new(Device { serial, ..Device::new("laptop".into(), "inventory".into()) })))
        };
        let unknown = |why| Fact::<Arc<Posture>>::Unknown(why);
        let listed = |value| claimed(None, value).map(|claimed| Arc::new(claimed.posture.clone()));
        let nobody = Fact::Unknown(Why::NotFound);
        let several = Fact::Unknown(Why::Ambiguous);
        let down = Fact::Unknown(Why::SourceDown);
        let malformed = Fact::Unknown(Why::Malformed);
        for (what, found, device, claim, expected) in [
            ("no device shows itself", unknown(Why::NotFound), &nobody, &claimed(None, true), Ok(true)),
            ("and no source at all", unknown(Why::NotConfigured), &Fact::Known(None), &claimed(None, false), Ok(false)),
            ("the very device", unknown(Why::NotFound), &laptop(Some("s1")), &claimed(Some("s1"), true), Ok(true)),
            ("by its certificate", unknown(Why::NotFound), &laptop(None), &claimed(Some("c1"), true), Ok(true)),
            ("the worse counts", listed(true), &laptop(Some("s1")), &claimed(Some("s1"), false), Ok(false)),
            ("the worse counts", listed(false), &laptop(Some("s1")), &claimed(Some("s1"), true), Ok(false)),
            (
                "another device",
                unknown(Why::SourceDown),
                &laptop(Some("s1")),
                &claimed(Some("s2"), true),
                Err(Why::SourceDown),
            ),
            ("perhaps another", unknown(Why::NotFound), &laptop(None), &claimed(None, true), Err(Why::NotFound)),
            ("several devices", unknown(Why::Ambiguous), &several, &claimed(None, true), Err(Why::Ambiguous)),
            (
                "perhaps one of a list that is down",
                unknown(Why::NotFound),
                &down,
                &claimed(Some("c1"), true),
                Err(Why::NotFound),
            ),
            ("not to be read", unknown(Why::NotFound), &nobody, &malformed, Err(Why::Malformed)),
            ("not to be read", listed(true), &nobody, &malformed, Ok(true)),
            ("a list that is down", unknown(Why::SourceDown), &nobody, &malformed, Err(Why::SourceDown)),
        ] {
            let names = ["c1".into()];
            let address = "10.0.0.1".parse().unwrap();
            let evidence = Evidence { certificate: Fact::Known(None), names: &names, address, listener: "" };
            let posture = joined(found, device, &evidence, claim, |_| true);
            let said = match posture {
                Fact::Known(posture) => Ok(posture.firewall.as_ref().unwrap().value),
                Fact::Unknown(why) => Err(why),
            };
            assert_eq!(said, expected, "{what}");
        }
    }

    #[test]
    fn a_certificate_that_no_list_knows_is_a_device_all_the_same() {
        let certificate = Certificate {
            trust_domain: "devices".into(),
            sha256: "ab".into(),
            serial: "01".into(),
            not_after: NOW,
            user: None,
        };
        let names = ["c1".into()];
        let address = "10.0.0.1".parse().unwrap();
        for device in [Fact::Known(None), Fact::Unknown(Why::NotFound), Fact::Unknown(Why::NotConfigured)] {
            for (certificate, claim, counts) in [
                (Fact::Known(Some(&certificate)), claimed(Some("c1"), true), true),
                (Fact::Known(Some(&certificate)), claimed(Some("s2"), true), false),
                (Fact::Known(Some(&certificate)), claimed(None, true), false),
                (Fact::Unknown(Why::SourceDown), claimed(None, true), false),
                (Fact::Known(None), claimed(None, true), true),
            ] {
                let evidence = Evidence { certificate, names: &names, address, listener: "" };
                let posture = joined(Fact::Unknown(Why::NotFound), &device, &evidence, &claim, |_| true);
                assert_eq!(matches!(posture, Fact::Known(_)), counts, "{device:?} {claim:?}");
            }
        }
    }

    #[test]
    fn a_token_without_a_word_of_the_device_leaves_what_is_known_and_one_that_cannot_be_read_does_not() {
        let before = claimed(None, true);
        assert_eq!(newer(&before, Fact::Unknown(Why::NotGiven)), before);
        assert_eq!(newer(&before, claimed(None, false)), claimed(None, false));
        for why in [Why::Malformed, Why::NotConfigured] {
            assert_eq!(newer(&before, Fact::Unknown(why)), Fact::Unknown(why));
        }
    }
}
