//! Authorizations (RFC 8555 s7.1.4, s7.5): one for each identifier of an order, in the order of the identifiers.
//! They belong to one order; a later order proves again or is approved by its enrolment.
use super::account::Account;
use super::challenge::{Challenge, ChallengeKind, ChallengeState};
use super::identifier::Identifier;
use super::problem::Problem;
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use super::standing::{Enrolment, Proof};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    pub id: String,
    pub account: String,
    /// As ordered, `*.` included.
    pub identifier: Identifier,
    pub state: AuthorizationState,
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    pub challenges: Vec<Challenge>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationState {
    Pending,
    Valid,
    Invalid,
    Deactivated,
}

/// What it counts for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Valid,
    Lost,
}

#[derive(Deserialize)]
struct Update {
    status: Option<String>,
}

impl Authorization {
    pub(super) fn new(
        account: &str,
        identifier: Identifier,
        enrolment: &Enrolment,
        now: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Self, Problem> {
        let kinds: &[ChallengeKind] = match (enrolment.proof, &identifier) {
            // One finished challenge, so that every client sees something it knows.
            (Proof::Approved, name) if !name.is_wildcard() => &[ChallengeKind::Http01],
            (_, name) if name.is_wildcard() => &[ChallengeKind::Dns01],
            // RFC 8738 s7: there is no DNS record for an address.
            (_, Identifier::Ip(_)) => &[ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
            _ => &[ChallengeKind::Http01, ChallengeKind::Dns01, ChallengeKind::TlsAlpn01],
        };
        let (state, challenge) = match enrolment.proof {
            Proof::Approved => (AuthorizationState::Valid, ChallengeState::Valid { at: now.unix_timestamp() }),
            Proof::Challenge => (AuthorizationState::Pending, ChallengeState::Pending),
        };
        let challenges = kinds.iter().map(|kind| Challenge::new(*kind, challenge.clone()));
        Ok(Self {
            id: super::random_id()?,
            account: account.to_owned(),
            identifier,
            state,
            expires,
            challenges: challenges.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn standing(&self, now: OffsetDateTime) -> Standing {
        match self.state {
            AuthorizationState::Pending if now < self.expires => Standing::Pending,
            AuthorizationState::Valid if now < self.expires => Standing::Valid,
            _ => Standing::Lost,
        }
    }

    pub(super) fn document(&self, call: &Call) -> Value {
        let expired = call.now >= self.expires;
        let status = match self.state {
            AuthorizationState::Pending if expired => "invalid",
            AuthorizationState::Valid if expired => "expired",
            AuthorizationState::Pending => "pending",
            AuthorizationState::Valid => "valid",
            AuthorizationState::Invalid => "invalid",
            AuthorizationState::Deactivated => "deactivated",
        };
        let challenges: Vec<Value> = self.challenges.iter().map(|c| c.document(&self.id, call)).collect();
        let mut document = Map::new();
        document.insert("identifier".into(), self.identifier.base().to_json());
        document.insert("status".into(), status.into());
        document.insert("expires".into(), super::rfc3339(self.expires).into());
        document.insert("challenges".into(), challenges.into());
        if self.identifier.is_wildcard() {
            document.insert("wildcard".into(), json!(true));
        }
        document.into()
    }
}

impl Server {
    pub(super) async fn authorization(&self, call: &Call, account: &Account, id: &str) -> Result<Reply, Problem> {
        let authorization = self.own_authorization(account, id).await?;
        if call.payload.is_empty() {
            return Ok(Reply::json(authorization.document(call)));
        }
        let update: Update = object(&call.payload)?;
        if update.status.as_deref() != Some("deactivated") {
            return Err(Problem::malformed("the status of an authorization can only become `deactivated`"));
        }
        let ended = Authorization { state: AuthorizationState::Deactivated, ..authorization.clone() };
        if !self.store.change_authorization(&authorization, ended.clone()).await? {
            return Err(Problem::malformed("the authorization changed meanwhile; look again").status(409));
        }
        Ok(Reply::json(ended.document(call)))
    }

    pub(super) async fn own_authorization(&self, account: &Account, id: &str) -> Result<Authorization, Problem> {
        let found = self.store.authorization(id).await?;
        found.filter(|found| found.account == account.id).ok_or_else(|| Problem::not_yours("authorization"))
    }
}
