//! What has to happen when a policy comes to run: it is kept, counted and said. And how a rollback begins and ends.
use crate::gate::Gate;
use crate::policies::{KeptError, KeptPolicies, Pinned};
use crate::reload::ReloadError;
use crate::snapshot::Snapshot;
use std::future::Future;
use torhaus_authz::{Entry, Kind, Timestamp};

#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("{0}")]
    Reload(#[from] ReloadError),
}

impl Gate {
    /// A snapshot was swapped in, or the process starts with it.
    pub fn now_running(&self, snapshot: &Snapshot) {
        let (config, policy) = (&snapshot.config, &snapshot.policy);
        self.metrics.policy.now_running(policy, &snapshot.hash, config.candidate.as_ref(), snapshot.pinned.is_some());
        self.audit.now_running(policy.version());
        if let Some(traces) = &snapshot.traces {
            traces.start(&self.metrics);
        }
        for warning in &config.warnings {
            let problem = &warning.problem;
            tracing::warn!(file = %warning.file.display(), line = problem.line, "{}", problem.message);
        }
        match &snapshot.pinned {
            Some(pinned) => tracing::warn!(
                running = pinned.to,
                instead_of = pinned.from,
                by = pinned.by,
                "the policy is rolled back: the file in place is not used until it is the same again, or until \
                 `torhaus policy rollback --clear`"
            ),
            // The rollback must have something to return to; without it this policy runs all the same.
            None => {
                if let Err(error) = KeptPolicies::in_state(&config.state_dir).keep(config) {
                    tracing::error!(%error, "the policy could not be kept: a rollback cannot return to it");
                }
            }
        }
    }

    /// The pin goes; what runs is what stands in the file.
    pub async fn end_rollback(&self, snapshot: &Snapshot, pinned: &Pinned, why: &str, now: Timestamp) {
        if let Err(error) = KeptPolicies::in_state(&snapshot.config.state_dir).unpin() {
            tracing::error!(%error, "a rollback that is over could not be removed");
        }
        self.note_rollback(now, format!("rollback to policy {} ended: {why}", pinned.to)).await;
    }

    async fn note_rollback(&self, now: Timestamp, what: String) {
        tracing::warn!("{what}");
        let entry = Entry { detail: Some(what.into()), ..Entry::new(now, Kind::Admin) };
        if let Err(error) = self.audit.event(entry).await {
            tracing::error!(%error, "a rollback could not be recorded");
        }
    }

    /// Returns to the policy that ran before, or to the kept one that begins like `to`; the version that runs now.
    ///
    /// # Errors
    /// There is none, or it does not load on the configuration in place. Then nothing has changed.
    pub async fn roll_back(
        &self,
        to: Option<&str>,
        by: &str,
        now: Timestamp,
        reload: impl Future<Output = Result<(), ReloadError>> + Send,
    ) -> Result<String, RollbackError> {
        let snapshot = self.snapshot.load_full();
        let kept = KeptPolicies::in_state(&snapshot.config.state_dir);
        let running = snapshot.policy.version();
        let to = match to {
            Some(start) => kept.find(start)?,
            None => kept.before(running)?,
        };
        let before = kept.pinned()?;
        // Of a rollback after a rollback it is still the same policy that is not wanted.
        let from = before.as_ref().map_or_else(|| running.to_string(), |pinned| pinned.from.clone());
        let pinned = Pinned { to, from, at: now, by: by.to_owned() };
        kept.pin(&pinned)?;
        if let Err(error) = reload.await {
            match before {
                Some(before) => kept.pin(&before)?,
                None => kept.unpin()?,
            }
            return Err(error.into());
        }
        let Pinned { to, from, .. } = pinned;
        self.note_rollback(now, format!("policy rolled back to {to} from {from} by {by}")).await;
        Ok(to)
    }

    /// Lets go of a rollback: the file in place counts again; the version that runs now.
    ///
    /// # Errors
    /// There is none, or the file in place does not load. Then the rollback stays.
    pub async fn let_go(
        &self,
        by: &str,
        now: Timestamp,
        reload: impl Future<Output = Result<(), ReloadError>> + Send,
    ) -> Result<String, RollbackError> {
        let kept = KeptPolicies::in_state(&self.snapshot.load().config.state_dir);
        let pinned = kept.pinned()?.ok_or(KeptError::NotPinned)?;
        kept.unpin()?;
        if let Err(error) = reload.await {
            kept.pin(&pinned)?;
            return Err(error.into());
        }
        self.note_rollback(now, format!("rollback to policy {} ended by {by}", pinned.to)).await;
        Ok(self.snapshot.load().policy.version().to_string())
    }
}
