//! What other replicas did, acted upon here: sessions that ended, certificates that were revoked, authorities that came.
//!
//! Told by the database at once (`store::tidings`); looked for every few seconds as well, so that a replica which missed
//! something is right soon. Never changes the store.
use crate::clock;
use crate::gate::Gate;
use crate::login::renewal;
use crate::login::session::SessionId;
use crate::reload::Reloader;
use crate::store::tidings::{News, Tidings};
use crate::streams::Ending;
use pingora_core::apps::HttpServerApp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use torhaus_authz::{Entry, Kind, Timestamp};

/// How often to look without having been told: what is open on a session that ended elsewhere goes on no longer.
const LOOK: Duration = Duration::from_secs(4);
/// News that wait to be acted upon; more wait in the database.
const WAITING: usize = 1024;

/// Runs as long as the process. `tidings`: none is told where there is one process, and nothing has to be looked for.
pub async fn follow<E: HttpServerApp + Send + Sync + 'static>(
    gate: Arc<Gate>,
    reloader: Arc<Reloader<E>>,
    tidings: Option<Tidings>,
) {
    let Some(mut tidings) = tidings else { return };
    let (tell, mut told) = mpsc::channel(WAITING);
    // On a task of its own: what is half received is not broken off by the clock. It ends with this one.
    let mut listening = JoinSet::new();
    listening.spawn(async move { while tell.send(tidings.next().await).await.is_ok() {} });
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(news) = told.recv() => act(&gate, &reloader, news).await,
            _ = ticks.tick() => look(&gate, &reloader).await,
        }
    }
}

async fn act<E: HttpServerApp + Send + Sync + 'static>(gate: &Gate, reloader: &Reloader<E>, news: News) {
    let now = clock::now();
    match news {
        News::Ended(id) => ended(gate, &[id.into()], now).await,
        News::Changed(id) => {
            gate.sessions.note_changed(&id).await;
            renewal::judge_changed(gate, &id.into(), now).await;
        }
        News::Revoked => revoked(gate, now).await,
        News::Authorities => authorities(gate, reloader, now).await,
        News::Devices => devices(gate).await,
        News::Seen(visit) => {
            if let Some(seen) = &gate.snapshot.load().lookups.seen {
                seen.heard_of(visit);
            }
        }
        News::Unsure => {
            gate.sessions.note_unsure();
            look(gate, reloader).await;
            for id in gate.streams.sessions() {
                renewal::judge_changed(gate, &id, now).await;
            }
            devices(gate).await;
            let seen = gate.snapshot.load().lookups.seen.clone();
            if let Some(seen) = seen
                && let Err(error) = seen.catch_up().await
            {
                tracing::warn!(%error, "where people were, as other replicas know it, could not be read");
            }
        }
    }
}

async fn look<E: HttpServerApp + Send + Sync + 'static>(gate: &Gate, reloader: &Reloader<E>) {
    let now = clock::now();
    look_at_sessions(gate, now).await;
    revoked(gate, now).await;
    authorities(gate, reloader, now).await;
}

async fn look_at_sessions(gate: &Gate, now: Timestamp) {
    match gate.sessions.store.gone(&gate.streams.sessions()).await {
        Ok(gone) => ended(gate, &gone, now).await,
        Err(error) => tracing::debug!(%error, "sessions that ended elsewhere could not be looked for"),
    }
}

/// Who ended them has recorded it. What was open here is recorded here.
async fn ended(gate: &Gate, ids: &[SessionId], now: Timestamp) {
    let elsewhere: Vec<SessionId> = ids.iter().filter(|id| !gate.sessions.has_ended(id)).cloned().collect();
    gate.sessions.note_ended(&elsewhere).await;
    for id in elsewhere {
        let streams = gate.streams.end(&Ending::Session(&id));
        if streams == 0 {
            continue;
        }
        let detail = format!("ended by another replica; {streams} open requests ended here");
        let entry = Entry { session: Some(id), detail: Some(detail.into()), ..Entry::new(now, Kind::SessionEnd) };
        if let Err(error) = gate.audit.event(entry).await {
            tracing::error!(%error, "a session ended and could not be recorded");
        }
    }
}

async fn revoked(gate: &Gate, now: Timestamp) {
    match gate.ca.learn_revocations(now).await {
        Ok(new) if new.is_empty() => {}
        Ok(new) => {
            let streams = gate.streams.judge_anew(&gate.snapshot.load(), now);
            tracing::info!(certificates = new.len(), streams, "revoked by another replica");
        }
        Err(error) => {
            // Whatever was learnt before it failed counts.
            gate.streams.judge_anew(&gate.snapshot.load(), now);
            tracing::warn!(%error, "revocations of other replicas could not be read or written down");
        }
    }
}

async fn devices(gate: &Gate) {
    let records = gate.snapshot.load().lookups.records.clone();
    if let Some(records) = records
        && let Err(error) = records.reload().await
    {
        tracing::warn!(%error, "devices, as other replicas know them, could not be read");
    }
}

async fn authorities<E: HttpServerApp + Send + Sync + 'static>(gate: &Gate, reloader: &Reloader<E>, now: Timestamp) {
    match gate.ca.learn_authorities(now).await {
        Ok(false) => {}
        Ok(true) => match reloader.rebuild().await {
            Ok(()) => tracing::info!("another replica brought an authority; it is believed here"),
            Err(error) => tracing::error!(%error, "another replica brought an authority, and it is not believed here"),
        },
        Err(error) => tracing::debug!(%error, "authorities of other replicas could not be read"),
    }
}
