//! What the ACME server remembers. A store is a set of records with a few atomic steps; every decision is the
//! server's. Records are serde types, so that a store may keep them as JSON beside the columns it looks up by.
use super::account::{Account, AccountStatus};
use super::authorization::Authorization;
use super::certificate::Certificate;
use super::eab::EabKey;
use super::identifier::Identifier;
use super::issuer::Unavailable;
use super::jwk::Jwk;
use super::nonce::NonceId;
use super::order::{Order, OrderState};
use async_trait::async_trait;
use time::OffsetDateTime;

/// Every method is one transaction. An error means that nothing happened, or that it is unknown whether it did.
#[async_trait]
pub trait Store: Send + Sync {
    /// True for the first caller with this nonce. May be forgotten after `until`.
    async fn spend_nonce(&self, nonce: NonceId, until: OffsetDateTime) -> Result<bool, Unavailable>;

    /// The key is new: its id is random.
    async fn add_eab(&self, key: EabKey) -> Result<(), Unavailable>;
    async fn eab(&self, kid: &str) -> Result<Option<EabKey>, Unavailable>;
    /// For lists; newest first.
    async fn eabs(&self) -> Result<Vec<EabKey>, Unavailable>;
    /// False: no such key, or it has been used.
    async fn revoke_eab(&self, kid: &str) -> Result<bool, Unavailable>;

    async fn account(&self, id: &str) -> Result<Option<Account>, Unavailable>;
    async fn account_by_key(&self, thumbprint: &str) -> Result<Option<Account>, Unavailable>;
    /// For lists: the accounts, and so the devices, of everybody; newest first.
    async fn accounts(&self) -> Result<Vec<Account>, Unavailable>;
    /// Uses up the EAB key (unused, not revoked, not expired at `now`) and adds the account. One of two callers with
    /// one EAB key, or with one account key, gets it.
    async fn enrol(&self, account: Account, kid: &str, now: OffsetDateTime) -> Result<Enrolled, Unavailable>;
    /// Uses up the EAB key in the same way and gives its enrolment to a valid account.
    async fn enrol_again(&self, account: &str, kid: &str, now: OffsetDateTime) -> Result<bool, Unavailable>;
    /// Only on an account that is `valid`; false if it is not.
    async fn change_account(&self, id: &str, change: AccountChange) -> Result<Changed, Unavailable>;

    /// Adds the order, its authorizations, and the mark on the certificate it replaces (an ARI id): all or nothing.
    /// False: that certificate is already replaced by an order that is not invalid.
    async fn add_order(&self, order: Order, authorizations: Vec<Authorization>) -> Result<bool, Unavailable>;
    async fn order(&self, id: &str) -> Result<Option<Order>, Unavailable>;
    /// Ids, oldest first.
    async fn orders_of(&self, account: &str) -> Result<Vec<String>, Unavailable>;
    /// Changes the state if it is what `from` says, else returns false. Of two callers, one gets `true`.
    async fn move_order(&self, id: &str, from: &OrderState, to: OrderState) -> Result<bool, Unavailable>;
    /// Adds the certificate and makes its order valid, if the order is in state `from` and the account `valid`: a
    /// revocation that came while the certificate was being signed is not lost.
    async fn complete(&self, certificate: Certificate, from: &OrderState) -> Result<bool, Unavailable>;

    async fn authorization(&self, id: &str) -> Result<Option<Authorization>, Unavailable>;
    /// Replaces `from` by `to`, if it still is as `from` says.
    async fn change_authorization(&self, from: &Authorization, to: Authorization) -> Result<bool, Unavailable>;
    /// Has the account proved this identifier, with a proof that is still good?
    async fn has_proved(&self, account: &str, name: &Identifier, now: OffsetDateTime) -> Result<bool, Unavailable>;

    async fn certificate(&self, id: &str) -> Result<Option<Certificate>, Unavailable>;
    async fn certificate_by_renewal_id(&self, renewal_id: &str) -> Result<Option<Certificate>, Unavailable>;
    async fn certificates_of(&self, account: &str) -> Result<Vec<Certificate>, Unavailable>;

    /// Forgets what is past: nonces, EAB keys a day after their end, orders with their authorizations a day
    /// after theirs (never the order of a certificate that is still valid), certificates a day after they expired
    /// (the ledger keeps them). Accounts go thirty days after their enrolment ended, if no certificate is left.
    /// Returns how many records went.
    async fn sweep(&self, now: OffsetDateTime) -> Result<usize, Unavailable>;
}

#[derive(Clone, Debug)]
pub enum Enrolled {
    Created,
    /// Another account has this key; nothing was used up.
    KeyExists(Box<Account>),
    /// Used, revoked, expired or unknown by now.
    EabGone,
}

#[derive(Clone, Debug)]
pub enum AccountChange {
    Contact(Vec<String>),
    /// `Deactivated` by the client, `Revoked` by Torhaus. There is no way back.
    End(AccountStatus),
    Key(Jwk),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Yes,
    /// The account is not valid any more, or unknown.
    NotValid,
    /// The account with this id has the key.
    KeyTaken(String),
}
