//! Torhaus as a client of an ACME server (RFC 8555): `torhaus enroll` for a person's or a service's machine, and the
//! certificates of its own listeners. The protocol is instant-acme's; this is what it does not decide.
//!
//! ```text
//! wire.rs        its requests over reqwest, as all of ours go out
//! account.rs     an account, made with or without a one-time key
//! obtain.rs      one order, from its names to the chain
//! due.rs         when to renew: what the server suggests (RFC 9773), else two thirds of a life
//! listeners.rs   keeps the certificates of listeners; challenges.rs shows what proves their names
//! shelf.rs       where they are kept, so that every replica has them
//! ```
//!
//! Knows no prompt and no configuration file; who calls it brings both.
pub mod account;
pub mod challenges;
pub mod due;
pub mod listeners;
pub mod obtain;
pub mod shelf;
pub mod wire;

use instant_acme::Error;

/// What an ACME server or the way to it said, in one sentence. Holds no secret: requests are not shown.
pub fn sentence(error: &Error) -> String {
    let Error::Api(problem) = error else { return error.to_string() };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let mut said = match (problem.detail.as_deref(), kind) {
        (Some(detail), "") => detail.to_owned(),
        (Some(detail), kind) => format!("{detail} ({kind})"),
        (None, kind) => kind.to_owned(),
    };
    for part in &problem.subproblems {
        if let Some(detail) = &part.detail {
            said = format!("{said}; {detail}");
        }
    }
    said
}

/// Whether the server said this kind of no (`rateLimited`, `badNonce`).
pub fn is_problem(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().and_then(|urn| urn.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}
