//! Signing in: the provider, the session, the hand-over to a host, stepping up, signing out.
pub mod callback;
pub mod claims;
pub mod error;
pub mod http_client;
pub mod id_token;
pub mod jws;
pub mod keys;
pub mod metadata;
pub mod names;
pub mod oidc;
pub mod proofs;
pub mod provider;
pub mod refresh;
pub mod return_to;
pub mod seal;
pub mod session;
mod token_endpoint;

#[cfg(test)]
pub(crate) mod tests;
