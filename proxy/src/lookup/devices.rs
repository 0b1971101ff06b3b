//! Which device a connection is bound to, and in which state it is: asked of every source, in memory, on every request.
//!
//! A source is a list that something else keeps up to date. What binds a device is a client certificate or an address
//! that only the mesh gives out, never a header or a cookie.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Certificate, Device, Fact, Name, Posture, Timestamp, Why};

/// Tag of a device that leads to other networks: what comes from its address may be of others.
pub const SUBNET_ROUTER: &str = "subnet-router";

/// What of a connection can name a device.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// Verified; `Known(None)`: none was presented.
    pub certificate: Fact<Option<&'a Certificate>>,
    /// What that certificate calls its device: common name, DNS names, serial number, as [`torhaus_authz::serial`] writes
    /// them.
    pub names: &'a [Name],
    pub address: IpAddr,
    pub listener: &'a str,
}

/// A list of devices. Answers from memory.
pub trait Devices: Send + Sync {
    /// `Known(None)`: this list would know it, and does not. `Unknown(NotFound)`: nothing that this list goes by was shown.
    fn find(&self, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Device>>>;

    /// Whether some device of this list has the serial number.
    fn lists_serial(&self, _serial: &str, _now: Timestamp) -> bool {
        false
    }
}

/// Who reports the state of devices. Answers from memory.
pub trait Postures: Send + Sync {
    /// `Known(None)`: it has no report of this device.
    fn report(&self, device: &Device, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Posture>>>;
}

/// All sources together.
#[derive(Default)]
pub struct Sources {
    pub devices: Vec<Arc<dyn Devices>>,
    pub postures: Vec<Arc<dyn Postures>>,
    /// Reports older than this do not outweigh younger ones.
    pub max_age: Duration,
}

impl Sources {
    pub fn find(&self, evidence: &Evidence<'_>, now: Timestamp) -> Fact<Option<Arc<Device>>> {
        let mut found: Option<Arc<Device>> = None;
        let mut otherwise = Fact::Unknown(Why::NotConfigured);
        for source in &self.devices {
            match (source.find(evidence, now), &found) {
                (Fact::Known(Some(device)), None) => found = Some(device),
                (Fact::Known(Some(device)), Some(other)) => match merged(other, &device) {
                    Some(both) => found = Some(Arc::new(both)),
                    None => return Fact::Unknown(Why::Ambiguous),
                },
                (Fact::Unknown(Why::Ambiguous), _) => return Fact::Unknown(Why::Ambiguous),
                (answer, _) => otherwise = less_sure(otherwise, answer),
            }
        }
        found.map_or(otherwise, |device| Fact::Known(Some(device)))
    }

    /// Of several reports the worse value counts, field by field.
    pub fn posture(
        &self,
        device: &Fact<Option<Arc<Device>>>,
        evidence: &Evidence<'_>,
        now: Timestamp,
    ) -> Fact<Arc<Posture>> {
        let device = match device {
            Fact::Known(Some(device)) => device,
            Fact::Known(None) => return Fact::Unknown(Why::NotFound),
            Fact::Unknown(why) => return Fact::Unknown(*why),
        };
        let young = |at: Timestamp| now.since(at) <= self.max_age;
        let mut found: Option<Arc<Posture>> = None;
        let mut otherwise = Fact::Unknown(if self.postures.is_empty() { Why::NotConfigured } else { Why::NotFound });
        for source in &self.postures {
            match source.report(device, evidence, now) {
                Fact::Known(Some(report)) => {
                    found = Some(match found {
                        None => report,
                        Some(other) => Arc::new(other.as_ref().clone().worst_of(report.as_ref().clone(), young)),
                    });
                }
                Fact::Known(None) => {}
                Fact::Unknown(why) => otherwise = Fact::Unknown(why),
            }
        }
        found.map_or(otherwise, Fact::Known)
    }
}

/// What to say when nobody knows the device: that a source was down outweighs that another one does not have it.
fn less_sure(one: Fact<Option<Arc<Device>>>, other: Fact<Option<Arc<Device>>>) -> Fact<Option<Arc<Device>>> {
    let rank = |answer: &Fact<Option<Arc<Device>>>| match answer {
        Fact::Unknown(Why::NotConfigured) => 0,
        Fact::Unknown(Why::NotFound) => 1,
        Fact::Known(_) => 2,
        Fact::Unknown(_) => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

/// Two lists of one device; `None` when they mean two. Each list speaks for the tags that it gives. A certificate is of
/// the device itself, which may sit behind the router that its address is of.
fn merged(one: &Device, other: &Device) -> Option<Device> {
    let is_router = |device: &Device| device.tags.iter().any(|tag| **tag == *SUBNET_ROUTER);
    match (is_router(one), is_router(other)) {
        (false, true) => return Some(one.clone()),
        (true, false) => return Some(other.clone()),
        _ => {}
    }
    if let (Some(first), Some(second)) = (&one.serial, &other.serial)
        && first != second
    {
        return None;
    }
    let owner = match (&one.owner, &other.owner) {
        (Fact::Known(first), Fact::Known(second)) if first != second => Fact::Unknown(Why::Ambiguous),
        (Fact::Unknown(_), known) => known.clone(),
        (known, _) => known.clone(),
    };
    let managed = match (one.managed, other.managed) {
        (Fact::Known(first), Fact::Known(second)) => Fact::Known(first && second),
        (Fact::Unknown(_), known) => known,
        (known, Fact::Unknown(_)) => known,
    };
    let mut tags: Vec<Name> = one.tags.iter().chain(&other.tags).cloned().collect();
    tags.sort_unstable();
    tags.dedup();
    Some(Device {
        id: one.id.clone(),
        serial: one.serial.clone().or_else(|| other.serial.clone()),
        owner,
        tags: tags.into(),
        managed,
        source: format!("{}, {}", one.source, other.source).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use torhaus_authz::{Report, SourceTrust};

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    struct Says(Fact<Option<Arc<Device>>>, Fact<Option<Arc<Posture>>>);

    impl Devices for Says {
        fn find(&self, _: &Evidence<'_>, _: Timestamp) -> Fact<Option<Arc<Device>>> {
            self.0.clone()
        }
    }

    impl Postures for Says {
        fn report(&self, _: &Device, _: &Evidence<'_>, _: Timestamp) -> Fact<Option<Arc<Posture>>> {
            self.1.clone()
        }
    }

    fn device(source: &str, change: impl FnOnce(&mut Device)) -> Fact<Option<Arc<Device>>> {
        let mut device = Device::new("laptop".into(), source.into());
        change(&mut device);
        Fact::Known(Some(Arc::new(device)))
    }

    fn asked(devices: Vec<Fact<Option<Arc<Device>>>>) -> Fact<Option<Arc<Device>>> {
        let says = |answer| Arc::new(Says(answer, Fact::Known(None))) as Arc<dyn Devices>;
        let sources = Sources { devices: devices.into_iter().map(says).collect(), ..Sources::default() };
        let address = "10.0.0.1".parse().unwrap();
        let evidence = Evidence { certificate: Fact::Known(None), names: &[], address, listener: "" };
        sources.find(&evidence, NOW)
    }

    #[test]
    fn a_router_of_the_mesh_is_not_the_device_behind_it_and_a_laptop_in_the_mesh_is() {
        let laptop = || device("inventory", |device| device.owner = Fact::Known(Some("dana".into())));
        let node = |tag: &str, owner: Option<&str>| {
            device("headscale", |device| {
                device.tags = [tag.into()].into();
                device.owner = Fact::Known(owner.map(Into::into));
            })
        };
        assert_eq!(asked(vec![laptop(), node(SUBNET_ROUTER, None)]), laptop());
        assert_eq!(asked(vec![node(SUBNET_ROUTER, None), laptop()]), laptop());
        let Fact::Known(Some(both)) = asked(vec![laptop(), node("tag:kiosk", Some("dana"))]) else { panic!("none") };
        assert_eq!((&both.owner, &*both.tags), (&Fact::Known(Some("dana".into())), &["tag:kiosk".into()][..]));
        // Her certificate in somebody else's node.
        let Fact::Known(Some(both)) = asked(vec![laptop(), node("tag:x", Some("eve"))]) else { panic!("none") };
        assert_eq!(both.owner, Fact::Unknown(Why::Ambiguous));
    }

    #[test]
    fn a_source_that_is_down_outweighs_one_that_does_not_know_the_device() {
        let down = || Fact::Unknown(Why::SourceDown);
        assert_eq!(asked(vec![]), Fact::Unknown(Why::NotConfigured));
        assert_eq!(asked(vec![Fact::Known(None)]), Fact::Known(None));
        assert_eq!(asked(vec![Fact::Known(None), down()]), down());
        assert_eq!(asked(vec![down(), Fact::Known(None)]), down());
        assert_eq!(asked(vec![Fact::Unknown(Why::NotFound), Fact::Known(None)]), Fact::Known(None));
        assert!(matches!(asked(vec![down(), device("a", |_| ())]), Fact::Known(Some(_))));
    }

    #[test]
    fn of_two_lists_the_worse_word_counts_and_two_devices_are_none() {
        let one = device("a", |d| {
            d.managed = Fact::Known(true);
            d.owner = Fact::Known(Some("dana".into()));
            d.tags = ["x".into()].into();
        });
        let other = |owner: &str| {
            device("b", |d| {
                d.managed = Fact::Known(false);
                d.owner = Fact::Known(Some(owner.into()));
                d.tags = ["y".into()].into();
                d.serial = Some("s1".into());
            })
        };
        let Fact::Known(Some(both)) = asked(vec![one.clone(), other("dana")]) else { panic!("no device") };
        assert_eq!((both.managed, both.owner.clone()), (Fact::Known(false), Fact::Known(Some("dana".into()))));
        assert_eq!((&*both.source, both.serial.as_deref(), both.tags.len()), ("a, b", Some("s1"), 2));
        let Fact::Known(Some(both)) = asked(vec![one, other("eve")]) else { panic!("no device") };
        assert_eq!(both.owner, Fact::Unknown(Why::Ambiguous));
        let another = device("c", |d| d.serial = Some("s2".into()));
        assert_eq!(asked(vec![other("dana"), another]), Fact::Unknown(Why::Ambiguous));
    }

    #[test]
    fn of_two_reports_the_worse_one_counts_and_one_that_is_down_takes_nothing_away() {
        let disk = |value| {
            let report = Report { value, source: "x".into(), trust: SourceTrust::Mdm, at: NOW };
            Fact::Known(Some(Arc::new(Posture { disk_encrypted: Some(report), ..Posture::default() })))
        };
        let asked = |reports: Vec<Fact<Option<Arc<Posture>>>>| {
            let says = |report| Arc::new(Says(Fact::Known(None), report)) as Arc<dyn Postures>;
            let postures = reports.into_iter().map(says).collect();
            let sources = Sources { devices: Vec::new(), postures, max_age: Duration::from_secs(60) };
            let address = "10.0.0.1".parse().unwrap();
            let evidence = Evidence { certificate: Fact::Known(None), names: &[], address, listener: "" };
            let posture = sources.posture(&device("a", |_| ()), &evidence, NOW);
            posture.map(|posture| posture.disk_encrypted.as_ref().map(|report| report.value))
        };
        assert_eq!(asked(vec![disk(true), disk(false)]), Fact::Known(Some(false)));
        assert_eq!(asked(vec![disk(true), Fact::Unknown(Why::SourceDown)]), Fact::Known(Some(true)));
        assert_eq!(asked(vec![Fact::Known(None), Fact::Unknown(Why::SourceDown)]), Fact::Unknown(Why::SourceDown));
        assert_eq!(asked(vec![Fact::Known(None)]), Fact::Unknown(Why::NotFound));
        assert_eq!(asked(vec![]), Fact::Unknown(Why::NotConfigured));
    }
}
