//! What people see at the portal.
pub mod devices;
pub mod enroll;
pub mod home;
pub mod pages;
pub mod session_list;
