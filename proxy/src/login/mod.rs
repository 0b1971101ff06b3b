//! Signing in: the provider, the session, the hand-over to a host, stepping up, signing out.
pub mod access_token;
pub mod attempts;
pub mod backchannel;
pub mod break_glass;
pub mod callback;
pub mod challenge;
pub mod claims;
pub mod cookie;
pub mod device_claim;
pub mod error;
pub mod handover;
pub mod http_client;
pub mod id_token;
pub mod jws;
pub mod keys;
pub mod logout;
pub mod logout_token;
pub mod merge;
pub mod metadata;
pub mod names;
pub mod oidc;
pub mod own_pages;
pub mod proofs;
pub mod provider;
pub mod providers;
pub mod refresh;
pub mod renewal;
pub mod return_to;
pub mod revoke;
pub mod seal;
pub mod session;
pub mod sign_in;
mod token_endpoint;

#[cfg(test)]
pub(crate) mod tests;
