//! One order: a new key, a request with nothing but the names, the chain that came back. A key is never used twice.
use crate::acme_client::challenges::Challenges;
use crate::acme_client::is_problem;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// A server that signs or validates in the background is asked this long; then the next attempt begins anew.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(Duration::from_secs(60));

pub struct Wanted<'a> {
    /// DNS names; at least one.
    pub names: &'a [String],
    pub profile: Option<&'a str>,
    /// The certificate that this one takes the place of (RFC 9773 section 5).
    pub replaces: Option<&'a CertificateDer<'static>>,
    /// How names are proved, if the server asks. None: it must not.
    pub prove: Option<Proving<'a>>,
}

/// Where a server may look for what proves a name.
#[derive(Clone, Copy)]
pub struct Proving<'a> {
    pub by: &'a Challenges,
    pub kind: ProofKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    Http,
    TlsAlpn,
}

/// A private key and the chain of its certificate, leaf first. Both PEM.
pub struct Obtained {
    pub key_pem: Zeroizing<String>,
    pub chain_pem: String,
}

/// What somebody needs to know of a certificate to renew it.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub der: CertificateDer<'static>,
    pub serial: String,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Leaf {
    /// The first certificate of a chain. None: there is none that can be read.
    pub fn of(chain_pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(chain_pem.as_bytes()).ok()?;
        let (_, read) = X509Certificate::from_der(&der).ok()?;
        let validity = read.validity();
        let moment = |at: i64| OffsetDateTime::from_unix_timestamp(at).ok();
        Some(Self {
            serial: read.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: moment(validity.not_before.timestamp())?,
            not_after: moment(validity.not_after.timestamp())?,
            der: der.clone().into_owned(),
        })
    }

    /// Its name for a server that speaks RFC 9773. None: it has no authority key identifier.
    pub fn ari(&self) -> Option<CertificateIdentifier<'static>> {
        CertificateIdentifier::try_from(&self.der).ok().map(CertificateIdentifier::into_owned)
    }
}

/// # Errors
/// 1. the server says no, or cannot be asked; 2. it wants a proof that cannot be given; 3. what came back is not a
///    chain for this key.
pub async fn obtain(account: &Account, wanted: &Wanted<'_>) -> Result<Obtained, Error> {
    let names: Vec<Identifier> = wanted.names.iter().cloned().map(Identifier::Dns).collect();
    let new = || {
        let new = NewOrder::new(&names);
        match wanted.profile {
            Some(profile) => new.profile(profile),
            None => new,
        }
    };
    let replaced = wanted.replaces.and_then(|der| CertificateIdentifier::try_from(der).ok());
    let ordered = match replaced {
        Some(id) => account.new_order(&new().replaces(id)).await,
        None => account.new_order(&new()).await,
    };
    let mut order = match ordered {
        // A hint that the server cannot use must not stand in the way of a renewal: somebody else may have renewed, or
        // the server never heard of that certificate.
        Err(error) if wanted.replaces.is_some() && is_about_replaced(&error) => account.new_order(&new()).await?,
        other => other?,
    };
    if order.state().status == OrderStatus::Pending {
        prove(&mut order, wanted.prove).await?;
    }
    let key = KeyPair::generate().map_err(|_| Error::Crypto)?;
    let mut params =
        CertificateParams::new(wanted.names.to_vec()).map_err(|_| said("these names cannot stand in a request"))?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(|_| Error::Crypto)?;
    order.finalize_csr(request.der()).await?;
    let chain_pem = order.poll_certificate(&PATIENCE).await?;
    let obtained = Obtained { key_pem: Zeroizing::new(key.serialize_pem()), chain_pem };
    belongs(&obtained, &key)?;
    Ok(obtained)
}

/// RFC 9773 section 5: `alreadyReplaced`, or a predecessor that the server does not know; or it speaks no such thing.
fn is_about_replaced(error: &Error) -> bool {
    let said = |kind| is_problem(error, kind);
    matches!(error, Error::Unsupported(_)) || said("alreadyReplaced") || said("malformed")
}

async fn prove(order: &mut instant_acme::Order, proving: Option<Proving<'_>>) -> Result<(), Error> {
    let Some(Proving { by, kind }) = proving else {
        return Err(said(
            "this key proves names by challenges, which is not for this command; use another ACME client",
        ));
    };
    let wanted = match kind {
        ProofKind::Http => ChallengeType::Http01,
        ProofKind::TlsAlpn => ChallengeType::TlsAlpn01,
    };
    let mut shown = Vec::new();
    let proved = async {
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = authorization.identifier().to_string();
            let mut challenge = authorization
                .challenge(wanted.clone())
                .ok_or(said("the server offers no challenge of the kind that the configuration names"))?;
            let proof = challenge.key_authorization();
            let key = by
                .show(kind, &name, &challenge.token, proof.as_str(), proof.digest().as_ref())
                .await
                .map_err(|error| Error::Other(Box::new(error)))?;
            shown.push(key);
            challenge.set_ready().await?;
        }
        match order.poll_ready(&PATIENCE).await? {
            OrderStatus::Ready => Ok(()),
            _ => Err(refusal_in(order).await),
        }
    }
    .await;
    for key in shown {
        by.hide(&key).await;
    }
    proved
}

/// Why an order became invalid: the server says it at the challenge (RFC 8555 section 7.1.6).
async fn refusal_in(order: &mut instant_acme::Order) -> Error {
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Error::Api(problem);
        }
    }
    said("the server refused to validate a name, and gives no reason")
}

/// A chain of another key would be served, and every handshake fail.
fn belongs(obtained: &Obtained, key: &KeyPair) -> Result<(), Error> {
    use rcgen::PublicKeyData as _;
    let strange = || said("the chain that came back is not for the key of the request");
    let leaf = Leaf::of(&obtained.chain_pem).ok_or_else(strange)?;
    let (_, read) = X509Certificate::from_der(&leaf.der).map_err(|_| strange())?;
    if read.public_key().subject_public_key.data.as_ref() == key.der_bytes() { Ok(()) } else { Err(strange()) }
}

fn said(words: &'static str) -> Error {
    Error::Other(words.into())
}
