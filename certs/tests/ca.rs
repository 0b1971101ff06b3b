//! The CA as a client meets it: what a request says counts for nothing but its key; what leaves is what the profile
//! says. Requests are made with rcgen, certificates are read with x509-parser and verified with webpki.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside #[test] functions")]
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SignatureAlgorithm,
};
use std::collections::HashSet;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{
    AuthorityRequest, CrlRequest, Csr, Enrolment, Error, IssuingCa, KeyAlgorithm, KeyKind, Profile, Purpose, Reason,
    Revoked, RevokedSet, Serial, SerialKey, Signed, SigningRequest, new_root,
};
use x509_parser::prelude::{FromDer, X509Certificate};

const NOW: OffsetDateTime = datetime!(2027-01-01 12:00 UTC);
const BACKUP: &str = "spiffe://example.test/backup";
const CRL: &str = "http://auth.example.test/ca/x.crl";

fn authority<'a>(name: &'a str, life: Duration, permitted_dns: &'a [String]) -> AuthorityRequest<'a> {
    AuthorityRequest { name, key: KeyAlgorithm::EcdsaP256, permitted_dns, life }
}

fn ca() -> IssuingCa {
    let root = new_root(&authority("Test Root", Duration::days(3650), &[]), NOW).unwrap();
    IssuingCa::new(&root, &authority("Test Issuing", Duration::days(365), &[]), NOW).unwrap()
}

fn csr(algorithm: &'static SignatureAlgorithm) -> Csr {
    Csr::parse(&csr_of(CertificateParams::default(), algorithm)).unwrap()
}

fn csr_of(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
    params.serialize_request(&KeyPair::generate_for(algorithm).unwrap()).unwrap().der().to_vec()
}

fn service() -> Enrolment {
    Enrolment { common_name: "backup".into(), spiffe: Some(BACKUP.into()), ..Enrolment::default() }
}

fn sign(ca: &IssuingCa, purpose: Purpose, enrolment: &Enrolment, csr: &Csr) -> Result<Signed, Error> {
    let profile = Profile::standard(purpose);
    ca.sign(&SigningRequest { profile: &profile, enrolment, csr, crl_url: Some(CRL), life: None }, NOW)
}

#[test]
fn a_certificate_is_back_dated_a_minute_and_lives_as_long_as_its_profile_and_its_authority() {
    let ca = ca();
    for purpose in Purpose::ALL {
        let mut enrolment = Enrolment { common_name: "x".into(), ..Enrolment::default() };
        match purpose {
            Purpose::User => enrolment.user = Some("alice".into()),
            Purpose::Device => enrolment.dns.push("laptop.alice.clients.example.test".into()),
            Purpose::Service => enrolment.spiffe = Some(BACKUP.into()),
            Purpose::Server => enrolment.dns.push("*.apps.example.test".into()),
        }
        let signed = sign(&ca, purpose, &enrolment, &csr(&PKCS_ECDSA_P256_SHA256)).unwrap();
        assert_eq!(signed.not_before, NOW - Duration::minutes(1));
        assert_eq!(signed.not_after, NOW + purpose.default_life(), "{purpose}");
        assert_eq!(signed.serial.as_bytes().len(), 17);
        assert_eq!(signed.chain_pem.matches("BEGIN CERTIFICATE").count(), 2, "leaf and issuer, without the root");
    }
    let late = ca.ends() - Duration::hours(1);
    let profile = Profile::standard(Purpose::Service);
    let (enrolment, csr) = (service(), csr(&PKCS_ECDSA_P256_SHA256));
    let request = SigningRequest { profile: &profile, enrolment: &enrolment, csr: &csr, crl_url: None, life: None };
    assert_eq!(ca.sign(&request, late).unwrap().not_after, ca.ends(), "it never outlives its authority");
    let over = ca.sign(&request, ca.ends() - Duration::minutes(4)).unwrap_err();
    assert!(matches!(over, Error::OutlivesAuthority { .. }), "{over}");
}

/// Attacks 29: more names, CA:TRUE, any usage, an extension nobody knows. None of it arrives.
#[test]
fn nothing_of_a_request_but_its_key_reaches_a_certificate() {
    let ca = ca();
    let mut hostile =
        CertificateParams::new(vec!["admin.example.test".to_owned(), "*.example.test".to_owned()]).unwrap();
    hostile.distinguished_name.push(DnType::CommonName, "root");
    hostile.subject_alt_names.push(SanType::URI("spiffe://example.test/admin".try_into().unwrap()));
    hostile.subject_alt_names.push(SanType::Rfc822Name("admin@example.test".try_into().unwrap()));
    hostile.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    hostile.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    hostile.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::CodeSigning];
    hostile.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0])];
    let csr = Csr::parse(&csr_of(hostile, &PKCS_ECDSA_P256_SHA256)).unwrap();
    let signed = sign(&ca, Purpose::Service, &service(), &csr).unwrap();
    let (_, leaf) = X509Certificate::from_der(&signed.der).unwrap();
    assert_eq!(leaf.public_key().raw, csr.key().spki());
    assert_eq!(leaf.subject().to_string(), "CN=backup");
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any && !usage.code_signing);
    let names = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("URI({BACKUP})")]);
    assert!(!signed.der.windows(12).any(|bytes| bytes == b"admin.exampl"));
}

#[test]
fn every_allowed_kind_of_key_gets_a_right_certificate() {
    let ca = ca();
    let rows: [(&'static SignatureAlgorithm, KeyKind); 3] = [
        (&PKCS_ECDSA_P256_SHA256, KeyKind::EcdsaP256),
        (&PKCS_ECDSA_P384_SHA384, KeyKind::EcdsaP384),
        (&PKCS_ED25519, KeyKind::Ed25519),
    ];
    for (algorithm, kind) in rows {
        let csr = csr(algorithm);
        assert_eq!(csr.key().kind(), kind);
        let signed = sign(&ca, Purpose::Service, &service(), &csr).unwrap();
        let (_, leaf) = X509Certificate::from_der(&signed.der).unwrap();
        assert_eq!(leaf.public_key().raw, csr.key().spki(), "{kind:?}");
    }
    // Made with OpenSSL 3.0: `openssl req -new -newkey rsa:2048`, and P-384 signed with SHA-256.
    let rsa = Csr::from_pem(include_str!("material/rsa-2048.csr")).unwrap();
    assert_eq!(rsa.key().kind(), KeyKind::Rsa { bits: 2048 });
    let mixed = Csr::from_pem(include_str!("material/p384-sha256.csr")).unwrap();
    assert_eq!(mixed.key().kind(), KeyKind::EcdsaP384);
    for csr in [rsa, mixed] {
        let signed = sign(&ca, Purpose::Service, &service(), &csr).unwrap();
        let (_, leaf) = X509Certificate::from_der(&signed.der).unwrap();
        assert_eq!(leaf.public_key().raw, csr.key().spki());
    }
}

#[test]
fn weak_keys_and_broken_requests_are_refused_with_a_sentence() {
    let said = |text: &str| Csr::from_pem(text).unwrap_err().to_string();
    assert!(said(include_str!("material/rsa-1024.csr")).contains("at least 2048 bits"));
    assert!(said(include_str!("material/rsa-exponent-3.csr")).contains("65537"));
    assert!(said(include_str!("material/p521.csr")).contains("P-521"));
    assert!(said(include_str!("material/secp256k1.csr")).contains("only P-256 and P-384"));
    assert!(said(include_str!("material/sha1.csr")).contains("SHA-1"));
    assert!(
        said("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n").contains("PKCS #10")
    );
    assert!(said("nothing").contains("not PEM"));

    let good = csr_of(CertificateParams::default(), &PKCS_ECDSA_P256_SHA256);
    let refused = |der: &[u8]| Csr::parse(der).unwrap_err().to_string();
    let mut other = good.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    assert!(refused(&other).contains("not signed by the key in it"), "{}", refused(&other));
    assert!(refused(&[good.clone(), vec![0]].concat()).contains("behind it"));
    assert!(refused(&vec![0x30; 17 * 1024]).contains("16 KiB"));
    // The key of another request under this signature.
    let stranger = csr(&PKCS_ECDSA_P256_SHA256);
    let own = Csr::parse(&good).unwrap();
    let at = good.windows(own.key().spki().len()).position(|bytes| bytes == own.key().spki()).unwrap();
    let mut swapped = good.clone();
    swapped[at..at + stranger.key().spki().len()].copy_from_slice(stranger.key().spki());
    assert!(refused(&swapped).contains("not signed by the key in it"));
}

#[test]
fn a_profile_certifies_its_own_kinds_of_names_and_no_others() {
    let name = |change: fn(&mut Enrolment)| {
        let mut enrolment = Enrolment { common_name: "x".into(), ..Enrolment::default() };
        change(&mut enrolment);
        enrolment
    };
    type Row = (Purpose, fn(&mut Enrolment), &'static str);
    let rows: [Row; 17] = [
        (Purpose::User, |_| {}, "needs the user"),
        (Purpose::User, |e| (e.user, e.spiffe) = (Some("a".into()), Some(BACKUP.into())), "only services"),
        (Purpose::Device, |e| e.addresses.push([10, 0, 0, 1].into()), "no addresses"),
        (Purpose::Device, |e| e.dns.push("*.example.test".into()), "`*.example.test`"),
        (Purpose::Device, |e| e.dns.push("UPPER.example.test".into()), "`UPPER.example.test`"),
        (Purpose::Device, |e| e.dns.push("a..b".into()), "`a..b`"),
        (Purpose::Device, |e| e.dns.push("10.0.0.1".into()), "`10.0.0.1`"),
        (Purpose::Device, |e| e.dns = (0..101).map(|n| format!("n{n}.test")).collect(), "too many"),
        (Purpose::Device, |e| e.common_name = String::new(), "``"),
        (Purpose::Device, |e| e.common_name = "a\0b".into(), "a\0b"),
        (Purpose::Device, |e| e.common_name = "x".repeat(65), "xxx"),
        (Purpose::Device, |e| e.emails.push("nobody".into()), "`nobody`"),
        (Purpose::Service, |_| {}, "needs a SPIFFE ID"),
        (Purpose::Service, |e| e.spiffe = Some("spiffe://Example.test/x".into()), "not a SPIFFE ID"),
        (Purpose::Service, |e| e.spiffe = Some("spiffe://example.test/a/../b".into()), "not a SPIFFE ID"),
        (Purpose::Server, |_| {}, "needs a DNS name or address"),
        (Purpose::Server, |e| (e.dns, e.user) = (vec!["a.test".into()], Some("a".into())), "no person"),
    ];
    let (ca, csr) = (ca(), csr(&PKCS_ECDSA_P256_SHA256));
    for (purpose, change, why) in rows {
        let refused = sign(&ca, purpose, &name(change), &csr).unwrap_err().to_string();
        assert!(refused.contains(why), "{purpose}: {refused}");
    }
    for (purpose, life) in [(Purpose::User, Duration::hours(73)), (Purpose::Server, Duration::minutes(4))] {
        assert!(matches!(Profile::new(purpose, life), Err(Error::ProfileLife { .. })));
    }
}

#[test]
fn the_lint_holds_back_what_a_verifier_would_refuse() {
    let permitted = ["clients.example.test".to_owned()];
    let root = new_root(&authority("Root", Duration::days(30), &permitted), NOW).unwrap();
    let ca = IssuingCa::new(&root, &authority("Issuing", Duration::days(30), &permitted), NOW).unwrap();
    let csr = csr(&PKCS_ECDSA_P256_SHA256);
    let named = |dns: &str| Enrolment { common_name: "x".into(), dns: vec![dns.into()], ..Enrolment::default() };
    assert!(sign(&ca, Purpose::Device, &named("laptop.clients.example.test"), &csr).is_ok());
    let outside = sign(&ca, Purpose::Device, &named("www.example.test"), &csr).unwrap_err();
    assert!(matches!(outside, Error::Lint(why) if why.contains("name constraints")), "{outside}");
    let addressed = Enrolment { addresses: vec![[10, 0, 0, 1].into()], ..named("a.clients.example.test") };
    assert!(matches!(sign(&ca, Purpose::Server, &addressed, &csr), Err(Error::Lint(_))));
}

#[test]
fn an_authority_of_an_offline_root_is_imported_and_a_strangers_is_not() {
    let root = new_root(&authority("Offline", Duration::days(3650), &[]), NOW).unwrap();
    let made = IssuingCa::new(&root, &authority("Issuing", Duration::days(365), &[]), NOW).unwrap();
    let import = |root: &str, cert: &str, key: &str| IssuingCa::import(root, cert, key, NOW);
    let ca = import(root.root_pem(), made.certificate_pem(), &made.key_pem()).unwrap();
    assert_eq!(ca.id(), made.id());
    assert!(sign(&ca, Purpose::Service, &service(), &csr(&PKCS_ECDSA_P256_SHA256)).is_ok());

    let other = new_root(&authority("Offline", Duration::days(3650), &[]), NOW).unwrap();
    let refused = |result: Result<IssuingCa, Error>| result.unwrap_err().to_string();
    assert!(refused(import(other.root_pem(), made.certificate_pem(), &made.key_pem())).contains("did not sign"));
    assert!(refused(import(root.root_pem(), made.certificate_pem(), &root.key_pem())).contains("does not belong"));
    let late = IssuingCa::import(root.root_pem(), made.certificate_pem(), &made.key_pem(), NOW + Duration::days(366));
    assert!(refused(late).contains("not valid now"));
    // RSA from 3072 bits; material made with OpenSSL 3.0, valid for a hundred years.
    let (rsa_root, rsa) = (include_str!("material/rsa-root.pem"), include_str!("material/rsa-issuing.pem"));
    let ca = import(rsa_root, rsa, include_str!("material/rsa-issuing.key")).unwrap();
    assert!(sign(&ca, Purpose::Service, &service(), &csr(&PKCS_ECDSA_P256_SHA256)).is_ok());
    let weak = import(rsa_root, include_str!("material/rsa-weak.pem"), include_str!("material/rsa-weak.key"));
    assert!(refused(weak).contains("3072"));
}

#[test]
fn an_authority_signs_no_certificate_for_its_own_key() {
    let ca = ca();
    let key = KeyPair::from_pem(&ca.key_pem()).unwrap();
    let csr = Csr::parse(CertificateParams::default().serialize_request(&key).unwrap().der()).unwrap();
    let refused = sign(&ca, Purpose::Service, &service(), &csr).unwrap_err();
    assert!(matches!(refused, Error::Key(why) if why.contains("own")), "{refused}");
}

#[test]
fn an_authority_and_its_key_are_not_shown_by_debug() {
    let ca = ca();
    let shown = format!("{ca:?}");
    assert!(shown.contains(ca.id()) && !shown.contains("PRIVATE") && !shown.to_lowercase().contains("key"));
}

#[test]
fn a_list_of_an_issuing_authority_verifies_and_its_serials_are_looked_up() {
    let ca = ca();
    let signed = sign(&ca, Purpose::Service, &service(), &csr(&PKCS_ECDSA_P256_SHA256)).unwrap();
    let revoked = [Revoked { serial: signed.serial.clone(), at: NOW, reason: Reason::KeyCompromise }];
    let request = CrlRequest { number: 3, this_update: NOW, next_update: NOW + Duration::days(1), revoked: &revoked };
    assert!(ca.crl(&request).is_ok());
    let set = RevokedSet::default();
    let (_, leaf) = X509Certificate::from_der(&signed.der).unwrap();
    let key = SerialKey::of(leaf.raw_serial()).unwrap();
    assert!(!set.contains(&key));
    set.insert(&signed.serial);
    assert!(set.contains(&key));
    assert_eq!(SerialKey::of(&[0, 0, 7]), SerialKey::of(&[7]), "leading zeros are no other number");
    assert_eq!(SerialKey::of(&[1; 21]), None);
    assert_eq!(Serial::parse(&signed.serial.to_string().to_uppercase()).unwrap(), signed.serial);
    assert_eq!(Serial::parse("54:0a").unwrap().to_string(), "540a");
    assert!(["", "5", "zz", &"ab".repeat(21)].iter().all(|text| Serial::parse(text).is_none()));
}

#[test]
fn no_serial_comes_twice() {
    let ca = ca();
    let csr = csr(&PKCS_ECDSA_P256_SHA256);
    let serials: HashSet<Serial> =
        (0..200).map(|_| sign(&ca, Purpose::Service, &service(), &csr).unwrap().serial).collect();
    assert_eq!(serials.len(), 200);
    let drawn: HashSet<Serial> = (0..10_000).map(|_| Serial::random().unwrap()).collect();
    assert_eq!(drawn.len(), 10_000);
}

#[test]
fn reasons_are_those_of_rfc_5280() {
    for (name, code) in [
        ("unspecified", 0),
        ("keyCompromise", 1),
        ("affiliationChanged", 3),
        ("superseded", 4),
        ("cessationOfOperation", 5),
        ("privilegeWithdrawn", 9),
    ] {
        let reason = Reason::parse(name).unwrap();
        assert_eq!((reason.as_str(), u64::from(reason.code())), (name, code));
        assert_eq!(Reason::from_code(code), Some(reason));
    }
    // About authorities, to be taken back, of delta lists, unused.
    assert!([2, 6, 7, 8, 10, 255].into_iter().all(|code| Reason::from_code(code).is_none()));
}
