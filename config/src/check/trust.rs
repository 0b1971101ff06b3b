//! Trust domains: the authorities of client certificates.
use super::{Cx, certificate, condition, suite};
use crate::at::{At, Keyed, List};
use crate::config::{Signers, TrustDomain, Vouches};
use crate::file;
use crate::place::Place;
use crate::units::Mistake;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use torhaus_authz::SpiffeId;

pub(crate) struct TrustDomains {
    pub checked: BTreeMap<String, TrustDomain>,
    /// All names in the file, also of those that are broken: a reference to one is no second mistake.
    pub names: BTreeSet<String>,
    /// False when some name could not be read.
    pub whole: bool,
}

impl TrustDomains {
    /// Those of a configuration that was checked.
    pub fn of(checked: &BTreeMap<String, TrustDomain>) -> Self {
        Self { checked: BTreeMap::new(), names: checked.keys().cloned().collect(), whole: true }
    }
}

/// Words of the policy: whether there is a certificate at all.
const RESERVED: [&str; 2] = [condition::ANY_CERTIFICATE, suite::NO_CERTIFICATE];

pub(crate) fn check(domains: &Keyed<file::TrustDomain>, cx: &mut Cx<'_>) -> TrustDomains {
    let mut found = TrustDomains { checked: BTreeMap::new(), names: BTreeSet::new(), whole: domains.whole };
    for (name, place, at) in domains.iter() {
        found.names.insert(name.to_owned());
        if RESERVED.contains(&name) {
            cx.error(
                place,
                format!("a trust domain cannot be called `{name}`"),
                "the policy uses this word for itself: `client_certificate: any`, `client_certificate: none`",
            );
        }
        let Some(domain) = at.get() else { continue };
        if domain.own_ca.as_ref().is_some_and(|at| at.get() == Some(&true)) {
            own(name, place, domain, domains.entries.len() == 1, &mut found, cx);
            continue;
        }
        let Some(ca_at) = &domain.ca_file else {
            if !cx.is_reported(place) {
                cx.error(
                    place,
                    format!("trust domain `{name}` has no authority"),
                    "add `ca_file`: a PEM file with the certificates of those who may sign, or `own_ca: true`",
                );
            }
            continue;
        };
        let ca_file = authorities(ca_at, cx).and_then(|(path, found)| {
            if !found.iter().any(certificate::is_authority) {
                cx.error(
                    &ca_at.place,
                    format!("no certificate in ca file `{}` is an authority's", path.display()),
                    "name the certificate of the authority that signs, not a client's own",
                );
                return None;
            }
            Some(path)
        });
        let vouches_for = vouches(&domain.spiffe_trust_domains, domains.entries.len() == 1, cx);
        let crl_file = domain.crl_file.as_ref().map(|at| revocation_list(at, cx));
        if let (Some(ca_file), Some(crl_file)) = (ca_file, crl_file.map_or(Some(None), |file| file.map(Some))) {
            let name: Arc<str> = name.into();
            let proves = domain.proves.as_ref().and_then(At::text).map(Arc::from);
            found.checked.insert(
                name.to_string(),
                TrustDomain { name, signers: Signers::File(ca_file), crl_file, proves, vouches_for },
            );
        }
    }
    found
}

/// A trust domain whose certificates torhaus signs itself: it knows what it revoked without any list.
fn own(name: &str, place: &Place, domain: &file::TrustDomain, only: bool, found: &mut TrustDomains, cx: &mut Cx<'_>) {
    for file in [&domain.ca_file, &domain.crl_file].into_iter().flatten() {
        cx.error(
            &file.place,
            format!("trust domain `{name}` is signed by torhaus itself, so it has no such file"),
            "remove it, or `own_ca`; other authorities are a trust domain of their own",
        );
    }
    if let Some(other) = found.checked.values().find(|other| other.signers == Signers::Own) {
        let message = format!("`{}` is signed by torhaus itself already: there is one authority", other.name);
        cx.error(place, message, "use one trust domain with `own_ca`");
        return;
    }
    let vouches_for = vouches(&domain.spiffe_trust_domains, only, cx);
    let proves = domain.proves.as_ref().and_then(At::text).map(Arc::from);
    let name: Arc<str> = name.into();
    let checked = TrustDomain { name: name.clone(), signers: Signers::Own, crl_file: None, proves, vouches_for };
    found.checked.insert(name.to_string(), checked);
}

/// Which services it may name. Whether it has to say so depends on the policy: see `cross`.
fn vouches(list: &List<String>, only: bool, cx: &mut Cx<'_>) -> Vouches {
    if list.place.is_none() && only {
        return Vouches::ForAny;
    }
    Vouches::For(list.items.iter().filter_map(|at| cx.parse(at, spiffe_trust_domain)).collect())
}

/// `example.test`, as it stands in `spiffe://example.test/backup`.
fn spiffe_trust_domain(text: &str) -> Result<Arc<str>, Mistake> {
    // With a path of its own it must be a whole ID, which is the only thing that has a parser.
    if SpiffeId::parse(&format!("spiffe://{text}/x")).is_ok_and(|id| id.trust_domain() == text) {
        return Ok(text.into());
    }
    let bare = text.strip_prefix("spiffe://").unwrap_or(text).split('/').next().unwrap_or_default();
    let hint = match SpiffeId::parse(&format!("spiffe://{bare}/x")) {
        Ok(_) => format!("write `{bare}`: the part between `spiffe://` and the next `/`"),
        Err(_) => {
            "write the part between `spiffe://` and the next `/`: lower case letters, digits, `.`, `-`, `_`".into()
        }
    };
    Err(Mistake::new(format!("`{text}` is not the trust domain of a SPIFFE ID")).hint(hint))
}

/// A `ca_file` of an identity provider or an upstream; a self-signed server certificate will do there.
pub(crate) fn ca_file(at: &At<String>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    authorities(at, cx).map(|(path, _)| path)
}

/// A PEM file of certificates, of which not all have expired.
fn authorities(at: &At<String>, cx: &mut Cx<'_>) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
    let (path, pem) = cx.read(at, "ca file")?;
    let shown = path.display().to_string();
    let found = match certificate::certificates(&pem) {
        Ok(found) => found,
        Err(why) => {
            cx.mistake(&at.place, why.of("ca file", &shown));
            return None;
        }
    };
    if let Some(day) = found.iter().find_map(|der| certificate::expired_since(der, cx.now)) {
        let expired = found.iter().all(|der| certificate::expired_since(der, cx.now).is_some());
        let message = format!("an authority in ca file `{shown}` expired on {day}");
        if expired {
            cx.error(&at.place, message, "name the authority's current certificate");
            return None;
        }
        cx.warning(&at.place, message, "remove it from the file");
    }
    Some((path, found))
}

fn revocation_list(at: &At<String>, cx: &mut Cx<'_>) -> Option<PathBuf> {
    use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Version};
    let (path, pem) = cx.read(at, "crl file")?;
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    let lists = match found {
        Ok(lists) if !lists.is_empty() => lists,
        _ => {
            cx.error(
                &at.place,
                format!("crl file `{shown}` has no revocation list"),
                "it must have `-----BEGIN X509 CRL-----`; convert DER with `openssl crl -inform der -in OLD -out NEW`",
            );
            return None;
        }
    };
    for der in &lists {
        let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
            cx.error(&at.place, format!("crl file `{shown}` is damaged"), "fetch it again from the authority");
            return None;
        };
        if list.version().is_none_or(|version| version != X509Version::V2) {
            cx.error(
                &at.place,
                format!("crl file `{shown}` is of version 1; a CRL must be version 2 (RFC 5280 section 5.1.2.1)"),
                "have the authority write version 2: with `openssl ca`, set `crl_extensions` with an authorityKeyIdentifier",
            );
            return None;
        }
        let end = list.next_update().map(|time| time.timestamp());
        if end.is_some_and(|end| end <= cx.now.seconds()) {
            // No error: it may be renewed while we run, and until then every certificate of the domain is refused.
            cx.warning(
                &at.place,
                format!("crl file `{shown}` is out of date: until it is renewed, every certificate of it is refused"),
                "fetch the authority's current list, and have it renewed by a timer",
            );
        }
    }
    Some(path)
}
