//! The ingress controller: a cluster's ingresses become routes, by the same checks as those of a file.
//!
//! ```text
//! watch.rs      lists and watches -> objects.rs (one object, read by itself) -> world.rs (what is known)
//! translate.rs  what is known -> routes, certificates, challenges, and what is not served and why
//!               rules.rs one ingress · claims.rs who has a host · endpoints.rs the servers of a service
//! mod.rs        waits until it is quiet, then has the snapshot made anew (`added::Source`)
//! leader.rs     which replica writes · status.rs what it writes
//! migrate/      ingress-nginx manifests, for the command line
//! ```
//!
//! Never writes anything but status, events and its lease. Never decides: what an ingress opens, the central policy says.
mod annotations;
mod claims;
mod endpoints;
mod leader;
pub mod migrate;
mod objects;
mod rules;
mod status;
mod translate;
mod watch;
mod world;

use crate::added::{Added, Source};
use crate::admin::ClusterStatus;
use crate::gate::Gate;
use crate::reload::ReloadError;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use leader::Election;
use objects::{Address, Kind};
use status::Writer;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use torhaus_authz::Timestamp;
use torhaus_config::{Config, Kubernetes};
use translate::{Cache, Outcome, translate};
use world::{Scope, Seen, World};

/// Changes come in bursts (a rollout): the first is served at once, the others once it has been quiet for this long,
const QUIET: Duration = Duration::from_millis(15);
/// and after this long in any case. A change that comes later than that after another one is a first one.
const LONGEST_WAIT: Duration = Duration::from_millis(60);
/// Pause before the cluster is asked anew when it could not be reached at all, or a status could not be written.
const TRY_AGAIN: Duration = Duration::from_secs(3);
/// A watch that has not failed for so long is taken to be well; one that fails is tried again sooner.
const FORGIVEN: Duration = Duration::from_secs(10);
/// To reach the API server.
const CONNECT: Duration = Duration::from_secs(5);

/// What the process knows of a cluster.
pub struct Cluster {
    state: Mutex<State>,
    /// Something may have to be served otherwise.
    changed: Notify,
    /// There may be something to write.
    write: Notify,
    /// The settings changed: watches begin anew.
    restart: Notify,
    leads: AtomicBool,
    stop: Notify,
}

#[derive(Default)]
struct State {
    /// What the configuration says, and what is watched by.
    wanted: Option<Kubernetes>,
    settings: Option<Kubernetes>,
    world: World,
    cache: Cache,
    outcome: Outcome,
    /// Watches that were not complete yet.
    waiting: HashSet<usize>,
    /// Everything was read once.
    synced: bool,
    /// And is served.
    served: bool,
    /// By watch, or what else of the API: why it does not work, and when that was seen last.
    failing: BTreeMap<String, (String, Instant)>,
}

/// What a watch tells.
enum Told {
    Seen(Scope, Seen),
    Published(Vec<Address>),
}

impl Cluster {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Notify::new(),
            write: Notify::new(),
            restart: Notify::new(),
            leads: AtomicBool::new(false),
            stop: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    /// Takes in what a watch tells.
    fn take(&self, told: Told) {
        let mut state = self.state();
        match told {
            Told::Published(addresses) => {
                state.world.published = addresses;
                self.write.notify_one();
            }
            Told::Seen(scope, seen) => {
                // A listing that begins was not answered yet.
                if !matches!(seen, Seen::ListingBegins) {
                    state.failing.remove(&name_of(&scope));
                }
                let complete = matches!(seen, Seen::ListingEnds);
                let news = state.world.take(&scope, seen);
                let done = complete && state.waiting.remove(&scope.watch) && state.waiting.is_empty();
                if done {
                    tracing::info!(ingresses = state.world.ingresses.len(), "the cluster was read");
                }
                // Before everything was read once, a part of it would be served as if it were all.
                if (state.synced && news) || done {
                    self.changed.notify_one();
                }
            }
        }
    }

    fn watch_failed(&self, scope: &Scope, error: &kube::runtime::watcher::Error) {
        use kube::runtime::watcher::Error;
        let forbidden = match error {
            Error::InitialListFailed(kube::Error::Api(status)) | Error::WatchStartFailed(kube::Error::Api(status)) => {
                status.code == 403
            }
            _ => false,
        };
        tracing::warn!(watch = name_of(scope), %error, "the cluster cannot be watched; what was known serves on");
        let mut state = self.state();
        state.failing.insert(name_of(scope), (error.to_string(), Instant::now()));
        // Without secrets, certificates come from files; whoever grants none meant that.
        if forbidden && scope.kind == Kind::Secret && state.waiting.remove(&scope.watch) && state.waiting.is_empty() {
            self.changed.notify_one();
        }
    }

    fn api_answers(&self, looked: Result<bool, String>) {
        let mut state = self.state();
        match looked {
            // A watch that is well again says nothing as long as nothing changes; one that is not fails again soon.
            Ok(_) => state.failing.retain(|what, (_, at)| what != LEASE && at.elapsed() < FORGIVEN),
            Err(why) => {
                if state.failing.insert(LEASE.to_owned(), (why.clone(), Instant::now())).is_none() {
                    tracing::warn!(why, "the lease cannot be looked at; nothing is written until it can");
                }
            }
        }
    }

    /// Why no traffic should come yet.
    pub fn not_ready(&self) -> Option<String> {
        let state = self.state();
        (state.wanted.is_some() && !state.served).then(|| {
            let why: Vec<String> = state.failing.iter().map(|(what, (why, _))| format!("{what}: {why}")).collect();
            let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
            format!("the ingresses of the cluster were not read yet{why}")
        })
    }

    /// What is wrong although traffic may come.
    pub fn degraded(&self) -> Vec<String> {
        let state = self.state();
        if !state.served {
            return Vec::new();
        }
        state
            .failing
            .iter()
            .map(|(what, (why, _))| format!("Kubernetes, {what}: {why}; what was known serves on"))
            .collect()
    }

    /// None: no cluster is looked at.
    pub fn status(&self) -> Option<ClusterStatus> {
        let state = self.state();
        state.settings.as_ref()?;
        let problems = state.outcome.ingresses.iter().filter(|(_, fate)| !fate.problems.is_empty());
        let words = |problem: &rules::Problem| format!("{}: {}", problem.reason, problem.note);
        Some(ClusterStatus {
            synced: state.served,
            leader: self.leads(),
            ingresses: state.outcome.ingresses.len(),
            not_served: state.outcome.ingresses.values().filter(|fate| !fate.is_served).count(),
            routes: state.outcome.added.routes.len(),
            failing: state.failing.keys().cloned().collect(),
            problems: problems
                .map(|(key, fate)| (key.to_string(), fate.problems.iter().map(words).collect()))
                .collect(),
        })
    }

    /// Runs as long as the process: watches, has served what changes, and writes while it leads. `refresh` makes the
    /// snapshot anew, with this as its source.
    pub async fn run<F>(self: Arc<Self>, gate: Arc<Gate>, refresh: impl Fn() -> F + Send)
    where
        F: Future<Output = Result<(), ReloadError>> + Send,
    {
        self.state().wanted = gate.snapshot.load().config.kubernetes.clone();
        loop {
            let wanted = self.look(|state| state.wanted.clone());
            let Some(settings) = wanted else {
                *self.state() = State::default();
                self.restart.notified().await;
                continue;
            };
            let mut tasks = self.begin(&settings).await;
            tokio::select! {
                () = self.serve_changes(&refresh) => {}
                () = self.restart.notified() => tracing::info!("the settings of the cluster changed: it is read anew"),
            }
            tasks.shutdown().await;
        }
    }

    /// The process stops: the lease goes to the next.
    pub async fn stop(&self) {
        self.stop.notify_one();
        let given = async {
            while self.leads() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // If the API does not answer, the lease ends by itself.
        let _ = tokio::time::timeout(TRY_AGAIN, given).await;
    }

    async fn begin(self: &Arc<Self>, settings: &Kubernetes) -> JoinSet<()> {
        let scopes = watch::scopes(settings);
        {
            let mut state = self.state();
            state.settings = Some(settings.clone());
            state.waiting = scopes.iter().map(|scope| scope.watch).collect();
            state.failing.clear();
        }
        let mut tasks = JoinSet::new();
        let (cluster, settings) = (self.clone(), settings.clone());
        tasks.spawn(async move {
            let (client, namespace) = loop {
                match connect(&settings).await {
                    Ok(connected) => break connected,
                    Err(why) => {
                        tracing::error!(why, "the cluster cannot be reached");
                        cluster.state().failing.insert("the API server".to_owned(), (why, Instant::now()));
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
            };
            cluster.state().failing.remove("the API server");
            let mut watches = JoinSet::new();
            for scope in scopes {
                watches.spawn(watch::objects(cluster.clone(), client.clone(), scope));
            }
            watches.spawn(watch::published(cluster.clone(), client.clone(), settings.publish.clone()));
            let identity = identity();
            let election = Election::new(client.clone(), &namespace, &settings.lease, &identity);
            watches.spawn(cluster.clone().elect(election));
            let writer = Writer::new(client, settings.publish, &identity);
            watches.spawn(cluster.clone().write_while_leading(writer));
            while watches.join_next().await.is_some() {}
        });
        tasks
    }

    /// Debounced: a burst is two changes, and a steady stream is served all the same.
    async fn serve_changes<F>(&self, refresh: &(impl Fn() -> F + Send))
    where
        F: Future<Output = Result<(), ReloadError>> + Send,
    {
        let mut last: Option<Instant> = None;
        loop {
            self.changed.notified().await;
            if last.is_some_and(|last| last.elapsed() < LONGEST_WAIT) {
                let quiet = async { while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {} };
                let _ = tokio::time::timeout(LONGEST_WAIT, quiet).await;
            }
            let begun = Instant::now();
            self.state().synced = true;
            match refresh().await {
                Ok(()) => self.state().served = true,
                Err(error) => tracing::error!(%error, "a change of the cluster could not be served"),
            }
            tracing::debug!(took = ?begun.elapsed(), "the cluster's routes were made anew");
            last = Some(Instant::now());
            self.write.notify_one();
        }
    }

    /// Takes part in the election, and gives the lease back when the process stops.
    async fn elect(self: Arc<Self>, mut election: Election) {
        let mut looks = tokio::time::interval(leader::LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.stop.notified() => {
                    election.release().await;
                    self.leads.store(false, Ordering::Release);
                    return;
                }
            }
            let looked = election.look().await;
            self.api_answers(looked);
            let leads = election.holds();
            if leads != self.leads.swap(leads, Ordering::AcqRel) {
                tracing::info!(leads, "who writes into the cluster changed");
            }
            // What others wrote since is looked at, too.
            self.write.notify_one();
        }
    }

    async fn write_while_leading(self: Arc<Self>, mut writer: Writer) {
        let mut led = false;
        loop {
            self.write.notified().await;
            let leads = self.leads();
            if leads && !led {
                writer.forget();
            }
            led = leads;
            if leads && self.look(|state| state.synced) && !writer.write(&self).await {
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }
}

const LEASE: &str = "lease";

fn name_of(scope: &Scope) -> String {
    match &scope.namespace {
        Some(namespace) => format!("{} of {namespace}", scope.kind.plural()),
        None => scope.kind.plural().to_owned(),
    }
}

/// Of this process: pods have names of their own, and a process that starts again is another one.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:08x}", host.trim(), rand::random::<u32>())
}

/// The client, and the namespace that we are in.
async fn connect(settings: &Kubernetes) -> Result<(Client, String), String> {
    let mut config = match &settings.kubeconfig_file {
        None => kube::Config::infer().await.map_err(|error| error.to_string())?,
        Some(file) => {
            let read = Kubeconfig::read_from(file).map_err(|error| error.to_string())?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(read, &options).await.map_err(|error| error.to_string())?
        }
    };
    config.connect_timeout = Some(CONNECT);
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config).map_err(|error| error.to_string())?, namespace))
}

/// Whether the annotations of an ingress are among those that there are.
///
/// # Errors
/// One is not, or says what it cannot; in words.
pub fn check_annotations(ingress: &serde_json::Value) -> Result<(), String> {
    let ingress: k8s_openapi::api::networking::v1::Ingress =
        serde_json::from_value(ingress.clone()).map_err(|error| error.to_string())?;
    annotations::Annotations::of(&objects::ingress_of(ingress).body).map(drop)
}

impl Source for Cluster {
    fn added(&self, config: &Arc<Config>, now: Timestamp) -> Arc<Added> {
        let mut state = self.state();
        if state.wanted != config.kubernetes {
            state.wanted.clone_from(&config.kubernetes);
            self.restart.notify_one();
        }
        let Some(settings) = &config.kubernetes else { return Arc::default() };
        if !state.synced {
            return Arc::default();
        }
        let State { world, cache, outcome, .. } = &mut *state;
        *outcome = translate(world, config, settings, cache, now);
        outcome.added.clone()
    }
}
