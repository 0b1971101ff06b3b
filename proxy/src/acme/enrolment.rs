//! Enrolments: one-time keys are made, listed, taken back; devices are withdrawn. People do it in the portal, operators
//! over the socket; both come this way, and nothing happens that is not written down.
use crate::acme::issuer::{MOST_COMMON_NAME, fact};
use crate::audit;
use crate::ca::{moment, timestamp};
use crate::gate::Gate;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use torhaus_authz::{Entry, Kind, Timestamp, User};
use torhaus_certs::acme::{
    Account, AccountStatus, DnsName, EabKey, Enrolment, Grant, Identifier, Owner, Proof, Unavailable,
};
use torhaus_certs::{Purpose, Reason};

/// How long a person has to type the line that the portal shows; whoever else reads it has no longer.
pub const KEY_LIFE: Duration = Duration::from_secs(15 * 60);
/// Laptop, desktop, phone and some more; a key in a loop stops here.
pub const MOST_DEVICES: usize = 20;
/// A label of DNS has 63 octets (RFC 1035 section 2.3.4); the name stays readable.
const MOST_LABEL: usize = 40;

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("there is no `acme` in the configuration, so nobody can enrol")]
    NotConfigured,
    /// What was asked for cannot be had; says why.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error("{0}; no key was made")]
    Record(#[from] audit::Unavailable),
}

/// A key that was not used yet, or an account that came of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolmentLine {
    pub kid: String,
    /// None: nobody used the key yet.
    pub account: Option<String>,
    pub owner: String,
    /// It belongs to a person.
    pub is_person: bool,
    pub label: String,
    pub profile: String,
    pub names: Vec<String>,
    pub state: State,
    pub created: Timestamp,
    /// Of a key: until when it can be used. Of an account: until when it renews.
    pub until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A key that waits to be used.
    Open,
    /// An account that can renew.
    Enrolled,
    Expired,
    Revoked,
    /// By its holder.
    Deactivated,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Enrolled => "enrolled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Deactivated => "deactivated",
        }
    }
}

/// Makes a one-time key. Recorded before anybody sees it.
///
/// # Errors
/// 1. there is no ACME server; 2. the system gave no random bytes, or the store did not take it; 3. no record.
pub async fn mint(
    gate: &Gate,
    enrolment: Enrolment,
    life: Duration,
    by: &str,
    now: Timestamp,
) -> Result<EabKey, EnrolError> {
    let Some(_) = gate.acme.server() else { return Err(EnrolError::NotConfigured) };
    let key = EabKey::new(enrolment, moment(now), moment(now.plus(life)));
    let key = key.map_err(|error| EnrolError::Refused(error.to_string()))?;
    let enrolment = &key.enrolment;
    let detail = format!(
        "one-time key {} for {} (`{}`), profile {}, names [{}], enrolled until {}, by {by}",
        key.kid,
        enrolment.owner,
        enrolment.label,
        enrolment.profile,
        names(enrolment).join(" "),
        timestamp(enrolment.until),
    );
    gate.audit.event(Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Enrolment) }).await?;
    gate.acme.store.add_eab(key.clone()).await?;
    Ok(key)
}

/// Keys and accounts of everybody, or of one owner; newest first.
///
/// # Errors
/// The store does not answer.
pub async fn list(gate: &Gate, owner: Option<&str>, now: Timestamp) -> Result<Vec<EnrolmentLine>, EnrolError> {
    let unused = gate.acme.store.eabs().await?.into_iter().filter(|key| key.used_by.is_none());
    let mut lines: Vec<EnrolmentLine> = unused.map(|key| of_key(&key, now)).collect();
    lines.extend(gate.acme.store.accounts().await?.iter().map(|account| of_account(account, now)));
    lines.retain(|line| owner.is_none_or(|owner| line.owner == owner));
    lines.sort_by_key(|line| std::cmp::Reverse(line.created));
    Ok(lines)
}

/// Takes back a key that nobody used, or ends an account, revokes its certificates and ends what is open with them.
/// `id` is the key's, or the account's. False: there is nothing to end.
///
/// # Errors
/// The store or the authority did not answer: do it again until it succeeds.
pub async fn end(gate: &Gate, id: &str, by: &str, now: Timestamp) -> Result<bool, EnrolError> {
    let server = gate.acme.server().ok_or(EnrolError::NotConfigured)?;
    let store = &gate.acme.store;
    let key = store.eab(id).await?;
    let was_open = key.is_some() && store.revoke_eab(id).await?;
    // Looked at again: it may have been used a moment ago.
    let used_by = store.eab(id).await?.and_then(|key| key.used_by);
    let account = match used_by {
        Some(account) => store.account(&account).await?,
        None => store.account(id).await?,
    };
    let mut ended = was_open;
    let mut certificates = 0;
    if let Some(account) = &account {
        ended |= account.status == AccountStatus::Valid;
        let why = format!("`{}` of {} was revoked by {by}", account.enrolment.label, account.enrolment.owner);
        certificates = server.withdraw(&account.id, Reason::CessationOfOperation, &why, moment(now)).await?;
        ended |= certificates > 0;
    }
    if ended {
        let what = account.map_or_else(
            || format!("one-time key {id}"),
            |one| format!("enrolment {} of {}", one.id, one.enrolment.owner),
        );
        let detail = format!("{what} ended by {by}; {certificates} certificates revoked");
        let entry = Entry { detail: Some(detail.into()), ..Entry::new(now, Kind::Revocation) };
        // Evidence and no condition: revoking works while the disk is full.
        if let Err(error) = gate.audit.event(entry).await {
            tracing::error!(%error, "the end of an enrolment could not be recorded");
        }
    }
    Ok(ended)
}

/// Everything that an owner could get or renew certificates with. How many were ended.
///
/// # Errors
/// As [`end`].
pub async fn end_all_of(gate: &Gate, owner: &str, by: &str, now: Timestamp) -> Result<usize, EnrolError> {
    let mut ended = 0;
    for line in list(gate, Some(owner), now).await? {
        if matches!(line.state, State::Open | State::Enrolled) {
            let id = line.account.as_deref().unwrap_or(&line.kid);
            ended += usize::from(end(gate, id, by, now).await?);
        }
    }
    Ok(ended)
}

/// What a person's device is enrolled with: its name in the client zone, and who they are.
///
/// # Errors
/// The label cannot stand in a name; says why.
pub fn of_device(
    config: &torhaus_config::Acme,
    user: &User,
    label: &str,
    now: Timestamp,
) -> Result<Enrolment, EnrolError> {
    let slug = slug(label).filter(|slug| slug.len() <= MOST_LABEL);
    let slug = slug.ok_or_else(|| EnrolError::Refused("a device has a name of letters, digits and hyphens".into()))?;
    let name = format!("{slug}.{}.{}", label_of(user), config.client_zone);
    if name.len() > MOST_COMMON_NAME {
        return Err(EnrolError::Refused(format!("`{name}` is longer than {MOST_COMMON_NAME} characters")));
    }
    let name = DnsName::parse(&name).map_err(|problem| EnrolError::Refused(problem.detail))?;
    let facts = [
        (fact::USER, &user.name),
        (fact::ISSUER, &user.issuer),
        (fact::SUBJECT, &user.subject),
        (fact::PROVIDER, &user.provider),
    ];
    Ok(Enrolment {
        owner: Owner::Person(user.name.to_string()),
        label: slug,
        names: vec![Grant::Exactly(Identifier::Dns(name))],
        wildcards: false,
        proof: Proof::Approved,
        profile: Purpose::Device.as_str().to_owned(),
        until: moment(now.plus(config.enrolment)),
        facts: facts.map(|(name, value)| (name.to_owned(), value.to_string())).into(),
    })
}

/// Whether an account is this person's: the name may have had another holder.
pub fn is_of(account_facts: &BTreeMap<String, String>, user: &User) -> bool {
    let is = |name: &str, value: &str| account_facts.get(name).is_some_and(|own| own == value);
    is(fact::ISSUER, &user.issuer) && is(fact::SUBJECT, &user.subject)
}

/// A person's label of DNS: their name where it is one, else as much of it as fits, and a hash that nobody else has.
fn label_of(user: &User) -> String {
    let plain = slug(&user.name).filter(|slug| **slug == *user.name && slug.len() <= MOST_LABEL);
    plain.unwrap_or_else(|| {
        let hash = Sha256::digest(format!("{}\n{}", user.issuer, user.subject));
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let start: String = slug(&user.name).unwrap_or_default().chars().take(20).collect();
        // 64 bits of hash: nobody chooses a plain name that is somebody else's.
        format!("u-{}-{hash}", start.trim_matches('-')).replace("--", "-")
    })
}

/// `Alice's MacBook` -> `alice-s-macbook`. None: nothing is left.
fn slug(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    (!slug.is_empty()).then_some(slug)
}

/// Names as a person reads them.
pub fn names(enrolment: &Enrolment) -> Vec<String> {
    let spiffe = enrolment.facts.get(fact::SPIFFE).cloned();
    let granted = enrolment.names.iter().map(|grant| match grant {
        Grant::Exactly(identifier) => identifier.to_string(),
        Grant::Below(zone) => format!("*.{}", zone.as_str()),
    });
    spiffe.into_iter().chain(granted).collect()
}

fn owner_of(enrolment: &Enrolment) -> (String, bool) {
    match &enrolment.owner {
        Owner::Person(name) => (name.clone(), true),
        Owner::Service(name) => (name.clone(), false),
    }
}

pub fn of_key(key: &EabKey, now: Timestamp) -> EnrolmentLine {
    let state = match (key.revoked, key.is_open(moment(now))) {
        (true, _) => State::Revoked,
        (false, true) => State::Open,
        (false, false) => State::Expired,
    };
    let (owner, is_person) = owner_of(&key.enrolment);
    EnrolmentLine {
        kid: key.kid.clone(),
        account: None,
        owner,
        is_person,
        label: key.enrolment.label.clone(),
        profile: key.enrolment.profile.clone(),
        names: names(&key.enrolment),
        state,
        created: timestamp(key.created),
        until: timestamp(key.not_after),
    }
}

pub fn of_account(account: &Account, now: Timestamp) -> EnrolmentLine {
    let state = match account.status {
        AccountStatus::Revoked => State::Revoked,
        AccountStatus::Deactivated => State::Deactivated,
        AccountStatus::Valid if moment(now) >= account.enrolment.until => State::Expired,
        AccountStatus::Valid => State::Enrolled,
    };
    let (owner, is_person) = owner_of(&account.enrolment);
    EnrolmentLine {
        kid: account.kid.clone(),
        account: Some(account.id.clone()),
        owner,
        is_person,
        label: account.enrolment.label.clone(),
        profile: account.enrolment.profile.clone(),
        names: names(&account.enrolment),
        state,
        created: timestamp(account.created),
        until: timestamp(account.enrolment.until),
    }
}
