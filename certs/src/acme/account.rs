//! Accounts (RFC 8555 s7.3): made only with an EAB key, found again by their key, changed and ended by it.
use super::eab::{self, Binding};
use super::issuer::By;
use super::jwk::Jwk;
use super::jws::{Flattened, Signer};
use super::problem::{Help, Kind, Problem};
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use super::standing::Enrolment;
use super::store::{AccountChange, Changed, Enrolled};
use crate::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: String,
    pub key: Jwk,
    /// Of the key, RFC 7638: no two accounts have the same.
    pub thumbprint: String,
    pub status: AccountStatus,
    pub contact: Vec<String>,
    /// The EAB key that made or last renewed it.
    pub kid: String,
    pub enrolment: Enrolment,
    #[serde(with = "time::serde::timestamp")]
    pub created: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    Valid,
    /// By its holder.
    Deactivated,
    /// By Torhaus: a revoked device or a leaver.
    Revoked,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Value,
}

/// A person has a few addresses.
const MAX_CONTACTS: usize = 10;
/// RFC 5321 s4.5.3.1: a path has at most 256 octets.
const MAX_CONTACT_BYTES: usize = 320;

impl AccountStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
        }
    }
}

impl Server {
    /// RFC 8555 s7.3.
    pub(super) async fn new_account(&self, call: &Call, key: Jwk) -> Result<Reply, Problem> {
        self.limits.address(call.address, call.now)?;
        let wanted: NewAccount = object(&call.payload)?;
        let thumbprint = key.thumbprint();
        let existing = self.store.account_by_key(&thumbprint).await?;
        if let Some(account) = existing {
            account.must_be_valid()?;
            // RFC 8555 s7.3.1: other fields of the request are ignored; but a fresh EAB key renews the enrolment.
            let binding = wanted.external_account_binding.filter(|_| !wanted.only_return_existing);
            let account = match binding.map(|value| Binding::parse(value, &call.url, &key)).transpose()? {
                Some(binding) if binding.kid != account.kid => self.renew_enrolment(account, &binding, call).await?,
                _ => account,
            };
            return Ok(account_reply(&account, call, false));
        }
        if wanted.only_return_existing {
            return Err(Problem::new(Kind::AccountDoesNotExist, "no account has this key"));
        }
        if self.config.terms_of_service.is_some() && !wanted.terms_of_service_agreed {
            let detail = "agree to the terms of service";
            return Err(Problem::new(Kind::UserActionRequired, detail).help(Help::Terms));
        }
        check_contacts(&wanted.contact)?;
        let Some(binding) = wanted.external_account_binding else {
            let detail = "accounts are made with an EAB key; the portal or an operator gives you one";
            return Err(Problem::new(Kind::ExternalAccountRequired, detail).help(Help::Portal));
        };
        let binding = Binding::parse(binding, &call.url, &key)?;
        let found = self.store.eab(&binding.kid).await?;
        let good = binding.is_made_with(found.as_ref(), call.now);
        let eab = found.filter(|_| good).ok_or_else(eab::refused)?;
        self.must_stand(&eab.enrolment, call.now).await?;
        let account = Account {
            id: super::random_id()?,
            thumbprint,
            key,
            status: AccountStatus::Valid,
            contact: wanted.contact,
            kid: eab.kid,
            enrolment: eab.enrolment,
            created: call.now,
        };
        match self.store.enrol(account.clone(), &account.kid, call.now).await? {
            Enrolled::Created => Ok(account_reply(&account, call, true)),
            Enrolled::KeyExists(existing) => {
                existing.must_be_valid()?;
                Ok(account_reply(&existing, call, false))
            }
            Enrolled::EabGone => Err(eab::refused()),
        }
    }

    /// Signing in again gives a device thirty more days without a new account key.
    async fn renew_enrolment(&self, account: Account, binding: &Binding, call: &Call) -> Result<Account, Problem> {
        let found = self.store.eab(&binding.kid).await?;
        if found.as_ref().is_some_and(|eab| eab.used_by.as_ref() == Some(&account.id)) {
            // An older key of its own, still in the client's configuration.
            return Ok(account);
        }
        let good = binding.is_made_with(found.as_ref(), call.now);
        let same_owner = |enrolment: &Enrolment| enrolment.owner == account.enrolment.owner;
        let eab = found.filter(|eab| good && same_owner(&eab.enrolment)).ok_or_else(eab::refused)?;
        self.must_stand(&eab.enrolment, call.now).await?;
        if !self.store.enrol_again(&account.id, &eab.kid, call.now).await? {
            return Err(eab::refused());
        }
        Ok(Account { kid: eab.kid, enrolment: eab.enrolment, ..account })
    }

    /// RFC 8555 s7.3.2, s7.3.6: an update, a deactivation, or a look.
    pub(super) async fn account(&self, call: &Call, account: Account) -> Result<Reply, Problem> {
        if call.payload.is_empty() {
            return Ok(account_reply(&account, call, false));
        }
        let update: Update = object(&call.payload)?;
        match update.status.as_deref() {
            Some("deactivated") => {
                self.change(&account, AccountChange::End(AccountStatus::Deactivated)).await?;
                return Ok(account_reply(&Account { status: AccountStatus::Deactivated, ..account }, call, false));
            }
            // What certbot sends back unchanged.
            None | Some("valid") => {}
            Some(_) => return Err(Problem::malformed("the status of an account can only become `deactivated`")),
        }
        let Some(contact) = update.contact else { return Ok(account_reply(&account, call, false)) };
        check_contacts(&contact)?;
        self.change(&account, AccountChange::Contact(contact.clone())).await?;
        Ok(account_reply(&Account { contact, ..account }, call, false))
    }

    /// RFC 8555 s7.1.2.1. Few enough for one page: they are swept.
    pub(super) async fn orders(&self, call: &Call, account: &Account) -> Result<Reply, Problem> {
        let ids = self.store.orders_of(&account.id).await?;
        let urls: Vec<String> = ids.iter().map(|id| call.at("order", id)).collect();
        Ok(Reply::json(json!({"orders": urls})))
    }

    /// RFC 8555 s7.3.5.
    pub(super) async fn key_change(&self, call: &Call, account: Account) -> Result<Reply, Problem> {
        let inner = serde_json::from_slice(&call.payload)
            .map_err(|_| Problem::malformed("the payload is not the JWS of the new key"))?;
        let inner = Flattened::from_value(inner)?;
        inner.check_algorithm()?;
        let Signer::Key(new_key) = inner.signer()? else {
            return Err(Problem::malformed("the inner JWS names its key by `jwk`"));
        };
        if inner.protected.nonce.is_some() || inner.protected.url.as_deref() != Some(call.url.as_str()) {
            return Err(Problem::malformed("the inner JWS has the same `url` as the outer one, and no nonce"));
        }
        inner.verify(&new_key)?;
        let stated: KeyChange = object(&inner.payload)?;
        if stated.account != call.at("account", &account.id) {
            return Err(Problem::malformed("the inner JWS is about another account"));
        }
        if Jwk::parse(&stated.old_key)? != account.key {
            return Err(Problem::malformed("`oldKey` is not the key of the account"));
        }
        match self.store.change_account(&account.id, AccountChange::Key(new_key.clone())).await? {
            Changed::Yes => {
                let thumbprint = new_key.thumbprint();
                Ok(account_reply(&Account { key: new_key, thumbprint, ..account }, call, false))
            }
            Changed::NotValid => Err(ended()),
            Changed::KeyTaken(owner) => {
                Err(Problem::malformed("an account has this key already").status(409).at(call.at("account", &owner)))
            }
        }
    }

    /// Ends an account because its device or its owner lost the right to it, and revokes its certificates. What is
    /// being signed at this moment is revoked when it is done. Returns how many certificates were revoked.
    ///
    /// # Errors
    /// The store or the authority did not answer. Do it again until it succeeds.
    pub async fn withdraw(
        &self,
        account: &str,
        reason: Reason,
        why: &str,
        now: OffsetDateTime,
    ) -> Result<usize, super::Unavailable> {
        // First the account: from here on `Store::complete` says no.
        self.store.change_account(account, AccountChange::End(AccountStatus::Revoked)).await?;
        let mut revoked = 0;
        for certificate in self.store.certificates_of(account).await? {
            if now < certificate.not_after {
                let by = By::Server(why.to_owned());
                revoked += usize::from(self.issuer.revoke(&certificate.serial(), reason, &by, now).await?);
            }
        }
        Ok(revoked)
    }

    async fn change(&self, account: &Account, change: AccountChange) -> Result<(), Problem> {
        match self.store.change_account(&account.id, change).await? {
            Changed::Yes => Ok(()),
            Changed::NotValid | Changed::KeyTaken(_) => Err(ended()),
        }
    }
}

impl Account {
    pub(super) fn must_be_valid(&self) -> Result<(), Problem> {
        if self.status == AccountStatus::Valid { Ok(()) } else { Err(ended()) }
    }
}

fn ended() -> Problem {
    let detail = "this account was deactivated or revoked; enrol again in the portal with a new account key";
    Problem::new(Kind::Unauthorized, detail).help(Help::Portal)
}

fn account_reply(account: &Account, call: &Call, created: bool) -> Reply {
    let url = call.at("account", &account.id);
    let body = json!({
        "status": account.status.name(),
        "contact": account.contact,
        "termsOfServiceAgreed": true,
        "orders": format!("{url}/orders"),
    });
    let reply = if created { Reply::created(body) } else { Reply::json(body) };
    reply.at(url)
}

fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    if contacts.len() > MAX_CONTACTS {
        return Err(Problem::new(Kind::InvalidContact, "more than ten contacts"));
    }
    contacts.iter().try_for_each(|contact| check_contact(contact))
}

/// RFC 8555 s7.3: `mailto:` with one address and without header fields.
fn check_contact(contact: &str) -> Result<(), Problem> {
    let Some((scheme, address)) = contact.split_once(':') else {
        return Err(Problem::new(Kind::InvalidContact, "a contact is a URL, for example `mailto:alice@example.com`"));
    };
    if !scheme.eq_ignore_ascii_case("mailto") {
        return Err(Problem::new(Kind::UnsupportedContact, "contacts are `mailto:` addresses"));
    }
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"?,;<>\"\\@%".contains(&b));
    let parts = address.rsplit_once('@');
    if address.len() > MAX_CONTACT_BYTES || !parts.is_some_and(|(user, host)| plain(user) && plain(host)) {
        return Err(Problem::new(Kind::InvalidContact, "a `mailto:` contact has one address and no header fields"));
    }
    Ok(())
}
