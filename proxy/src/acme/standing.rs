//! May the owner of an enrolment have certificates now? Asked at each order and each finalize. There is no browser
//! session to ask; the enrolment's own end has been checked before.
use crate::acme::issuer::fact;
use crate::ca::timestamp;
use crate::gate::Gate;
use crate::lookup::people::Seen;
use crate::snapshot::Snapshot;
use async_trait::async_trait;
use std::sync::Weak;
use time::OffsetDateTime;
use torhaus_authz::User;
use torhaus_certs::acme::{Answer, Enrolment, Owner, Standing};

pub struct Owners {
    gate: Weak<Gate>,
}

impl Owners {
    pub fn new(gate: Weak<Gate>) -> Self {
        Self { gate }
    }
}

#[async_trait]
impl Standing for Owners {
    async fn ask(&self, enrolment: &Enrolment, now: OffsetDateTime) -> Answer {
        match self.gate.upgrade() {
            Some(gate) => of(&gate.snapshot.load_full(), enrolment, now).await,
            None => Answer::Unknown("the gate".into()),
        }
    }
}

/// By this configuration and, where there is one, by the directory as it is now. A service stands as long as its
/// enrolment does.
async fn of(snapshot: &Snapshot, enrolment: &Enrolment, now: OffsetDateTime) -> Answer {
    let Owner::Person(person) = &enrolment.owner else { return Answer::Good };
    let user = user(snapshot, person, enrolment);
    let known = |known: &torhaus_config::Provider| {
        // An operator's key for a person has no issuer: nobody signed in.
        known.name == user.provider && (user.issuer.is_empty() || known.issuer_text == user.issuer)
    };
    if !snapshot.config.providers.iter().any(|provider| known(provider)) {
        let provider = &user.provider;
        return Answer::Refused(format!(
            "{person} signed in at `{provider}`, which is not asked any more; sign in and enrol again"
        ));
    }
    let Some(people) = &snapshot.people else { return Answer::Good };
    let Some(name) = people.name_of(&user) else { return Answer::Good };
    let seen = people.afresh(&name, timestamp(now)).await;
    if let Some(state) = seen.is_out() {
        return Answer::Refused(format!("the account of {person} is {state} in the directory"));
    }
    match seen {
        Seen::Person(_) => Answer::Good,
        // Whoever was deleted while we did not run was never seen.
        Seen::Nobody | Seen::Gone => Answer::Refused(format!("{person} is not in the directory")),
        Seen::Unknown(_) => Answer::Unknown("the directory".into()),
    }
}

/// The person as the gate knows them.
fn user(snapshot: &Snapshot, person: &str, enrolment: &Enrolment) -> User {
    let fact = |name| enrolment.facts.get(name).map(String::as_str);
    let first = || snapshot.config.providers.first().map_or("", |provider| &provider.name);
    let by_name = || person.split_once('/').map_or_else(first, |(provider, _)| provider);
    User {
        name: person.into(),
        provider: fact(fact::PROVIDER).unwrap_or_else(by_name).into(),
        issuer: fact(fact::ISSUER).unwrap_or_default().into(),
        subject: fact(fact::SUBJECT).unwrap_or_default().into(),
        federated: false,
    }
}
