//! May the owner of an enrolment have certificates now? Asked at each order and each finalize. There is no browser
//! session to ask; the enrolment's own end has been checked before.
use crate::acme::issuer::fact;
use crate::gate::Gate;
use crate::snapshot::Snapshot;
use async_trait::async_trait;
use std::sync::Weak;
use time::OffsetDateTime;
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
    async fn ask(&self, enrolment: &Enrolment, _now: OffsetDateTime) -> Answer {
        match self.gate.upgrade() {
            Some(gate) => of(&gate.snapshot.load_full(), enrolment),
            None => Answer::Unknown("the gate".into()),
        }
    }
}

/// By this configuration. A service stands as long as its enrolment does. A directory of people is asked here, too,
/// once there is one: whose account is not in use is `Refused`, and a directory that does not answer is `Unknown`.
pub fn of(snapshot: &Snapshot, enrolment: &Enrolment) -> Answer {
    let Owner::Person(person) = &enrolment.owner else { return Answer::Good };
    let (Some(provider), Some(issuer)) = (enrolment.facts.get(fact::PROVIDER), enrolment.facts.get(fact::ISSUER))
    else {
        // An operator's key for a person: nobody signed in.
        return Answer::Good;
    };
    // Whoever said who they are is not asked any more.
    let known =
        snapshot.config.providers.iter().any(|known| *known.name == **provider && *known.issuer_text == **issuer);
    if known {
        return Answer::Good;
    }
    Answer::Refused(format!("{person} signed in at `{provider}`, which is not asked any more; sign in and enrol again"))
}
