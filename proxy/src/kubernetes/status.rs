//! What the leader writes into the cluster: where an ingress is reached, and events about what is not served. Nothing
//! else is ever written.
use super::objects::{Address, Key};
use super::rules::Problem;
use super::{Cluster, State};
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use torhaus_config::Publish;

/// Writes at the same time.
const AT_ONCE: usize = 8;
/// One write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest note of an event (events.k8s.io/v1: 1 kB).
const MOST_NOTE: usize = 1000;

pub struct Writer {
    client: Client,
    recorder: Recorder,
    publish: Publish,
    /// What was said about each ingress already; said again after another leader.
    said: HashMap<Key, Vec<Problem>>,
}

struct Wanted {
    addresses: Vec<(Key, Vec<Address>)>,
    problems: BTreeMap<Key, (String, Vec<Problem>)>,
}

impl Writer {
    pub fn new(client: Client, publish: Publish, identity: &str) -> Self {
        let reporter = Reporter { controller: "torhaus.dev/ingress".into(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, publish, said: HashMap::new() }
    }

    /// Somebody else was leader, or nobody: what is to be said is said again.
    pub fn forget(&mut self) {
        self.said.clear();
    }

    /// Writes what differs. False: something could not be written, and is to be tried again.
    pub async fn write(&mut self, cluster: &Arc<Cluster>) -> bool {
        let wanted = cluster.look(|state| self.wanted(state));
        let client = &self.client;
        let write = async |(key, addresses): (Key, Vec<Address>)| {
            if !cluster.leads() {
                return false;
            }
            let done = tokio::time::timeout(PATIENCE, patch(client, &key, &addresses)).await;
            match done {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(ingress = %key, %error, "the status of an ingress could not be written");
                    false
                }
                Err(_) => {
                    tracing::warn!(ingress = %key, "the status of an ingress could not be written in time");
                    false
                }
            }
        };
        let written: Vec<bool> = stream::iter(wanted.addresses).map(write).buffer_unordered(AT_ONCE).collect().await;
        let mut all = written.iter().all(|done| *done);
        self.said.retain(|key, _| wanted.problems.contains_key(key));
        for (key, (uid, problems)) in wanted.problems {
            if !cluster.leads() {
                return false;
            }
            all &= self.say(&key, uid, &problems).await;
        }
        all
    }

    fn wanted(&self, state: &State) -> Wanted {
        let published = match &self.publish {
            // Nothing was told: what others wrote is left alone.
            Publish::Nothing => None,
            Publish::Service { .. } => Some(state.world.published.clone()),
            Publish::Addresses(addresses) => Some(addresses.iter().map(|text| address(text)).collect()),
        };
        let mut wanted = Wanted { addresses: Vec::new(), problems: BTreeMap::new() };
        for (key, fate) in &state.outcome.ingresses {
            let ingress = state.world.ingresses.get(key);
            if let (Some(ingress), Some(published)) = (ingress, &published) {
                let addresses = if fate.is_served { published.clone() } else { Vec::new() };
                let mut shown = ingress.addresses.clone();
                shown.sort();
                if shown != addresses {
                    wanted.addresses.push((key.clone(), addresses));
                }
            }
            if !fate.problems.is_empty() && self.said.get(key) != Some(&fate.problems) {
                let uid = ingress.map(|ingress| ingress.uid.clone()).unwrap_or_default();
                wanted.problems.insert(key.clone(), (uid, fate.problems.clone()));
            } else if !fate.problems.is_empty() {
                wanted.problems.insert(key.clone(), (String::new(), Vec::new()));
            }
        }
        wanted
    }

    async fn say(&mut self, key: &Key, uid: String, problems: &[Problem]) -> bool {
        if problems.is_empty() {
            return true;
        }
        let regarding = ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(uid).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        };
        for problem in problems {
            let event = Event {
                type_: EventType::Warning,
                reason: problem.reason.to_owned(),
                note: Some(problem.note.chars().take(MOST_NOTE).collect()),
                action: "Serve".to_owned(),
                secondary: None,
            };
            let published = tokio::time::timeout(PATIENCE, self.recorder.publish(&event, &regarding)).await;
            if let Ok(Err(error)) = &published {
                tracing::warn!(ingress = %key, %error, "an event could not be written");
            }
            if !matches!(published, Ok(Ok(()))) {
                return false;
            }
        }
        self.said.insert(key.clone(), problems.to_vec());
        true
    }
}

fn address(text: &str) -> Address {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Address::Ip(text.to_owned()),
        Err(_) => Address::Host(text.to_owned()),
    }
}

async fn patch(client: &Client, key: &Key, addresses: &[Address]) -> Result<(), kube::Error> {
    let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
    let shown: Vec<_> = addresses
        .iter()
        .map(|address| match address {
            Address::Ip(ip) => json!({ "ip": ip }),
            Address::Host(host) => json!({ "hostname": host }),
        })
        .collect();
    let status = json!({ "status": { "loadBalancer": { "ingress": shown } } });
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(status)).await {
        Ok(_) => Ok(()),
        // It is gone since: nobody misses its status.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
