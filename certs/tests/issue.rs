//! What an authority issues, read back with x509-parser and verified with webpki, which others wrote.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside #[test] functions")]
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration as StdDuration;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{Authority, Error, LeafRequest, odd};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Extension};

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);
const BACKUP: &str = "spiffe://example.test/backup";

fn authority() -> Authority {
    Authority::new("Test CA", NOW, Duration::days(3650)).unwrap()
}

/// What a certificate says, in one comparable line per fact.
fn facts(der: &[u8], root: &[u8]) -> BTreeSet<String> {
    let (_, leaf) = X509Certificate::from_der(der).unwrap();
    let (_, root) = X509Certificate::from_der(root).unwrap();
    leaf.verify_signature(Some(root.public_key())).unwrap();
    let mut facts = BTreeSet::new();
    facts.insert(format!("subject {}", leaf.subject()));
    for extension in leaf.iter_extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => {
                facts.extend(san.general_names.iter().map(|name| match name {
                    GeneralName::IPAddress(bytes) => format!("ip {bytes:?}"),
                    other => other.to_string(),
                }));
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                assert!(!usage.any && usage.other.is_empty());
                facts.extend(usage.client_auth.then(|| "clientAuth".to_owned()));
                facts.extend(usage.server_auth.then(|| "serverAuth".to_owned()));
            }
            ParsedExtension::KeyUsage(usage) => {
                facts.insert(format!("{usage}"));
            }
            ParsedExtension::BasicConstraints(constraints) => assert!(!constraints.ca),
            ParsedExtension::SubjectKeyIdentifier(id) => assert_eq!(id.0.len(), 20),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                assert_eq!(id.key_identifier.as_ref().unwrap().0, subject_key_id(&root));
            }
            other => panic!("unexpected extension {other:?}"),
        }
    }
    assert_eq!(leaf.extensions().len(), 6 - usize::from(leaf.subject_alternative_name().unwrap().is_none()));
    facts
}

fn subject_key_id<'a>(certificate: &'a X509Certificate<'a>) -> &'a [u8] {
    let find = |extension: &'a X509Extension<'a>| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    };
    certificate.extensions().iter().find_map(find).unwrap()
}

fn verify(der: &[u8], root: &[u8], usage: KeyUsage, now: OffsetDateTime) -> Result<(), webpki::Error> {
    let root = CertificateDer::from(root);
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let leaf = CertificateDer::from(der);
    let time = UnixTime::since_unix_epoch(StdDuration::from_secs(now.unix_timestamp().cast_unsigned()));
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], time, usage, None, None)
        .map(|_| ())
}

#[test]
fn each_profile_says_what_it_is_for_and_nothing_else() {
    let authority = authority();
    let rows: [(LeafRequest, &[&str]); 5] = [
        (
            LeafRequest::server(["*.apps.test", "apps.test"]).address(Ipv4Addr::LOCALHOST),
            &[
                "subject CN=*.apps.test",
                "DNSName(*.apps.test)",
                "DNSName(apps.test)",
                "ip [127, 0, 0, 1]",
                "serverAuth",
            ],
        ),
        (
            LeafRequest::user("alice").email("alice@example.test"),
            &["subject CN=alice", "RFC822Name(alice@example.test)", "clientAuth"],
        ),
        (
            LeafRequest::device("laptop-7").dns("laptop-7.example.test"),
            &["subject CN=laptop-7", "DNSName(laptop-7.example.test)", "clientAuth"],
        ),
        (LeafRequest::service(BACKUP), &["subject CN=backup", "URI(spiffe://example.test/backup)", "clientAuth"]),
        (
            LeafRequest::service(BACKUP).and_server(["backup.example.test"]),
            &[
                "subject CN=backup",
                "URI(spiffe://example.test/backup)",
                "DNSName(backup.example.test)",
                "clientAuth",
                "serverAuth",
            ],
        ),
    ];
    for (request, expected) in rows {
        let issued = authority.issue(&request, NOW).unwrap();
        let expected: BTreeSet<String> =
            expected.iter().map(|fact| (*fact).to_owned()).chain(["Digital Signature".to_owned()]).collect();
        assert_eq!(facts(issued.cert_der(), authority.root_der()), expected, "{request:?}");
    }
}

#[test]
fn a_certificate_is_valid_from_a_minute_ago_to_its_end_and_no_longer() {
    let authority = authority();
    let issued = authority.issue(&LeafRequest::device("d").valid_for(Duration::hours(24)), NOW).unwrap();
    assert_eq!(issued.not_before, NOW - Duration::minutes(1));
    assert_eq!(issued.not_after, NOW + Duration::hours(24));
    let at = |now| verify(issued.cert_der(), authority.root_der(), KeyUsage::client_auth(), now);
    assert!(at(NOW - Duration::minutes(1)).is_ok());
    assert!(at(NOW + Duration::hours(24)).is_ok());
    assert!(matches!(at(NOW - Duration::minutes(2)), Err(webpki::Error::CertNotValidYet { .. })));
    assert!(matches!(at(NOW + Duration::hours(25)), Err(webpki::Error::CertExpired { .. })));
}

#[test]
fn webpki_accepts_a_server_for_its_names_only() {
    let authority = authority();
    let issued = authority.issue(&LeafRequest::server(["*.apps.test"]).address(Ipv4Addr::LOCALHOST), NOW).unwrap();
    verify(issued.cert_der(), authority.root_der(), KeyUsage::server_auth(), NOW).unwrap();
    let der = CertificateDer::from(issued.cert_der());
    let leaf = EndEntityCert::try_from(&der).unwrap();
    let named = |name: &str| leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).unwrap());
    assert!(named("wiki.apps.test").is_ok());
    assert!(named("127.0.0.1").is_ok());
    assert!(named("wiki.example.test").is_err());
    assert!(named("a.wiki.apps.test").is_err());
    assert!(named("127.0.0.2").is_err());
}

#[test]
fn an_authority_survives_a_save_and_a_load() {
    let first = authority();
    let second = Authority::from_pem(first.root_pem(), &first.key_pem()).unwrap();
    assert_eq!(first.root_der(), second.root_der());
    let issued = second.issue(&LeafRequest::service(BACKUP), NOW).unwrap();
    verify(issued.cert_der(), first.root_der(), KeyUsage::client_auth(), NOW).unwrap();
    facts(issued.cert_der(), first.root_der());
}

#[test]
fn an_authority_is_not_made_of_a_leaf_or_of_anothers_key() {
    let ours = authority();
    let leaf = ours.issue(&LeafRequest::user("alice"), NOW).unwrap();
    let load = |cert: &str, key: &str| Authority::from_pem(cert, key).map(|_| ());
    assert!(matches!(load(&leaf.cert_pem(), &leaf.key_pem()), Err(Error::NotAnAuthority)));
    assert!(matches!(load(ours.root_pem(), &authority().key_pem()), Err(Error::KeyMismatch)));
    assert!(matches!(load("nonsense", &ours.key_pem()), Err(Error::Pem)));
}

#[test]
fn the_root_is_a_root_that_signs_leaves_and_nothing_below() {
    let authority = authority();
    let (_, root) = X509Certificate::from_der(authority.root_der()).unwrap();
    root.verify_signature(None).unwrap();
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    assert_eq!(root.subject().to_string(), "CN=Test CA");
    assert_eq!(root.public_key().parsed().unwrap().key_size(), 256);
}

#[test]
fn a_limited_root_is_believed_for_its_names_and_loopback_only() {
    let authority = Authority::limited_to("Demo", &["localhost"], NOW, Duration::days(365)).unwrap();
    let check = |request: LeafRequest| {
        let issued = authority.issue(&request, NOW).unwrap();
        verify(issued.cert_der(), authority.root_der(), KeyUsage::server_auth(), NOW)
    };
    check(LeafRequest::server(["wiki.localhost", "localhost"]).address(Ipv4Addr::LOCALHOST)).unwrap();
    let outside = [
        LeafRequest::server(["bank.example"]),
        LeafRequest::server(["localhost", "bank.example"]),
        LeafRequest::server(["localhost"]).address(Ipv4Addr::new(192, 0, 2, 1)),
    ];
    for request in outside {
        assert!(matches!(check(request), Err(webpki::Error::NameConstraintViolation)));
    }
}

#[test]
fn a_request_that_cannot_be_kept_is_refused_with_its_reason() {
    let authority = Authority::new("short", NOW, Duration::days(30)).unwrap();
    let reason = |request: LeafRequest| authority.issue(&request, NOW).map(|_| ()).unwrap_err();
    assert!(matches!(reason(LeafRequest::server(["a.test"])), Error::OutlivesAuthority { .. }));
    assert!(matches!(reason(LeafRequest::user("a").valid_for(Duration::ZERO)), Error::Lifetime));
    assert!(matches!(reason(LeafRequest::server(Vec::<String>::new())), Error::NoServerName));
    for id in ["https://example.test/x", "spiffe://example.test", "spiffe:///x", "spiffe://example.test/"] {
        assert!(matches!(reason(LeafRequest::service(id)), Error::NotSpiffe(_)), "{id}");
    }
    for name in ["", "a b", "a\0.test", "b\u{fc}cher.test"] {
        assert!(matches!(reason(LeafRequest::user("a").dns(name)), Error::Name(_)), "{name:?}");
    }
    assert!(matches!(reason(LeafRequest::user("")), Error::Name(_)));
}

#[test]
fn each_odd_leaf_is_refused_for_its_own_oddity() {
    let authority = authority();
    let service = LeafRequest::service(BACKUP);
    let check = |der: &[u8]| verify(der, authority.root_der(), KeyUsage::client_auth(), NOW);

    let expired = odd::expired(&authority, &service, NOW).unwrap();
    assert!(matches!(check(expired.cert_der()), Err(webpki::Error::CertExpired { .. })));
    let early = odd::not_yet_valid(&authority, &service, NOW).unwrap();
    assert!(matches!(check(early.cert_der()), Err(webpki::Error::CertNotValidYet { .. })));
    let server = odd::server_auth_only(&authority, &service, NOW).unwrap();
    assert!(matches!(check(server.cert_der()), Err(webpki::Error::RequiredEkuNotFoundContext(_))));
    let ca = odd::authority_leaf(&authority, &service, NOW).unwrap();
    assert!(matches!(check(ca.cert_der()), Err(webpki::Error::CaUsedAsEndEntity)));
    let stranger = odd::wrong_authority("Test CA", &service, NOW).unwrap();
    assert!(matches!(check(stranger.cert_der()), Err(webpki::Error::InvalidSignatureForPublicKey)));

    // Valid chains, wrong identities: only a reader of the SANs can refuse them.
    for uris in [&[BACKUP, "spiffe://example.test/other"][..], &[], &["https://example.test/backup"]] {
        let leaf = odd::with_uris(&authority, &service, uris, NOW).unwrap();
        check(leaf.cert_der()).unwrap();
        let said = facts(leaf.cert_der(), authority.root_der());
        let found: BTreeSet<_> = said.iter().filter(|fact| fact.starts_with("URI(")).cloned().collect();
        assert_eq!(found, uris.iter().map(|uri| format!("URI({uri})")).collect());
    }
}

#[test]
fn a_leaf_key_is_its_own_and_comes_as_pem_and_der() {
    let authority = authority();
    let one = authority.issue(&LeafRequest::server(["a.test"]).address(IpAddr::from([10, 0, 0, 1])), NOW).unwrap();
    let two = authority.issue(&LeafRequest::server(["a.test"]), NOW).unwrap();
    assert_ne!(one.key_der(), two.key_der());
    assert_ne!(one.serial, two.serial);
    assert!(one.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(one.cert_pem().as_bytes()).unwrap();
    assert_eq!(pem.contents, one.cert_der());
    let (_, parsed) = X509Certificate::from_der(one.cert_der()).unwrap();
    assert_eq!(torhaus_certs::Serial::from_bytes(parsed.raw_serial()), one.serial);
}
