//! Where state is kept. Each consumer declares the trait it needs (`login::session::SessionStore`); here they are
//! implemented. SQL stands nowhere else.
mod acme;
pub mod backup;
mod devices;
mod ledger;
mod row;
mod scope;
mod seal;
mod seen;
mod shelf;
mod sqlite;

#[cfg(test)]
mod acme_contract;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod device_contract;
#[cfg(test)]
mod ledger_contract;
#[cfg(test)]
mod shelf_contract;

pub use seal::Seal;
pub use sqlite::{OpenError, SqliteStore};
