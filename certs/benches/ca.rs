//! How long the verifier's look at a million revoked serial numbers takes (budget: under 1 µs), how long a certificate
//! takes from request to lint, and how long a client's whole way takes, from order to chain: four requests, with the
//! client's own signatures, on one core. `openssl speed ecdsap256` runs beside, so that a machine is compared with
//! itself. Prints the memory of the set and of a ledger per 100,000 entries.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that cannot go on says where"
)]
// The server and client of the tests, with the authority of the tests, which signs and lints nothing.
#[path = "../tests/acme/harness.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod harness;
#[path = "../tests/acme/issuer.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod issuer;

use criterion::{Criterion, criterion_group, criterion_main};
use harness::{World, config, laptop, laptop_name};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use torhaus_certs::{
    AuthorityRequest, Csr, Enrolment, IssuedRecord, IssuingCa, KeyAlgorithm, Ledger as _, MemoryLedger, Profile,
    Purpose, RevokedSet, Serial, SerialKey, SigningRequest, new_root,
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
    say(&format!("revoked serials: {} KB per 100,000 entries", bytes / 1000));
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

fn ledger(_: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = resident();
    let ledger = MemoryLedger::default();
    let now = OffsetDateTime::now_utc();
    // It looks through all it has for each new one, so a tenth of them stands for the whole.
    for _ in 0..10_000 {
        let record = IssuedRecord {
            serial: Serial::random().unwrap(),
            issuer: "0123456789abcdef".into(),
            profile: "device".into(),
            common_name: "laptop.alice.devices.example.test".into(),
            names: vec!["user:alice".into(), "dns:laptop.alice.devices.example.test".into()],
            owner: "alice".into(),
            requested_by: "ACME account 0123456789abcdef0123456789abcdef".into(),
            why: "enrolment".into(),
            sha256: "0".repeat(64),
            issued_at: now,
            not_before: now,
            not_after: now + Duration::days(1),
            der: vec![0x30; 700],
        };
        runtime.block_on(ledger.record_issued(&record)).unwrap();
    }
    let kept = resident().saturating_sub(before) * 10;
    say(&format!(
        "a ledger in memory: {} KB per 100,000 entries of 700 bytes of DER (SQLite keeps it on disk)",
        kept / 1000
    ));
}

fn flow(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut config = config();
    let endless = torhaus_certs::acme::Rate { count: u32::MAX, window: Duration::hours(1) };
    config.rates.new_orders = endless;
    config.rates.finalizes = endless;
    let world = World::with(config, torhaus_certs::acme::Nonces::alone().unwrap(), Arc::default());
    let client = runtime.block_on(world.client(laptop("alice")));
    let name = laptop_name("alice");
    c.bench_function("ACME, from order to chain", |b| b.iter(|| runtime.block_on(client.certificate(&world, &name))));
}

fn beside(_: &mut Criterion) {
    let out = Command::new("openssl").args(["speed", "-seconds", "3", "ecdsap256"]).output();
    let said = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    say(said.lines().last().unwrap_or("openssl is not there"));
}

#[expect(clippy::print_stdout, reason = "a figure of the run, beside criterion's")]
fn say(line: &str) {
    println!("{line}");
}

// The ledger first: what others have freed would hide what it keeps.
criterion_group!(benches, ledger, revocation, signing, flow, beside);
criterion_main!(benches);
