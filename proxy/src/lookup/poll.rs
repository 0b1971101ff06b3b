//! Asks the directory about everybody who is signed in, now and then, and acts on what it says: whoever left is out,
//! with everything they have open; a change of groups counts for the next request and for what is open.
use super::people::{People, Seen};
use crate::acme::leaver;
use crate::ca::moment;
use crate::clock;
use crate::gate::Gate;
use crate::login::revoke;
use crate::login::session::{Session, SessionId, Which};
use crate::snapshot::Snapshot;
use crate::streams::Ending;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Fact, Groups, Identity, Name, Timestamp, User};

/// How often somebody looks whether a directory has been configured meanwhile.
const NO_DIRECTORY: Duration = Duration::from_secs(5);
/// Our clock and the directory's may differ by this much.
const SKEW: Duration = Duration::from_secs(60);

/// Looks at everybody, again and again. Runs until the process ends.
pub async fn watch(gate: Arc<Gate>, started: Timestamp) {
    let mut round = Round { started, passwords: HashMap::new() };
    loop {
        let snapshot = gate.snapshot.load_full();
        let wait = match &snapshot.people {
            Some(people) => {
                round.run(&gate, &snapshot, people, clock::now()).await;
                jittered(people.health.next_poll(people.config.poll))
            }
            None => NO_DIRECTORY,
        };
        drop(snapshot);
        tokio::time::sleep(wait).await;
    }
}

/// Several replicas do not ask at the same moment: up to a tenth sooner.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.1 * rand::random::<f64>())
}

struct Round {
    /// When this process began: of sessions from before nobody remembers whether their people were in the directory.
    started: Timestamp,
    /// The time of the password when a session was first looked at.
    passwords: HashMap<SessionId, Option<Timestamp>>,
}

impl Round {
    async fn run(&mut self, gate: &Gate, snapshot: &Snapshot, people: &Arc<People>, now: Timestamp) {
        let sessions = match gate.sessions.store.list(&Which::All).await {
            Ok(sessions) => sessions,
            Err(error) => return tracing::error!(%error, "people could not be looked at"),
        };
        let sessions: Vec<(Name, Session)> =
            sessions.into_iter().filter_map(|session| Some((people.name_of(&session.user)?, session))).collect();
        self.remember_passwords(people, &sessions, now).await;

        let mut names: HashSet<Name> = people.used_lately(now).await.into_iter().collect();
        names.extend(sessions.iter().map(|(name, _)| name.clone()));
        // Whoever opened a stream with a token has no session, and makes no further request.
        names.extend(gate.streams.users().iter().filter_map(|user| people.name_of(user)));
        // And whoever comes no more may hold a certificate that opens doors elsewhere.
        match gate.ca.ledger().owners(moment(now)).await {
            Ok(owners) => names.extend(owners.iter().filter_map(|owner| name_of(snapshot, people, owner))),
            Err(error) => tracing::error!(%error, "who holds certificates could not be looked for"),
        }
        // What went wrong stands in its health; those who were not reached grow stale.
        let _ = people.refresh(names.iter().cloned().collect(), now).await;

        let now = clock::now();
        let mut seen = HashMap::new();
        for name in names {
            if let Some(known) = people.known(&name, now).await {
                seen.insert(name, known);
            }
        }
        for (name, session) in &sessions {
            if let Some(why) = seen.get(name).and_then(|seen| self.ends(session, seen)) {
                end(gate, session, &why, now).await;
            }
        }
        for (name, seen, state) in seen.iter().filter_map(|(name, seen)| Some((name, seen, seen.is_out()?))) {
            let user = subject(people, name);
            // Whoever is not in by a session, but by a token.
            gate.streams.end(&Ending::Subject(&user));
            if seen.has_left() {
                leaver::revoke_running(gate, &user, state, now).await;
            }
        }
        let groups = |identity: &Identity| groups_now(people, &seen, identity);
        let ended = gate.streams.judge_groups(snapshot, groups, now);
        if ended > 0 {
            tracing::info!(ended, "open requests that the directory's groups do not allow any more were ended");
        }
    }

    /// The time of somebody's password at the login, if the directory was asked then.
    async fn remember_passwords(&mut self, people: &People, sessions: &[(Name, Session)], now: Timestamp) {
        self.passwords.retain(|id, _| sessions.iter().any(|(_, session)| session.id == *id));
        for (name, session) in sessions {
            if !self.passwords.contains_key(&session.id)
                && let Some(Seen::Person(person)) = people.known(name, now).await
            {
                self.passwords.insert(session.id.clone(), person.password_set);
            }
        }
    }

    /// Why a session ends by what the directory says.
    fn ends(&mut self, session: &Session, seen: &Seen) -> Option<String> {
        if let Some(why) = seen.is_out() {
            return Some(format!("the account is {why} in the directory"));
        }
        if *seen == Seen::Nobody && session.created < self.started {
            // Gone, or never there: whoever may sign in does so again.
            return Some("the directory does not know the account".to_owned());
        }
        let set = seen.password_set()?;
        let changed = match self.passwords.entry(session.id.clone()).or_insert(Some(set)) {
            Some(before) => *before != set,
            none => {
                *none = Some(set);
                true
            }
        };
        let since_login = set > session.created.plus(SKEW);
        (changed || since_login).then(|| "the password was changed".to_owned())
    }
}

async fn end(gate: &Gate, session: &Session, why: &str, now: Timestamp) {
    tracing::info!(session = %session.id, why, "a session ends");
    if revoke::end_sessions(gate, &Which::Session(session.id.clone()), why, now).await.is_err() {
        tracing::error!(session = %session.id, "a session could not be ended");
    }
}

/// What the directory calls whom the policy calls so; none if they are another provider's.
fn name_of(snapshot: &Snapshot, people: &People, policy_name: &str) -> Option<Name> {
    let prefix = policy_name.split_once('/').map(|(prefix, _)| prefix);
    if people.config.first {
        let is_anothers = prefix.is_some_and(|prefix| snapshot.providers.names().iter().any(|name| **name == *prefix));
        return (!is_anothers).then(|| policy_name.into());
    }
    policy_name.strip_prefix(&*people.config.provider)?.strip_prefix('/').map(Into::into)
}

/// As the policy and the streams call somebody.
fn subject(people: &People, name: &Name) -> Name {
    match people.config.first {
        true => name.clone(),
        false => format!("{}/{name}", people.config.provider).into(),
    }
}

/// The groups of somebody whom the directory knows about; none: it does not say.
fn groups_now(people: &People, seen: &HashMap<Name, Seen>, identity: &Identity) -> Option<Fact<Arc<Groups>>> {
    let Identity::User(user) = identity else { return None };
    let user: &User = user;
    seen.get(&people.name_of(user)?).map(Seen::groups)
}
