//! What people see of the gate: its pages.
pub mod pages;
