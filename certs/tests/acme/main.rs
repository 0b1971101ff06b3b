//! The ACME server, asked as bytes: what it refuses and with which RFC 8555 error, and the way of a good client.
mod envelope;
mod harness;
mod issuer;
