//! An ACME server (RFC 8555, RFC 8737, RFC 8738, RFC 9773, profiles draft) that binds certificates to who signed in.
//!
//! ```text
//! http::Request --Server::handle(now)--> http::Response        pure: no sockets, no runtime, no clock
//!      request.rs  whose signature? a replay?                  Store     what is remembered, atomic steps
//!      account.rs order.rs authorization.rs challenge.rs       Issuer    CSR, signature, ledger, revocation
//!      finalize.rs certificate.rs renewal.rs                   Standing  may the owner have one now?
//!                                                              Probe     what the network shows
//! ```
//!
//! An account is made with a one-time [`EabKey`], which the portal gives to a person or an operator to a service. The
//! key carries an [`Enrolment`]: owner, names, profile, end. With [`Proof::Approved`] an order for its names is born
//! ready; with [`Proof::Challenge`] each name is proved.
//!
//! # For whoever serves it
//!
//! 1. Implement [`Store`] ([`Memory`] is what each step means; an [`EabKey`] is a secret, so seal it), [`Issuer`], [`Standing`] and [`Probe`]; build
//!    one [`Server`] per process. [`Nonces::alone`] for one process, [`Nonces::shared`] with a key from the store for
//!    replicas.
//! 2. Send every request whose path begins with [`Config::path`] to [`Server::handle`], over TLS only, with a body of
//!    at most [`MAX_BODY_BYTES`], on a task of its own; write the response out as it is. Its extensions hold a
//!    [`Told`] for the log and the metrics.
//! 3. Enrol: after a login at the profile's tier, [`EabKey::new`], [`Store::add_eab`], and show `kid` and
//!    [`EabKey::secret_base64`] once. Both can stand on a command line: neither begins with a hyphen.
//! 4. A device is revoked or its owner left: [`Server::withdraw`] with the account's id (from [`Store::accounts`], by
//!    `enrolment.owner` and `label`). The gate learns of the serials through [`Issuer::revoke`].
//! 5. Call [`Store::sweep`] every few minutes.
//!
//! # What unmodified clients need beyond the RFC
//!
//! - certbot: two certificates in the chain ([`Issued::chain_pem`]); an authenticator on the command line, such as
//!   `--standalone`, that stays unused when orders are born ready.
//! - lego: `--eab` with `--kid` and `--hmac` on `renew` and `revoke` too, because the directory says that accounts
//!   need them; used ones do, nothing is sent.
//! - acme.sh: the words of a bad nonce in `request.rs`, flat challenge objects, HS256.
//! - all: TLS that they trust, and the URL of the directory under one of [`Config::origins`].
mod account;
mod authorization;
mod certificate;
mod challenge;
mod csr;
mod eab;
mod finalize;
mod identifier;
mod issuer;
mod jwk;
mod jws;
mod limits;
mod memory;
mod nonce;
mod order;
mod probe;
mod problem;
mod renewal;
mod reply;
mod request;
mod server;
mod standing;
mod store;

pub use account::{Account, AccountStatus};
pub use authorization::{Authorization, AuthorizationState};
pub use certificate::Certificate;
pub use challenge::{Challenge, ChallengeKind, ChallengeState};
pub use eab::EabKey;
pub use identifier::{DnsName, Identifier};
pub use issuer::{By, Issued, Issuer, Known, Refused, Unavailable, Wanted};
pub use jwk::{Curve, Jwk};
pub use limits::{Limit, Rate, Rates};
pub use memory::Memory;
pub use nonce::{NonceId, Nonces};
pub use order::{Order, OrderState};
pub use probe::{MAX_BODY as MAX_PROBE_BODY_BYTES, Probe, Scripted, Unseen};
pub use problem::{Kind, Problem};
pub use reply::Told;
pub use request::MAX_BODY_BYTES;
pub use server::{BadConfig, Config, Parts, Server};
pub use standing::{Answer, Enrolment, Grant, Owner, Proof, Standing};
pub use store::{AccountChange, Changed, Enrolled, Store};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// 128 random bits in hex: an id that cannot be guessed, a token (RFC 8555 s8.1), and, unlike base64url, never
/// something that a command line takes for an option.
fn random_id() -> Result<String, crate::Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| crate::Error::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// RFC 3339 in UTC, whole seconds.
fn rfc3339(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time).to_offset(time::UtcOffset::UTC);
    // Fails only for years beyond 9999.
    whole.format(&Rfc3339).unwrap_or_default()
}

impl From<crate::Error> for Problem {
    fn from(_: crate::Error) -> Self {
        Self::new(Kind::ServerInternal, "the server could not do its part; try again")
    }
}
