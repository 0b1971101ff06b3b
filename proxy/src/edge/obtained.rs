//! The certificates that torhaus obtained for its listeners, by the order they came of. Filled by
//! `acme_client::listeners`; a handshake takes what is there at that moment, whichever configuration it began under.
use crate::acme_client::challenges::Challenges;
use crate::acme_client::shelf::Shelf;
use crate::ca::timestamp;
use crate::edge::{profile, tls};
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use time::OffsetDateTime;
use torhaus_authz::Timestamp;
use torhaus_config::{ListenerAcme, ListenerKind};

/// What belongs to obtaining certificates, taken over from one configuration to the next.
#[derive(Clone, Default)]
pub struct Obtained {
    pub keys: Arc<ObtainedKeys>,
    /// None: nothing is obtained here (`check`, `explain`).
    pub shelf: Option<Arc<dyn Shelf>>,
    pub challenges: Option<Arc<Challenges>>,
}

impl Obtained {
    pub fn new(shelf: Arc<dyn Shelf>) -> Self {
        let challenges = Some(Arc::new(Challenges::new(shelf.clone())));
        Self { keys: Arc::default(), shelf: Some(shelf), challenges }
    }
}

#[derive(Default)]
pub struct ObtainedKeys(ArcSwap<HashMap<String, Key>>);

#[derive(Clone)]
struct Key {
    certified: Arc<CertifiedKey>,
    /// Its DNS names, lower case.
    names: Arc<[String]>,
    ends: Timestamp,
}

impl ObtainedKeys {
    /// The certificate of an order; until it is there, one of an earlier order that has the name: a new host among the
    /// names of a listener must not take the others' certificate away.
    pub fn find(&self, order: &str, name: &str) -> Option<Arc<CertifiedKey>> {
        let keys = self.0.load();
        let earlier = || keys.values().filter(|key| key.names.iter().any(|own| own == name)).max_by_key(|key| key.ends);
        keys.get(order).or_else(earlier).map(|key| key.certified.clone())
    }

    /// When the certificate of an order ends.
    pub fn end_of(&self, order: &str) -> Option<Timestamp> {
        self.0.load().get(order).map(|key| key.ends)
    }

    /// From the next handshake on.
    ///
    /// # Errors
    /// Key and chain cannot be used, or do not belong together.
    pub fn set(&self, order: &str, chain_pem: &str, key_pem: &str, ends: OffsetDateTime) -> Result<(), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| error.to_string())?;
        let certified = CertifiedKey::from_der(chain, key, &profile::provider()).map_err(|error| error.to_string())?;
        let names = certified.end_entity_cert().map(tls::names_in).unwrap_or_default();
        let key = Key { certified: Arc::new(certified), names: names.into(), ends: timestamp(ends) };
        self.0.rcu(|keys| {
            let mut keys = HashMap::clone(keys);
            keys.insert(order.to_owned(), key.clone());
            keys
        });
        Ok(())
    }

    /// Forgets earlier orders, once there is a certificate for each that is wanted.
    pub fn retain(&self, wanted: &HashMap<String, &ListenerAcme>) {
        let keys = self.0.load();
        let complete = wanted.keys().all(|order| keys.contains_key(order));
        if complete && keys.len() > wanted.len() {
            self.0.rcu(|keys| {
                let mut keys = HashMap::clone(keys);
                keys.retain(|order, _| wanted.contains_key(order));
                keys
            });
        }
    }
}

/// Listeners that ask for the same certificate share it: public authorities count how often one is issued.
pub fn order_id(acme: &ListenerAcme) -> String {
    let kid = acme.eab.as_ref().map_or("", |eab| &eab.kid);
    let profile = acme.profile.as_deref().unwrap_or_default();
    let hash = Sha256::digest(format!("{}\n{kid}\n{profile}\n{}", acme.directory, acme.names.join(" ")));
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What a listener obtains, if it does.
pub fn acme_of(kind: &ListenerKind) -> Option<&ListenerAcme> {
    match kind {
        ListenerKind::Tls { acme, .. } => acme.as_deref(),
        ListenerKind::RedirectToHttps => None,
    }
}
