//! The revocation list, read back with x509-parser and believed by webpki.
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration as StdDuration;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{Authority, Crl, CrlRequest, Error, Issued, LeafRequest, Reason, Revoked, Serial};
use webpki::{CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension, X509Certificate};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

struct Setting {
    authority: Authority,
    good: Issued,
    bad: Issued,
    crl: Crl,
}

fn setting() -> Result<Setting, Error> {
    let authority = Authority::new("Test CA", NOW, Duration::days(3650))?;
    let good = authority.issue(&LeafRequest::device("good").valid_for(Duration::days(30)), NOW)?;
    let bad = authority.issue(&LeafRequest::device("bad").valid_for(Duration::days(30)), NOW)?;
    let revoked = [
        Revoked { serial: bad.serial.clone(), at: NOW, reason: Reason::KeyCompromise },
        Revoked { serial: Serial::from_bytes(&[0x9a, 1]), at: NOW, reason: Reason::Unspecified },
    ];
    let crl = authority.crl(&CrlRequest {
        number: 7,
        this_update: NOW,
        next_update: NOW + Duration::days(1),
        revoked: &revoked,
    })?;
    Ok(Setting { authority, good, bad, crl })
}

#[test]
fn a_list_names_its_number_its_times_and_the_revoked() {
    let setting = setting().unwrap();
    let (_, crl) = CertificateRevocationList::from_der(setting.crl.der()).unwrap();
    let (_, root) = X509Certificate::from_der(setting.authority.root_der()).unwrap();
    crl.verify_signature(root.public_key()).unwrap();
    assert_eq!(crl.issuer(), root.subject());
    assert_eq!(crl.last_update().to_datetime(), NOW);
    assert_eq!(crl.next_update().unwrap().to_datetime(), NOW + Duration::days(1));
    assert_eq!(crl.crl_number().unwrap().to_string(), "7");
    let listed: Vec<_> = crl
        .iter_revoked_certificates()
        .map(|entry| (Serial::from_bytes(entry.raw_serial()), entry.reason_code().map(|(_, code)| code.0)))
        .collect();
    assert_eq!(listed, [(setting.bad.serial, Some(1)), (Serial::from_bytes(&[0x9a, 1]), None)]);
    let authority_key = crl.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    let subject_key = root.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    assert_eq!(authority_key, subject_key);
    assert!(setting.crl.pem().starts_with("-----BEGIN X509 CRL-----"));
}

#[test]
fn webpki_refuses_the_revoked_and_an_expired_list() {
    let setting = setting().unwrap();
    let verify = |leaf: &Issued, now: OffsetDateTime| {
        let root = CertificateDer::from(setting.authority.root_der());
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let list = CertRevocationList::from(OwnedCertRevocationList::from_der(setting.crl.der()).unwrap());
        let lists = [&list];
        let revocation = webpki::RevocationOptionsBuilder::new(&lists)
            .unwrap()
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        let der = CertificateDer::from(leaf.cert_der());
        EndEntityCert::try_from(&der)
            .unwrap()
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &[],
                UnixTime::since_unix_epoch(StdDuration::from_secs(now.unix_timestamp().cast_unsigned())),
                KeyUsage::client_auth(),
                Some(revocation),
                None,
            )
            .map(|_| ())
    };
    assert!(verify(&setting.good, NOW).is_ok());
    assert!(matches!(verify(&setting.bad, NOW), Err(webpki::Error::CertRevoked)));
    assert!(matches!(verify(&setting.good, NOW + Duration::days(2)), Err(webpki::Error::CrlExpired { .. })));
}

#[test]
fn an_empty_list_is_a_list_and_one_without_life_is_not() {
    let authority = Authority::new("Test CA", NOW, Duration::days(1)).unwrap();
    let request = CrlRequest { number: 1, this_update: NOW, next_update: NOW + Duration::hours(1), revoked: &[] };
    let crl = authority.crl(&request).unwrap();
    let (_, parsed) = CertificateRevocationList::from_der(crl.der()).unwrap();
    assert_eq!(parsed.iter_revoked_certificates().count(), 0);
    let dead = CrlRequest { next_update: NOW, ..request };
    assert!(matches!(authority.crl(&dead), Err(Error::Lifetime)));
}
