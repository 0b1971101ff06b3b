//! The pages people see, as pure functions: a typed view in, a [`Page`] out. No I/O, no store, no clock, no engine.
//!
//! Each page is a struct with `render(&self, &Look, Language) -> Page`. A refusal is also a problem document
//! (RFC 9457) made from the same data; [`Refusal::answer`] chooses between the two. Everything a caller gives is
//! escaped by askama; addresses pass [`Link`], which holds no scheme that could run.
mod applications;
mod brand;
mod browser;
mod confirm_device;
mod devices;
mod icon;
mod link;
mod look;
mod negotiate;
mod page;
mod refusal;
mod rescue;
mod sessions;
mod sign_in;
mod sign_out;
mod strings;
mod when;

pub use applications::{Access, Application, Applications, Grouping, ProvenTier, Viewer};
pub use brand::{Brand, LOGO_PREFIX};
pub use confirm_device::{ConfirmDevice, Waiting};
pub use devices::{Device, DeviceState, Devices, NewKey, SeenDevice};
pub use link::Link;
pub use look::Look;
pub use negotiate::{language, prefers_html};
pub use page::Page;
pub use refusal::{Detail, Offer, Refusal};
pub use rescue::{Encoding, Kept, SessionEnded};
pub use sessions::{OpenSession, Sessions};
pub use sign_in::{ProviderChoice, SignIn};
pub use sign_out::{SignOut, SignedOut};
pub use torhaus_authz::Language;

#[cfg(test)]
mod tests;
