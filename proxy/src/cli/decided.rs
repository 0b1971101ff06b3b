//! `torhaus policy explain --decision`: a decision of the log, explained by the policy that made it, with the facts that
//! it was made from.
use super::out::Out;
use super::{Answer, Failure, Output};
use crate::audit::decisions::entries;
use crate::clock;
use crate::policies::{self, KeptPolicies};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use torhaus_authz::{Entry, Explanation, Groups, Policy, Reason, VerdictKind};
use torhaus_config::{Config, load_with_policy};

#[derive(Serialize)]
struct Explained<'a> {
    decision: &'a str,
    time: String,
    verdict: Option<VerdictKind>,
    reason: Option<Reason>,
    policy: Option<&'a str>,
    /// Whether the explanation is of the policy that decided.
    by_the_policy_of_then: bool,
    explanation: Option<&'a Explanation>,
}

pub fn explain(file: &Path, id: &str, output: Output, out: &mut Out) -> Result<Answer, Failure> {
    let now = clock::now();
    let config = policies::load(file, now).map_err(|errors| Failure::Failed(errors.to_string()))?.config;
    let (entry, groups) = find(&config, id)?;
    let (policy, then) = match policy_of(&entry, &config, file) {
        Some(policy) => (policy, true),
        None => (config.policy.clone(), false),
    };
    let facts = entry.facts(groups.as_ref());
    let explanation = facts.map(|facts| torhaus_authz::explain(&policy, &facts, &policy.decide(&facts)));
    let allowed = entry.verdict == Some(VerdictKind::Allow);
    if output == Output::Json {
        out.json(&Explained {
            decision: id,
            time: entry.time.to_string(),
            verdict: entry.verdict,
            reason: entry.reason,
            policy: entry.policy.as_deref(),
            by_the_policy_of_then: then,
            explanation: explanation.as_ref(),
        })?;
        return Ok(allowed.into());
    }
    let verdict = entry.verdict.map_or_else(|| "no verdict".to_owned(), |verdict| verdict.to_string());
    let reason = entry.reason.map_or("no reason", Reason::as_str);
    out.line(format!("decision {id} at {}: {verdict} ({reason})", entry.time))?;
    if let Some(other) = &entry.compared {
        out.line(format!(
            "the other policy ({}) said {} ({})",
            short(&other.policy),
            other.verdict,
            other.reason.as_str()
        ))?;
    }
    let Some(explanation) = explanation else {
        out.line("it was made before the policy was asked; there are no steps to show")?;
        return Ok(allowed.into());
    };
    if !then {
        let version = entry.policy.as_deref().map_or("unknown", short);
        out.line(format!("policy {version} decided, and is not kept any more; this is what the running one says:"))?;
    }
    if Some(explanation.verdict) != entry.verdict {
        out.line("with the same facts the answer is another one:")?;
    }
    out.line(&explanation)?;
    Ok(allowed.into())
}

fn find(config: &Config, id: &str) -> Result<(Entry, Option<Arc<Groups>>), Failure> {
    let mut found = None;
    let read = entries(&config.state_dir.join("audit"), |entry, groups, _| {
        if entry.decision.as_deref() != Some(id) {
            return ControlFlow::Continue(());
        }
        found = Some((entry.clone(), groups.cloned()));
        ControlFlow::Break(())
    });
    read.map_err(|e| Failure::Failed(e.to_string()))?;
    found.ok_or_else(|| {
        Failure::Failed(format!("there is no decision `{id}` in the log; a refusal page shows its number"))
    })
}

/// The policy that decided: the running one, the candidate, or one that ran before and is kept.
fn policy_of(entry: &Entry, config: &Config, file: &Path) -> Option<Arc<Policy>> {
    let version = entry.policy.as_ref()?;
    let candidate = config.candidate.as_ref().map(|candidate| &candidate.policy);
    let here = [Some(&config.policy), candidate].into_iter().flatten().find(|policy| policy.version() == version);
    if let Some(policy) = here {
        return Some(policy.clone());
    }
    let base = KeptPolicies::in_state(&config.state_dir).base_of(version).ok()?;
    // At the time of the decision: an exception may have ended since, and its tests may say so.
    let kept = load_with_policy(file, &base, entry.time).ok()?.policy;
    (kept.version() == version).then_some(kept)
}

fn short(version: &str) -> &str {
    version.get(..12).unwrap_or(version)
}
