//! Which of several replicas writes: whoever holds the lease. All of them serve. The times are those of Kubernetes' own
//! components; whether a lease has ended is judged by our clock and what we saw, not by the clocks of others.
use crate::clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lease that is not renewed for so long is free.
pub const DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops writing: before another one may begin.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often we look.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// One question to the API.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct Election {
    api: Api<Lease>,
    name: String,
    /// Ours, of nobody else.
    identity: Arc<str>,
    /// The lease as it was seen first, and when.
    observed: Option<(Option<LeaseSpec>, Instant)>,
    renewed: Option<Instant>,
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is ours, or free.
    Take,
    /// Somebody else has it.
    Wait,
}

fn step(spec: &LeaseSpec, identity: &str, unchanged_for: Duration) -> Step {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let life = seconds.map_or(DURATION, Duration::from_secs);
    if holder.is_empty() || holder == identity || unchanged_for >= life { Step::Take } else { Step::Wait }
}

impl Election {
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity: identity.into(), observed: None, renewed: None }
    }

    /// Looks at the lease, takes it if it is free, renews it if it is ours.
    ///
    /// # Errors
    /// The API did not answer, or does not let us; nobody knows then whether somebody else writes.
    pub async fn look(&mut self) -> Result<bool, String> {
        let looked = match tokio::time::timeout(PATIENCE, self.round()).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server does not answer in time".to_owned()),
        };
        match &looked {
            Ok(true) => self.renewed = Some(Instant::now()),
            Ok(false) => self.renewed = None,
            Err(_) => {}
        }
        looked
    }

    /// Whether we may write now.
    pub fn holds(&self) -> bool {
        self.renewed.is_some_and(|at| at.elapsed() < RENEW_WITHIN)
    }

    async fn round(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let mut lease = Lease { spec: Some(self.ours(None)), ..Lease::default() };
            lease.metadata.name = Some(self.name.clone());
            return taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let seen = Some(spec.clone());
        let since = match &self.observed {
            Some((known, since)) if *known == seen => *since,
            _ => {
                let now = Instant::now();
                self.observed = Some((seen, now));
                now
            }
        };
        match step(&spec, &self.identity, since.elapsed()) {
            Step::Wait => Ok(false),
            Step::Take => {
                lease.spec = Some(self.ours(Some(&spec)));
                // With the version that we saw: of two that take it at once, one is told no.
                taken(self.api.replace(&lease.name_any(), &PostParams::default(), &lease).await)
            }
        }
    }

    fn ours(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = jiff::Timestamp::from_millisecond(clock::now().millis()).ok().map(MicroTime);
        let renewing = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&*self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.to_string()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if renewing { before.and_then(|spec| spec.acquire_time.clone()) } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if renewing { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that the next one need not wait.
    pub async fn release(&mut self) {
        if !self.holds() {
            return;
        }
        self.renewed = None;
        let given = tokio::time::timeout(PATIENCE, async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(&*self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        });
        match given.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back; it ends by itself"),
            Err(_) => tracing::warn!("the lease could not be given back in time; it ends by itself"),
        }
    }
}

/// A conflict is an answer: somebody else was first.
fn taken(done: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match done {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_was_not_renewed_for_its_whole_life() {
        let of = |holder: Option<&str>, seconds| LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        let seconds = Duration::from_secs;
        for (spec, unchanged, expected) in [
            (of(None, 15), seconds(0), Step::Take),
            (of(Some(""), 15), seconds(0), Step::Take),
            (of(Some("me"), 15), seconds(0), Step::Take),
            (of(Some("you"), 15), seconds(14), Step::Wait),
            (of(Some("you"), 15), seconds(15), Step::Take),
            (of(Some("you"), 60), seconds(15), Step::Wait),
        ] {
            assert_eq!(step(&spec, "me", unchanged), expected, "{spec:?} after {unchanged:?}");
        }
    }
}
