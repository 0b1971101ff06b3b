//! Watches of the cluster. The client lists, watches from there, takes bookmarks, and lists again when the API server
//! has forgotten where we were (410); here is what happens when it does not answer: it is asked again, and the last that
//! was known stays.
use super::objects::{Key, Kind, addresses_of, read};
use super::world::{Scope, Seen};
use super::{Cluster, Told};
use crate::clock;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;
use torhaus_config::{Kubernetes, Publish};

/// Pause after the first failure; doubled up to the longest. Nobody needs a new route before the API is back, and when
/// it is back nobody wants to wait for it.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Objects of one page of a listing.
const PAGE: u32 = 500;

/// Which watches a configuration needs.
pub fn scopes(settings: &Kubernetes) -> Vec<Scope> {
    let namespaces: Vec<Option<Arc<str>>> = match settings.watches_all() {
        true => vec![None],
        false => settings.namespaces.keys().map(|name| Some(name.as_str().into())).collect(),
    };
    let mut found = Vec::new();
    for kind in Kind::ALL {
        // Classes are of the whole cluster.
        let namespaces = if kind == Kind::Class { &[None][..] } else { &namespaces };
        for namespace in namespaces {
            found.push(Scope { watch: found.len(), kind, namespace: namespace.clone() });
        }
    }
    found
}

/// Watches for ever.
pub async fn objects(cluster: Arc<Cluster>, client: Client, scope: Scope) {
    let resource = scope.kind.resource();
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut config = watcher::Config::default().page_size(PAGE);
    if let Some(fields) = scope.kind.fields() {
        config = config.fields(fields);
    }
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    let mut pause = FIRST_PAUSE;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(event) => {
                // That a listing begins says nothing about how it ends.
                if !matches!(event, Event::Init) {
                    pause = FIRST_PAUSE;
                }
                seen(scope.kind, event)
            }
            Err(error) => {
                cluster.watch_failed(&scope, &error);
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                continue;
            }
        };
        cluster.take(Told::Seen(scope.clone(), seen));
    }
}

fn seen(kind: Kind, event: Event<DynamicObject>) -> Seen {
    let now = clock::now();
    match event {
        Event::Init => Seen::ListingBegins,
        Event::InitDone => Seen::ListingEnds,
        Event::InitApply(object) => {
            let (key, object) = read(kind, object, now);
            Seen::Listed(key, object)
        }
        Event::Apply(object) => {
            let (key, object) = read(kind, object, now);
            Seen::Changed(key, object)
        }
        Event::Delete(object) => {
            let meta = object.metadata;
            Seen::Gone(Key::new(
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            ))
        }
    }
}

/// Where the service is reached that brings requests to us, for the status of ingresses.
pub async fn published(cluster: Arc<Cluster>, client: Client, publish: Publish) {
    let Publish::Service { namespace, name } = publish else { return };
    let api: Api<Service> = Api::namespaced(client, &namespace);
    let mut found = std::pin::pin!(watcher::watch_object(api, &name));
    let mut pause = FIRST_PAUSE;
    while let Some(event) = found.next().await {
        match event {
            Ok(service) => {
                pause = FIRST_PAUSE;
                cluster.take(Told::Published(service.map(addresses_of).unwrap_or_default()));
            }
            Err(error) => {
                tracing::warn!(service = format!("{namespace}/{name}"), %error, "the service that is published cannot be watched");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}
