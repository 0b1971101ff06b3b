//! No permit, no forward; no record, no forward.
use crate::harness::{Call, Door, World, until};
use std::fs;

#[tokio::test]
async fn no_permit_no_forward() {
    let world = World::start().await;
    let mut mallory = world.browser(Door::Inside).of("mallory");
    mallory.open("https://apps.test/level-standard").await;
    let before = world.echo.count();
    let stranger = world.browser(Door::Inside);
    for browser in [&mallory, &stranger] {
        for path in ["/samba-hr/x", "/proxmox", "/k3s-critical/a/b", "/payroll", "/.torhaus/nothing", "/", "/.torhaus"]
        {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "BREW"] {
                let mut call = browser.request(method, &format!("https://apps.test{path}"));
                call.body = if method == "GET" { String::new() } else { "a=b".to_owned() };
                for call in [
                    call.clone(),
                    call.clone().with("accept", "text/html"),
                    call.with("connection", "upgrade").with("upgrade", "websocket"),
                ] {
                    let answer = world.call(Door::Inside, None, &call).await;
                    assert!(answer.as_ref().map_or(true, |a| a.status >= 300), "{method} {path}: {answer:?}");
                }
            }
        }
        assert_eq!(browser.socket("apps.test", "/k3s-critical/socket").await.err().unwrap_or(0) / 100, 4);
    }
    assert_eq!(world.echo.count(), before);
}

#[tokio::test]
async fn no_record_no_forward() {
    let world = World::start().await;
    let mut eve = world.browser(Door::Inside).of("eve");
    eve.open("https://apps.test/level-mfa").await;
    // With a second factor her place becomes known, a moment later; what is known is part of what is recorded.
    until("her place is known", async || {
        assert_eq!(eve.fetch("https://apps.test/wiki").await.status, 200);
        let lines = world.recorded_with(&[("resource", "wiki"), ("verdict", "allow")]);
        lines.last().is_some_and(|line| line["seen"]["network"] == true)
    })
    .await;
    let before = world.echo.count();

    // Somebody moves the folder away and leaves a file in its place.
    let (folder, away) = (world.path("state/audit"), world.path("state/audit-away"));
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, "").unwrap();
    let unavailable = (503, "record_unavailable".to_owned());
    assert_eq!(eve.fetch("https://apps.test/k3s-critical").await.outcome(), unavailable);
    assert_eq!(eve.fetch("https://apps.test/samba-general").await.outcome(), unavailable);
    let answer = eve.navigate("GET", "https://apps.test/level-standard", &[]).await;
    assert_eq!(answer.outcome(), unavailable, "as a page too");
    assert!(
        eve.socket("apps.test", "/wiki/socket").await.is_err_and(|status| status == 503),
        "each stream is recorded"
    );
    let open = world.call(Door::Inside, None, &Call::get("status.test", "/")).await.unwrap();
    assert_eq!(open.outcome(), unavailable, "an open page as well");
    assert_eq!(world.echo.count(), before, "nothing arrived that is not on record");
    // What stands on record already is counted under its line.
    assert_eq!(eve.fetch("https://apps.test/wiki").await.status, 200);
    // Nobody gets a session that nobody can find in the log.
    let mut alice = world.browser(Door::Inside).of("alice");
    let answer = alice.open("https://wiki.test/").await;
    assert_eq!(answer.status, 503, "{:?}", alice.trail);
    assert_eq!((alice.handle("auth.test"), alice.handle("wiki.test")), (None, None));
    assert!(world.read("stderr.log").contains("the audit log cannot be written"));

    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    assert_eq!(eve.fetch("https://apps.test/k3s-critical").await.status, 200, "it recovers by itself");
    assert_eq!(world.recorded_with(&[("resource", "k3s-critical"), ("verdict", "allow")]).len(), 1);
    let (code, said, why) = world.torhaus(&["audit", "verify"]).await;
    assert_eq!(code, 0, "one chain, with nothing lost: {said}{why}");
    assert_eq!(alice.open("https://wiki.test/").await.status, 200);
}
