//! The books: merged at start, and what becomes of them when one is lost or damaged; and keys under the wrong key.
use super::journal::Journal;
use super::*;
use crate::store::SqlStore;
use std::path::Path;
use torhaus_certs::{Profile, Purpose, Reason, RevokedRecord};
use torhaus_config::{Ca, Secret};

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

fn record(serial: &[u8]) -> RevokedRecord {
    RevokedRecord {
        serial: Serial::from_bytes(serial),
        issuer: Some("0123456789abcdef".into()),
        at: moment(NOW),
        reason: Reason::Superseded,
        revoked_by: "uid 0".into(),
        why: "a \"test\"\nof two lines".into(),
        not_after: Some(moment(NOW) + time::Duration::days(1)),
    }
}

async fn journal(folder: &Path) -> Journal {
    Journal::open(folder.join("ca").join("revocations.jsonl")).await.unwrap()
}

async fn store(folder: &Path) -> SqlStore {
    let seal = SealKey::load_or_create(folder).unwrap();
    SqlStore::sqlite(&folder.join("torhaus.db"), Arc::new(seal)).await.unwrap()
}

fn ca(key: Option<&str>) -> Ca {
    Ca {
        name: "Test".into(),
        permitted_dns: vec![],
        crl_base: "http://auth.test/ca".into(),
        key: key.map(|text| Secret::new(text.into())),
        offline_root: false,
        revocations_file: None,
        profiles: Purpose::ALL.map(Profile::standard),
    }
}

#[tokio::test]
async fn half_a_line_at_the_end_is_cut_off_and_a_damaged_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca/revocations.jsonl");
    journal(folder.path()).await.append(vec![record(&[1]), record(&[2])]).await.unwrap();
    let whole = std::fs::read_to_string(&file).unwrap();
    assert_eq!(whole.lines().count(), 2, "a line each, whatever they say");
    for cut in [1, 10, whole.len() / 2 - 3] {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let again = journal(folder.path()).await;
        assert_eq!(again.read().await.unwrap(), [record(&[1])], "{cut} octets were lost");
        again.append(vec![record(&[3])]).await.unwrap();
        assert_eq!(again.read().await.unwrap(), [record(&[1]), record(&[3])]);
    }
    std::fs::write(&file, format!("{{\"serial\":\"01\"}}\n{whole}")).unwrap();
    let refused = journal(folder.path()).await.read().await.unwrap_err();
    assert!(matches!(refused, JournalError::Damaged(_, 1)), "{refused}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn each_book_learns_what_only_the_other_knows() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, store) = (journal(folder.path()).await, store(folder.path()).await);
    journal.append(vec![record(&[1])]).await.unwrap();
    store.record_revoked(&[record(&[2])]).await.unwrap();
    let set = RevokedSet::default();
    for _ in 0..2 {
        merge(&journal, &store, &set, NOW).await.unwrap();
        let mut known = store.revoked_ending_after(moment(NOW)).await.unwrap();
        known.sort_by(|one, other| one.serial.cmp(&other.serial));
        assert_eq!(known, [record(&[1]), record(&[2])]);
        assert_eq!(journal.read().await.unwrap(), [record(&[1]), record(&[2])]);
        assert_eq!(set.len(), 2);
    }
}

#[tokio::test]
async fn keys_open_under_their_own_key_only_and_are_sealed_anew_under_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let secret = |text: &str| SealKey::derived(text).unwrap();
    let (state, first, second) = ("state key", "first secret", "second secret");
    let load = async |keys: &[&str]| {
        let keys: Vec<SealKey> = keys.iter().map(|key| secret(key)).collect();
        Authorities::load_or_make(&store, &keys, &ca(None), NOW).await
    };
    let id = load(&[state]).await.unwrap().active().unwrap().id().to_owned();
    // A key is named in the configuration now: what was sealed under the state folder's is sealed anew.
    assert_eq!(load(&[first, state]).await.unwrap().active().unwrap().id(), id);
    assert_eq!(load(&[first]).await.unwrap().active().unwrap().id(), id);
    for keys in [[state].as_slice(), &[second, state]] {
        let refused = load(keys).await.err().unwrap();
        assert!(matches!(refused, CaError::Authority(AuthorityError::Sealed(_))), "{refused}");
    }
}
