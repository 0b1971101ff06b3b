//! Asks the identity providers about live sessions now and then, with their refresh tokens: whoever was disabled or
//! signed out there is out here, and a change of groups arrives without a new login.
use crate::clock;
use crate::gate::Gate;
use crate::identify::session::Sessions;
use crate::login::break_glass;
use crate::login::device_claim;
use crate::login::refresh::{RefreshError, Refreshed};
use crate::login::revoke;
use crate::login::session::{Session, SessionId, Unavailable, Which};
use crate::snapshot::Snapshot;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Timestamp, User};

/// How often one session is asked about: access tokens of the providers we know live 5 minutes.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// How long a claim on a session counts: as long as a provider may take to answer whoever asks.
pub(super) const CLAIM: Duration = Duration::from_secs(10);
/// Requests to providers at once; 2,000 sessions are through in a few seconds.
const AT_ONCE: usize = 8;

/// Sessions that are read from the store at a time.
const LISTED: usize = 500;

/// Asks about every session that is due. Of several replicas one asks: a refresh token works once (RFC 9700 section
/// 4.14.2), and a second use looks like theft.
pub async fn run(gate: &Arc<Gate>, now: Timestamp) {
    end_orphans(gate, now).await;
    let store = &gate.sessions.store;
    let claimed = match store.claim_renewals(now.minus(EVERY), now).await {
        Ok(claimed) => claimed,
        Err(error) => return tracing::error!(%error, "sessions could not be renewed"),
    };
    for some in claimed.chunks(LISTED) {
        let sessions = match store.list(&Which::These(some.to_vec())).await {
            Ok(sessions) => sessions,
            Err(error) => return tracing::error!(%error, "sessions could not be renewed"),
        };
        let due = sessions.into_iter().filter(|session| session.tokens.refresh_token.is_some());
        futures::stream::iter(due).for_each_concurrent(AT_ONCE, |session| renew(gate, session, now)).await;
    }
}

/// Ends the sessions of identity providers that are not configured any more, or are another issuer under their old
/// name: nobody vouches for these people now.
pub async fn end_orphans(gate: &Gate, now: Timestamp) {
    let vouchers = match gate.sessions.store.vouchers().await {
        Ok(vouchers) => vouchers,
        Err(error) => return tracing::error!(%error, "sessions of removed providers could not be looked for"),
    };
    for (provider, issuer) in vouchers {
        // A provider that is configured by now vouches for whoever signed in meanwhile.
        if !vouches(&gate.snapshot.load(), &provider, &issuer) {
            end(gate, &Which::VouchedFor { provider, issuer }, NOT_CONFIGURED, now).await;
        }
    }
}

/// Why a session ends whose provider is gone.
const NOT_CONFIGURED: &str = "its identity provider is not configured any more";

/// Whether who vouched for the person still does.
pub(super) fn is_vouched_for(snapshot: &Snapshot, user: &User) -> bool {
    vouches(snapshot, &user.provider, &user.issuer)
}

fn vouches(snapshot: &Snapshot, provider: &str, issuer: &str) -> bool {
    // For the day on which there is no provider; it ends by itself within hours.
    if *issuer == *break_glass::ISSUER {
        return true;
    }
    let provider = snapshot.providers.named(provider);
    provider.is_some_and(|provider| *provider.config.issuer_text == *issuer)
}

async fn renew(gate: &Arc<Gate>, listed: Session, claimed: Timestamp) {
    let (snapshot, now) = (gate.snapshot.load_full(), clock::now());
    let session = match still_claimed(&gate.sessions, &listed, claimed, now).await {
        Ok(Some(session)) => session,
        Ok(None) => return,
        Err(error) => return tracing::error!(session = %listed.id, %error, "not renewed"),
    };
    // Its refresh token goes to whom it is from, and to nobody who took over the name.
    let provider =
        snapshot.providers.named(&session.user.provider).filter(|_| is_vouched_for(&snapshot, &session.user));
    let Some(provider) = provider else {
        end(gate, &Which::Session(session.id), NOT_CONFIGURED, now).await;
        return;
    };
    match provider.refresh(&session.id, &session.user.subject, &session.tokens, now).await {
        Ok(Refreshed { tokens, profile, device }) => {
            let hands_on = snapshot.hands_on_access_tokens();
            let tokens = if hands_on { tokens } else { tokens.without_access_token() };
            keep(&gate.sessions, &session, Refreshed { tokens, profile, device }).await;
            judge_changed(gate, &session.id, now).await;
        }
        Err(RefreshError::Ended(why)) => {
            tracing::info!(session = %session.id, %why, "the provider does not continue a session");
            end(gate, &Which::Session(session.id), "the identity provider ended it", now).await;
        }
        // The session goes on as its own lifetime says.
        Err(error @ RefreshError::Unavailable(_)) => tracing::warn!(session = %session.id, %error, "not renewed"),
        Err(RefreshError::NoRefreshToken) => {}
    }
}

/// The session as it is now. None: it is over, or somebody else renews it or did. Behind a slow provider many wait, and an
/// application that asks for a token does not: what was listed may be spent.
async fn still_claimed(
    sessions: &Sessions,
    listed: &Session,
    claimed: Timestamp,
    now: Timestamp,
) -> Result<Option<Session>, Unavailable> {
    let ours = now.minus(CLAIM) < claimed || sessions.store.claim_renewal(&listed.id, now.minus(CLAIM), now).await?;
    if !ours {
        return Ok(None);
    }
    let read = sessions.stored(&listed.id).await?;
    Ok(read.filter(|read| read.tokens.refresh_token == listed.tokens.refresh_token))
}

/// Keeps what a refresh brought, if the session has not ended meanwhile.
pub(super) async fn keep(sessions: &Sessions, asked: &Session, refreshed: Refreshed) {
    // Read again: a step-up may have added a proof while the provider was asked.
    let kept = match sessions.stored(&asked.id).await {
        Ok(Some(session)) => sessions.update(&renewed(session, refreshed)).await.map(drop),
        // It has ended meanwhile, and stays so.
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::error!(session = %asked.id, %error, "a renewed session could not be kept");
    }
}

/// Cuts what a session that changed has open, and may not any more by its groups. Where a directory names them, the directory
/// has it judged.
pub async fn judge_changed(gate: &Gate, id: &SessionId, now: Timestamp) {
    if !gate.streams.has_session(id) {
        return;
    }
    let session = match gate.sessions.stored(id).await {
        Ok(Some(session)) => session,
        // It is over, and whoever ended it, or the next look, ends what is open.
        Ok(None) => return,
        Err(error) => return tracing::warn!(session = %id, %error, "a session that changed could not be read"),
    };
    let snapshot = gate.snapshot.load();
    let by_directory = snapshot.people.as_ref().is_some_and(|people| people.name_of(&session.user).is_some());
    if !by_directory {
        let ended = gate.streams.judge_session(&snapshot, id, &session.groups, now);
        if ended > 0 {
            tracing::info!(session = %id, ended, "open requests that a session's new groups do not allow were ended");
        }
    }
}

fn renewed(session: Session, refreshed: Refreshed) -> Session {
    let device = device_claim::newer(&session.device, refreshed.device);
    let session = Session { tokens: refreshed.tokens, device, ..session };
    match refreshed.profile {
        None => session,
        Some(profile) => Session {
            user: Arc::new(User { name: profile.name, ..(*session.user).clone() }),
            display_name: profile.display_name,
            email: profile.email,
            groups: profile.groups,
            ..session
        },
    }
}

async fn end(gate: &Gate, which: &Which, why: &str, now: Timestamp) {
    if revoke::end_sessions(gate, which, why, now).await.is_err() {
        tracing::error!(?which, why, "sessions could not be ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::seal::SealKey;
    use crate::login::session::{SessionStore as _, TicketHash, Tokens};
    use crate::store::{SqlStore, contract};
    use zeroize::Zeroizing;

    #[tokio::test]
    async fn behind_a_slow_provider_a_session_is_renewed_with_what_it_has_then_or_left_to_who_took_it_over() {
        let folder = tempfile::tempdir().unwrap();
        let seal = Arc::new(SealKey::load_or_create(folder.path()).unwrap());
        let store = Arc::new(SqlStore::sqlite(&folder.path().join("torhaus.db"), seal).await.unwrap());
        let sessions = Sessions::new(store.clone(), Duration::from_secs(300));
        let listed = contract::session("s-1", "alice");
        sessions.create(&listed, TicketHash([1; 32]), "wiki").await.unwrap();
        let claimed = contract::NOON;
        let claim = async |now: Timestamp| store.claim_renewal(&listed.id, now.minus(CLAIM), now).await.unwrap();
        assert!(claim(claimed).await);
        let ours = async |now| still_claimed(&sessions, &listed, claimed, now).await.unwrap().is_some();

        assert!(ours(claimed.plus(Duration::from_secs(9))).await, "the claim counts");
        // After that whoever comes first has it: an application that asks, here.
        let late = claimed.plus(Duration::from_secs(11));
        assert!(claim(late).await);
        assert!(!ours(late).await, "somebody else asks the provider");
        let later = late.plus(Duration::from_secs(11));
        assert!(ours(later).await, "nobody does any more");

        let tokens = Tokens { refresh_token: Some(Zeroizing::new("another".to_owned())), ..listed.tokens.clone() };
        assert!(sessions.update(&Session { tokens, ..listed.clone() }).await.unwrap());
        assert!(!ours(claimed).await, "the refresh token that was listed is spent");
        sessions.end(&Which::Session(listed.id.clone()), later).await.unwrap();
        assert!(!ours(claimed).await, "it is over");
    }
}
