//! Signing in: the provider, the session, the hand-over to a host, stepping up, signing out.
pub mod session;
