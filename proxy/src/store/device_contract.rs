//! What every store of devices promises, as one function that each implementation runs.
use crate::lookup::records::{Approval, DeviceRecord, DeviceStore};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Posture, Report, SourceTrust, Timestamp};

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn record(id: &str) -> DeviceRecord {
    DeviceRecord {
        id: id.into(),
        serial: Some("c02xk1".into()),
        owner: Some("dana".into()),
        certificate: Some("ab".repeat(32).into()),
        used_by: Some("dana".into()),
        sources: "inventory, fleet".into(),
        first_seen: NOON,
        last_seen: NOON,
        approved: None,
        report: None,
    }
}

/// Runs every promise on an empty store.
pub async fn holds(store: Arc<dyn DeviceStore>) {
    let only = async || {
        let all = store.devices().await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    };
    store.device_seen(&record("laptop-17")).await.unwrap();
    assert_eq!(only().await, record("laptop-17"), "it comes back as it was");

    // Seen again: the first time stays, an earlier word takes nothing back, and what is not known now was known.
    let later = DeviceRecord {
        serial: None,
        owner: None,
        used_by: None,
        certificate: Some("cd".repeat(32).into()),
        sources: "certificate".into(),
        first_seen: NOON.plus(DAY),
        last_seen: NOON.plus(DAY),
        ..record("laptop-17")
    };
    store.device_seen(&later).await.unwrap();
    let expected = DeviceRecord { first_seen: NOON, owner: Some("dana".into()), used_by: Some("dana".into()), ..later };
    assert_eq!(only().await, expected);
    store.device_seen(&DeviceRecord { last_seen: NOON, ..expected.clone() }).await.unwrap();
    assert_eq!(only().await.last_seen, NOON.plus(DAY));

    // An approval and a report outlive what is seen.
    let approval = Approval { by: "uid 0".into(), at: NOON, owner: Some("erin".into()) };
    let firewall = Report { value: false, source: "agent".into(), trust: SourceTrust::Agent, at: NOON };
    let report = Posture { firewall: Some(firewall), ..Posture::default() };
    assert!(store.approve_device("laptop-17", &approval).await.unwrap());
    assert!(store.device_reported("laptop-17", &report).await.unwrap());
    assert!(!store.approve_device("nobody", &approval).await.unwrap());
    assert!(!store.device_reported("nobody", &report).await.unwrap());
    let expected = DeviceRecord {
        owner: Some("erin".into()),
        approved: Some(approval),
        report: Some(Arc::new(report)),
        ..expected
    };
    assert_eq!(only().await, expected);
    store.device_seen(&DeviceRecord { owner: None, ..expected.clone() }).await.unwrap();
    assert_eq!(only().await, expected);

    // What is old and not approved is forgotten.
    store.device_seen(&record("guest")).await.unwrap();
    store.forget_devices(NOON.plus(DAY * 100)).await.unwrap();
    assert_eq!(only().await.id, "laptop-17".into());
    assert!(store.forget_device("laptop-17").await.unwrap());
    assert!(!store.forget_device("laptop-17").await.unwrap());
    assert!(store.devices().await.unwrap().is_empty());
}
