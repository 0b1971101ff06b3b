//! What a session takes that the gate knows. A process of its own, so that nothing else grows meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where; helpers stand outside #[test] functions")]
use std::sync::Arc;
use std::time::Duration;
use torhaus::identify::session::Sessions;
use torhaus::login::seal::SealKey;
use torhaus::login::session::{Session, SessionStore, Ticket, TicketHash, Tokens};
use torhaus::store::SqlStore;
use torhaus_authz::{Fact, Proof, Timestamp, User, Why};
use zeroize::Zeroizing;

const HOST: &str = "wiki.example.test";
/// Twice: the first time, stores and caches grow to their usual size.
const MANY: usize = 3_000;
/// Bytes (docs/architecture.md, Budgets).
const MOST: usize = 1_024;

#[tokio::test]
async fn a_session_takes_no_more_memory_than_the_documentation_says() {
    let folder = tempfile::tempdir().unwrap();
    let seal = Arc::new(SealKey::load_or_create(folder.path()).unwrap());
    let store = Arc::new(SqlStore::sqlite(&folder.path().join("state.db"), seal).await.unwrap());
    let sessions = Sessions::new(store.clone(), Duration::from_secs(3600));
    let now = torhaus::clock::now();
    let mut handles: Vec<TicketHash> = Vec::new();
    for number in 0..2 * MANY {
        let handle = Ticket::new().unwrap().hash();
        store.create(&session(number, now), handle, HOST).await.unwrap();
        handles.push(handle);
    }
    let (first, second) = handles.split_at(MANY);
    know(&sessions, first, now).await;
    let before = resident();
    know(&sessions, second, now).await;
    let each = resident().saturating_sub(before) / MANY;
    eprintln!("a session takes {each} bytes");
    // Its id, name and groups alone are some hundred bytes: less would mean that nothing was remembered.
    assert!((500..MOST).contains(&each), "{each} bytes");
}

async fn know(sessions: &Sessions, handles: &[TicketHash], now: Timestamp) {
    for handle in handles {
        assert!(sessions.find(*handle, HOST, now).await.unwrap().is_some());
    }
}

/// As providers make them: ten groups, an ID token of 1.2 KiB, a refresh token.
fn session(number: usize, now: Timestamp) -> Session {
    let name = format!("person-{number}@example.test");
    Session {
        id: format!("s-{number:016x}").into(),
        user: Arc::new(User {
            name: name.as_str().into(),
            provider: "corp".into(),
            issuer: "https://idp.example.test/application/o/torhaus/".into(),
            subject: format!("{number:064x}").into(),
            federated: false,
        }),
        display_name: Some(format!("Person {number}")),
        email: Some(name),
        groups: Fact::Known(Arc::new((0..10).map(|group| format!("department-{}", (number + group) % 50)).collect())),
        device: Fact::Unknown(Why::NotFound),
        proofs: [Proof { tier: "mfa".into(), proven_at: now, provider: "corp".into() }].into(),
        provider_session: Some(format!("{number:036x}")),
        tokens: Tokens {
            id_token: Some(Zeroizing::new("t".repeat(1200))),
            refresh_token: Some(Zeroizing::new(format!("{number:0128x}"))),
            access_token: None,
        },
        created: now,
        expires: now.plus(Duration::from_secs(12 * 3600)),
        last_seen: now,
        opened_from: "203.0.113.7".into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".into(),
    }
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
