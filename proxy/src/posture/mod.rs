//! What a device says of its own state: read on the device, sent with its client certificate, taken by the gate.
//!
//! ```text
//! report.rs    the format
//! linux.rs     what a Linux machine can say of itself;  disk.rs  firewall.rs  software.rs
//! send.rs      from the device to the gate
//! take.rs      the gate's address for reports
//! ```
mod disk;
mod firewall;
pub mod linux;
pub mod report;
pub mod send;
mod software;
pub mod take;

pub use report::{DeviceReport, OsReport, PATH};
