//! Orders (RFC 8555 s7.1.3, s7.4): what the client asked for, checked against its account's enrolment.
use super::account::Account;
use super::authorization::{Authorization, Standing};
use super::challenge::ChallengeState;
use super::identifier::Identifier;
use super::limits::Limit;
use super::problem::{Help, Kind, Problem};
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use super::standing::{Answer, Enrolment};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub id: String,
    pub account: String,
    pub state: OrderState,
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    pub identifiers: Vec<Identifier>,
    /// One for each identifier, in their order.
    pub authorizations: Vec<String>,
    pub profile: String,
    /// The renewal id (RFC 9773 s4.1) of the certificate it replaces.
    pub replaces: Option<String>,
}

/// What is stored. `pending` and `ready` are both open; the authorizations tell which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderState {
    Open,
    /// One finalize is at work; `attempt` is its own.
    Processing {
        since: i64,
        attempt: String,
    },
    Valid {
        certificate: String,
    },
    Invalid {
        problem: Option<Value>,
    },
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid { certificate: String },
    Invalid { problem: Option<Value> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Wish>,
    not_before: Option<Value>,
    not_after: Option<Value>,
    replaces: Option<String>,
    profile: Option<String>,
}

#[derive(Deserialize)]
struct Wish {
    r#type: String,
    value: String,
}

/// Long enough to set DNS records by hand.
const LIFE: Duration = Duration::days(1);
/// As many as public authorities allow.
const MAX_IDENTIFIERS: usize = 100;
/// Signing takes milliseconds. A finalize that is older was lost with its process.
const MAX_PROCESSING: Duration = Duration::minutes(1);

impl Server {
    /// RFC 8555 s7.4.
    pub(super) async fn new_order(&self, call: &Call, account: &Account) -> Result<Reply, Problem> {
        self.limits.count(Limit::NewOrders, &account.id, call.now)?;
        let wanted: NewOrder = object(&call.payload)?;
        if wanted.not_before.is_some() || wanted.not_after.is_some() {
            return Err(Problem::malformed("`notBefore` and `notAfter` are not supported; the profile sets both"));
        }
        let identifiers = identifiers(wanted.identifiers)?;
        self.must_grant(&account.enrolment, &identifiers)?;
        let profile = self.profile(&account.enrolment, wanted.profile.as_deref())?;
        self.must_stand(&account.enrolment, call.now).await?;
        if let Some(replaces) = &wanted.replaces {
            self.must_be_replaceable(account, replaces, &identifiers).await?;
        }
        let expires = whole_seconds(call.now) + LIFE;
        let authorize =
            |name: &Identifier| Authorization::new(&account.id, name.clone(), &account.enrolment, call.now, expires);
        let authorizations = identifiers.iter().map(authorize).collect::<Result<Vec<_>, _>>()?;
        let order = Order {
            id: super::random_id()?,
            account: account.id.clone(),
            state: OrderState::Open,
            expires,
            identifiers,
            authorizations: authorizations.iter().map(|authorization| authorization.id.clone()).collect(),
            profile,
            replaces: wanted.replaces,
        };
        if !self.store.add_order(order.clone(), authorizations.clone()).await? {
            return Err(Problem::new(Kind::AlreadyReplaced, "another order replaces this certificate already"));
        }
        let status = open_status(&order, &authorizations, call.now);
        Ok(Reply::created(order.document(&status, call)).at(call.at("order", &order.id)))
    }

    pub(super) async fn order(&self, call: &Call, account: &Account, id: &str) -> Result<Reply, Problem> {
        let order = self.own_order(account, id).await?;
        let status = self.status(&order, call.now).await?;
        Ok(order_reply(&order, &status, call))
    }

    /// RFC 9773 s5: a certificate of this account that shares a name. One answer for what is not there and what
    /// belongs to others.
    async fn must_be_replaceable(
        &self,
        account: &Account,
        replaces: &str,
        identifiers: &[Identifier],
    ) -> Result<(), Problem> {
        let found = self.store.certificate_by_renewal_id(replaces).await?;
        let own = found.filter(|certificate| certificate.account == account.id);
        let certificate = own.ok_or_else(|| Problem::malformed("`replaces` names no certificate of this account"))?;
        if certificate.identifiers.iter().any(|name| identifiers.contains(name)) {
            Ok(())
        } else {
            Err(Problem::malformed("the order shares no name with the certificate it replaces"))
        }
    }

    pub(super) fn must_grant(&self, enrolment: &Enrolment, identifiers: &[Identifier]) -> Result<(), Problem> {
        let refused = |name: &&Identifier| {
            // The client zone belongs to enrolled devices. A challenge answered there proves nothing.
            let of_devices = matches!((&self.config.client_zone, name.base()),
                (Some(zone), Identifier::Dns(dns)) if dns == *zone || dns.is_below(zone));
            !enrolment.grants(name) || (of_devices && !enrolment.owns(name))
        };
        let problems = identifiers.iter().filter(refused).map(|name| {
            let detail = format!("`{name}` is not among the names of this enrolment ({})", enrolment.owner);
            Problem::new(Kind::RejectedIdentifier, detail).about(name)
        });
        Problem::of_all(problems.collect()).map_or(Ok(()), Err)
    }

    /// The profile of an order: the enrolment's, which the client may name.
    pub(super) fn profile(&self, enrolment: &Enrolment, wanted: Option<&str>) -> Result<String, Problem> {
        let known = self.issuer.profiles().contains_key(&enrolment.profile);
        if known && wanted.is_none_or(|wanted| wanted == enrolment.profile) {
            return Ok(enrolment.profile.clone());
        }
        let detail = format!("this enrolment is for the profile `{}`", enrolment.profile);
        Err(Problem::new(Kind::InvalidProfile, detail))
    }

    /// May the owner have certificates now?
    pub(super) async fn must_stand(&self, enrolment: &Enrolment, now: OffsetDateTime) -> Result<(), Problem> {
        if now >= enrolment.until {
            let detail = format!("the enrolment of `{}` has ended; sign in and enrol again", enrolment.label);
            return Err(Problem::new(Kind::UserActionRequired, detail).help(Help::Portal));
        }
        match self.standing.ask(enrolment, now).await {
            Answer::Good => Ok(()),
            Answer::SignInAgain(why) => Err(Problem::new(Kind::UserActionRequired, why).help(Help::Portal)),
            Answer::Refused(why) => Err(Problem::new(Kind::Unauthorized, why).help(Help::Portal)),
            Answer::Unknown(what) => Err(Problem::unavailable(&what)),
        }
    }

    pub(super) async fn own_order(&self, account: &Account, id: &str) -> Result<Order, Problem> {
        let found = self.store.order(id).await?;
        found.filter(|found| found.account == account.id).ok_or_else(|| Problem::not_yours("order"))
    }

    pub(super) async fn status(&self, order: &Order, now: OffsetDateTime) -> Result<Status, Problem> {
        match &order.state {
            OrderState::Valid { certificate } => Ok(Status::Valid { certificate: certificate.clone() }),
            OrderState::Invalid { problem } => Ok(Status::Invalid { problem: problem.clone() }),
            OrderState::Processing { since, .. } => {
                if now.unix_timestamp() - since <= MAX_PROCESSING.whole_seconds() {
                    return Ok(Status::Processing);
                }
                let lost = Problem::new(Kind::ServerInternal, "signing was interrupted; make a new order");
                let invalid = OrderState::Invalid { problem: Some(lost.document()) };
                // If it was slow and not lost, its `complete` finds this and takes the certificate back.
                if self.store.move_order(&order.id, &order.state, invalid).await? {
                    Ok(Status::Invalid { problem: Some(lost.document()) })
                } else {
                    Ok(Status::Processing)
                }
            }
            OrderState::Open => {
                let mut authorizations = Vec::with_capacity(order.authorizations.len());
                for id in &order.authorizations {
                    authorizations.extend(self.store.authorization(id).await?);
                }
                Ok(open_status(order, &authorizations, now))
            }
        }
    }
}

fn open_status(order: &Order, authorizations: &[Authorization], now: OffsetDateTime) -> Status {
    // An authorization that is gone was swept: the order's time is over too.
    if now >= order.expires || authorizations.len() != order.authorizations.len() {
        return Status::Invalid { problem: Some(Problem::malformed("the order has expired").document()) };
    }
    let all = |wanted| authorizations.iter().all(|one| one.standing(now) == wanted);
    let lost = authorizations.iter().any(|one| one.standing(now) == Standing::Lost);
    match (lost, all(Standing::Valid)) {
        (true, _) => Status::Invalid { problem: first_error(authorizations) },
        (false, true) => Status::Ready,
        (false, false) => Status::Pending,
    }
}

fn first_error(authorizations: &[Authorization]) -> Option<Value> {
    authorizations.iter().flat_map(|authorization| &authorization.challenges).find_map(|challenge| {
        match &challenge.state {
            ChallengeState::Invalid { problem } => Some(problem.clone()),
            _ => None,
        }
    })
}

fn identifiers(wishes: Vec<Wish>) -> Result<Vec<Identifier>, Problem> {
    if wishes.is_empty() || wishes.len() > MAX_IDENTIFIERS {
        return Err(Problem::malformed(format!("an order has one to {MAX_IDENTIFIERS} identifiers")));
    }
    let mut identifiers: Vec<Identifier> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let identifier = Identifier::parse(&wish.r#type, &wish.value)?;
        if !identifiers.contains(&identifier) {
            identifiers.push(identifier);
        }
    }
    Ok(identifiers)
}

impl Order {
    fn document(&self, status: &Status, call: &Call) -> Value {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| drop(document.insert(name.into(), value));
        put("expires", super::rfc3339(self.expires).into());
        put("identifiers", self.identifiers.iter().map(Identifier::to_json).collect());
        let urls = self.authorizations.iter().map(|id| Value::from(call.at("authorization", id)));
        put("authorizations", urls.collect());
        put("finalize", format!("{}/finalize", call.at("order", &self.id)).into());
        put("profile", self.profile.clone().into());
        if let Some(replaces) = &self.replaces {
            put("replaces", replaces.clone().into());
        }
        let name = match status {
            Status::Pending => "pending",
            Status::Ready => "ready",
            Status::Processing => "processing",
            Status::Valid { certificate } => {
                put("certificate", call.at("certificate", certificate).into());
                "valid"
            }
            Status::Invalid { problem } => {
                if let Some(problem) = problem {
                    put("error", problem.clone());
                }
                "invalid"
            }
        };
        put("status", name.into());
        document.into()
    }
}

pub(super) fn order_reply(order: &Order, status: &Status, call: &Call) -> Reply {
    let reply = Reply::json(order.document(status, call)).at(call.at("order", &order.id));
    if *status == Status::Processing { reply.retry_after(1) } else { reply }
}

/// RFC 3339 times of clients have no fractions.
fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(0).unwrap_or(time)
}
