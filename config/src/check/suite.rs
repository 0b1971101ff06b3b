//! The policy's own tests: read here, and run against the policy. A policy whose tests fail does not load.
use super::listeners::once;
use super::policy::place_of;
use super::settings::country;
use super::{Cx, Tests, device};
use crate::at::{At, Keyed, List};
use crate::file;
use crate::file::policy::{Expect, Proven, Test};
use crate::units::{self, Mistake};
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use torhaus_authz::{
    Located, Policy, Problem, Reason, SpiffeId, TestCertificate, TestDraft, TestSubject, Timestamp, VerdictKind,
};

/// What a test says of a certificate when none was presented.
pub(crate) const NO_CERTIFICATE: &str = "none";

/// `policy` is missing when it has mistakes itself; then the tests are only read.
pub(crate) fn check(typed: &file::policy::Policy, policy: Option<&Policy>, tree: &file::Torhaus, cx: &mut Cx<'_>) {
    let tests = &typed.tests;
    let before = cx.findings.errors.len();
    // For each file of the policy: two projects need not know each other's tests.
    let mut names: HashMap<u32, HashMap<&str, u32>> = HashMap::new();
    let mut drafts = Vec::new();
    for (_, test) in tests.iter() {
        let before =
            cx.projects.iter().rfind(|(_, before)| *before < test.name.line()).map_or(0, |(_, before)| *before);
        once(&test.name, "test", names.entry(before).or_default(), cx);
        if let Some(policy) = policy {
            refers(test, policy, cx);
        }
        drafts.extend(draft(test, tree, cx).map(|draft| (test, draft)));
    }
    // A test that could not be read would come out anyhow.
    if let Some(policy) = policy.filter(|_| cx.findings.errors.len() == before && tests.whole) {
        run(&drafts, policy, typed, cx);
    }
}

fn run(drafts: &[(&Test, TestDraft)], policy: &Policy, typed: &file::policy::Policy, cx: &mut Cx<'_>) {
    let (tests, drafts): (Vec<&Test>, Vec<TestDraft>) = drafts.iter().cloned().unzip();
    let suite = policy.run_tests(&drafts, cx.now);
    if cx.tests == Tests::MustPass {
        for (test, result) in tests.iter().zip(&suite.tests) {
            if let Some(Problem { message, hint, .. }) = result.problem() {
                cx.mistake(&test.name.place, Mistake { message, hint });
            }
        }
    }
    for Problem { line, message, hint } in suite.warnings() {
        let place = place_of(typed, line);
        cx.findings.warning(&place, Mistake { message, hint });
    }
    cx.suite = Some(suite);
}

/// Names that the policy must know.
fn refers(test: &Test, policy: &Policy, cx: &mut Cx<'_>) {
    // A test of a resource without a row is one of `no_rule`.
    let expects_no_rule = test.reason.as_ref().and_then(At::text) == Some("no_rule");
    if !expects_no_rule {
        let known: Vec<&str> = policy.rows().iter().map(|row| &*row.resource).collect();
        refer("resource", &test.resource, &known, cx);
    }
    let tiers: Vec<&str> = policy.tiers().map(|tier| &*tier.name).collect();
    if let Some(at) = &test.tier {
        refer("tier", at, &tiers, cx);
    }
    match test.proven.as_ref().and_then(At::get) {
        Some(Proven::JustNow(at)) => refer("tier", at, &tiers, cx),
        Some(Proven::Ago(ages)) => ages.entries.iter().for_each(|(name, _)| refer("tier", name, &tiers, cx)),
        None => {}
    }
}

fn refer(what: &str, at: &At<String>, known: &[&str], cx: &mut Cx<'_>) {
    if let Some(name) = at.text().filter(|name| !known.contains(name)) {
        let hint = crate::suggest::hint(name, known.iter().copied());
        cx.mistake(&at.place, Mistake { message: format!("unknown {what} `{name}`"), hint });
    }
}

/// `None` when something of it could not be read, which is reported.
fn draft(test: &Test, tree: &file::Torhaus, cx: &mut Cx<'_>) -> Option<TestDraft> {
    if let (Some(user), Some(_)) = (&test.user, &test.service) {
        cx.error(&user.place, "a test has a `user` or a `service`, not both", "make two tests of it");
    }
    let address = test.ip.as_ref().map(|at| cx.parse(at, address));
    let country = test.country.as_ref().map(|at| cx.parse(at, country));
    let now: Option<Option<Timestamp>> = test.now.as_ref().map(|at| cx.parse(at, units::timestamp));
    let reason = test.reason.as_ref().map(|at| cx.parse(at, reason));
    let path = test.path.as_ref().map(|at| cx.parse(at, path));
    let device = test.device.as_ref().map(|at| at.get().and_then(|typed| device::tested_device(typed, cx)));
    let posture = test.posture.as_ref().map(|at| at.get().and_then(|typed| device::tested_posture(typed, cx)));
    let seen = test.new_place.as_ref().map(|at| cx.parse(at, device::tested_place));
    let who = subject(test, tree, cx);
    let proven = test.proven.as_ref().map_or_else(|| Some(Vec::new()), |at| proven(at.get()?, cx));
    let text = |at: &Option<At<String>>| at.as_ref().and_then(At::text).map(str::to_owned);
    let certificate = text(&test.client_certificate).map(|domain| match domain.as_str() {
        NO_CERTIFICATE => TestCertificate::Absent,
        _ => TestCertificate::Of(domain),
    });
    let groups = test.groups.as_ref().and_then(At::get);
    Some(TestDraft {
        name: Located { value: test.name.text()?.to_owned(), line: test.name.line() },
        resource: test.resource.text()?.to_owned(),
        who: who?,
        groups: groups.map(|list| list.iter().filter_map(At::text).map(str::to_owned).collect()),
        address: flat(address)?,
        listener: text(&test.listener),
        country: flat(country)?,
        certificate,
        device: flat(device)?,
        posture: flat(posture)?,
        seen: flat(seen)?,
        proven: proven?,
        method: text(&test.method),
        path: flat(path)?,
        now: flat(now)?,
        expect: match test.expect.get()? {
            Expect::Allow => VerdictKind::Allow,
            Expect::Login => VerdictKind::Login,
            Expect::StepUp => VerdictKind::StepUp,
            Expect::Deny => VerdictKind::Deny,
        },
        reason: flat(reason)?,
        tier: text(&test.tier),
    })
}

/// Not given is fine; given and wrong is not.
fn flat<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}

fn subject(test: &Test, tree: &file::Torhaus, cx: &mut Cx<'_>) -> Option<TestSubject> {
    if let Some(at) = &test.service {
        let id = cx.parse(at, |text| {
            SpiffeId::parse(text).map_err(|why| {
                Mistake::new(format!("`{text}` is not a SPIFFE ID: {why}")).hint("write `spiffe://trust-domain/path`")
            })
        });
        return id.map(TestSubject::Service);
    }
    let Some(at) = &test.user else {
        return Some(TestSubject::Nobody);
    };
    let name = at.text()?;
    // `partner/bob` belongs to `partner`, a bare name to the first provider.
    let providers = tree.identity.get().map(|identity| &identity.providers);
    let mut providers = providers.into_iter().flat_map(List::iter).map(|(_, provider)| provider);
    let first = providers.next();
    let prefix = name.split_once('/').map(|(prefix, _)| prefix);
    let named = providers.find(|provider| provider.name.text() == prefix && prefix.is_some());
    let provider = named.or(first);
    Some(TestSubject::User {
        name: name.to_owned(),
        provider: provider.and_then(|provider| provider.name.text()).unwrap_or_default().to_owned(),
        federated: provider.and_then(|provider| provider.federated.as_ref()).and_then(At::get) == Some(&true),
    })
}

fn proven(typed: &Proven, cx: &mut Cx<'_>) -> Option<Vec<(String, Duration)>> {
    match typed {
        Proven::JustNow(tier) => Some(vec![(tier.text()?.to_owned(), Duration::ZERO)]),
        Proven::Ago(ages) => ages_of(ages, cx),
    }
}

fn ages_of(ages: &Keyed<String>, cx: &mut Cx<'_>) -> Option<Vec<(String, Duration)>> {
    let found: Vec<_> =
        ages.iter().map(|(tier, _, age)| Some((tier.to_owned(), cx.parse(age, units::duration)?))).collect();
    found.into_iter().collect::<Option<_>>().filter(|_| ages.whole)
}

fn address(text: &str) -> Result<IpAddr, Mistake> {
    text.parse::<IpAddr>()
        .map_err(|_| Mistake::new(format!("`{text}` is not an address")).hint("write it as `203.0.113.5`"))
}

fn path(text: &str) -> Result<String, Mistake> {
    if !text.starts_with('/') {
        return Err(Mistake::new(format!("`{text}` is not a path")).hint(format!("begin with a slash: `/{text}`")));
    }
    // The gate would have made another one of it, and a test must not pass for a path that never arrives.
    let odd = |segment: &str| matches!(segment, "." | "..");
    if text.contains(['?', '#', '%']) || text.contains("//") || text.split('/').any(odd) {
        return Err(Mistake::new(format!("`{text}` is not a path as the policy sees it"))
            .hint("write it without a query, `%`, `//`, `/./` and `/../`: the gate resolves these first"));
    }
    Ok(text.to_owned())
}

fn reason(text: &str) -> Result<Reason, Mistake> {
    Reason::deserialize(StrDeserializer::<Error>::new(text))
        .map_err(|_| Mistake { message: format!("unknown reason `{text}`"), hint: crate::suggest::hint(text, DECIDED) })
}

/// The reasons that a policy answers; the others are the gate's own.
const DECIDED: [&str; 10] = [
    "allowed",
    "login_needed",
    "step_up_needed",
    "no_rule",
    "zone_denied",
    "not_allowed",
    "groups_unknown",
    "condition_denied",
    "requirement_missing",
    "service_tier_missing",
];
