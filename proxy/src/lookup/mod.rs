//! Facts that neither the request nor the session carries: where an address is, what the directory says of a person.
pub mod directory;
pub mod health;
pub mod ldap;
pub mod people;
pub mod places;
pub mod poll;

#[cfg(test)]
mod people_tests;

use crate::identify::Caller;
use crate::request::Request;
use crate::snapshot::Snapshot;
use torhaus_authz::{Fact, Facts, Timestamp};
use torhaus_config::Route;

/// All facts of a request. What is held in memory is always gathered, needed by the row or not, so that a replay can
/// judge rules that today's policy does not have.
pub fn gather<'a>(
    snapshot: &Snapshot,
    request: &Request<'a>,
    route: &'a Route,
    caller: &Caller,
    now: Timestamp,
) -> Facts<'a> {
    Facts { resource: &route.resource, ..about(snapshot, request, caller, now) }
}

/// The same for no particular resource: the caller fills it in.
pub fn about<'a>(snapshot: &Snapshot, request: &Request<'a>, caller: &Caller, now: Timestamp) -> Facts<'a> {
    let address = request.connection.client.ip();
    Facts {
        method: request.method.as_str(),
        path: request.path,
        listener: &request.connection.listener,
        address: Fact::Known(address),
        identity: caller.identity.clone(),
        groups: caller.groups.clone(),
        proofs: caller.proofs.clone(),
        certificate: caller.certificate.clone(),
        country: snapshot.places.country(address),
        ..Facts::unknown(now, "")
    }
}
