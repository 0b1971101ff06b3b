//! The policy's own tests: read here, and run against the policy. A policy whose tests fail does not load.
use super::Cx;
use super::listeners::once;
use super::settings::country;
use crate::at::{At, List};
use crate::file::policy::Test;
use crate::units::{self, Mistake};
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use std::collections::HashMap;
use std::net::IpAddr;
use torhaus_authz::{Policy, Reason};

/// `policy` is missing when it has mistakes itself; then the tests are only read.
pub(crate) fn check(tests: &List<Test>, policy: Option<&Policy>, cx: &mut Cx<'_>) {
    if let Some(policy) = policy {
        run(tests, policy, cx);
    }
    let mut names = HashMap::new();
    for (_, test) in tests.iter() {
        once(&test.name, "test", &mut names, cx);
        read(test, cx);
        if let (Some(user), Some(_)) = (&test.user, &test.service) {
            cx.error(&user.place, "a test has a `user` or a `service`, not both", "make two tests of it");
        }
        if let (Some(policy), Some(resource)) = (policy, test.resource.text()) {
            // A test of a resource without a row is one of `no_rule`.
            let expects_no_rule = test.reason.as_ref().and_then(At::text) == Some("no_rule");
            if policy.row(resource).is_none() && !expects_no_rule {
                let known = policy.rows().iter().map(|row| &*row.resource);
                let hint = crate::suggest::hint(resource, known);
                cx.mistake(&test.resource.place, Mistake { message: format!("unknown resource `{resource}`"), hint });
            }
        }
    }
}

/// Here the tests will be run, once `torhaus_authz` has its suite; until then nobody may think that they were.
fn run(tests: &List<Test>, _policy: &Policy, cx: &mut Cx<'_>) {
    if let Some(place) = tests.place.as_ref().filter(|_| !tests.items.is_empty()) {
        cx.warning(place, "policy tests are read, but not run yet", "until then ask `torhaus policy explain`");
    }
}

fn read(test: &Test, cx: &mut Cx<'_>) {
    if let Some(at) = &test.ip {
        cx.parse(at, |text| {
            text.parse::<IpAddr>()
                .map_err(|_| Mistake::new(format!("`{text}` is not an address")).hint("write it as `203.0.113.5`"))
        });
    }
    if let Some(at) = &test.country {
        cx.parse(at, country);
    }
    if let Some(at) = &test.now {
        cx.parse(at, units::timestamp);
    }
    if let Some(at) = &test.reason {
        cx.parse(at, reason);
    }
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
