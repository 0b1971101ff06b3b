//! What every ledger must do. Run on the one in memory and on SQLite.
use crate::ca::moment;
use crate::login::seal::SealKey;
use crate::store::SqliteStore;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use torhaus_authz::Timestamp;
use torhaus_certs::{
    Counts, IssuedRecord, Ledger, LedgerError, Listed, MemoryLedger, Query, Reason, RevokedRecord, Serial,
};

fn now() -> OffsetDateTime {
    moment(Timestamp::from_seconds(1_795_392_000))
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

async fn holds(ledger: &dyn Ledger) {
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

    let unknown = RevokedRecord { issuer: None, not_after: None, serial: Serial::from_bytes(&[9]), ..revoked(&one) };
    let new = ledger.record_revoked(&[revoked(&one), unknown.clone(), revoked(&one)]).await.unwrap();
    assert_eq!(new, [one.serial.clone(), unknown.serial.clone()]);
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

#[tokio::test]
async fn memory_keeps_the_contract_of_a_ledger() {
    holds(&MemoryLedger::default()).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_a_ledger_and_only_grows() {
    let folder = tempfile::tempdir().unwrap();
    let seal = Arc::new(SealKey::load_or_create(folder.path()).unwrap());
    let store = SqliteStore::open(&folder.path().join("torhaus.db"), seal).await.unwrap();
    holds(&store).await;
    for change in [
        "DELETE FROM certificates",
        "UPDATE certificates SET owner = 'eve'",
        "DELETE FROM revocations",
        "UPDATE revocations SET reason = 0",
    ] {
        let refused = sqlx::query(change).execute(store.writer()).await.unwrap_err().to_string();
        assert!(refused.contains("the ledger only grows"), "{change}: {refused}");
    }
}
