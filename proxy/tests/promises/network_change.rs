//! Somebody walks out of the office with an open laptop: from the office to a mobile network, and home by the mesh. Who
//! may do so goes on without signing in again, and is judged by where they are now.
use crate::harness::browser::echoes;
use crate::harness::{Door, Setup};
use futures::StreamExt as _;

/// A third listener, which the policy counts as internal: the way by the mesh.
const MESH: &str = "  - { name: plain,";

#[tokio::test]
async fn a_session_survives_a_change_of_network_and_is_judged_by_the_new_zone_at_once() {
    let mut setup = Setup::new().await;
    let tls = "tls: { certificates: [{ cert_file: web.pem, key_file: web.key }] }";
    let mesh = format!("  - {{ name: mesh, address: \"127.0.0.4:0\", {tls} }}\n{MESH}");
    setup.config = setup.config.replace(MESH, &mesh);
    setup.policy = setup.policy.replace("listeners: [office]", "listeners: [office, mesh]");
    let world = setup.start().await;
    let mut dana = world.browser(Door::Inside).of("dana");
    for url in ["https://wiki.test/", "https://hr.test/"] {
        assert_eq!(dana.open(url).await.status, 200, "{:?}", dana.trail);
    }
    let handle = dana.handle("wiki.test").unwrap().to_owned();
    let logins = || world.recorded_with(&[("kind", "login")]).len() + world.recorded_with(&[("kind", "step_up")]).len();
    let before = logins();

    // Outside: what is allowed there goes on, what is not is refused by the first request.
    dana.go(Door::Outside);
    assert_eq!(dana.fetch("https://wiki.test/").await.status, 200);
    assert_eq!(dana.fetch("https://hr.test/").await.outcome(), (403, "zone_denied".into()));
    let mut socket = dana.socket("wiki.test", "/socket").await.unwrap();
    assert!(echoes(&mut socket, "on the way").await);

    // By the mesh, which is inside again.
    dana.go(Door::Mesh);
    assert_eq!(dana.fetch("https://wiki.test/").await.status, 200);
    assert_eq!(dana.fetch("https://hr.test/").await.status, 200, "the same session, inside again");
    dana.go(Door::Inside);
    assert_eq!(dana.fetch("https://hr.test/").await.status, 200);

    assert_eq!(dana.handle("wiki.test"), Some(handle.as_str()), "one handle all the way");
    assert_eq!(logins(), before, "nobody was asked to sign in again");
    let zones: Vec<String> = world
        .recorded_with(&[("kind", "decision"), ("resource", "wiki")])
        .iter()
        .map(|line| line["zone"].as_str().unwrap().to_owned())
        .collect();
    assert!(zones.contains(&"internal".to_owned()) && zones.contains(&"external".to_owned()), "{zones:?}");

    // Signed out at one place, out at the other, and what was opened there ends.
    assert_eq!(world.torhaus(&["session", "revoke", "--user", "dana"]).await.0, 0);
    let ends = async { while matches!(socket.next().await, Some(Ok(message)) if !message.is_close()) {} };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(2), ends).await.is_ok(), "the WebSocket goes on");
}
