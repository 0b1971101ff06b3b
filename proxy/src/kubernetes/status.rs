//! What the leader writes into the cluster: where an ingress is reached, and events about what is not served. Nothing
//! else is ever written.
use super::objects::{Address, Key};
use super::rules::Problem;
use super::{Cluster, State};
use crate::clock;
use futures::StreamExt as _;
use futures::stream;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use torhaus_config::Publish;

/// Writes at the same time.
const AT_ONCE: usize = 8;
/// One write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest note of an event (events.k8s.io/v1: 1 kB).
const MOST_NOTE: usize = 1000;
/// Longest part of its name that is the object's.
const MOST_NAME: usize = 230;

pub struct Writer {
    client: Client,
    identity: String,
    publish: Publish,
    /// What was said about each ingress already; said again after another leader.
    said: HashMap<Key, Vec<Problem>>,
    /// The last status that was written of each ingress. The watch tells of it some time later; until then the ingress
    /// looks as if nothing had been written.
    written: HashMap<Key, Status>,
}

/// What an ingress is to show.
#[derive(Clone, PartialEq, Eq)]
struct Status {
    /// The version of the ingress that it was found wanting in.
    version: String,
    addresses: Vec<Address>,
}

struct Wanted {
    statuses: Vec<(Key, Status)>,
    problems: BTreeMap<Key, (String, Vec<Problem>)>,
}

impl Writer {
    pub fn new(client: Client, publish: Publish, identity: &str) -> Self {
        Self { client, identity: identity.to_owned(), publish, said: HashMap::new(), written: HashMap::new() }
    }

    /// Somebody else was leader, or nobody: what is to be said is said again.
    pub fn forget(&mut self) {
        self.said.clear();
        self.written.clear();
    }

    /// Writes what differs. False: something could not be written, and is to be tried again.
    pub async fn write(&mut self, cluster: &Arc<Cluster>) -> bool {
        let wanted = cluster.look(|state| {
            self.written.retain(|key, written| {
                state.world.ingresses.get(key).is_some_and(|ingress| ingress.version == written.version)
            });
            self.wanted(state)
        });
        let client = &self.client;
        let write = async |(key, status): (Key, Status)| {
            if !cluster.leads() {
                return None;
            }
            match tokio::time::timeout(PATIENCE, patch(client, &key, &status.addresses)).await {
                Ok(Ok(())) => return Some((key, status)),
                Ok(Err(error)) => {
                    tracing::warn!(ingress = %key, %error, "the status of an ingress could not be written");
                }
                Err(_) => tracing::warn!(ingress = %key, "the status of an ingress could not be written in time"),
            }
            None
        };
        let asked = wanted.statuses.len();
        let written = stream::iter(wanted.statuses).map(write).buffer_unordered(AT_ONCE);
        let written: Vec<_> = written.filter_map(std::future::ready).collect().await;
        let mut all = written.len() == asked;
        self.written.extend(written);
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
            Publish::Addresses(addresses) => {
                let mut addresses: Vec<Address> = addresses.iter().map(|text| address(text)).collect();
                addresses.sort();
                Some(addresses)
            }
        };
        let mut wanted = Wanted { statuses: Vec::new(), problems: BTreeMap::new() };
        for (key, fate) in &state.outcome.ingresses {
            let ingress = state.world.ingresses.get(key);
            if let (Some(ingress), Some(published)) = (ingress, &published) {
                let addresses: &[Address] = if fate.is_served { published } else { &[] };
                let status = Status { version: ingress.version.clone(), addresses: addresses.to_vec() };
                if ingress.addresses != addresses && self.written.get(key) != Some(&status) {
                    wanted.statuses.push((key.clone(), status));
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
            let published = tokio::time::timeout(PATIENCE, self.publish(problem, &regarding)).await;
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

impl Writer {
    /// The same words about the same object are one event, whoever says them: it is counted on.
    async fn publish(&self, problem: &Problem, regarding: &ObjectReference) -> Result<(), kube::Error> {
        let mut hasher = DefaultHasher::new();
        (problem, &regarding.uid).hash(&mut hasher);
        let name = regarding.name.as_deref().unwrap_or_default();
        // An event's name is no longer than the longest of an object.
        let name = format!("{}.{:016x}", name.get(..MOST_NAME).unwrap_or(name), hasher.finish());
        let now = jiff::Timestamp::from_millisecond(clock::now().millis()).ok().map(MicroTime);
        let mut event = Event {
            action: Some("Serve".to_owned()),
            event_time: now.clone(),
            note: Some(problem.note.chars().take(MOST_NOTE).collect()),
            reason: Some(problem.reason.to_owned()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some("torhaus.dev/ingress".to_owned()),
            reporting_instance: Some(self.identity.clone()),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        };
        event.metadata.name = Some(name.clone());
        event.metadata.namespace.clone_from(&regarding.namespace);
        let api: Api<Event> = Api::namespaced(self.client.clone(), regarding.namespace.as_deref().unwrap_or("default"));
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let Some(last_observed_time) = now else { return Ok(()) };
                let series = EventSeries { count: 2, last_observed_time };
                let again = json!({ "series": series });
                api.patch(&name, &PatchParams::default(), &Patch::Merge(again)).await.map(drop)
            }
            Err(error) => Err(error),
        }
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
