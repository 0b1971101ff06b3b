//! Promises of the policy table, as rows.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers outside #[test] functions are tests as well"
)]
mod audit;
mod canary;
mod check;
mod conditions;
mod explained;
mod fixture;
mod include;
mod m6;
mod matrix;
mod naive;
mod properties;
mod replay;
mod review;
mod steps;
mod suite;
