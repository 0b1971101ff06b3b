//! What the ingress controller promises, kept by the real process against an API server that can do everything a real
//! one does to a client: pages, bookmarks, forgotten versions, cut connections, refusals, silence.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where; helpers stand outside #[test] functions"
)]
#![allow(clippy::large_futures, reason = "a client of a few dozen requests; its futures live on no hot path")]
mod api;
mod backends;
mod churn;
#[allow(dead_code, reason = "shared with the promises, which use all of it")]
#[path = "../promises/harness/mod.rs"]
mod harness;
mod many;
mod migrate;
mod objects;
mod outages;
mod owners;
mod rules;
mod secrets;
mod writing;

use api::ApiServer;
use harness::app::App;
use harness::{Answer, Call, Door, Setup, World, until};
use objects::{CONTROLLER, class, service};
use serde_json::Value;

/// Hosts that the gate's own certificate is for.
const HOSTS: [&str; 8] =
    ["foo.test", "bar.test", "*.foo.test", "*.bar.foo.test", "team.test", "a.test", "b.test", "*.many.test"];

/// Rows that ingresses are bound to.
const ROWS: &str = r#"
  - { resource: team-a/open, allow: [anyone], zones: { internal: anonymous, external: anonymous } }
  - { resource: team-a/app, allow: [anyone], zones: { internal: anonymous, external: anonymous } }
  - { resource: team-a/staff, allow: ["group:all-employees"], zones: { internal: standard, external: standard } }
  - { resource: team-a/services, allow: ["service:spiffe://example.test/backup"], zones: { internal: standard } }
  - { resource: team-b/open, allow: [anyone], zones: { internal: anonymous, external: anonymous } }
  - { resource: shared, allow: [anyone], zones: { internal: anonymous, external: anonymous } }
"#;

const NAMESPACES: &str = "{ \"*\": {}, team-a: { any_host: true, resources: [shared] } }";

/// A gate in a cluster.
struct InCluster {
    world: World,
    api: ApiServer,
}

/// A gate beside an API server that is not started yet, with the class `torhaus`.
struct Before {
    setup: Setup,
    api: ApiServer,
    namespaces: String,
}

impl Before {
    async fn new() -> Self {
        let (setup, api) = (Setup::new().await, ApiServer::start().await);
        api.put(class("torhaus", CONTROLLER));
        Self { setup, api, namespaces: NAMESPACES.to_owned() }
    }

    /// Another gate for the same cluster.
    async fn configured(setup: &mut Setup, api: &ApiServer, namespaces: &str) {
        let hosts = harness::files::HOSTS.iter().chain(&HOSTS).map(ToString::to_string);
        setup.pki.write(setup.folder.path(), &hosts.collect::<Vec<_>>());
        api.write_kubeconfig(setup.folder.path());
        setup.config.push_str(&format!(
            "kubernetes: {{ kubeconfig_file: kubeconfig, danger_loopback_endpoints: true, \
             publish_addresses: [203.0.113.7], namespaces: {namespaces} }}\n"
        ));
        setup.policy = setup.policy.replace("exceptions:", &format!("{}exceptions:", ROWS.trim_start_matches('\n')));
    }

    async fn start(mut self) -> InCluster {
        Self::configured(&mut self.setup, &self.api, &self.namespaces).await;
        let world = self.setup.start().await;
        InCluster { world, api: self.api }
    }
}

impl InCluster {
    /// With what the cluster has already; returns when it is served.
    async fn start(objects: impl IntoIterator<Item = Value>) -> Self {
        let before = Before::new().await;
        for object in objects {
            before.api.put(object);
        }
        let found = before.start().await;
        found.is_ready().await;
        found
    }

    async fn is_ready(&self) {
        until("the gate is ready", async || self.world.status().await.not_ready.is_empty()).await;
    }

    fn put(&self, objects: impl IntoIterator<Item = Value>) {
        objects.into_iter().for_each(|object| self.api.put(object));
    }

    async fn get(&self, host: &str, target: &str) -> Answer {
        let call = Call::get(host, target).with("accept", "application/json");
        self.world.call(Door::Inside, None, &call).await.unwrap()
    }

    /// Waits until a request is answered like this: the body of an application, or the reason of a refusal.
    async fn answers(&self, host: &str, target: &str, expected: &str) {
        let deadline = std::time::Instant::now() + harness::PATIENCE;
        loop {
            let call = Call::get(host, target).with("accept", "application/json");
            // While there is no certificate yet, there is no handshake.
            let last = match self.world.call(Door::Inside, None, &call).await {
                Ok(answer) => said(&answer),
                Err(why) => why,
            };
            if last == expected {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{host}{target}: {last}, not {expected}");
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
        }
    }

    /// Reasons by which something of an ingress is not served.
    async fn problems(&self, ingress: &str) -> Vec<String> {
        let status = self.world.status().await.kubernetes.expect("a cluster is looked at");
        status.problems.get(ingress).cloned().unwrap_or_default()
    }

    /// Waits until an ingress has a problem, and until the cluster was told of it.
    async fn is_told(&self, ingress: &str, reason: &str, note: &str) {
        let (namespace, name) = ingress.split_once('/').unwrap();
        let fits = |events: &[(String, String)]| events.iter().any(|(r, n)| r == reason && n.contains(note));
        until(&format!("an event {reason} about {ingress} that says `{note}`"), async || {
            fits(&self.api.events(namespace, name))
        })
        .await;
        let shown = self.problems(ingress).await;
        assert!(shown.iter().any(|problem| problem.starts_with(reason) && problem.contains(note)), "{shown:?}");
    }
}

/// What an application said, or why it was not asked.
fn said(answer: &Answer) -> String {
    match answer.status {
        200 => answer.body.clone(),
        status => answer.reason().unwrap_or_else(|| status.to_string()),
    }
}

/// Applications, each the only pod of a service in a namespace.
fn apps<const N: usize>(namespace: &str, names: [&str; N]) -> ([App; N], Vec<Value>) {
    let apps = names.map(|_| App::start());
    let objects = names.iter().zip(&apps).flat_map(|(name, app)| service(namespace, name, &[app.port])).collect();
    (apps, objects)
}
