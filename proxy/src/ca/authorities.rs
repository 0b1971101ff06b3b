//! Root and issuing authorities: made once, sealed, several of them around a rotation.
use crate::ca::status::Import;
use crate::ca::{CaError, CaStore, StoredAuthority, StoredRole, moment};
use crate::login::seal::{SealError, SealKey, SealKeyError};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use time::Duration;
use torhaus_authz::Timestamp;
use torhaus_certs::{Authority, AuthorityRequest, IssuingCa, KeyAlgorithm, new_root};
use torhaus_config::Ca;
use zeroize::Zeroizing;

/// A root is installed by hand on every machine; replacing it is work for years.
const ROOT_LIFE: Duration = Duration::days(10 * 365);
/// Rotation is one command; long enough that nobody has to remember it every month.
const ISSUING_LIFE: Duration = Duration::days(2 * 365);

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(
        "the key of authority {0} does not open: it was sealed under another `ca.key_file`, `ca.key_env` or \
         `keys/seal.key` than the one of now; bring that one back"
    )]
    Sealed(String),
    #[error("a key could not be sealed: {0}")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Key(SealKeyError),
    #[error("authority {0} cannot be used: {1}")]
    Unusable(String, torhaus_certs::Error),
    #[error("an authority could not be made: {0}")]
    Make(torhaus_certs::Error),
    #[error("the root's key is not here; have its owner sign an authority, and bring that with `torhaus ca import`")]
    OfflineRoot,
    #[error("authority {0} is known already")]
    Known(String),
    #[error("authority {0} is not known")]
    Unknown(String),
}

/// Those that are known, and which of them signs.
#[derive(Clone)]
pub struct Authorities {
    root: Option<StoredAuthority>,
    issuing: Vec<Arc<IssuingCa>>,
    active: Option<String>,
}

impl Authorities {
    pub(super) async fn load_or_make(
        store: &dyn CaStore,
        keys: &[SealKey],
        config: &Ca,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let stored = store.authorities().await?;
        if !stored.is_empty() {
            return Self::load(store, keys, stored, now).await;
        }
        if config.offline_root {
            tracing::info!("no issuing authority yet: bring one with `torhaus ca import`");
            return Ok(Self { root: None, issuing: Vec::new(), active: None });
        }
        let request = request(&config.name, "Root", config, ROOT_LIFE);
        let root = new_root(&request.as_ref(), moment(now)).map_err(AuthorityError::Make)?;
        let issuing = issuing_below(&root, config, now)?;
        let root_id = format!("root-{}", issuing.id());
        let root = StoredAuthority {
            role: StoredRole::Root,
            certificate: root.root_pem().to_owned(),
            root: root.root_pem().to_owned(),
            sealed_key: Some(seal(keys, &root_id, &root.key_pem())?),
            active: false,
            id: root_id,
        };
        let stored = [root.clone(), stored_issuing(&issuing, keys, true)?];
        if !store.add_first_authorities(&stored, moment(now)).await? {
            // Another replica began at the same moment.
            return Self::load(store, keys, store.authorities().await?, now).await;
        }
        tracing::info!(issuing = issuing.id(), "root and issuing authority were made");
        Ok(Self { root: Some(root), active: Some(issuing.id().to_owned()), issuing: vec![Arc::new(issuing)] })
    }

    pub(super) async fn load(
        store: &dyn CaStore,
        keys: &[SealKey],
        stored: Vec<StoredAuthority>,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let mut all = Self { root: None, issuing: Vec::new(), active: None };
        for mut one in stored {
            let Some(sealed) = &one.sealed_key else { continue };
            let (key, by_first) = open(keys, &one.id, sealed)?;
            if !by_first {
                let sealed = seal(keys, &one.id, &key)?;
                store.reseal_authority(&one.id, &sealed).await?;
                tracing::info!(authority = one.id, "sealed under the key that the configuration names now");
                one.sealed_key = Some(sealed);
            }
            if one.role == StoredRole::Root {
                all.root = Some(one);
                continue;
            }
            match IssuingCa::import(&one.root, &one.certificate, &key, moment(now)) {
                Ok(ca) => {
                    if one.active {
                        all.active = Some(one.id.clone());
                    }
                    all.issuing.push(Arc::new(ca));
                }
                // The gate goes on; nothing is issued until there is another one.
                Err(error) if one.active => {
                    tracing::error!(authority = one.id, %error, "the authority that signs cannot be used");
                }
                // An end is what every authority comes to.
                Err(error) => tracing::info!(authority = one.id, %error, "not used any more"),
            }
        }
        Ok(all)
    }

    /// The one that signs.
    pub fn active(&self) -> Option<&Arc<IssuingCa>> {
        let id = self.active.as_ref()?;
        self.issuing.iter().find(|ca| ca.id() == id)
    }

    pub(super) fn signs_like(&self, other: &Self) -> bool {
        self.active == other.active
    }

    pub fn issuing(&self) -> &[Arc<IssuingCa>] {
        &self.issuing
    }

    pub fn root_is_here(&self) -> bool {
        self.root.is_some()
    }

    pub(super) fn anchors(&self, now: Timestamp) -> Vec<CertificateDer<'static>> {
        let live = self.issuing.iter().filter(|ca| ca.ends() > moment(now));
        live.map(|ca| CertificateDer::from(ca.certificate_der().to_vec())).collect()
    }

    pub(super) async fn with_next(
        &self,
        store: &dyn CaStore,
        keys: &[SealKey],
        config: &Ca,
        now: Timestamp,
    ) -> Result<(Self, String), CaError> {
        let root = self.root.as_ref().ok_or(AuthorityError::OfflineRoot)?;
        let sealed = root.sealed_key.as_ref().ok_or(AuthorityError::OfflineRoot)?;
        let (key, _) = open(keys, &root.id, sealed)?;
        let unusable = |error| AuthorityError::Unusable(root.id.clone(), error);
        let root = Authority::from_pem(&root.certificate, &key).map_err(unusable)?;
        self.with(store, keys, issuing_below(&root, config, now)?, now).await
    }

    pub(super) async fn with_imported(
        &self,
        store: &dyn CaStore,
        keys: &[SealKey],
        imported: &Import,
        now: Timestamp,
    ) -> Result<(Self, String), CaError> {
        let Import { root_pem, certificate_pem, key_pem } = imported;
        let ca = IssuingCa::import(root_pem, certificate_pem, key_pem, moment(now));
        self.with(store, keys, ca.map_err(|error| CaError::Refused(error.to_string()))?, now).await
    }

    async fn with(
        &self,
        store: &dyn CaStore,
        keys: &[SealKey],
        ca: IssuingCa,
        now: Timestamp,
    ) -> Result<(Self, String), CaError> {
        let id = ca.id().to_owned();
        if self.issuing.iter().any(|known| known.id() == id) {
            return Err(AuthorityError::Known(id).into());
        }
        store.add_authorities(&[stored_issuing(&ca, keys, false)?], moment(now)).await?;
        let mut all = self.clone();
        all.issuing.push(Arc::new(ca));
        Ok((all, id))
    }

    pub(super) async fn activated(&self, store: &dyn CaStore, id: &str) -> Result<Self, CaError> {
        if !self.issuing.iter().any(|known| known.id() == id) {
            return Err(AuthorityError::Unknown(id.to_owned()).into());
        }
        store.activate_authority(id).await?;
        Ok(Self { active: Some(id.to_owned()), ..self.clone() })
    }
}

struct Request<'a> {
    name: String,
    config: &'a Ca,
    life: Duration,
}

impl Request<'_> {
    fn as_ref(&self) -> AuthorityRequest<'_> {
        AuthorityRequest {
            name: &self.name,
            key: KeyAlgorithm::EcdsaP256,
            permitted_dns: &self.config.permitted_dns,
            life: self.life,
        }
    }
}

/// Two authorities of one name would be told apart by their keys only; a browser shows the name.
fn request<'a>(name: &str, what: &str, config: &'a Ca, life: Duration) -> Request<'a> {
    Request { name: format!("{name} {what}"), config, life }
}

fn issuing_below(root: &Authority, config: &Ca, now: Timestamp) -> Result<IssuingCa, AuthorityError> {
    let at = moment(now);
    let what =
        format!("Issuing {}-{:02}-{:02} {:08x}", at.year(), u8::from(at.month()), at.day(), rand::random::<u32>());
    let request = request(&config.name, &what, config, ISSUING_LIFE);
    IssuingCa::new(root, &request.as_ref(), at).map_err(AuthorityError::Make)
}

fn stored_issuing(ca: &IssuingCa, keys: &[SealKey], active: bool) -> Result<StoredAuthority, AuthorityError> {
    Ok(StoredAuthority {
        id: ca.id().to_owned(),
        role: StoredRole::Issuing,
        certificate: ca.certificate_pem().to_owned(),
        root: ca.root_pem().to_owned(),
        sealed_key: Some(seal(keys, ca.id(), &ca.key_pem())?),
        active,
    })
}

/// Bound to its place: a key moved to another row does not open.
fn purpose(id: &str) -> String {
    format!("authority:{id}")
}

fn seal(keys: &[SealKey], id: &str, key_pem: &str) -> Result<Vec<u8>, AuthorityError> {
    let first = keys.first().ok_or(SealError::NoRandomness)?;
    Ok(first.seal(&purpose(id), key_pem.as_bytes())?)
}

/// The key, and whether the first of our keys opened it.
fn open(keys: &[SealKey], id: &str, sealed: &[u8]) -> Result<(Zeroizing<String>, bool), AuthorityError> {
    let opened = keys.iter().enumerate().find_map(|(at, key)| Some((key.open(&purpose(id), sealed).ok()?, at == 0)));
    let (bytes, by_first) = opened.ok_or_else(|| AuthorityError::Sealed(id.to_owned()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| AuthorityError::Sealed(id.to_owned()))?;
    Ok((Zeroizing::new(text.to_owned()), by_first))
}
