//! Who a request comes from.
pub mod bearer;
pub mod challenge;
