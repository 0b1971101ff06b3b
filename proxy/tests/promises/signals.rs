//! What operators watch is there: every metric that a rule or the dashboard names, in a scrape of the running gate.
use crate::harness::raw::ask;
use crate::harness::{Call, Door, World, client, until};
use std::collections::BTreeSet;
use std::path::Path;

/// The metrics that a text names, as a scrape does: histograms by their buckets.
fn named(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names = text.split(|c| !word(c)).filter(|name| name.starts_with("torhaus_"));
    names.collect()
}

#[tokio::test]
async fn every_metric_of_the_alerts_and_the_dashboard_is_in_a_scrape() {
    let world = World::start().await;
    let mut alice = world.browser(Door::Inside).of("alice");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200, "{:?}", alice.trail);
    // What only happens when something is wrong: a handshake for nobody, a logout that does not count, more callers
    // than there is room for is the business of the connection layer's own tests.
    let strange = torhaus_handshake(&world).await;
    assert!(strange.is_err(), "no certificate for this name");
    let logout = Call { method: "POST", ..Call::get("auth.test", "/backchannel-logout/demo") };
    assert_eq!(world.call(Door::Outside, None, &logout).await.unwrap().status, 400);

    let (_, scrape) = ask(&socket(&world), "/metrics").await;
    let found = named(&scrape);
    let monitoring = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring");
    let texts = ["alerts.yml", "recording.yml", "dashboard.json"]
        .map(|file| std::fs::read_to_string(monitoring.join(file)).unwrap());
    let mut asked = 0;
    for text in &texts {
        for name in named(text) {
            // The first needs more connections than one machine should open in a test, the second a directory
            // (tests/directory.test.mjs); `docs/metrics.md` lists both.
            if !["torhaus_connections_refused_total", "torhaus_source_up"].contains(&name) {
                assert!(found.contains(name), "{name} is not in\n{scrape}");
                asked += 1;
            }
        }
    }
    assert!(asked > 25, "{asked}");
    for line in
        ["torhaus_ready 1", "torhaus_store_up 1", "torhaus_audit_failing 0", "torhaus_provider_up{provider=\"demo\"} 1"]
    {
        assert!(scrape.lines().any(|l| l == line), "{line} is not in\n{scrape}");
    }
}

async fn torhaus_handshake(world: &World) -> std::io::Result<()> {
    let tls = world.tls(None, &["http/1.1"]);
    client::handshake(world.address(Door::Inside), "nobody.test", &tls).await.map(drop)
}

#[tokio::test]
async fn readiness_says_what_is_wrong_in_words() {
    let mut world = World::start().await;
    assert_eq!(ask(&socket(&world), "/readyz").await, (200, "ready\n".to_owned()));
    // A reload that fails takes nobody's traffic away.
    let good = world.read("torhaus.yaml");
    world.write("torhaus.yaml", "version: 2\n");
    assert!(world.reload().await.is_err());
    let (status, said) = ask(&socket(&world), "/readyz").await;
    assert!(status == 200 && said.starts_with("ready\ndegraded: the last reload failed"), "{status} {said}");
    world.write("torhaus.yaml", &good);
    world.reload().await.unwrap();
    // The identity provider is gone: whoever has a session works on, so it is no reason to take traffic away either.
    world.idp.stop();
    world.browser(Door::Inside).of("alice").navigate("GET", "https://auth.test/login", &[]).await;
    let path = socket(&world);
    until("the provider is missed", async || {
        let (status, said) = ask(&path, "/readyz").await;
        status == 200 && said.contains("degraded: the identity provider `demo` does not answer")
    })
    .await;
}

pub fn socket(world: &World) -> std::path::PathBuf {
    world.path("state").join(torhaus::admin::SOCKET)
}
