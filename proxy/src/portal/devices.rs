//! A person's devices: enrol one, see them, revoke one, and those that were seen at the gate. Where devices can be
//! enrolled only for somebody who has just proved the tier that the configuration names; every form does it again.
use crate::acme::PATH;
use crate::acme::enrolment::{self, EnrolError, EnrolmentLine, MOST_DEVICES, State};
use crate::gate::Gate;
use crate::identify::session::LiveSession;
use crate::login::handover;
use crate::lookup::records::DeviceRecord;
use crate::portal::pages::{self, Device, DeviceState, Devices, NewKey, SeenDevice};
use crate::recording;
use crate::refusal;
use crate::request::Request;
use crate::response::Response;
use crate::snapshot::Snapshot;
use torhaus_authz::{Name, Reason, Timestamp, User};
use torhaus_certs::acme::Owner;

/// # Errors
/// 1. there is no ACME server; 2. the store could not be asked.
pub async fn page(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Response, Reason> {
    match step_up(gate, snapshot, request, live, now)? {
        Some(redirect) => Ok(redirect),
        None => show(gate, snapshot, request, live, None, None, now).await,
    }
}

/// Enrols (`add`) or ends (`end`) a device of the person's own.
///
/// # Errors
/// 1. there is no ACME server; 2. the form says nothing; 3. the device is not the person's own; 4. the store did not
///    take it; 5. it could not be recorded.
pub async fn change(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Response, Reason> {
    if step_up(gate, snapshot, request, live, now)?.is_some() {
        // A form that was open for too long: the page asks for the proof.
        return Ok(Response::redirect("/devices"));
    }
    let by = format!("{} in the portal", live.user.name);
    if let Some(id) = request.form_field("forget") {
        return forget(gate, snapshot, live, &id, &by, now).await;
    }
    let config = snapshot.config.acme.as_ref().ok_or(Reason::NoRoute)?;
    if let Some(id) = request.form_field("end") {
        let own = own(gate, &live.user, now).await?;
        let own = own.iter().find(|line| line.account.as_deref().unwrap_or(&line.kid) == &*id);
        let own = own.ok_or(Reason::BadRequest)?;
        let id = own.account.as_deref().unwrap_or(&own.kid);
        enrolment::end(gate, id, &by, now).await.map_err(reason)?;
        return Ok(Response::redirect("/devices?ended=1"));
    }
    let label = request.form_field("add").ok_or(Reason::BadRequest)?;
    let user = &live.user;
    let wanted = match enrolment::of_device(config, user, &label, now) {
        Ok(wanted) => wanted,
        Err(EnrolError::Refused(_)) => return show(gate, snapshot, request, live, None, Some(Wrong::Label), now).await,
        Err(error) => return Err(reason(error)),
    };
    if count_of(gate, user, now).await.map_err(reason)? >= MOST_DEVICES {
        return show(gate, snapshot, request, live, None, Some(Wrong::TooMany), now).await;
    }
    let key = enrolment::mint(gate, wanted, enrolment::KEY_LIFE, &by, now).await.map_err(reason)?;
    let origin = snapshot.config.portal.url.origin().ascii_serialization();
    let new = NewKey {
        label: key.enrolment.label.clone(),
        name: enrolment::names(&key.enrolment).concat(),
        directory: format!("{origin}{PATH}/directory"),
        kid: key.kid.clone(),
        hmac_key: key.secret_base64(),
        minutes: enrolment::KEY_LIFE.as_secs() / 60,
    };
    // The answer itself shows the key: it stands in no address, no cookie and no cache.
    show(gate, snapshot, request, live, Some(new), None, now).await
}

/// What is wrong with a form, for its page.
#[derive(Clone, Copy)]
enum Wrong {
    Label,
    TooMany,
}

async fn show(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    new: Option<NewKey>,
    wrong: Option<Wrong>,
    now: Timestamp,
) -> Result<Response, Reason> {
    let enrols = snapshot.config.acme.is_some();
    let lines = if enrols { own(gate, &live.user, now).await? } else { Vec::new() };
    let devices = lines.into_iter().filter(|line| is_alive(line.state)).map(|line| Device {
        id: line.account.unwrap_or(line.kid),
        name: line.names.concat(),
        label: line.label,
        state: if line.state == State::Open { DeviceState::Waiting } else { DeviceState::Enrolled },
        enrolled: line.created,
        until: line.until,
    });
    let view = Devices {
        devices: devices.collect(),
        new,
        enrols,
        seen: snapshot.lookups.know_devices().then(|| seen(snapshot, live)),
        ended: request.query_parameter("ended").is_some(),
        confirmed: request.query_parameter("confirmed").is_some(),
        forgotten: request.query_parameter("forgotten").is_some(),
        bad_label: matches!(wrong, Some(Wrong::Label)),
        too_many: matches!(wrong, Some(Wrong::TooMany)),
        now,
    };
    Ok(refusal::page(view.render(&refusal::look(snapshot), pages::language(request.headers))))
}

/// The way to the proof that is missing, if one is.
pub fn step_up(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    live: &LiveSession,
    now: Timestamp,
) -> Result<Option<Response>, Reason> {
    let config = match &snapshot.config.acme {
        Some(config) => config,
        // Nothing is enrolled here; who may see a device is who is signed in.
        None if snapshot.lookups.know_devices() => return Ok(None),
        None => return Err(Reason::NoRoute),
    };
    if snapshot.policy.is_proven(&live.proofs, &config.tier, None, now) {
        return Ok(None);
    }
    sign_in(gate, snapshot, request, now).map(Some)
}

/// To the provider, for the tier, and back to this page.
///
/// # Errors
/// 1. there is no ACME server; 2. the wish cannot be sealed.
pub fn sign_in(gate: &Gate, snapshot: &Snapshot, request: &Request<'_>, now: Timestamp) -> Result<Response, Reason> {
    let Some(config) = &snapshot.config.acme else {
        return if snapshot.lookups.know_devices() { Ok(Response::redirect("/login")) } else { Err(Reason::NoRoute) };
    };
    let tier: Name = config.tier.clone();
    let wish = handover::to_portal(gate, snapshot, request, Some(&tier), None, now);
    let (url, cookie) = wish.map_err(|_| Reason::InternalError)?;
    Ok(Response::redirect(&url).with_cookie(&cookie))
}

/// The person's own devices that came to the gate.
fn seen(snapshot: &Snapshot, live: &LiveSession) -> Vec<SeenDevice> {
    let all = snapshot.lookups.records.as_ref().map(|records| records.all()).unwrap_or_default();
    let own = all.iter().filter(|record| is_theirs(record, live));
    let device = |record: &std::sync::Arc<DeviceRecord>| SeenDevice {
        id: record.id.to_string(),
        known_by: record.sources.to_string(),
        last_seen: record.last_seen,
        reported: record.report.as_ref().and_then(|report| report.newest()),
    };
    own.map(device).collect()
}

/// By its owner; of one that is in no list by who used it last.
fn is_theirs(record: &DeviceRecord, live: &LiveSession) -> bool {
    record.owner.as_ref().or(record.used_by.as_ref()) == Some(&live.user.name)
}

async fn forget(
    gate: &Gate,
    snapshot: &Snapshot,
    live: &LiveSession,
    id: &str,
    by: &str,
    now: Timestamp,
) -> Result<Response, Reason> {
    let records = snapshot.lookups.records.as_ref().ok_or(Reason::NoRoute)?;
    if !records.get(id).is_some_and(|record| is_theirs(&record, live)) {
        return Err(Reason::BadRequest);
    }
    records.forget(id).await.map_err(|_| Reason::StoreUnavailable)?;
    recording::admin(&gate.audit, format!("device {id} was forgotten by {by}"), now).await;
    Ok(Response::redirect("/devices?forgotten=1"))
}

fn is_alive(state: State) -> bool {
    matches!(state, State::Open | State::Enrolled)
}

/// How many devices, and keys for some, a person has.
///
/// # Errors
/// The store does not answer.
pub async fn count_of(gate: &Gate, user: &User, now: Timestamp) -> Result<usize, EnrolError> {
    Ok(devices_of(gate, user, now).await?.iter().filter(|line| is_alive(line.state)).count())
}

async fn own(gate: &Gate, user: &User, now: Timestamp) -> Result<Vec<EnrolmentLine>, Reason> {
    devices_of(gate, user, now).await.map_err(reason)
}

/// Devices of this very person: a name may have had another holder.
async fn devices_of(gate: &Gate, user: &User, now: Timestamp) -> Result<Vec<EnrolmentLine>, EnrolError> {
    let is_own = |enrolled: &torhaus_certs::acme::Enrolment| {
        matches!(&enrolled.owner, Owner::Person(name) if **name == *user.name)
            && enrolment::is_of(&enrolled.facts, user)
    };
    let store = &gate.acme.store;
    let keys = store.eabs().await?;
    let keys = keys.iter().filter(|key| key.used_by.is_none() && is_own(&key.enrolment));
    let mut lines: Vec<_> = keys.map(|key| enrolment::of_key(key, now)).collect();
    let accounts = store.accounts().await?;
    let accounts = accounts.iter().filter(|account| is_own(&account.enrolment));
    lines.extend(accounts.map(|account| enrolment::of_account(account, now)));
    lines.sort_by_key(|line| std::cmp::Reverse(line.created));
    Ok(lines)
}

pub fn reason(error: EnrolError) -> Reason {
    match error {
        EnrolError::NotConfigured => Reason::NoRoute,
        EnrolError::Refused(_) => Reason::BadRequest,
        EnrolError::Store(_) => Reason::StoreUnavailable,
        EnrolError::Record(_) => Reason::RecordUnavailable,
    }
}
