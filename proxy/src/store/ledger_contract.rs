//! What every ledger promises, as one function that each implementation runs, and every keeper of authorities.
use crate::ca::{AuthorityStore, StoredAuthority, StoredRole};
use time::{Duration, OffsetDateTime};
use torhaus_certs::{Counts, IssuedRecord, Ledger, LedgerError, Listed, Query, Reason, RevokedRecord, Serial};

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_392_000).unwrap()
}

fn issued(serial: u8, owner: &str, hours: i64) -> IssuedRecord {
    IssuedRecord {
        serial: Serial::from_bytes(&[0x54, serial]),
        issuer: "0123456789abcdef".into(),
        profile: "device".into(),
        common_name: "laptop".into(),
        names: vec!["dns:a.test".into(), "user:\"x\"".into()],
        owner: owner.into(),
        requested_by: "uid 0".into(),
        why: "a test".into(),
        sha256: "00".repeat(32),
        issued_at: now() + Duration::seconds(serial.into()),
        not_before: now() - Duration::minutes(1),
        not_after: now() + Duration::hours(hours),
        der: vec![0x30, serial],
    }
}

fn revoked(record: &IssuedRecord) -> RevokedRecord {
    RevokedRecord {
        serial: record.serial.clone(),
        issuer: Some(record.issuer.clone()),
        at: now(),
        reason: Reason::KeyCompromise,
        revoked_by: "alice".into(),
        why: "lost".into(),
        not_after: Some(record.not_after),
    }
}

/// Runs every promise on an empty ledger.
pub async fn holds(ledger: &dyn Ledger) {
    let (one, two, old) = (issued(1, "alice", 24), issued(2, "bob", 1), issued(3, "alice", -1));
    for record in [&one, &two, &old] {
        ledger.record_issued(record).await.unwrap();
    }
    let again = ledger.record_issued(&IssuedRecord { owner: "eve".into(), ..one.clone() }).await.unwrap_err();
    assert!(matches!(again, LedgerError::SerialUsed(_)), "no serial is used twice");
    let all = Query::default();
    let listed = |query: Query| async move {
        ledger.list(&query).await.unwrap().into_iter().map(|found| found.issued.serial).collect::<Vec<_>>()
    };
    assert_eq!(listed(all.clone()).await, [old.serial.clone(), two.serial.clone(), one.serial.clone()], "newest first");
    let alices = Query { owner: Some("alice".into()), valid_at: Some(now()), limit: None };
    assert_eq!(listed(alices.clone()).await, vec![one.serial.clone()]);
    assert_eq!(listed(Query { limit: Some(1), ..all }).await, vec![old.serial.clone()]);
    assert_eq!(ledger.count(now(), now() + Duration::hours(2)).await.unwrap(), Counts { valid: 2, ending: 1 });

    assert_eq!(ledger.owners(now()).await.unwrap(), ["alice", "bob"]);

    let unknown = RevokedRecord { issuer: None, not_after: None, serial: Serial::from_bytes(&[9]), ..revoked(&one) };
    let new = ledger.record_revoked(&[revoked(&one), unknown.clone(), revoked(&one)]).await.unwrap();
    assert_eq!(new, [one.serial.clone(), unknown.serial.clone()]);
    assert_eq!(ledger.owners(now()).await.unwrap(), ["bob"], "alice's are over, or revoked");
    let later = RevokedRecord { why: "another reason".into(), reason: Reason::Superseded, ..revoked(&one) };
    assert!(ledger.record_revoked(&[later]).await.unwrap().is_empty());
    let found = ledger.find(&one.serial).await.unwrap();
    assert_eq!(found, Some(Listed { issued: one.clone(), revoked: Some(revoked(&one)) }), "the first reason stays");
    assert_eq!(ledger.find(&unknown.serial).await.unwrap(), None);
    assert!(listed(alices).await.is_empty());
    assert_eq!(ledger.count(now(), now()).await.unwrap(), Counts { valid: 1, ending: 0 });
    let mut ending = ledger.revoked_ending_after(now()).await.unwrap();
    ending.sort_by(|one, other| one.serial.cmp(&other.serial));
    assert_eq!(ending, [unknown.clone(), revoked(&one)]);
    let much_later = ledger.revoked_ending_after(now() + Duration::days(3)).await.unwrap();
    assert_eq!(much_later, [unknown], "one whose end nobody knows stays");

    assert_eq!(ledger.next_crl_number("a", 10).await.unwrap(), 10);
    assert_eq!(ledger.next_crl_number("a", 10).await.unwrap(), 11, "it always grows");
    assert_eq!(ledger.next_crl_number("a", 5).await.unwrap(), 12);
    assert_eq!(ledger.next_crl_number("b", 1).await.unwrap(), 1);
}

fn authority(id: &str, role: StoredRole, active: bool) -> StoredAuthority {
    StoredAuthority {
        id: id.into(),
        role,
        certificate: format!("certificate of {id}"),
        root: "root".into(),
        sealed_key: (role == StoredRole::Issuing).then(|| vec![0, 1, 255]),
        active,
    }
}

/// Runs every promise on an empty store.
pub async fn authorities_are_kept(store: &dyn AuthorityStore) {
    let first = [authority("r", StoredRole::Root, false), authority("i-1", StoredRole::Issuing, true)];
    assert!(store.add_first_authorities(&first, now()).await.unwrap());
    let late = [authority("r-2", StoredRole::Root, false), authority("i-9", StoredRole::Issuing, true)];
    assert!(!store.add_first_authorities(&late, now()).await.unwrap(), "of two that begin, one makes the authorities");
    store.add_authorities(&[authority("i-2", StoredRole::Issuing, false)], now()).await.unwrap();
    assert!(store.add_authorities(&[authority("i-2", StoredRole::Issuing, true)], now()).await.is_err(), "once");
    let known = async || {
        let all = store.authorities().await.unwrap();
        all.into_iter().map(|one| (one.id, one.active, one.sealed_key)).collect::<Vec<_>>()
    };
    let row = |id: &str, active, key: Option<&[u8]>| (id.to_owned(), active, key.map(<[u8]>::to_vec));
    let key = Some([0, 1, 255].as_slice());
    assert_eq!(known().await, [row("r", false, None), row("i-1", true, key), row("i-2", false, key)]);
    store.activate_authority("i-2").await.unwrap();
    store.reseal_authority("i-1", b"other").await.unwrap();
    let resealed = Some(b"other".as_slice());
    assert_eq!(known().await, [row("r", false, None), row("i-1", false, resealed), row("i-2", true, key)]);
}
