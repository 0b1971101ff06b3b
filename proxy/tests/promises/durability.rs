//! The process may be killed at any moment: what was acknowledged stays true.
use crate::harness::{Call, Connection, Door, World};

/// Each round signs in, ends the session, and kills the gate at once, with requests under way. `TORHAUS_KILL_ROUNDS=200` is
/// the whole drill.
fn rounds() -> usize {
    std::env::var("TORHAUS_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[tokio::test]
async fn what_was_acknowledged_survives_being_killed() {
    let mut world = World::start().await;
    let mut ended = Vec::new();
    for round in 1..=rounds() {
        let mut alice = world.browser(Door::Inside).of("alice");
        assert_eq!(alice.open("https://wiki.test/").await.status, 200, "{:?}", alice.trail);
        ended.push(alice.handle("wiki.test").unwrap().to_owned());
        // Requests in flight when it ends: they fail, they do not count.
        let (tls, address) = (world.tls(None, &["http/1.1"]), world.address(Door::Inside));
        let load = tokio::spawn(async move {
            while let Ok(mut connection) = Connection::open(address, "status.test", &tls).await {
                while connection.send(&Call::get("status.test", "/")).await.is_ok() {}
            }
        });
        assert_eq!(world.torhaus(&["session", "revoke", "--user", "alice"]).await.0, 0);
        world = world.killed_and_started(async |_| load.await.unwrap()).await;

        for handle in &ended {
            let mut thief = world.browser(Door::Inside);
            thief.jar.entry("wiki.test".into()).or_default().insert("__Host-torhaus".into(), handle.clone());
            assert_eq!(thief.fetch("https://wiki.test/").await.status, 401, "round {round}: an ended session is back");
        }
        let (code, said, why) = world.torhaus(&["audit", "verify"]).await;
        assert_eq!(code, 0, "round {round}: {said}{why}");
        assert_eq!(world.recorded_with(&[("kind", "revocation")]).len(), round, "a revocation is not in the record");
        assert_eq!(world.recorded_with(&[("kind", "login")]).len(), round);
    }
}
