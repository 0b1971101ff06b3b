//! Who a request comes from: a session, a bearer token, or a client certificate of a service. Exactly one; two that
//! disagree are refused. A certificate beside a session is a fact about the device.
pub mod bearer;
pub mod challenge;
mod known;
mod live;
pub mod session;
mod shared_names;

#[cfg(test)]
mod bearer_tests;
#[cfg(test)]
mod session_tests;

use crate::edge::trust::{CertificateRefusal, VerifiedCertificate};
use crate::gate::Gate;
use crate::login::cookie;
use crate::login::id_token::LEEWAY;
use crate::login::session::{SessionId, Ticket};
use crate::request::Request;
use crate::snapshot::Snapshot;
use bearer::{Bearer, BearerIdentity, token_of};
use http::header::AUTHORIZATION;
use session::LiveSession;
use std::sync::Arc;
use torhaus_authz::{Certificate, Fact, Groups, Identity, Name, Proof, Reason, Service, Timestamp, User, Why};
use torhaus_config::ClientAuthMode;

/// A caller, and everything that came with the way it was identified.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub groups: Fact<Arc<Groups>>,
    pub proofs: Arc<[Proof]>,
    pub certificate: Fact<Option<Arc<Certificate>>>,
    /// The chain that it stands for, as it was judged.
    pub presented: Option<Arc<VerifiedCertificate>>,
    /// Why the presented certificate does not count, if one was presented and does not.
    pub certificate_refusal: Option<CertificateRefusal>,
    pub session: Option<Arc<LiveSession>>,
    pub display_name: Option<Name>,
    pub email: Option<Name>,
    /// The bearer token, if it was for us: the application must not get it, or it could use it at our door.
    pub bearer: Option<Arc<BearerIdentity>>,
    /// A session cookie came, and its session is not live any more.
    pub session_ended: bool,
    /// When what it rests on ends by itself.
    pub until: Option<Timestamp>,
}

/// Why nobody can be identified.
#[derive(Debug)]
pub struct NotIdentified {
    pub reason: Reason,
    /// What a program is told (RFC 6750 section 3).
    pub challenge: Option<String>,
    /// What was good of what the caller showed: evidence, and nothing to go by.
    pub shown: Box<Shown>,
}

/// What checked out before somebody was refused.
#[derive(Debug, Default)]
pub struct Shown {
    pub user: Option<Arc<User>>,
    pub session: Option<SessionId>,
    pub certificate: Option<Arc<Certificate>>,
}

impl From<Reason> for NotIdentified {
    fn from(reason: Reason) -> Self {
        Self { reason, challenge: None, shown: Box::default() }
    }
}

impl From<NotIdentified> for Reason {
    fn from(not: NotIdentified) -> Self {
        not.reason
    }
}

/// Identifies the caller.
///
/// # Errors
/// 1. two identities disagree; 2. a bearer token of an issuer of ours does not verify; 3. the certificate is another
///    person's than the session; 4. the store could not be asked; 5. the directory says that the account is out of use.
pub async fn identify(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Caller, NotIdentified> {
    let mut shown = Shown::default();
    let looked = look(gate, snapshot, request, now, &mut shown).await;
    looked.map_err(|why| NotIdentified { shown: Box::new(shown), ..why })
}

async fn look(
    gate: &Gate,
    snapshot: &Snapshot,
    request: &Request<'_>,
    now: Timestamp,
    shown: &mut Shown,
) -> Result<Caller, NotIdentified> {
    let (certificate, certificate_refusal) = presented_certificate(snapshot, request, now);
    shown.certificate = certificate.as_ref().map(|found| found.certificate.clone());
    let required = request.connection.tls.as_ref().is_some_and(|tls| tls.group.mode == ClientAuthMode::Required);
    if required && certificate.is_none() {
        // It was good at the handshake, or the session was resumed: it is not good any more.
        return Err(certificate_refusal.map_or(Reason::CertificateMissing, CertificateRefusal::reason).into());
    }
    let mut caller = Caller::nobody(certificate.as_ref(), certificate_refusal);

    let ticket = request.cookie(cookie::SESSION).and_then(Ticket::parse);
    let session = match &ticket {
        Some(ticket) => {
            gate.sessions.find(ticket.hash(), request.host, now).await.map_err(|_| Reason::StoreUnavailable)?
        }
        None => None,
    };
    caller.session_ended = ticket.is_some() && session.is_none();
    if let Some(live) = &session {
        (shown.user, shown.session) = (Some(live.user.clone()), Some(live.id.clone()));
    }

    let sha256 = certificate.as_ref().map(|found| found.certificate.sha256.clone());
    let bearer = match request.header(AUTHORIZATION).and_then(token_of) {
        Some(token) => match Box::pin(snapshot.bearer.verify(token, sha256.as_deref(), now)).await {
            Bearer::NotOurs => None,
            Bearer::Identified(token) => Some(token),
            Bearer::Refused(refused) => {
                let unavailable = refused.is_unavailable();
                let reason = if unavailable { Reason::ProviderUnavailable } else { Reason::BearerInvalid };
                return Err(NotIdentified { challenge: Some(refused.challenge()), ..reason.into() });
            }
        },
        None => None,
    };

    if let (None, Some(token)) = (&shown.user, &bearer) {
        shown.user = Some(token.user.clone());
    }

    let service = certificate.as_ref().and_then(|found| Some((found, found.spiffe.clone()?)));
    match (session, bearer, service) {
        (None, None, None) => {}
        (Some(session), bearer, None) => {
            if bearer.as_ref().is_some_and(|token| !same_person(&token.user, &session.user)) {
                return Err(Reason::IdentityConflict.into());
            }
            caller.bearer = bearer;
            check_owner(certificate.as_deref(), &session.user.name, session.email.as_deref())?;
            caller.take_session(snapshot, session);
        }
        (None, Some(token), None) => {
            check_owner(certificate.as_deref(), &token.user.name, token.email.as_deref())?;
            caller.identity = Identity::User(token.user.clone());
            caller.groups = token.groups.clone();
            caller.proofs = token.proofs.clone();
            caller.display_name = token.display_name.as_deref().map(Into::into);
            caller.email = token.email.as_deref().map(Into::into);
            // As long as it would be taken again.
            let until = token.expires.plus(LEEWAY);
            caller.until = Some(caller.until.map_or(until, |certificate| certificate.min(until)));
            caller.bearer = Some(token);
        }
        (None, None, Some((found, id))) => caller.take_service(snapshot, found, id, now),
        (_, _, Some(_)) => return Err(Reason::IdentityConflict.into()),
    }
    caller.ask_directory(snapshot, now).await?;
    Ok(caller)
}

impl Caller {
    fn nobody(certificate: Option<&Arc<VerifiedCertificate>>, refusal: Option<CertificateRefusal>) -> Self {
        let fact = match (certificate, refusal) {
            (Some(found), _) => Fact::Known(Some(found.certificate.clone())),
            (None, None) => Fact::Known(None),
            (None, Some(CertificateRefusal::Expired)) => Fact::Unknown(Why::Stale),
            (None, Some(CertificateRefusal::RevocationUnknown)) => Fact::Unknown(Why::SourceDown),
            (None, Some(_)) => Fact::Unknown(Why::NotFound),
        };
        Self {
            identity: Identity::Anonymous,
            groups: Fact::Unknown(Why::NotGiven),
            proofs: Arc::default(),
            certificate: fact,
            presented: certificate.cloned(),
            certificate_refusal: refusal,
            session: None,
            display_name: None,
            email: None,
            bearer: None,
            session_ended: false,
            until: certificate.map(|found| found.good_until),
        }
    }

    /// The person of a session, with no certificate known.
    ///
    /// # Errors
    /// The directory says that the account is out of use.
    pub async fn of_session(snapshot: &Snapshot, live: &Arc<LiveSession>, now: Timestamp) -> Result<Self, Reason> {
        let mut caller = Self::nobody(None, None);
        caller.certificate = Fact::Unknown(Why::NotGiven);
        caller.take_session(snapshot, live.clone());
        caller.ask_directory(snapshot, now).await?;
        Ok(caller)
    }

    /// Groups from the directory replace the token's, which are as old as the login.
    async fn ask_directory(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<(), Reason> {
        let (Some(people), Identity::User(user)) = (&snapshot.people, &self.identity) else { return Ok(()) };
        let Some(name) = people.name_of(user) else { return Ok(()) };
        let seen = Box::pin(people.about(&name, now)).await;
        if seen.is_out().is_some() {
            return Err(Reason::AccountDisabled);
        }
        self.groups = seen.groups();
        Ok(())
    }

    fn take_session(&mut self, snapshot: &Snapshot, live: Arc<LiveSession>) {
        let session = &live;
        // Where a provider's people count is the configuration's to say, also of those who are signed in.
        let provider = snapshot.providers.named(&session.user.provider);
        let federated = provider.map_or(session.user.federated, |provider| provider.config().federated);
        self.identity = Identity::User(match federated == session.user.federated {
            true => session.user.clone(),
            false => Arc::new(User { federated, ..(*session.user).clone() }),
        });
        self.groups = session.groups.clone();
        self.proofs = session.proofs.clone();
        self.display_name = session.display_name.clone();
        self.email = session.email.clone();
        self.until = Some(self.until.map_or(session.expires, |until| until.min(session.expires)));
        self.session = Some(live);
    }

    fn take_service(
        &mut self,
        snapshot: &Snapshot,
        found: &VerifiedCertificate,
        id: torhaus_authz::SpiffeId,
        now: Timestamp,
    ) {
        let trust_domain = found.certificate.trust_domain.clone();
        // Services cannot step up: the trust domain says what its certificates prove, as long as they are valid.
        if let Some(tier) = snapshot.trust.proves(&trust_domain) {
            let proof = Proof { tier: tier.clone(), proven_at: now, provider: trust_domain.clone() };
            self.proofs = Arc::from([proof]);
        }
        self.groups = Fact::Known(Arc::default());
        self.identity = Identity::Service(Arc::new(Service { id, trust_domain }));
    }

    /// What the certificate that was presented calls its device.
    pub fn device_names(&self) -> &[Name] {
        self.presented.as_ref().map_or(&[], |found| &found.device_names)
    }

    /// How the log and the streams call it.
    pub fn subject(&self) -> Option<Name> {
        match &self.identity {
            Identity::Anonymous => None,
            Identity::User(user) => Some(user.name.clone()),
            Identity::Service(service) => Some(service.id.as_str().into()),
        }
    }
}

fn presented_certificate(
    snapshot: &Snapshot,
    request: &Request<'_>,
    now: Timestamp,
) -> (Option<Arc<VerifiedCertificate>>, Option<CertificateRefusal>) {
    let Some(tls) = &request.connection.tls else { return (None, None) };
    let Some(sha256) = &tls.peer_sha256 else { return (None, None) };
    match snapshot.trust.judge(&tls.group.trust_domains, &tls.peer_chain, sha256, now) {
        Ok(found) => (Some(found), None),
        Err(refusal) => (None, Some(refusal)),
    }
}

/// The key of a person is (issuer, subject), never a name.
fn same_person(one: &User, other: &User) -> bool {
    one.issuer == other.issuer && one.subject == other.subject
}

/// A certificate that names a user must name this one: by user id, or where it has none, by e-mail address.
fn check_owner(certificate: Option<&VerifiedCertificate>, name: &str, email: Option<&str>) -> Result<(), Reason> {
    let Some(found) = certificate else { return Ok(()) };
    let its_owner = match &found.certificate.user {
        Some(user) => **user == *name,
        None => {
            found.emails.is_empty()
                || email.is_some_and(|email| found.emails.iter().any(|own| own.eq_ignore_ascii_case(email)))
        }
    };
    if its_owner { Ok(()) } else { Err(Reason::CertificateOfAnother) }
}
