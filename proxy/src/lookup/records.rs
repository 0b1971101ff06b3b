//! Which devices came to the gate: one record for each, kept in the store. A device is written down when it shows a
//! client certificate of ours, or comes from its own address of the mesh.
//!
//! A record opens nothing. Two things make it a source of facts: an operator approves the device (`torhaus device
//! approve`), or the device reports its state (`posture/`), each found by the certificate alone.
use crate::login::session::Unavailable;
use crate::lookup::devices::{Devices, Evidence, Postures};
use crate::lookup::headscale;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use torhaus_authz::{Device, Fact, Facts, Identity, Name, Posture, Timestamp, Why};

/// How often it is written down that a device came again.
const REFRESH: Duration = Duration::from_secs(3600);
/// How soon it is written down that it came in another way.
const NEWS: Duration = Duration::from_secs(60);
/// One that nobody approved is forgotten after this long.
pub const REMEMBERED: Duration = Duration::from_secs(180 * 86_400);
/// A device that stands in no list, by its certificate.
const CERTIFICATE: &str = "certificate";
/// How an approval is attributed.
const APPROVED: &str = "approved";

/// What is known of one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// As its list calls it, else as its certificate does; nodes of a mesh have its name before theirs.
    pub id: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Name>,
    /// As the lists say, or the operator who approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
    /// SHA-256 of the certificate that it showed last, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Name>,
    /// Who was signed in on it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<Name>,
    /// The lists that know it, joined by a comma; `certificate` if none does.
    pub sources: Name,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approval>,
    /// What it said of its own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Arc<Posture>>,
}

/// That an operator vouches for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: Name,
    pub at: Timestamp,
    /// `None`: the operator did not say whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
}

/// Where records are kept.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    async fn devices(&self) -> Result<Vec<DeviceRecord>, Unavailable>;
    /// Writes down what was seen of a device. Its first time, approval and report stay what they were.
    async fn device_seen(&self, seen: &DeviceRecord) -> Result<(), Unavailable>;
    /// False: there is no such device.
    async fn approve_device(&self, id: &str, approval: &Approval) -> Result<bool, Unavailable>;
    /// False: there is no such device.
    async fn device_reported(&self, id: &str, report: &Posture) -> Result<bool, Unavailable>;
    /// False: there is no such device.
    async fn forget_device(&self, id: &str) -> Result<bool, Unavailable>;
    /// Forgets those that nobody approved and that were seen last before then.
    async fn forget_devices(&self, before: Timestamp) -> Result<(), Unavailable>;
}

/// All records, in memory; the store has them too.
pub struct DeviceRecords {
    store: Arc<dyn DeviceStore>,
    known: RwLock<HashMap<Name, Arc<DeviceRecord>>>,
    /// Being written: of many requests at once, one writes.
    pending: Mutex<HashSet<Name>>,
    /// Store and memory change together: what is read again must not undo what is written meanwhile.
    writing: tokio::sync::Mutex<()>,
}

impl DeviceRecords {
    /// # Errors
    /// The store could not be asked.
    pub async fn load(store: Arc<dyn DeviceStore>) -> Result<Self, Unavailable> {
        let records = Self { store, known: RwLock::default(), pending: Mutex::default(), writing: Default::default() };
        records.reload().await?;
        Ok(records)
    }

    /// Takes over what other replicas wrote.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn reload(&self) -> Result<(), Unavailable> {
        let _writing = self.writing.lock().await;
        let all = self.store.devices().await?;
        let all = all.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// # Errors
    /// The store could not be asked.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), Unavailable> {
        self.store.forget_devices(now.minus(REMEMBERED)).await?;
        self.reload().await
    }

    pub fn all(&self) -> Vec<Arc<DeviceRecord>> {
        let mut all: Vec<_> = self.read().values().cloned().collect();
        all.sort_by(|one, other| other.last_seen.cmp(&one.last_seen).then_with(|| one.id.cmp(&other.id)));
        all
    }

    pub fn get(&self, id: &str) -> Option<Arc<DeviceRecord>> {
        self.read().get(id).cloned()
    }

    /// Writes down the device of a request, if one is known or shows a certificate of `domains`. Makes no request wait.
    pub fn learn(self: &Arc<Self>, facts: &Facts<'_>, names: &[Name], domains: &[Name]) {
        let Some(seen) = seen(facts, names, domains) else { return };
        if !self.is_due(&seen) || !self.pending().insert(seen.id.clone()) {
            return;
        }
        let me = self.clone();
        tokio::spawn(async move {
            let writing = me.writing.lock().await;
            match me.store.device_seen(&seen).await {
                Ok(()) => me.note(&seen),
                Err(error) => tracing::error!(%error, "a device could not be written down"),
            }
            drop(writing);
            me.pending().remove(&seen.id);
        });
    }

    /// Vouches for a device. False: there is none of this name.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn approve(&self, id: &str, approval: Approval) -> Result<bool, Unavailable> {
        let _writing = self.writing.lock().await;
        let done = self.store.approve_device(id, &approval).await?;
        if done {
            self.change(id, |record| {
                record.owner = approval.owner.clone().or_else(|| record.owner.clone());
                record.approved = Some(approval);
            });
        }
        Ok(done)
    }

    /// Forgets a device, its approval and its report. False: there is none of this name.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn forget(&self, id: &str) -> Result<bool, Unavailable> {
        let _writing = self.writing.lock().await;
        let done = self.store.forget_device(id).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(done)
    }

    /// Keeps what a device says of itself, instead of what it said before.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn report(&self, seen: &DeviceRecord, report: Posture) -> Result<(), Unavailable> {
        let _writing = self.writing.lock().await;
        self.store.device_seen(seen).await?;
        self.note(seen);
        if self.store.device_reported(&seen.id, &report).await? {
            self.change(&seen.id, |record| record.report = Some(Arc::new(report)));
        }
        Ok(())
    }

    /// New, or not written down for a while. Two people on one device, or two ways to the gate, are not each other's news.
    fn is_due(&self, seen: &DeviceRecord) -> bool {
        let known = self.read();
        let Some(known) = known.get(&seen.id) else { return true };
        let somebody = known.used_by.is_none() && seen.used_by.is_some();
        let news = known.serial != seen.serial
            || known.certificate != seen.certificate
            || known.sources != seen.sources
            || (seen.used_by.is_some() && known.used_by != seen.used_by);
        let age = seen.last_seen.since(known.last_seen);
        somebody || (news && age >= NEWS) || age >= REFRESH
    }

    fn note(&self, seen: &DeviceRecord) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let record = match known.get(&seen.id) {
            None => seen.clone(),
            Some(before) => DeviceRecord {
                first_seen: before.first_seen,
                owner: seen.owner.clone().or_else(|| before.owner.clone()),
                used_by: seen.used_by.clone().or_else(|| before.used_by.clone()),
                approved: before.approved.clone(),
                report: before.report.clone(),
                ..seen.clone()
            },
        };
        known.insert(seen.id.clone(), Arc::new(record));
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut DeviceRecord)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = known.get_mut(id) {
            change(Arc::make_mut(record));
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Name, Arc<DeviceRecord>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashSet<Name>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request shows of its device; nothing if it shows none of ours.
pub fn seen(facts: &Facts<'_>, names: &[Name], domains: &[Name]) -> Option<DeviceRecord> {
    let certificate = match &facts.certificate {
        Fact::Known(Some(shown)) if domains.contains(&shown.trust_domain) => Some(shown.sha256.clone()),
        _ => None,
    };
    let used_by = match &facts.identity {
        Identity::User(user) => Some(user.name.clone()),
        _ => None,
    };
    let record = |id: Name, sources: &str| DeviceRecord {
        id,
        serial: None,
        owner: None,
        certificate: certificate.clone(),
        used_by,
        sources: sources.into(),
        first_seen: facts.now,
        last_seen: facts.now,
        approved: None,
        report: None,
    };
    match &facts.device {
        Fact::Known(Some(device)) => Some(DeviceRecord {
            serial: device.serial.clone(),
            owner: device.owner.known().cloned().flatten(),
            ..record(id_of(device), &device.source)
        }),
        // Two devices of one name: a record would be of either.
        Fact::Unknown(Why::Ambiguous) => None,
        // In no list: it has the name that its authority gave it.
        _ if certificate.is_some() => Some(record(names.first()?.clone(), CERTIFICATE)),
        _ => None,
    }
}

/// A node of a mesh chose its name itself: it is not the device that a certificate calls so.
pub fn id_of(device: &Device) -> Name {
    match &*device.source == headscale::SOURCE {
        true => format!("{}/{}", headscale::SOURCE, device.id).into(),
        false => device.id.clone(),
    }
}

/// Records as a source of facts.
pub struct Recorded {
    records: Arc<DeviceRecords>,
    /// Whose certificates name our devices.
    trust_domains: Vec<Name>,
    /// Devices may report their own state.
    reports: bool,
}

impl Recorded {
    pub fn new(records: Arc<DeviceRecords>, trust_domains: Vec<Name>, reports: bool) -> Self {
        Self { records, trust_domains, reports }
    }
}

impl Devices for Recorded {
    fn find(&self, evidence: &Evidence<'_>, _: Timestamp) -> Fact<Option<Arc<Device>>> {
        match evidence.certificate {
            Fact::Known(Some(shown)) if self.trust_domains.contains(&shown.trust_domain) => {}
            Fact::Unknown(why) => return Fact::Unknown(why),
            Fact::Known(_) => return Fact::Unknown(Why::NotFound),
        }
        let known = self.records.read();
        let approved = evidence.names.iter().filter_map(|name| known.get(name));
        let mut approved = approved.filter_map(|record| Some((record, record.approved.as_ref()?)));
        let Some((record, approval)) = approved.next() else { return Fact::Known(None) };
        if approved.any(|(other, _)| other.id != record.id) {
            return Fact::Unknown(Why::Ambiguous);
        }
        let owner = approval.owner.clone().map_or(Fact::Unknown(Why::NotFound), |owner| Fact::Known(Some(owner)));
        Fact::Known(Some(Arc::new(Device { owner, ..Device::new(record.id.clone(), APPROVED.into()) })))
    }
}

impl Postures for Recorded {
    fn report(&self, device: &Device, evidence: &Evidence<'_>, _: Timestamp) -> Fact<Option<Arc<Posture>>> {
        let by_certificate = matches!(evidence.certificate, Fact::Known(Some(shown))
            if self.trust_domains.contains(&shown.trust_domain));
        if !self.reports || !by_certificate {
            return Fact::Known(None);
        }
        Fact::Known(self.records.read().get(&id_of(device)).and_then(|record| record.report.clone()))
    }
}
