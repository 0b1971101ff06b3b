//! The device of a question: from the configured list, by name or by the certificate, or as it is said to be.
use super::{Failure, duration};
use crate::edge::trust::VerifiedCertificate;
use crate::lookup::Lookups;
use crate::lookup::devices::Evidence;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Edr, Fact, Facts, OsFamily, OsVersion, Seen, SourceTrust, TestPosture, Why};

#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// A device of the configured list, by its `id`, with its posture; `none`: one that is in no list. Without it, the
    /// device is the one that --certificate names.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The state of the device, instead of what was reported: `firewall=false,disk_encrypted=true,reported=2h`.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    posture: Vec<String>,
    /// What of the place is new for the person: `country`, `network`, `none`. Without it, that is unknown.
    #[arg(long, value_name = "WHAT")]
    new_place: Option<String>,
}

pub fn look_up(
    args: &DeviceArgs,
    lookups: &Lookups,
    presented: Option<&Option<VerifiedCertificate>>,
    facts: &mut Facts<'_>,
) -> Result<(), Failure> {
    let now = facts.now;
    match args.device.as_deref() {
        Some("none") => (facts.device, facts.posture) = (Fact::Known(None), Fact::Unknown(Why::NotFound)),
        Some(id) => {
            let none = || Failure::Usage(format!("there is no device `{id}` in the list of `lookups.posture`"));
            let (device, posture) = lookups.listed(id, now).ok_or_else(none)?;
            facts.device = Fact::Known(Some(device));
            facts.posture = posture.map_or(Fact::Unknown(Why::NotFound), Fact::Known);
        }
        None => {
            if let Some(presented) = presented {
                let certificate = presented.as_ref().map(|found| &*found.certificate);
                let names = presented.as_ref().map(|found| found.device_names.clone()).unwrap_or_default();
                let address = facts.address.known().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let certificate = Fact::Known(certificate);
                let evidence = Evidence { certificate, names: &names, address, listener: facts.listener };
                facts.device = lookups.sources.find(&evidence, now);
                facts.posture = lookups.sources.posture(&facts.device, &evidence, now);
            }
        }
    }
    if !args.posture.is_empty() {
        facts.posture = Fact::Known(Arc::new(posture(&args.posture)?.at(now)));
    }
    facts.seen = match args.new_place.as_deref() {
        None => Seen::unknown(Why::NotGiven),
        Some("country") => Seen { country: Fact::Known(false), network: Fact::Known(false) },
        Some("network") => Seen { country: Fact::Known(true), network: Fact::Known(false) },
        Some("none") => Seen { country: Fact::Known(true), network: Fact::Known(true) },
        Some(other) => {
            return Err(Failure::Usage(format!("`{other}` is not what can be new: `country`, `network` or `none`")));
        }
    };
    Ok(())
}

fn posture(given: &[String]) -> Result<TestPosture, Failure> {
    let mut posture = TestPosture { source: SourceTrust::Attested, ..TestPosture::unreported() };
    for text in given {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let wrong = || Failure::Usage(format!("`{text}` says nothing of a device: write `firewall=false`"));
        let yes_no = || value.parse::<bool>().map_err(|_| wrong());
        let ago = || -> Result<Duration, Failure> { duration(value).ok_or_else(wrong) };
        match key {
            "disk_encrypted" => posture.disk_encrypted = Some(yes_no()?),
            "firewall" => posture.firewall = Some(yes_no()?),
            "secure_boot" => posture.secure_boot = Some(yes_no()?),
            "compliant" => posture.compliant = Some(yes_no()?),
            "edr" => posture.edr = Some(Edr::parse(value).ok_or_else(wrong)?),
            "patched" => posture.patched = Some(ago()?),
            "os" => posture.os = Some(OsFamily::parse(value).ok_or_else(wrong)?),
            "os_version" => posture.os_version = Some(OsVersion::parse(value).ok_or_else(wrong)?),
            "reported" => posture.reported = ago()?,
            "source_trust" => posture.source = SourceTrust::parse(value).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        }
    }
    Ok(posture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posture_is_keys_and_values_as_in_policy_tests() {
        let given = |text: &str| posture(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let found = given("firewall=false,edr=healthy,reported=2h,os_version=10.0.1,os=windows").unwrap();
        assert_eq!((found.firewall, found.edr, found.disk_encrypted), (Some(false), Some(Edr::Healthy), None));
        assert_eq!(found.reported, Duration::from_secs(7200));
        for wrong in ["firewall", "firewall=off", "firewal=true", "edr=fine", "patched=3", "source_trust=me"] {
            assert!(given(wrong).is_err(), "{wrong}");
        }
    }
}
