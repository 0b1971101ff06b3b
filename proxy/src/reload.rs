//! Loading the configuration again: whole or not at all. Requests in flight finish on what they began with; open
//! streams are judged by the new policy.
use crate::added::{Added, Source};
use crate::ca::CaError;
use crate::clock;
use crate::edge::accept::{Edge, Listeners};
use crate::gate::Gate;
use crate::login::renewal;
use crate::policies::{self, Loaded, Pinned};
use crate::snapshot::{Snapshot, SnapshotError};
use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use pingora_core::apps::HttpServerApp;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use torhaus_authz::{Entry, Kind, Name, Timestamp};
use torhaus_config::Config;

/// An editor or `git pull` writes several files; they are read once it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(300);
/// And after this long in any case.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Files that change each time they are read are taken as they are after this many reads; their next change is a reload.
const MOST_READS: usize = 4;

/// The running configuration and how to replace it.
pub struct Reloader<E> {
    file: PathBuf,
    gate: Arc<Gate>,
    edge: Arc<Edge<E>>,
    listeners: Mutex<Listeners>,
    /// As `listeners` were after the last change: `status` does not wait for a reload.
    addresses: ArcSwap<Vec<(Name, SocketAddr)>>,
    last: std::sync::Mutex<Last>,
    /// What the files held when they were last loaded.
    read: std::sync::Mutex<Option<[u8; 32]>>,
    /// Routes from elsewhere than the files.
    source: OnceLock<Arc<dyn Source>>,
}

/// How the last attempt went, for `status`, readiness and the portal.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Last {
    pub at: Timestamp,
    /// When the running configuration was loaded.
    pub loaded: Timestamp,
    /// The whole text a person needs; none if it succeeded.
    pub error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Config(torhaus_config::Errors),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Listen(#[from] io::Error),
}

impl<E: HttpServerApp + Send + Sync + 'static> Reloader<E> {
    pub fn new(file: PathBuf, gate: Arc<Gate>, edge: Arc<Edge<E>>, listeners: Listeners) -> Arc<Self> {
        let now = clock::now();
        let last = Last { at: now, loaded: now, error: None };
        let addresses = ArcSwap::from_pointee(addresses_of(&listeners));
        Arc::new(Self {
            file,
            gate,
            edge,
            listeners: Mutex::new(listeners),
            addresses,
            last: std::sync::Mutex::new(last),
            read: std::sync::Mutex::default(),
            source: OnceLock::new(),
        })
    }

    /// From now on every configuration is served with what this has besides. Once.
    pub fn serve_beside(&self, source: Arc<dyn Source>) {
        // A second one would be a mistake of ours; the first one stays.
        let _ = self.source.set(source);
    }

    /// The running configuration with what the source has now. Requests and connections do not notice.
    ///
    /// # Errors
    /// No randomness for a new group of hosts; nothing has changed then.
    pub async fn refresh(&self) -> Result<(), ReloadError> {
        let Some(source) = self.source.get().cloned() else { return Ok(()) };
        let _one_at_a_time = self.listeners.lock().await;
        let now = clock::now();
        let (running, settings) = (self.gate.snapshot.load_full(), self.edge.settings());
        let built = tokio::task::spawn_blocking(move || {
            let added = source.added(&running.config, now);
            let judge = added.leads_elsewhere(&running.added);
            let snapshot = running.with_added(added);
            let settings = snapshot.renewed_edge_settings(&settings)?;
            Ok::<_, ReloadError>((snapshot, settings, judge))
        });
        let (snapshot, settings, judge) = built.await.map_err(|error| io::Error::other(error.to_string()))??;
        self.edge.apply(settings);
        let snapshot = Arc::new(snapshot);
        self.gate.snapshot.store(snapshot.clone());
        if judge {
            let ended = self.gate.streams.judge_anew(&snapshot, now);
            if ended > 0 {
                tracing::info!(ended, "open requests that the cluster's routes do not allow any more were ended");
            }
        }
        Ok(())
    }

    /// Loads, checks, builds, and only then swaps. On any error nothing has changed.
    ///
    /// # Errors
    /// 1. the configuration has mistakes; 2. a file cannot be used; 3. an address cannot be bound.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let mut listeners = self.listeners.lock().await;
        self.reload_with(&mut listeners).await
    }

    /// The same, unless somebody has asked for it since the files hold this.
    async fn reload_unless_loaded(&self, found: &[u8; 32]) -> Result<(), ReloadError> {
        let mut listeners = self.listeners.lock().await;
        let read = *self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if read.as_ref() == Some(found) && self.last().error.is_none() {
            return Ok(());
        }
        self.reload_with(&mut listeners).await
    }

    async fn reload_with(&self, listeners: &mut Listeners) -> Result<(), ReloadError> {
        let now = clock::now();
        let result = self.replace(listeners, now).await;
        self.gate.metrics.reloaded(result.is_ok(), now);
        let error = result.as_ref().err().map(ToString::to_string);
        match &error {
            None => tracing::info!(file = %self.file.display(), "configuration loaded"),
            Some(error) => tracing::error!(file = %self.file.display(), "the last good configuration stays: {error}"),
        }
        let entry = Entry {
            policy: Some(self.gate.snapshot.load().policy_version()),
            detail: Some(error.clone().unwrap_or_else(|| "loaded".to_owned()).into()),
            ..Entry::new(now, Kind::Reload)
        };
        if let Err(error) = self.gate.audit.event(entry).await {
            tracing::error!(%error, "a reload could not be recorded");
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let loaded = if error.is_none() { now } else { last.loaded };
        *last = Last { at: now, loaded, error };
        drop(last);
        result
    }

    async fn replace(&self, listeners: &mut Listeners, now: Timestamp) -> Result<(), ReloadError> {
        let (Loaded { config, pinned, released }, read) = self.read(now).await?;
        let config = Arc::new(config);
        self.gate.ca.prepare(&config, now).await?;
        let snapshot = self.apply(config, pinned, listeners, now).await?;
        if let Some(pinned) = released {
            let why = "the file in place is the policy that was returned to";
            self.gate.end_rollback(&snapshot, &pinned, why, now).await;
        }
        *self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = read;
        Ok(())
    }

    /// What the files say, all of the same moment: if one changes while they are read, they are read again. With what the
    /// files of the running configuration held then; none: they never stood still.
    async fn read(&self, now: Timestamp) -> Result<(Loaded, Option<[u8; 32]>), ReloadError> {
        let (file, running) = (self.file.clone(), self.gate.snapshot.load().config.clone());
        // Reading and compiling 10,000 rows takes a core for a while; the others serve on.
        let read = tokio::task::spawn_blocking(move || {
            let mut before = digest(&running);
            for _ in 1..MOST_READS {
                let loaded = policies::load(&file, now);
                let after = digest(&running);
                if after == before {
                    return loaded.map(|loaded| (loaded, Some(after)));
                }
                before = after;
            }
            policies::load(&file, now).map(|loaded| (loaded, None))
        });
        let loaded = read.await.map_err(|error| io::Error::other(error.to_string()))?;
        loaded.map_err(ReloadError::Config)
    }

    /// Everything that is derived from the running configuration, made anew: our own authorities have changed.
    ///
    /// # Errors
    /// A file cannot be used any more; nothing has changed then.
    pub async fn rebuild(&self) -> Result<(), ReloadError> {
        let mut listeners = self.listeners.lock().await;
        let running = self.gate.snapshot.load_full();
        let (config, pinned) = (running.config.clone(), running.pinned.clone());
        self.apply(config, pinned, &mut listeners, clock::now()).await?;
        Ok(())
    }

    async fn apply(
        &self,
        config: Arc<Config>,
        pinned: Option<Pinned>,
        listeners: &mut Listeners,
        now: Timestamp,
    ) -> Result<Arc<Snapshot>, ReloadError> {
        let (own, before) = (self.gate.ca.trusted(now), self.gate.snapshot.load_full());
        let source = self.source.get().cloned();
        let built = tokio::task::spawn_blocking(move || {
            let added = source.map_or_else(|| Arc::new(Added::default()), |source| source.added(&config, now));
            let mut snapshot = Snapshot::build(config, &own, added, Some(&before))?;
            snapshot.pinned = pinned;
            let settings = snapshot.edge_settings()?;
            Ok::<_, ReloadError>((snapshot, settings))
        });
        let (snapshot, settings) = built.await.map_err(|error| io::Error::other(error.to_string()))??;
        let wanted = snapshot.config.listeners.clone();
        let old = self.edge.apply(settings);
        if let Err(error) = self.edge.listen(listeners, &wanted).await {
            self.edge.restore(old);
            return Err(error.into());
        }
        self.addresses.store(Arc::new(addresses_of(listeners)));
        let snapshot = Arc::new(snapshot);
        self.gate.snapshot.store(snapshot.clone());
        self.gate.now_running(&snapshot);
        let ended = self.gate.streams.judge_anew(&snapshot, now);
        if ended > 0 {
            tracing::info!(ended, "open requests that the new configuration does not allow were ended");
        }
        renewal::end_orphans(&self.gate, now).await;
        Ok(snapshot)
    }

    pub fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Where each listener really is, and how many connections it has.
    pub fn addresses(&self) -> Vec<(String, SocketAddr, u64)> {
        let open = |name: &Name| u64::try_from(self.gate.metrics.listener(name).open.get()).unwrap_or(0);
        let addresses = self.addresses.load();
        addresses.iter().map(|(name, address)| (name.to_string(), *address, open(name))).collect()
    }

    /// The sockets of all listeners, to be handed on.
    pub async fn sockets(&self) -> Vec<Arc<TcpListener>> {
        self.listeners.lock().await.sockets()
    }

    /// Stops accepting and lets what runs finish.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.edge.drain(&mut *self.listeners.lock().await, patience).await
    }

    /// Loads again whenever one of the files has changed. Runs until the process ends.
    pub async fn watch(self: Arc<Self>) {
        let (changed, mut changes) = mpsc::channel::<()>(1);
        let notice = move |event: notify::Result<notify::Event>| {
            // Somebody read a file: we do so ourselves, and would wake ourselves for ever.
            let only_read = |event: &notify::Event| match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                EventKind::Access(_) => true,
                _ => false,
            };
            if event.as_ref().is_ok_and(only_read) {
                return;
            }
            // Full means that a change is noticed already.
            let _ = changed.try_send(());
        };
        let mut watcher = match notify::recommended_watcher(notice) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::error!(%error, "files cannot be watched; send SIGHUP after a change");
                return;
            }
        };
        let mut watched = BTreeSet::new();
        let mut seen = digest(&self.gate.snapshot.load().config);
        loop {
            let config = self.gate.snapshot.load().config.clone();
            for folder in folders(&config) {
                // Folders, not files: editors and Kubernetes replace a file by another one.
                if !watched.contains(&folder) && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                    watched.insert(folder);
                }
            }
            if changes.recv().await.is_none() {
                return;
            }
            // A log in the same folder is never quiet.
            let quiet = async { while tokio::time::timeout(QUIET, changes.recv()).await.is_ok() {} };
            let _ = tokio::time::timeout(LONGEST_WAIT, quiet).await;
            let found = digest(&self.gate.snapshot.load().config);
            if found != seen {
                seen = found;
                // The error is logged, recorded and shown by `status`; the last good configuration stays.
                let _ = self.reload_unless_loaded(&found).await;
            }
        }
    }
}

fn folders(config: &Config) -> BTreeSet<PathBuf> {
    config.files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect()
}

fn addresses_of(listeners: &Listeners) -> Vec<(Name, SocketAddr)> {
    listeners.addresses().map(|(name, address)| (name.clone(), address)).collect()
}

/// SHA-256 over what the files hold now, lower-case hex.
pub fn config_hash(config: &Config) -> String {
    digest(config).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the files hold; a file that is gone counts as empty.
fn digest(config: &Config) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in &config.files {
        let content = std::fs::read(file).unwrap_or_default();
        hash.update(Sha256::digest(&content));
    }
    hash.finalize().into()
}
