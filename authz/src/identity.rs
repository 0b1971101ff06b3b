//! Who a request comes from, in the words of the policy table.
use crate::spiffe::SpiffeId;
use std::sync::Arc;

/// A name as the table writes it: a resource, zone, tier, group, listener, trust domain, a user.
/// `user:` and `group:` of the first provider are bare names, of every other provider `name/...`.
pub type Name = Arc<str>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Anonymous,
    User(Arc<User>),
    Service(Arc<Service>),
}

/// A person, known to one provider. The key of a person is (`issuer`, `subject`); `name` is what the table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As in `user:alice` or `user:partner/bob`.
    pub name: Name,
    pub provider: Name,
    pub issuer: Name,
    pub subject: Name,
    /// Identities of federated providers are `external` wherever they sit.
    pub federated: bool,
}

/// A service. Services cannot step up: what they prove is said by their trust domain or bearer issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: SpiffeId,
    /// The trust domain (of the configuration) whose certificate named it.
    pub trust_domain: Name,
}
