//! The composition root: builds everything once, keeps it running, and owns the order of shutting down.
use crate::acme::Acme;
use crate::acme_client::listeners;
use crate::admin::{self, Control};
use crate::assertion::{AssertionKeyError, Assertions};
use crate::audit::access::AccessLog;
use crate::audit::lines::{Stream, Target};
use crate::audit::{self, Audit};
use crate::ca::{CaError, OwnCa};
use crate::clock;
use crate::control::Running;
use crate::edge::accept::{Edge, Listeners};
use crate::edge::obtained::Obtained;
use crate::engine;
use crate::gate::Gate;
use crate::identify::session::Sessions;
use crate::login::access_token::AccessTokens;
use crate::login::attempts::Attempts;
use crate::login::break_glass;
use crate::login::renewal;
use crate::login::revoke;
use crate::login::seal::{SealKey, SealKeyError};
use crate::login::session::{SessionStore as _, Which};
use crate::login::sign_in::used_logins;
use crate::lookup::poll;
use crate::lookup::records::DeviceRecords;
use crate::lookup::seen::SeenPlaces;
use crate::metrics::{Metrics, RouteHandles};
use crate::policies::{self, Loaded};
use crate::posture::take::ReportAttempts;
use crate::recording;
use crate::reload::Reloader;
use crate::reminders;
use crate::replicas;
use crate::snapshot::{Snapshot, SnapshotError};
use crate::state_dir::{self, StateDirError};
use crate::store::tidings::Tidings;
use crate::store::{self, Reach, SqlStore};
use crate::streams::Streams;
use crate::successor::Successor;
use crate::systemd::{self, Inherited, Notify};
use crate::told::Told;
use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use torhaus_authz::{Entry, Kind};
use torhaus_config::{Config, Secret};

/// How often sessions are looked through for idle ones, and their last use is written down.
const SWEEP_SESSIONS: Duration = Duration::from_secs(30);
/// How often the store is asked whether it answers.
const ASK_STORE: Duration = Duration::from_secs(10);
/// The same, while it does not.
const ASK_LOST_STORE: Duration = Duration::from_millis(500);
/// How often streams are looked through for those whose session or certificate has run out: under the 2 s promised.
const SWEEP_STREAMS: Duration = Duration::from_secs(1);
/// How often files of data are looked at, whether they were replaced, and sources, whether it is time to ask them.
const REFRESH_LOOKUPS: Duration = Duration::from_secs(1);
const REPORT_REFUSALS: Duration = Duration::from_secs(60);
/// How often sessions are looked through for those whose provider is to be asked again.
const RENEW_SESSIONS: Duration = Duration::from_secs(30);
/// How often revocation lists are looked at; they live for a day.
const RENEW_LISTS: Duration = Duration::from_secs(30);
/// How often the ACME server forgets what is past; nothing of it is asked about by then.
const SWEEP_ACME: Duration = Duration::from_secs(300);
/// How long open requests may take to finish while others wait for the successor already.
const DRAIN_FOR_SUCCESSOR: Duration = Duration::from_secs(5);
/// How long a collector of traces may keep a process that ends.
const FLUSH_SPANS: Duration = Duration::from_secs(2);
/// Idle connections to applications kept, over all of them.
const UPSTREAM_POOL: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Config(torhaus_config::Errors),
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[cfg(not(feature = "kubernetes"))]
    #[error("`kubernetes` is configured, and this torhaus was built without it (cargo feature `kubernetes`)")]
    NoKubernetes,
    #[error(transparent)]
    SealKey(#[from] SealKeyError),
    #[error(transparent)]
    AssertionKey(#[from] AssertionKeyError),
    #[error(transparent)]
    Store(#[from] store::OpenError),
    #[error(transparent)]
    Audit(#[from] audit::OpenError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("certificates: {0}")]
    Ca(#[from] CaError),
    #[error(transparent)]
    Admin(#[from] admin::BindError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// It could not start; says what and where.
pub async fn run(file: &Path, access: Target, audit_copy: Target) -> Result<(), ServeError> {
    let now = clock::now();
    // Another program may lie there when it is needed. An image without /proc does not say where: there is no successor.
    let program = std::env::current_exe().ok();
    let loaded = policies::load(file, now).map_err(ServeError::Config)?;
    let config = &loaded.config;
    #[cfg(not(feature = "kubernetes"))]
    if config.kubernetes.is_some() {
        return Err(ServeError::NoKubernetes);
    }
    state_dir::make(&config.state_dir)?;
    let (access, access_end) = AccessLog::start(access)?;
    let (audit_copy, copy_end) = Stream::start("audit-copy", audit_copy)?;
    let (store, tidings) = open_store(config).await?;
    let store = Arc::new(store);
    let released = loaded.released.clone();
    let ca = OwnCa::open(config, store.clone(), seal_key(config)?, now).await?;
    let gate = Arc::new(build_gate(loaded, (access, audit_copy), store.clone(), ca).await?);
    gate.acme.belongs_to(&gate);
    gate.acme.settle(&gate).await?;
    let snapshot = gate.snapshot.load_full();
    gate.now_running(&snapshot);
    if let Some(pinned) = released {
        gate.end_rollback(&snapshot, &pinned, "the file in place is the policy that was returned to", now).await;
    }

    let conf = ServerConf { upstream_keepalive_pool_size: UPSTREAM_POOL, ..ServerConf::default() };
    let edge = Edge::new(engine::build(gate.clone(), conf)?, snapshot.edge_settings()?, gate.metrics.clone());
    let keeper = listeners::begin(&gate).await;
    let mut listeners = Listeners::inheriting(Inherited::take()?);
    edge.listen(&mut listeners, &snapshot.config.listeners).await?;
    for (name, address) in listeners.addresses() {
        tracing::info!(listener = &**name, %address, "listening");
    }
    for address in listeners.unclaimed() {
        tracing::warn!(%address, "the service manager opened this address, and no listener of the configuration has it");
    }
    let reloader = Reloader::new(file.to_owned(), gate.clone(), edge, listeners);
    let control = Arc::new(Running {
        file: file.to_owned(),
        gate: gate.clone(),
        reloader: reloader.clone(),
        started: now,
        stopping: AtomicBool::new(false),
        #[cfg(feature = "kubernetes")]
        cluster: crate::kubernetes::Cluster::new(),
    });
    #[cfg(feature = "kubernetes")]
    let in_cluster = {
        reloader.serve_beside(control.cluster.clone());
        let reloader = reloader.clone();
        let refresh = move || {
            let reloader = reloader.clone();
            async move { reloader.refresh().await }
        };
        tokio::spawn(control.cluster.clone().run(gate.clone(), refresh))
    };
    let (stop, admin) = serve_admin(&snapshot.config, control.clone()).await?;
    drop(snapshot);
    let tasks = [
        tokio::spawn(reloader.clone().watch()),
        tokio::spawn(replicas::follow(gate.clone(), reloader.clone(), tidings)),
        tokio::spawn(watch_store(gate.clone(), store.clone())),
        tokio::spawn(gate.sessions.clone().watch_others()),
        tokio::spawn(break_glass::watch(gate.clone())),
        tokio::spawn(sweep(gate.clone())),
        tokio::spawn(end_expired_streams(gate.clone())),
        tokio::spawn(report_refusals(gate.clone())),
        tokio::spawn(renew_sessions(gate.clone())),
        tokio::spawn(reminders::run(gate.clone())),
        tokio::spawn(keep_lists_fresh(gate.clone())),
        tokio::spawn(sweep_acme(gate.clone())),
        tokio::spawn(listeners::run(gate.clone(), keeper)),
        tokio::spawn(poll::watch(gate.clone(), now)),
        tokio::spawn(refresh_lookups(gate.clone())),
        tokio::spawn(engine::probe::watch(gate.clone())),
    ];

    let notify = Arc::new(Notify::from_env());
    let watchdog = tokio::spawn(keep_alive(notify.clone()));
    notify.ready();
    let successor = wait_for_stop(&gate, &reloader, file, program.as_deref()).await?;
    control.stopping.store(true, Ordering::Release);
    gate.leaving.store(true, Ordering::Release);
    notify.stopping();
    tracing::info!("stopping: no new connections, open requests may finish");
    #[cfg(feature = "kubernetes")]
    control.cluster.stop().await;
    let patience = gate.snapshot.load().config.limits.drain;
    // Whoever comes meanwhile waits for the successor.
    let patience = if successor.is_some() { patience.min(DRAIN_FOR_SUCCESSOR) } else { patience };
    let left = reloader.drain(patience).await;
    tracing::info!(left, "stopped");
    if let Some(traces) = gate.snapshot.load().traces.clone() {
        traces.flush(FLUSH_SPANS).await;
    }
    for task in tasks.into_iter().chain([watchdog]) {
        task.abort();
    }
    #[cfg(feature = "kubernetes")]
    in_cluster.abort();
    stop.send_replace(true);
    for task in admin {
        // It ends by itself once it has answered what it was asked.
        let _ = task.await;
    }
    if let Err(error) = gate.audit.event(Entry::new(clock::now(), Kind::Stop)).await {
        tracing::error!(%error, "the stop could not be recorded");
    }
    store.close().await;
    access_end.finish();
    copy_end.finish();
    match successor {
        None => Ok(()),
        Some(successor) => Err(successor.take_over().into()),
    }
}

/// The unix socket for the command line, and a loopback address for metrics where one is configured.
async fn serve_admin(
    config: &Config,
    control: Arc<dyn Control>,
) -> Result<(watch::Sender<bool>, Vec<JoinHandle<()>>), ServeError> {
    let stop = watch::Sender::new(false);
    let stopped = |mut receiver: watch::Receiver<bool>| async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = receiver.wait_for(|stop| *stop).await;
    };
    let socket = admin::Socket::bind(&config.state_dir.join(admin::SOCKET)).await?;
    let mut tasks = vec![tokio::spawn(noted(admin::serve(socket, control.clone(), stopped(stop.subscribe()))))];
    if let Some(health) = config.admin {
        tasks.push(tokio::spawn(noted(admin::serve_health(health, control, stopped(stop.subscribe())))));
    }
    Ok((stop, tasks))
}

async fn noted(serving: impl Future<Output = io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the admin interface stopped");
    }
}

async fn open_store(config: &Config) -> Result<(SqlStore, Option<Tidings>), ServeError> {
    let had_key = config.state_dir.join("keys").join("seal.key").exists();
    let sealer = Arc::new(seal_key(config)?);
    if let Some(postgres) = &config.postgres {
        let urls = postgres.urls.iter().map(Secret::expose);
        let reach = Reach::any(urls, postgres.ca_file.as_deref(), postgres.connections);
        let (store, tidings) = SqlStore::postgres(reach.map_err(store::OpenError::from)?, sealer).await?;
        return Ok((store, Some(tidings)));
    }
    let store = SqlStore::sqlite(&config.state_dir.join("torhaus.db"), sealer).await?;
    if !had_key {
        // What was sealed under a key that is gone cannot be opened: whoever had a session signs in again.
        let ended = store.end(&Which::All, clock::now()).await.map_err(|e| io::Error::other(e.to_string()))?;
        if !ended.is_empty() {
            tracing::warn!(sessions = ended.len(), "sessions of an earlier sealing key were ended");
        }
    }
    Ok((store, None))
}

/// What is kept is sealed under it: a file of this process, or what all replicas were given.
pub(crate) fn seal_key(config: &Config) -> Result<SealKey, SealKeyError> {
    match &config.postgres {
        Some(postgres) => SealKey::derived(postgres.key.expose()),
        None => SealKey::load_or_create(&config.state_dir),
    }
}

/// What all replicas have in common beside the state, or what this process has alone.
async fn keys(config: &Config, store: &SqlStore) -> Result<(Assertions, Option<[u8; 32]>), ServeError> {
    let issuer = config.portal.url.as_str();
    if config.postgres.is_none() {
        let file = config.state_dir.join("keys").join("assertion.p8");
        return Ok((Assertions::open(&file, issuer)?, None));
    }
    let unusable = |why: String| {
        io::Error::other(format!("store.postgres: {why}; has another replica another secret in `seal_file`?"))
    };
    let secret = async |name: &str, new: &[u8]| {
        store.shared_secret(name, new).await.map_err(|error| unusable(error.to_string()))
    };
    let key = secret("assertion", &Assertions::new_key()?).await?;
    let assertions = Assertions::with(&key, issuer).ok_or_else(|| unusable("the signing key is none".into()))?;
    let nonces = secret("acme-nonces", &rand::random::<[u8; 32]>()).await?;
    let nonces = nonces.as_slice().try_into().map_err(|_| unusable("the key of nonces is none".into()))?;
    Ok((assertions, Some(nonces)))
}

async fn build_gate(
    loaded: Loaded,
    (access, audit_copy): (AccessLog, Stream),
    store: Arc<SqlStore>,
    ca: OwnCa,
) -> Result<Gate, ServeError> {
    let Loaded { config, pinned, .. } = loaded;
    let sealer = seal_key(&config)?;
    let (assertions, nonce_key) = keys(&config, &store).await?;
    let live_without = config.postgres.as_ref().map_or(Duration::ZERO, |postgres| postgres.live_without);
    let audit = Audit::open_copied(&config.state_dir.join("audit"), audit_copy, clock::now())?;
    let metrics = Arc::new(Metrics::new(audit.counters(), access.dropped()));
    let mut snapshot = Snapshot::build(Arc::new(config), &ca.trusted(clock::now()), Arc::default(), None)?;
    snapshot.pinned = pinned;
    let seen = SeenPlaces::load(store.clone()).await.map_err(|error| io::Error::other(error.to_string()))?;
    snapshot.obtained = Obtained::new(store.clone());
    let records = DeviceRecords::load(store.clone()).await.map_err(|error| io::Error::other(error.to_string()))?;
    let config = snapshot.config.clone();
    // Nobody else has it yet.
    if let Some(lookups) = Arc::get_mut(&mut snapshot.lookups) {
        lookups.seen = Some(Arc::new(seen));
        lookups.keep_records(Arc::new(records), &config);
    }
    metrics.reloaded(true, clock::now());
    // It was just opened and checked.
    metrics.store_up.set(1);
    Ok(Gate {
        snapshot: ArcSwap::from_pointee(snapshot),
        acme: Acme::new(store.clone(), nonce_key),
        sessions: Sessions::new(store, live_without),
        audit,
        streams: Arc::new(Streams::default()),
        told: Told::new(assertions),
        sealer,
        used_logins: used_logins(),
        attempts: Attempts::default(),
        reports: ReportAttempts::default(),
        access_tokens: AccessTokens::default(),
        metrics,
        route_metrics: RouteHandles::default(),
        access,
        ca,
        leaving: AtomicBool::new(false),
    })
}

/// Until it is to stop, or to make room for the program that lies in its place now.
async fn wait_for_stop<E: pingora_core::apps::HttpServerApp + Send + Sync + 'static>(
    gate: &Gate,
    reloader: &Reloader<E>,
    file: &Path,
    program: Option<&Path>,
) -> io::Result<Option<Successor>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut replace = signal(SignalKind::user_defined2())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(None),
            _ = interrupt.recv() => return Ok(None),
            _ = hangup.recv() => {
                recording::reopen(gate);
                // What went wrong is logged and recorded; the last good configuration stays.
                drop(reloader.reload().await);
            }
            _ = replace.recv() => {
                if let Err(errors) = policies::load(file, clock::now()) {
                    tracing::error!(%errors, "not replaced: the new process could not start on this configuration");
                    continue;
                }
                let Some(program) = program else {
                    tracing::error!("not replaced: without /proc nobody knows where this program lies");
                    continue;
                };
                match Successor::with(program.to_owned(), &reloader.sockets().await) {
                    Ok(successor) => return Ok(Some(successor)),
                    Err(error) => tracing::error!(%error, "not replaced: the sockets cannot be handed on"),
                }
            }
        }
    }
}

async fn sweep(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(SWEEP_SESSIONS);
    loop {
        ticks.tick().await;
        let idle = gate.snapshot.load().config.sessions.idle;
        let now = clock::now();
        let seen = gate.snapshot.load().lookups.seen.clone();
        if let Some(seen) = seen
            && let Err(error) = seen.sweep(now).await
        {
            tracing::error!(%error, "old places of people could not be forgotten");
        }
        let records = gate.snapshot.load().lookups.records.clone();
        if let Some(records) = records
            && let Err(error) = records.sweep(now).await
        {
            tracing::error!(%error, "records of devices could not be read again");
        }
        match gate.sessions.sweep(now, idle).await {
            Ok(ended) => revoke::note_ended(&gate, &ended, "idle, or over", now).await,
            Err(error) => tracing::error!(%error, "sessions could not be swept"),
        }
    }
}

/// Whether the store answers: asked now and then, and every second while it does not.
async fn watch_store(gate: Arc<Gate>, store: Arc<SqlStore>) {
    let mut lost = false;
    loop {
        let live = gate.sessions.probe().await;
        match &live {
            Err(error) if !lost => tracing::error!(%error, "the store is lost; who is signed in goes on for a while"),
            Ok(_) if lost => tracing::warn!("the store answers again"),
            _ => {}
        }
        lost = live.is_err();
        gate.metrics.store_up.set(i64::from(!lost));
        gate.metrics.sessions_live.set(live.ok().and_then(|n| i64::try_from(n).ok()).unwrap_or(-1));
        gate.metrics.replication.show(if lost { None } else { store.standbys().await.ok().flatten() });
        let again = if lost { ASK_LOST_STORE } else { ASK_STORE };
        let wait = async {
            tokio::time::sleep(ASK_LOST_STORE).await;
            // A request may find out first.
            while !gate.sessions.is_lost() {
                tokio::time::sleep(ASK_LOST_STORE).await;
            }
        };
        drop(tokio::time::timeout(again, wait).await);
    }
}

async fn refresh_lookups(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(REFRESH_LOOKUPS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = gate.snapshot.load_full();
        snapshot.lookups.tick(clock::now());
        // The disk may be slow, and a database takes a moment to check.
        let refreshed = tokio::task::spawn_blocking(move || snapshot.lookups.refresh(clock::now())).await;
        if let Err(error) = refreshed {
            tracing::error!(%error, "data files could not be looked at");
        }
    }
}

async fn end_expired_streams(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(SWEEP_STREAMS);
    let mut minute = 0;
    loop {
        ticks.tick().await;
        let now = clock::now();
        gate.streams.end_expired(now);
        // Windows of time open and close at full minutes.
        let before = std::mem::replace(&mut minute, now.seconds().div_euclid(60));
        if before != minute {
            gate.streams.judge_windows(&gate.snapshot.load(), now);
        }
        gate.metrics.streams_open.set(i64::try_from(gate.streams.open()).unwrap_or(i64::MAX));
    }
}

/// The watchdog of the service manager: said from the runtime that serves requests, so that it is not said when that
/// hangs.
async fn keep_alive(notify: Arc<Notify>) {
    let Some(interval) = systemd::watchdog_interval() else { return };
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        notify.alive();
    }
}

async fn report_refusals(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(REPORT_REFUSALS);
    loop {
        ticks.tick().await;
        if let Err(error) = gate.audit.report_refusals(clock::now()).await {
            tracing::error!(%error, "refusals could not be recorded");
        }
    }
}

/// Revocation lists are renewed long before they end, and what operators watch is counted.
async fn keep_lists_fresh(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(RENEW_LISTS);
    loop {
        ticks.tick().await;
        let now = clock::now();
        if let Err(error) = gate.ca.publish_if_needed(now).await {
            tracing::error!(%error, "revocation lists could not be renewed; those before are published until they end");
        }
        gate.ca.measure(&gate.metrics, now).await;
    }
}

async fn sweep_acme(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(SWEEP_ACME);
    loop {
        ticks.tick().await;
        gate.acme.sweep(clock::now()).await;
    }
}

async fn renew_sessions(gate: Arc<Gate>) {
    let mut ticks = tokio::time::interval(RENEW_SESSIONS);
    loop {
        ticks.tick().await;
        renewal::run(&gate, clock::now()).await;
    }
}
