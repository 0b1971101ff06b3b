//! Policy tests: promises about the table, held against the one evaluator. A fact that a test does not give is unknown.
use crate::condition::Term;
use crate::decision::{Decision, VerdictKind};
use crate::device::Device;
use crate::draft::{Located, Problem};
use crate::explain::{Explanation, explain};
use crate::facts::{Certificate, Country, Fact, Facts, Proof, Seen, Why};
use crate::identity::{Identity, Name, Service, User};
use crate::policy::Policy;
use crate::posture::{Edr, Os, OsFamily, OsVersion, Posture, Report, SourceTrust};
use crate::reason::Reason;
use crate::spiffe::SpiffeId;
use crate::time::Timestamp;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One promise, as the file has it.
#[derive(Clone, Debug)]
pub struct TestDraft {
    pub name: Located<String>,
    pub resource: String,
    pub who: TestSubject,
    pub groups: Option<Vec<String>>,
    pub address: Option<IpAddr>,
    pub listener: Option<String>,
    pub country: Option<Country>,
    pub certificate: Option<TestCertificate>,
    pub device: Option<TestDevice>,
    pub posture: Option<TestPosture>,
    /// Whether the person came from this country and this network before.
    pub seen: Option<(bool, bool)>,
    /// Tiers, and how long ago they were proven.
    pub proven: Vec<(String, Duration)>,
    pub method: Option<String>,
    pub path: Option<String>,
    /// A test that does not say when must come out alike at any time.
    pub now: Option<Timestamp>,
    pub expect: VerdictKind,
    pub reason: Option<Reason>,
    pub tier: Option<String>,
}

#[derive(Clone, Debug)]
pub enum TestSubject {
    Nobody,
    /// `name` as in `user:partner/bob`; whether its provider is federated stands in the configuration.
    User {
        name: String,
        provider: String,
        federated: bool,
    },
    Service(SpiffeId),
}

#[derive(Clone, Debug)]
pub enum TestCertificate {
    /// None was presented, which is more than not knowing.
    Absent,
    /// One of this trust domain.
    Of(String),
}

#[derive(Clone, Debug)]
pub enum TestDevice {
    /// It is in no list, which is more than not knowing.
    InNoList,
    Is {
        /// `Some(None)`: it is nobody's in particular.
        owner: Option<Option<String>>,
        managed: Option<bool>,
        tags: Vec<String>,
    },
}

/// What was reported of the device; what is not given was not reported.
#[derive(Clone, Debug)]
pub struct TestPosture {
    pub disk_encrypted: Option<bool>,
    pub firewall: Option<bool>,
    pub secure_boot: Option<bool>,
    pub compliant: Option<bool>,
    pub edr: Option<Edr>,
    /// How long ago it was patched.
    pub patched: Option<Duration>,
    pub os: Option<OsFamily>,
    pub os_version: Option<OsVersion>,
    /// How long ago all of it was reported.
    pub reported: Duration,
    pub source: SourceTrust,
}

/// What came of all tests, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Suite {
    pub file: Name,
    pub policy: Name,
    pub tests: Vec<TestResult>,
    /// Rows that no test asks for.
    pub untouched: Vec<UntouchedRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UntouchedRow {
    pub resource: Name,
    pub line: u32,
    /// The file of the line, where it is not the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// In the count through all files.
    #[serde(skip)]
    at: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TestResult {
    pub name: String,
    pub line: u32,
    /// The file that the test stands in.
    pub file: Name,
    /// In the count through all files.
    #[serde(skip)]
    at: u32,
    pub passed: bool,
    /// Empty for a test that holds.
    pub differences: Vec<Difference>,
    /// Why the answer would be another one some day, for a test that does not say when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depends_on_time: Option<String>,
    pub explanation: Explanation,
}

/// `reason`: expected `zone_denied`, found `not_allowed`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    pub of: &'static str,
    pub expected: String,
    pub found: String,
}

/// A certificate of a test outlives it.
const DAY: Duration = Duration::from_secs(86_400);

impl Policy {
    /// `now` is the moment of the tests that do not say when they are.
    pub fn run_tests(&self, tests: &[TestDraft], now: Timestamp) -> Suite {
        let rows = self.rows().iter().filter(|row| !tests.iter().any(|test| *test.resource == *row.resource));
        Suite {
            file: self.file().clone(),
            policy: self.version().clone(),
            tests: tests.iter().map(|test| self.run_test(test, now)).collect(),
            untouched: rows
                .map(|row| UntouchedRow {
                    resource: row.resource.clone(),
                    line: self.place(row.line).line,
                    file: self.other_file(row.line),
                    at: row.line,
                })
                .collect(),
        }
    }

    fn run_test(&self, test: &TestDraft, now: Timestamp) -> TestResult {
        let facts = test.facts(test.now.unwrap_or(now));
        let decision = self.decide(&facts);
        let differences = test.differences(&decision);
        let depends_on_time =
            if test.now.is_some() { None } else { self.time_dependence(test, &outcome(&decision), now) };
        let place = self.place(test.name.line);
        TestResult {
            name: test.name.value.clone(),
            line: place.line,
            file: place.file,
            at: test.name.line,
            passed: differences.is_empty() && depends_on_time.is_none(),
            differences,
            depends_on_time,
            explanation: explain(self, &facts, &decision),
        }
    }

    /// A policy must not stop loading some morning because an exception has ended since.
    fn time_dependence(&self, test: &TestDraft, today: &Outcome, now: Timestamp) -> Option<String> {
        let row = self.row(&test.resource)?;
        if row.terms().any(Term::asks_time) {
            return Some(format!("a condition of `{}` asks what time it is", row.resource));
        }
        let ends = row.exceptions.iter().filter(|exception| exception.is_live(now));
        let mut changed = ends.filter(|exception| {
            let then = self.decide(&test.facts(exception.expires));
            outcome(&then) != *today
        });
        let exception = changed.next()?;
        Some(format!("the answer changes when exception `{}` ends at {}", exception.id, exception.expires))
    }
}

impl TestDraft {
    fn facts(&self, now: Timestamp) -> Facts<'_> {
        let not_given = Why::NotGiven;
        let provider: Name = match &self.who {
            TestSubject::User { provider, .. } => provider.as_str().into(),
            TestSubject::Nobody | TestSubject::Service(_) => "test".into(),
        };
        let certificate = match &self.certificate {
            None => Fact::Unknown(not_given),
            Some(TestCertificate::Absent) => Fact::Known(None),
            Some(TestCertificate::Of(domain)) => Fact::Known(Some(Arc::new(Certificate {
                trust_domain: domain.as_str().into(),
                sha256: "".into(),
                serial: "".into(),
                not_after: now.plus(DAY),
                user: None,
            }))),
        };
        let known_groups = self.groups.as_ref().map(|groups| groups.iter().map(String::as_str).collect());
        let groups = match (&self.who, known_groups) {
            (_, Some(groups)) => Fact::Known(Arc::new(groups)),
            // As at the gate: a service is in no groups, and that is known.
            (TestSubject::Service(_), None) => Fact::Known(Arc::default()),
            (_, None) => Fact::Unknown(not_given),
        };
        let proof = |(tier, age): &(String, Duration)| Proof {
            tier: tier.as_str().into(),
            proven_at: now.minus(*age),
            provider: provider.clone(),
        };
        Facts {
            method: self.method.as_deref().unwrap_or_default(),
            path: self.path.as_deref().unwrap_or_default(),
            listener: self.listener.as_deref().unwrap_or_default(),
            address: self.address.map_or(Fact::Unknown(not_given), Fact::Known),
            identity: self.identity(&provider),
            groups,
            proofs: self.proven.iter().map(proof).collect(),
            certificate,
            country: self.country.map_or(Fact::Unknown(not_given), Fact::Known),
            device: self.device.as_ref().map_or(Fact::Unknown(not_given), |device| Fact::Known(device.fact())),
            posture: match &self.posture {
                Some(posture) => Fact::Known(Arc::new(posture.at(now))),
                None => Fact::Unknown(not_given),
            },
            seen: match self.seen {
                Some((country, network)) => Seen { country: Fact::Known(country), network: Fact::Known(network) },
                None => Seen::unknown(not_given),
            },
            ..Facts::unknown(now, &self.resource)
        }
    }

    fn identity(&self, provider: &Name) -> Identity {
        match &self.who {
            TestSubject::Nobody => Identity::Anonymous,
            TestSubject::User { name, federated, .. } => Identity::User(Arc::new(User {
                name: name.as_str().into(),
                provider: provider.clone(),
                issuer: "test".into(),
                subject: name.as_str().into(),
                federated: *federated,
            })),
            TestSubject::Service(id) => {
                let trust_domain = match &self.certificate {
                    Some(TestCertificate::Of(domain)) => domain.as_str().into(),
                    _ => "test".into(),
                };
                Identity::Service(Arc::new(Service { id: id.clone(), trust_domain }))
            }
        }
    }

    /// A right answer for a wrong reason is a wrong answer.
    fn differences(&self, decision: &Decision) -> Vec<Difference> {
        let found = outcome(decision);
        let mut all = Vec::new();
        let mut compare = |of: &'static str, expected: Option<&str>, found: &str| {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                all.push(Difference { of, expected: expected.to_owned(), found: found.to_owned() });
            }
        };
        compare("verdict", Some(self.expect.as_str()), found.0.as_str());
        compare("reason", self.reason.map(Reason::as_str), found.1.as_str());
        compare("tier", self.tier.as_deref(), found.2.as_deref().unwrap_or("none"));
        all
    }
}

impl TestDevice {
    fn fact(&self) -> Option<Arc<Device>> {
        let Self::Is { owner, managed, tags } = self else { return None };
        let mut tags: Vec<Name> = tags.iter().map(|tag| tag.as_str().into()).collect();
        tags.sort_unstable();
        Some(Arc::new(Device {
            owner: match owner {
                Some(owner) => Fact::Known(owner.as_deref().map(Name::from)),
                None => Fact::Unknown(Why::NotGiven),
            },
            managed: managed.map_or(Fact::Unknown(Why::NotGiven), Fact::Known),
            tags: tags.into(),
            ..Device::new("test".into(), "test".into())
        }))
    }
}

impl TestPosture {
    /// Nothing was reported, just now.
    pub fn unreported() -> Self {
        Self {
            disk_encrypted: None,
            firewall: None,
            secure_boot: None,
            compliant: None,
            edr: None,
            patched: None,
            os: None,
            os_version: None,
            reported: Duration::ZERO,
            source: SourceTrust::SelfReported,
        }
    }

    /// As it is a fact at that moment.
    pub fn at(&self, now: Timestamp) -> Posture {
        Posture {
            disk_encrypted: self.report(self.disk_encrypted, now),
            firewall: self.report(self.firewall, now),
            secure_boot: self.report(self.secure_boot, now),
            compliant: self.report(self.compliant, now),
            edr: self.report(self.edr, now),
            patched: self.report(self.patched.map(|ago| now.minus(ago)), now),
            os: self.report(self.os.map(|family| Os { family, version: self.os_version.clone() }), now),
        }
    }

    fn report<T>(&self, value: Option<T>, now: Timestamp) -> Option<Report<T>> {
        let (source, trust, at) = ("test".into(), self.source, now.minus(self.reported));
        Some(Report { value: value?, source, trust, at })
    }
}

/// What of a decision a promise can be about.
type Outcome = (VerdictKind, Reason, Option<Name>);

fn outcome(decision: &Decision) -> Outcome {
    (decision.verdict.kind(), decision.reason, decision.tier.clone())
}

impl Suite {
    pub fn passed(&self) -> bool {
        self.tests.iter().all(|test| test.passed)
    }

    /// Every test that does not hold.
    pub fn problems(&self) -> Vec<Problem> {
        self.tests.iter().filter_map(TestResult::problem).collect()
    }

    /// What no test would notice. Nothing for a policy without tests: it has not begun to promise.
    pub fn warnings(&self) -> Vec<Problem> {
        let rows = self.untouched.iter().filter(|_| !self.tests.is_empty());
        rows.map(|row| Problem {
            line: row.at,
            message: format!("no test asks for `{}`: a mistake in its row would go unnoticed", row.resource),
            hint: Some("add one to `tests`".to_owned()),
        })
        .collect()
    }
}

impl TestResult {
    /// Nothing for a test that holds.
    pub fn problem(&self) -> Option<Problem> {
        if self.passed {
            return None;
        }
        let differs = |d: &Difference| format!("{} is `{}`, not `{}`", d.of, d.found, d.expected);
        let differences: Vec<String> = self.differences.iter().map(differs).collect();
        let (what, hint) = match (&self.depends_on_time, differences.is_empty()) {
            (Some(why), true) => (why.clone(), "say when it is: `now: 2027-01-31T10:00:00Z`".to_owned()),
            _ => {
                (differences.join(", "), format!("{}; `torhaus policy test` shows each step", self.explanation.summary))
            }
        };
        Some(Problem { line: self.at, message: format!("test `{}` fails: {what}", self.name), hint: Some(hint) })
    }
}

/// One line for a test that holds; the difference and every step for one that does not.
impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed {
            return write!(f, "ok    {}", self.name);
        }
        write!(f, "FAIL  {} ({}:{})", self.name, self.file, self.line)?;
        for Difference { of, expected, found } in &self.differences {
            write!(f, "\n      {of:<8} expected {expected}, found {found}")?;
        }
        if let Some(why) = &self.depends_on_time {
            write!(f, "\n      {why}: say when it is, with `now`")?;
        }
        for line in self.explanation.to_string().lines() {
            write!(f, "\n      | {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            writeln!(f, "{test}")?;
        }
        let failed = self.tests.iter().filter(|test| !test.passed).count();
        match (self.tests.len(), failed) {
            (0, _) => writeln!(f, "{}: no tests", self.file)?,
            (all, 0) => writeln!(f, "{}: {all} passed", self.file)?,
            (all, failed) => writeln!(f, "{}: {failed} of {all} failed", self.file)?,
        }
        if !self.untouched.is_empty() {
            let names: Vec<&Name> = self.untouched.iter().map(|row| &row.resource).collect();
            writeln!(f, "rows that no test asks for: {}", crate::problems::listed(&names))?;
        }
        Ok(())
    }
}
