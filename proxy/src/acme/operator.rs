//! What an operator may ask about enrolments, and how the running process answers.
use crate::acme::enrolment::{self, EnrolError, EnrolmentLine};
use crate::acme::issuer::fact;
use crate::admin::{Caller, EabAnswer, EabEnd, EabOrder, Enrolments};
use crate::ca::{moment, own_domain, timestamp};
use crate::clock;
use crate::control::Running;
use async_trait::async_trait;
use pingora_core::apps::HttpServerApp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use torhaus_authz::{SpiffeId, Timestamp};
use torhaus_certs::Purpose;
use torhaus_certs::acme::{DnsName, Enrolment, Grant, Identifier, Owner, Proof};

/// A key in a file that nobody used in a year is one that nobody remembers.
const LONGEST_KEY: Duration = Duration::from_secs(366 * 24 * 3600);
/// Services renew unattended; somebody answers for them and looks once in a while.
const LONGEST_ENROLMENT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

#[async_trait]
impl<E: HttpServerApp + Send + Sync + 'static> Enrolments for Running<E> {
    async fn enrolments(&self, owner: Option<&str>) -> Result<Vec<EnrolmentLine>, EnrolError> {
        enrolment::list(&self.gate, owner, clock::now()).await
    }

    async fn create_eab(&self, order: EabOrder, by: Caller) -> Result<EabAnswer, EnrolError> {
        let now = clock::now();
        let snapshot = self.gate.snapshot.load_full();
        let domain = own_domain(&snapshot.config).ok_or(EnrolError::NotConfigured)?;
        let life = Duration::from_secs(order.key_seconds);
        if life.is_zero() || life > LONGEST_KEY {
            return Err(EnrolError::Refused("a one-time key lives for up to 366 days".into()));
        }
        let enrolment = enrolment_of(order, now)?;
        if let Some(id) = enrolment.facts.get(fact::SPIFFE) {
            let parsed = SpiffeId::parse(id).map_err(|_| EnrolError::Refused(format!("`{id}` is not a SPIFFE ID")))?;
            if !domain.vouches_for.includes(parsed.trust_domain()) {
                let why = format!("trust domain `{}` does not vouch for `{id}`", domain.name);
                return Err(EnrolError::Refused(why));
            }
        }
        let key = enrolment::mint(&self.gate, enrolment, life, &by.to_string(), now).await?;
        let origin = snapshot.config.portal.url.origin().ascii_serialization();
        Ok(EabAnswer {
            directory: format!("{origin}{}/directory", crate::acme::PATH),
            hmac_key: key.secret_base64().to_string(),
            names: enrolment::names(&key.enrolment),
            not_after: timestamp(key.not_after),
            kid: key.kid,
        })
    }

    async fn end_enrolments(&self, which: EabEnd, by: Caller) -> Result<usize, EnrolError> {
        let (now, by) = (clock::now(), by.to_string());
        match (which.id, which.owner) {
            (Some(id), None) => Ok(usize::from(enrolment::end(&self.gate, &id, &by, now).await?)),
            (None, Some(owner)) => enrolment::end_all_of(&self.gate, &owner, &by, now).await,
            _ => Err(EnrolError::Refused("name a key, an account or an owner".into())),
        }
    }
}

fn enrolment_of(order: EabOrder, now: Timestamp) -> Result<Enrolment, EnrolError> {
    let refused = |why: &str| EnrolError::Refused(why.to_owned());
    let purpose = Purpose::parse(&order.profile).ok_or_else(|| {
        let known = Purpose::ALL.map(Purpose::as_str).join(", ");
        EnrolError::Refused(format!("`{}` is not a profile; write one of {known}", order.profile))
    })?;
    let is_person = matches!(purpose, Purpose::User | Purpose::Device);
    if order.owner.trim().is_empty() {
        return Err(refused("say whose it is: its certificates are listed and revoked by it"));
    }
    let mut facts = BTreeMap::new();
    let mut names = Vec::new();
    for name in &order.names {
        if name.starts_with("spiffe://") {
            if facts.insert(fact::SPIFFE.to_owned(), name.clone()).is_some() {
                return Err(refused("a certificate names one SPIFFE ID (X509-SVID section 2)"));
            }
        } else if let Ok(address) = name.parse::<IpAddr>() {
            names.push(Grant::Exactly(Identifier::Ip(address)));
        } else {
            names.push(Grant::Exactly(Identifier::Dns(dns(name)?)));
        }
    }
    for zone in &order.below {
        names.push(Grant::Below(dns(zone)?));
    }
    if names.is_empty() {
        return Err(refused("name a DNS name or an address: ACME clients order nothing else"));
    }
    if (purpose == Purpose::Service) != facts.contains_key(fact::SPIFFE) {
        return Err(refused("profile `service` needs a SPIFFE ID, and no other profile has one"));
    }
    if is_person {
        facts.insert(fact::USER.to_owned(), order.owner.clone());
    }
    let life = Duration::from_secs(order.enrolment_seconds);
    if life.is_zero() || life > LONGEST_ENROLMENT {
        return Err(refused("an enrolment lives for up to ten years"));
    }
    Ok(Enrolment {
        label: order.label.unwrap_or_else(|| order.owner.clone()),
        owner: if is_person { Owner::Person(order.owner) } else { Owner::Service(order.owner) },
        names,
        wildcards: order.wildcards,
        proof: if order.challenge { Proof::Challenge } else { Proof::Approved },
        profile: order.profile,
        until: moment(now.plus(life)),
        facts,
    })
}

fn dns(name: &str) -> Result<DnsName, EnrolError> {
    DnsName::parse(name).map_err(|problem| EnrolError::Refused(problem.detail))
}
