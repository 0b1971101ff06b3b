//! The day on which nobody can sign in: a grant made before opens the gate for one administrator, once, for hours, and
//! everybody hears of it.
use crate::harness::{Door, World, until};
use crate::policy_life::metrics;

const PVE: &str = "https://pve.test/";

async fn made(world: &World, name: &str) -> (String, String) {
    let (grant, key) = (world.path(&format!("{name}.grant")), world.path(&format!("{name}.key")));
    let (grant, key) = (grant.display().to_string(), key.display().to_string());
    let who = ["--user", "alice", "--group", "it-admins", "--tier", "hardware", "--hours", "3"];
    let verb = [&["breakglass", "create", "--grant", &grant, "--key", &key], who.as_slice()].concat();
    let (code, said, why) = world.torhaus(&verb).await;
    assert_eq!(code, 0, "{said}{why}");
    (grant, key)
}

async fn used(world: &World, grant: &str, key: &str) -> (i32, String, String) {
    world.torhaus(&["breakglass", "use", "--grant", grant, "--key", key]).await
}

fn link(said: &str) -> &str {
    said.lines().find(|line| line.starts_with("https://")).unwrap()
}

#[tokio::test]
async fn a_grant_opens_the_gate_once_without_an_identity_provider_and_every_log_says_so() {
    let mut world = World::start().await;
    let (grant, key) = made(&world, "a").await;
    world.idp.stop();
    let mut alice = world.browser(Door::Inside);
    let (code, said, why) = used(&world, &grant, &key).await;
    assert_eq!(code, 0, "{said}{why}");
    assert_eq!(alice.open(link(&said)).await.status, 200, "{:?}", alice.trail);
    // The policy still decides: what it proves and what it does not.
    assert_eq!(alice.open(PVE).await.status, 200, "{:?}", alice.trail);
    assert_eq!(alice.fetch("https://hr.test/").await.status, 401, "no handle there yet");
    assert_eq!(alice.open("https://hr.test/").await.reason().as_deref(), Some("not_allowed"), "{:?}", alice.trail);
    let whoami = alice.fetch("https://pve.test/.torhaus/whoami").await.body;
    assert!(whoami.contains("\"break-glass\"") && whoami.contains("alice"), "{whoami}");

    let mut second = world.browser(Door::Inside);
    assert_eq!(second.open(link(&said)).await.reason().as_deref(), Some("login_invalid"), "the link works once");
    let (code, again, why) = used(&world, &grant, &key).await;
    assert!(code != 0 && why.contains("was used before"), "{again}{why}");

    let recorded: Vec<_> = world.audit().into_iter().filter(|line| line.to_string().contains("BREAK GLASS")).collect();
    assert!(recorded.len() >= 4, "asked, in, asked again, refused: {recorded:?}");
    assert!(world.recorded_with(&[("kind", "decision")]).iter().any(|line| line.to_string().contains("break-glass")));
    let scrape = metrics(&world).await;
    assert!(scrape.contains("torhaus_break_glass_used_total 1"), "{scrape}");
    until("the program log says it", async || world.read("stderr.log").matches("BREAK GLASS").count() >= 2).await;
    // It survives a restart as any session does, is in the list, and can be ended.
    let jar = alice.jar.clone();
    world.restart().await;
    let mut alice = world.browser(Door::Inside);
    alice.jar = jar;
    assert_eq!(alice.fetch(PVE).await.status, 200);
    until("the metric says that somebody is in", async || metrics(&world).await.contains("torhaus_break_glass_live 1"))
        .await;
    assert_eq!(world.torhaus(&["session", "revoke", "--provider", "break-glass"]).await.0, 0);
    assert_eq!(alice.fetch(PVE).await.status, 401);
}

#[tokio::test]
async fn one_file_of_a_grant_is_worth_nothing_nor_are_both_at_another_gate() {
    let (world, other) = (World::start().await, World::start().await);
    let ((grant, key), (_, other_key)) = (made(&world, "a").await, made(&world, "b").await);
    for (gate, grant, key) in [(&world, &grant, &other_key), (&other, &grant, &key), (&world, &key, &grant)] {
        let (code, said, why) = used(gate, grant, key).await;
        assert!(code != 0 && why.contains("no grant of this gate"), "{said}{why}");
        let recorded = gate.recorded_with(&[("kind", "admin")]);
        let last = recorded.last().unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(last.starts_with("BREAK GLASS tried by uid"), "{last}");
    }
    // A file that is there is not overwritten, and a tier that is not there is not proven.
    let verb = ["breakglass", "create", "--user", "alice", "--tier", "hardware", "--grant", &grant, "--key", &key];
    assert_ne!(world.torhaus(&verb).await.0, 0);
    let verb = ["breakglass", "create", "--user", "alice", "--tier", "gold", "--grant", "g", "--key", "k"];
    let (code, _, why) = world.torhaus(&verb).await;
    assert!(code != 0 && why.contains("the policy has no tier `gold`"), "{why}");
    let (code, said, why) = used(&world, &grant, &key).await;
    assert_eq!(code, 0, "what was tried before in vain did not spend it: {said}{why}");
}
