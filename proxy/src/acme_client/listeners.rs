//! Keeps the certificates of listeners (`listeners[].tls.acme`): obtains, renews before they end, and shows the old one
//! until there is a new one. One of several replicas does it; the others read what it obtained.
use crate::acme_client::challenges::Challenges;
use crate::acme_client::due::{Window, due};
use crate::acme_client::obtain::{Leaf, Obtained, ProofKind, Proving, Wanted, obtain};
use crate::acme_client::shelf::{Kind, Shelf};
use crate::acme_client::{account, is_problem, sentence};
use crate::ca::moment;
use crate::clock;
use crate::edge::obtained::{ObtainedKeys, order_id};
use crate::gate::Gate;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::{Account, Error};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use torhaus_authz::{Entry, Kind as Event};
use torhaus_config::{AcmeChallenge, ListenerAcme};
use zeroize::{Zeroize as _, Zeroizing};

/// How often it is looked whether something is to do.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// How often what another replica obtained is looked for.
const READ_AGAIN: Duration = Duration::seconds(30);
/// One order takes two minutes at most; then another replica may try, or this one after a kill.
const CLAIM: Duration = Duration::minutes(3);
/// After a failure: soon, as many pass by themselves, and then ever more slowly.
const FIRST_PAUSE: Duration = Duration::seconds(2);
/// A public authority counts failures per hour; a certificate that is renewed at two thirds of its life has time.
const LONGEST_PAUSE: Duration = Duration::hours(6);
/// Between two questions about the window (RFC 9773 section 4.3.2), whatever the server wishes.
const LEAST_ASKED: Duration = Duration::minutes(1);
const MOST_ASKED: Duration = Duration::days(1);

/// How long an expired certificate is kept: one of a listener that is switched off for a while, and the predecessor
/// that a new order names.
const FORGET: Duration = Duration::days(30);

/// As it is kept: the private key makes the whole a secret.
#[derive(Serialize, Deserialize)]
struct Kept {
    key_pem: String,
    chain_pem: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.key_pem.zeroize();
    }
}

/// What is known of one order.
#[derive(Default)]
struct Progress {
    leaf: Option<Leaf>,
    /// When it was looked for in the store.
    read: Option<OffsetDateTime>,
    /// When the leaf is to be renewed, once that was asked.
    due: Option<OffsetDateTime>,
    ask_window: Option<OffsetDateTime>,
    failures: u32,
    not_before: Option<OffsetDateTime>,
}

/// Keeps the certificates of listeners.
pub struct Keeper {
    shelf: Arc<dyn Shelf>,
    challenges: Arc<Challenges>,
    keys: Arc<ObtainedKeys>,
    /// Of this process, for claims.
    who: String,
    orders: HashMap<String, Progress>,
}

/// Begins, before the first connection is accepted: a restart shows what it showed before. None: nothing is kept anywhere.
pub async fn begin(gate: &Gate) -> Option<Keeper> {
    let snapshot = gate.snapshot.load_full();
    let obtained = &snapshot.obtained;
    let (shelf, challenges) = obtained.shelf.clone().zip(obtained.challenges.clone())?;
    let mut keeper = Keeper {
        shelf,
        challenges,
        keys: obtained.keys.clone(),
        who: format!("{:032x}", rand::random::<u128>()),
        orders: HashMap::new(),
    };
    keeper.serve_kept(moment(clock::now())).await;
    Some(keeper)
}

/// Runs until the process ends.
pub async fn run(gate: Arc<Gate>, keeper: Option<Keeper>) {
    let Some(mut keeper) = keeper else { return };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = gate.snapshot.load_full();
        let wanted: HashMap<String, &ListenerAcme> = snapshot.obtains().map(|acme| (order_id(acme), acme)).collect();
        keeper.orders.retain(|id, _| wanted.contains_key(id));
        keeper.keys.retain(&wanted);
        for (id, acme) in wanted {
            // One after the other: a one-time key makes one account.
            keeper.look_after(&gate, &id, acme, moment(clock::now())).await;
        }
    }
}

impl Keeper {
    /// Serves what is in the store, of earlier configurations too: until the certificate for today's names is there.
    async fn serve_kept(&mut self, now: OffsetDateTime) {
        let Ok(all) = self.shelf.all(Kind::Certificate, now).await else { return };
        for (id, kept) in all {
            if let Ok(kept) = serde_json::from_slice::<Kept>(&kept) {
                self.serve(&id, &kept);
            }
        }
    }

    async fn look_after(&mut self, gate: &Gate, id: &str, acme: &ListenerAcme, now: OffsetDateTime) {
        self.read(id, now).await;
        let progress = self.orders.entry(id.to_owned()).or_default();
        if progress.not_before.is_some_and(|at| now < at) {
            return;
        }
        if let Some(leaf) = progress.leaf.clone() {
            if progress.ask_window.is_none_or(|at| now >= at) {
                let (at, again) = self.window(acme, &leaf).await;
                let progress = self.orders.entry(id.to_owned()).or_default();
                progress.due = Some(at);
                progress.ask_window = Some(now + again);
            }
            let progress = self.orders.entry(id.to_owned()).or_default();
            if progress.due.is_some_and(|at| now < at) {
                return;
            }
        }
        match self.shelf.claim(&account_id(acme), &self.who, now + CLAIM, now).await {
            Ok(true) => {}
            // Another replica is about it.
            Ok(false) => return self.wait(id, now + READ_AGAIN),
            Err(_) => return self.failed(id, acme, "the store of certificates is not available", now),
        }
        let leaf = self.orders.get(id).and_then(|progress| progress.leaf.clone());
        // Another replica may have been quicker, between our last look and the claim.
        self.orders.entry(id.to_owned()).or_default().read = None;
        self.read(id, now).await;
        let found = self.orders.get(id).and_then(|progress| progress.leaf.as_ref());
        if found.map(|found| &found.serial) != leaf.as_ref().map(|leaf| &leaf.serial) {
            let _ = self.shelf.let_go(&account_id(acme), &self.who).await;
            return;
        }
        let renewed = self.renew(id, acme, leaf.as_ref(), now).await;
        // Whoever does not let go is waited for until the claim ends.
        let _ = self.shelf.let_go(&account_id(acme), &self.who).await;
        match renewed {
            Ok(leaf) => {
                let detail = format!(
                    "certificate {} for listeners, names [{}], until {}, from {}",
                    leaf.serial,
                    acme.names.join(" "),
                    crate::ca::timestamp(leaf.not_after),
                    acme.directory,
                );
                tracing::info!("{detail}");
                let entry = Entry { detail: Some(detail.into()), ..Entry::new(clock::now(), Event::Issue) };
                // Evidence and no condition: without a certificate nobody gets in at all.
                if let Err(error) = gate.audit.event(entry).await {
                    tracing::error!(%error, "a certificate of a listener could not be recorded");
                }
                gate.metrics.listener_certificate(true);
            }
            Err(error) => {
                gate.metrics.listener_certificate(false);
                self.failed(id, acme, &sentence(&error), now);
            }
        }
    }

    /// Takes what is in the store, by us of before or by another replica.
    async fn read(&mut self, id: &str, now: OffsetDateTime) {
        let progress = self.orders.entry(id.to_owned()).or_default();
        if progress.read.is_some_and(|at| now < at + READ_AGAIN) {
            return;
        }
        let Ok(found) = self.shelf.get(Kind::Certificate, id, now).await else { return };
        progress.read = Some(now);
        let Some(found) = found else { return };
        let Ok(kept) = serde_json::from_slice::<Kept>(&found) else { return };
        self.serve(id, &kept);
    }

    /// Shows a certificate from the next handshake on.
    fn serve(&mut self, id: &str, kept: &Kept) -> Option<Leaf> {
        let leaf = Leaf::of(&kept.chain_pem)?;
        let progress = self.orders.entry(id.to_owned()).or_default();
        if progress.leaf.as_ref().is_some_and(|known| known.serial == leaf.serial) {
            return Some(leaf);
        }
        if let Err(why) = self.keys.set(id, &kept.chain_pem, &kept.key_pem, leaf.not_after) {
            tracing::error!(why, "an obtained certificate cannot be served");
            return None;
        }
        *progress = Progress { leaf: Some(leaf.clone()), read: progress.read, ..Progress::default() };
        Some(leaf)
    }

    /// When the server wants this certificate renewed, and when to ask again. It may not answer: then by its life.
    async fn window(&self, acme: &ListenerAcme, leaf: &Leaf) -> (OffsetDateTime, Duration) {
        let asked = async {
            let account = self.account_kept(acme).await.ok()??;
            account.renewal_info(&leaf.ari()?).await.ok()
        };
        match asked.await {
            Some((info, again)) => {
                let window = Window { start: info.suggested_window.start, end: info.suggested_window.end };
                let again = Duration::try_from(again).unwrap_or(MOST_ASKED).clamp(LEAST_ASKED, MOST_ASKED);
                (due(leaf, Some(window)), again)
            }
            None => (due(leaf, None), Duration::hours(1)),
        }
    }

    async fn renew(
        &mut self,
        id: &str,
        acme: &ListenerAcme,
        replaces: Option<&Leaf>,
        now: OffsetDateTime,
    ) -> Result<Leaf, Error> {
        let account = match self.account_kept(acme).await? {
            Some(account) => account,
            None => self.new_account(acme, now).await?,
        };
        let kind = match acme.challenge {
            AcmeChallenge::Http => ProofKind::Http,
            AcmeChallenge::TlsAlpn => ProofKind::TlsAlpn,
        };
        let wanted = Wanted {
            names: &acme.names,
            profile: acme.profile.as_deref(),
            replaces: replaces.map(|leaf| &leaf.der),
            prove: Some(Proving { by: &self.challenges, kind }),
        };
        let obtained = match obtain(&account, &wanted).await {
            Err(error) if is_problem(&error, "accountDoesNotExist") => {
                // The server forgot it; the next attempt makes another.
                let _ = self.shelf.remove(Kind::Account, &account_id(acme)).await;
                return Err(error);
            }
            other => other?,
        };
        let Obtained { key_pem, chain_pem } = obtained;
        let kept = Kept { key_pem: key_pem.to_string(), chain_pem };
        let bytes = Zeroizing::new(serde_json::to_vec(&kept)?);
        // First the store: what is served must be there after a restart.
        let until = Leaf::of(&kept.chain_pem).map_or(now, |leaf| leaf.not_after) + FORGET;
        self.shelf.put(Kind::Certificate, id, &bytes, Some(until), now).await.map_err(other)?;
        self.serve(id, &kept).ok_or(Error::Other("the certificate that came back cannot be served".into()))
    }

    async fn account_kept(&self, acme: &ListenerAcme) -> Result<Option<Account>, Error> {
        let kept = self.shelf.get(Kind::Account, &account_id(acme), moment(clock::now())).await.map_err(other)?;
        let Some(kept) = kept else { return Ok(None) };
        let secret = Zeroizing::new(String::from_utf8_lossy(&kept).into_owned());
        account::open(&acme.directory, acme.ca_file.as_deref(), &secret).await.map(Some)
    }

    async fn new_account(&self, acme: &ListenerAcme, now: OffsetDateTime) -> Result<Account, Error> {
        let hmac = match &acme.eab {
            Some(eab) => {
                let decoded = BASE64_URL_SAFE_NO_PAD.decode(eab.hmac_key.expose().trim_end_matches('='));
                Some(Zeroizing::new(decoded.map_err(|_| Error::Other("the HMAC key is not base64url".into()))?))
            }
            None => None,
        };
        let key = acme.eab.as_ref().zip(hmac.as_ref());
        let key = key.map(|(eab, hmac)| account::OneTimeKey { kid: &eab.kid, hmac });
        let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
        let (account, secret) = account::make(&acme.directory, acme.ca_file.as_deref(), &contact, key).await?;
        self.shelf.put(Kind::Account, &account_id(acme), secret.as_bytes(), None, now).await.map_err(other)?;
        Ok(account)
    }

    fn failed(&mut self, id: &str, acme: &ListenerAcme, why: &str, now: OffsetDateTime) {
        let progress = self.orders.entry(id.to_owned()).or_default();
        let pause = (FIRST_PAUSE * 2i32.saturating_pow(progress.failures.min(16))).min(LONGEST_PAUSE);
        // Half of it by dice: replicas, and gates that started together, do not come at once.
        let pause = pause * (0.5 + 0.5 * rand::random::<f64>());
        progress.failures = progress.failures.saturating_add(1);
        progress.not_before = Some(now + pause);
        tracing::error!(
            directory = %acme.directory,
            names = acme.names.join(" "),
            again_in_seconds = pause.whole_seconds(),
            "no certificate could be obtained{}: {why}",
            if progress.leaf.is_some() { "; the one before is served" } else { "" },
        );
    }

    fn wait(&mut self, id: &str, until: OffsetDateTime) {
        self.orders.entry(id.to_owned()).or_default().not_before = Some(until);
    }
}

/// One account for all that one configuration orders of one server.
fn account_id(acme: &ListenerAcme) -> String {
    let kid = acme.eab.as_ref().map_or("", |eab| &eab.kid);
    format!("{} {kid}", acme.directory)
}

fn other(error: crate::acme_client::shelf::Unavailable) -> Error {
    Error::Other(Box::new(error))
}
