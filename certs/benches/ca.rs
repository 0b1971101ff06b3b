//! Two figures: how long the verifier's look at a million revoked serial numbers takes (budget: under 1 µs), and how
//! long a certificate takes from request to lint. Prints the memory of the set and of a ledger per 100,000 entries.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where")]
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{
    AuthorityRequest, Csr, Enrolment, IssuingCa, KeyAlgorithm, Profile, Purpose, RevokedSet, Serial, SerialKey,
    SigningRequest, new_root,
};

const ENTRIES: usize = 1_000_000;

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn revocation(c: &mut Criterion) {
    let serials: Vec<Serial> = (0..ENTRIES).map(|_| Serial::random().unwrap()).collect();
    let before = resident();
    let set = RevokedSet::default();
    set.extend(&serials);
    let bytes = resident().saturating_sub(before) / (ENTRIES / 100_000);
    #[expect(clippy::print_stdout, reason = "a figure of the run, beside criterion's")]
    {
        println!("revoked serials: {} KB per 100,000 entries", bytes / 1000);
    }
    let known: Vec<SerialKey> = serials.iter().step_by(97).map(|s| SerialKey::of(s.as_bytes()).unwrap()).collect();
    let mut next = known.iter().cycle();
    c.bench_function("revoked, among a million", |b| b.iter(|| set.contains(black_box(next.next().unwrap()))));
    let other: Vec<SerialKey> =
        (0..10_000).map(|_| SerialKey::of(Serial::random().unwrap().as_bytes()).unwrap()).collect();
    let mut next = other.iter().cycle();
    c.bench_function("not revoked, among a million", |b| b.iter(|| set.contains(black_box(next.next().unwrap()))));
}

fn signing(c: &mut Criterion) {
    let now = OffsetDateTime::now_utc();
    let request =
        |name| AuthorityRequest { name, key: KeyAlgorithm::EcdsaP256, permitted_dns: &[], life: Duration::days(90) };
    let root = new_root(&request("Root"), now).unwrap();
    let ca = IssuingCa::new(&root, &request("Issuing"), now).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let der = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    let profile = Profile::standard(Purpose::Service);
    let spiffe = Some("spiffe://example.test/backup".to_owned());
    let enrolment = Enrolment { common_name: "backup".into(), spiffe, ..Enrolment::default() };
    c.bench_function("request to linted certificate", |b| {
        b.iter(|| {
            let csr = Csr::parse(black_box(&der)).unwrap();
            let signing =
                SigningRequest { profile: &profile, enrolment: &enrolment, csr: &csr, crl_url: None, life: None };
            ca.sign(&signing, now).unwrap()
        });
    });
}

criterion_group!(benches, revocation, signing);
criterion_main!(benches);
