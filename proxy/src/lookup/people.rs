//! What the directory said about people, kept in memory: a request looks here and waits for nobody it has met.
//!
//! Somebody new is asked about once, however many requests come (single flight), and waited for with a bound. The poll
//! (`poll.rs`) renews what is kept. An answer older than `max_stale` is unknown, never "no groups";
//! only that somebody is out does not grow old.
use super::authentik::AuthentikDirectory;
use super::directory::{Directory, Failure, Person, Standing};
use super::health::Health;
use super::ldap::{AT_ONCE, BATCH, LdapDirectory};
use crate::clock;
use arc_swap::ArcSwap;
use futures::{StreamExt as _, TryStreamExt as _};
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use torhaus_authz::{Fact, Groups, Name, Timestamp, User, Why};
use torhaus_config::DirectorySource;

/// People kept; one with fifty groups is about 4 KiB.
const KEPT: u64 = 100_000;
/// Somebody who made no request for this long, and has no session, is not asked about any more.
const FORGET_AFTER: Duration = Duration::from_secs(10 * 60);
/// Of this many who were known none is left: more likely a wrong filter or lost rights than a dismissal of all.
const TOO_MANY_TO_LOSE: usize = 3;

/// The people of one provider, by what their directory says.
pub struct People {
    pub config: Arc<torhaus_config::Directory>,
    pub health: Health,
    source: Arc<dyn Directory>,
    /// The CA file as it was read: another one is another directory.
    ca: Option<Vec<u8>>,
    kept: Cache<Name, Arc<Kept>>,
}

struct Kept {
    said: ArcSwap<Said>,
    /// Milliseconds since the epoch.
    used: AtomicI64,
}

struct Said {
    at: Timestamp,
    what: Answer,
}

impl Said {
    fn is_out(&self) -> bool {
        match &self.what {
            Answer::Person(person) => person.standing != Standing::Active,
            Answer::Gone => true,
            Answer::Nobody => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Person(Person),
    /// Nobody has this name, as far as we know nobody ever had.
    Nobody,
    /// Was in the directory, and is not any more.
    Gone,
}

/// What is known about somebody now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Person(Person),
    Nobody,
    Gone,
    Unknown(Why),
}

impl Seen {
    pub fn groups(&self) -> Fact<Arc<Groups>> {
        match self {
            Self::Person(person) => Fact::Known(person.groups.clone()),
            Self::Nobody | Self::Gone => Fact::Unknown(Why::NotFound),
            Self::Unknown(why) => Fact::Unknown(*why),
        }
    }

    /// Why the account must not be used any more, if so.
    pub fn is_out(&self) -> Option<&'static str> {
        match self {
            Self::Person(Person { standing: Standing::Active, .. }) | Self::Nobody | Self::Unknown(_) => None,
            Self::Person(person) => Some(person.standing.describe()),
            Self::Gone => Some("not there any more"),
        }
    }

    /// Out, and not only until somebody lifts a lock that wrong passwords of others may have caused.
    pub fn has_left(&self) -> bool {
        !matches!(self, Self::Person(Person { standing: Standing::Locked, .. })) && self.is_out().is_some()
    }

    pub fn password_set(&self) -> Option<Timestamp> {
        match self {
            Self::Person(person) => person.password_set,
            _ => None,
        }
    }
}

impl People {
    /// None: no directory is configured. What is known is taken over if its configuration is unchanged.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn of(
        directory: Option<&Arc<torhaus_config::Directory>>,
        before: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some(directory) = directory else { return Ok(None) };
        let of_key = |why: String| format!("lookups.{}: {why}", directory.name());
        let ca = directory.ca_file().map(std::fs::read).transpose();
        let ca = ca.map_err(|error| of_key(format!("`ca_file`: {error}")))?;
        if let Some(before) = before.filter(|before| before.config == *directory && before.ca == ca) {
            return Ok(Some(before.clone()));
        }
        let source = directory_of(directory).map_err(of_key)?;
        let (config, health) = (directory.clone(), Health::new(directory.name()));
        Ok(Some(Arc::new(Self { config, health, source, ca, kept: Cache::new(KEPT) })))
    }

    #[cfg(test)]
    pub(super) fn asking(config: Arc<torhaus_config::Directory>, source: Arc<dyn Directory>) -> Arc<Self> {
        Arc::new(Self { config, health: Health::new("test"), source, ca: None, kept: Cache::new(KEPT) })
    }

    /// The name by which the directory knows somebody; none: it is not theirs.
    pub fn name_of(&self, user: &User) -> Option<Name> {
        if user.provider != self.config.provider {
            return None;
        }
        if self.config.first {
            return Some(user.name.clone());
        }
        let bare = user.name.strip_prefix(&*self.config.provider)?.strip_prefix('/')?;
        Some(bare.into())
    }

    /// What is known now, without asking anybody. None: nothing was ever heard.
    pub async fn known(&self, name: &Name, now: Timestamp) -> Option<Seen> {
        let kept = self.kept.get(name).await?;
        Some(self.seen(&kept.said.load(), now))
    }

    /// What a request goes by: what is known, or for somebody new what the directory says now. Waits at most a few
    /// seconds for that, and not at all while the directory is known to fail.
    pub async fn about(self: &Arc<Self>, name: &Name, now: Timestamp) -> Seen {
        if let Some(kept) = self.kept.get(name).await {
            kept.used.fetch_max(now.millis(), Ordering::Relaxed);
            return self.seen(&kept.said.load(), now);
        }
        if self.health.is_failing() {
            return Seen::Unknown(Why::SourceDown);
        }
        self.meet(name, now).await
    }

    /// What the directory says at this moment, for somebody who signs in.
    pub async fn afresh(self: &Arc<Self>, name: &Name, now: Timestamp) -> Seen {
        if self.health.is_failing() {
            return self.known(name, now).await.unwrap_or(Seen::Unknown(Why::SourceDown));
        }
        if self.kept.get(name).await.is_none() {
            return self.meet(name, now).await;
        }
        let (me, names) = (self.clone(), vec![name.clone()]);
        let asked = tokio::spawn(async move { me.refresh(names, now).await });
        // Whatever came of it is kept; in time or not, what is known now counts.
        let _ = tokio::time::timeout(self.patience(), asked).await;
        self.known(name, now).await.unwrap_or(Seen::Unknown(Why::SourceDown))
    }

    /// Asks about these people again, or only whether it answers if there are none; all of them or none: an answer that breaks off changes nothing about those it did
    /// not reach.
    ///
    /// # Errors
    /// The directory could not be asked, or its answer is not believed.
    pub async fn refresh(&self, names: Vec<Name>, now: Timestamp) -> Result<(), Failure> {
        let result = self.ask_again(names, now).await;
        match &result {
            Ok(()) => self.health.answered(clock::now()),
            Err(failure) => self.health.failed(&failure.to_string(), clock::now()),
        }
        result
    }

    /// Who made a request lately; the others are forgotten, except who is out: their tokens and sessions may live for
    /// longer than that, and the directory may be down when they come back.
    pub async fn used_lately(&self, now: Timestamp) -> Vec<Name> {
        let before = now.minus(FORGET_AFTER).millis();
        let (used, idle): (Vec<_>, Vec<_>) = self
            .kept
            .iter()
            .map(|(name, kept)| ((*name).clone(), kept.used.load(Ordering::Relaxed) >= before))
            .partition(|(_, used)| *used);
        for (name, _) in idle {
            let out = self.kept.get(&name).await.is_some_and(|kept| kept.said.load().is_out());
            if !out {
                self.kept.invalidate(&name).await;
            }
        }
        used.into_iter().map(|(name, _)| name).collect()
    }

    async fn ask_again(&self, names: Vec<Name>, now: Timestamp) -> Result<(), Failure> {
        let answers = self.ask(&names, now).await?;
        let mut missing = Vec::new();
        let mut were_there = 0;
        for (name, answer) in names.into_iter().zip(answers) {
            let was_there = match self.kept.get(&name).await {
                Some(kept) => matches!(kept.said.load().what, Answer::Person(_)),
                None => false,
            };
            were_there += usize::from(was_there);
            match answer {
                Some(person) => self.keep(name, Answer::Person(person), now).await,
                None if was_there => missing.push(name),
                None => {
                    let what = match self.kept.get(&name).await {
                        Some(kept) => kept.said.load().what.clone(),
                        None => Answer::Nobody,
                    };
                    self.keep(name, what, now).await;
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if missing.len() == were_there && were_there >= TOO_MANY_TO_LOSE {
            return Err(Failure::Emptied(were_there));
        }
        // Somebody is gone: ask once more before a session ends by it.
        let again = self.ask(&missing, now).await?;
        for (name, answer) in missing.into_iter().zip(again) {
            self.keep(name, answer.map_or(Answer::Gone, Answer::Person), now).await;
        }
        Ok(())
    }

    async fn ask(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Person>>, Failure> {
        if names.is_empty() {
            return self.source.ask(&[], now).await;
        }
        let batches: Vec<Vec<Name>> = names.chunks(BATCH).map(<[Name]>::to_vec).collect();
        let asked = futures::stream::iter(batches).map(|batch| {
            let source = self.source.clone();
            async move { source.ask(&batch, now).await }
        });
        let answers: Vec<_> = asked.buffered(AT_ONCE).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn keep(&self, name: Name, what: Answer, now: Timestamp) {
        let said = Said { at: now, what };
        match self.kept.get(&name).await {
            Some(kept) => kept.said.store(Arc::new(said)),
            None => self.kept.insert(name, Arc::new(Kept::new(said))).await,
        }
    }

    /// Asks about somebody of whom nothing is known. Of many requests one asks; it goes on when they do not wait any
    /// longer, so that the next ones find an answer.
    async fn meet(self: &Arc<Self>, name: &Name, now: Timestamp) -> Seen {
        let (me, name) = (self.clone(), name.clone());
        let asked = tokio::spawn(async move {
            let ask = async {
                let answer = me.source.ask(std::slice::from_ref(&name), now).await;
                match &answer {
                    Ok(_) => me.health.answered(clock::now()),
                    Err(failure) => me.health.failed(&failure.to_string(), clock::now()),
                }
                let person = answer?.pop().flatten();
                let what = person.map_or(Answer::Nobody, Answer::Person);
                Ok::<_, Failure>(Arc::new(Kept::new(Said { at: now, what })))
            };
            me.kept.try_get_with(name.clone(), ask).await.ok()
        });
        match tokio::time::timeout(self.patience(), asked).await {
            Ok(Ok(Some(kept))) => self.seen(&kept.said.load(), now),
            Ok(_) => Seen::Unknown(Why::SourceDown),
            Err(_) => {
                self.health.failed("no answer in time for somebody who waits", clock::now());
                Seen::Unknown(Why::SourceDown)
            }
        }
    }

    /// How long a request waits for somebody new: as long as each server may take once.
    fn patience(&self) -> Duration {
        let servers = u32::try_from(self.config.servers()).unwrap_or(1);
        self.config.timeout.saturating_mul(servers.saturating_add(1))
    }

    /// Who was out stays out until the directory says otherwise: its silence lets nobody in again.
    fn seen(&self, said: &Said, now: Timestamp) -> Seen {
        if !said.is_out() && now.since(said.at) > self.config.max_stale {
            return Seen::Unknown(Why::Stale);
        }
        match &said.what {
            Answer::Person(person) => Seen::Person(person.clone()),
            Answer::Nobody => Seen::Nobody,
            Answer::Gone => Seen::Gone,
        }
    }
}

/// The directory of a configuration. Opens no connection yet.
///
/// # Errors
/// Its CA file cannot be used.
pub fn directory_of(config: &Arc<torhaus_config::Directory>) -> Result<Arc<dyn Directory>, String> {
    Ok(match &config.source {
        DirectorySource::Ldap(ldap) => Arc::new(LdapDirectory::new(config.clone(), ldap.clone())?),
        DirectorySource::Authentik(authentik) => Arc::new(AuthentikDirectory::new(config.clone(), authentik.clone())?),
    })
}

impl Kept {
    fn new(said: Said) -> Self {
        let used = AtomicI64::new(said.at.millis());
        Self { said: ArcSwap::from_pointee(said), used }
    }
}
