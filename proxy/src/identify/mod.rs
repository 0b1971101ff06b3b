//! Who a request comes from.
pub mod bearer;
pub mod challenge;

#[cfg(test)]
mod bearer_tests;
