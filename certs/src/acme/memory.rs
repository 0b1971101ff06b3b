//! The store in memory: for tests, and the meaning of [`Store`] in a page.
use super::account::{Account, AccountStatus};
use super::authorization::{Authorization, AuthorizationState};
use super::certificate::Certificate;
use super::eab::EabKey;
use super::identifier::Identifier;
use super::issuer::Unavailable;
use super::nonce::NonceId;
use super::order::{Order, OrderState};
use super::store::{AccountChange, Changed, Enrolled, Store};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::{Duration, OffsetDateTime};

#[derive(Debug, Default)]
pub struct Memory {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    nonces: BTreeMap<NonceId, OffsetDateTime>,
    eabs: BTreeMap<String, EabKey>,
    accounts: BTreeMap<String, Account>,
    orders: BTreeMap<String, Order>,
    authorizations: BTreeMap<String, Authorization>,
    certificates: BTreeMap<String, Certificate>,
    /// Order ids in the order of their making.
    made: Vec<String>,
}

impl Memory {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn by_key(&self, thumbprint: &str) -> Option<&Account> {
        self.accounts.values().find(|account| account.thumbprint == thumbprint)
    }

    fn valid_account(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.get_mut(id).filter(|account| account.status == AccountStatus::Valid)
    }

    fn open_eab(&mut self, kid: &str, now: OffsetDateTime) -> Option<&mut EabKey> {
        self.eabs.get_mut(kid).filter(|eab| eab.is_open(now))
    }
}

#[async_trait]
impl Store for Memory {
    async fn spend_nonce(&self, nonce: NonceId, until: OffsetDateTime) -> Result<bool, Unavailable> {
        Ok(self.records().nonces.insert(nonce, until).is_none())
    }

    async fn add_eab(&self, key: EabKey) -> Result<(), Unavailable> {
        self.records().eabs.insert(key.kid.clone(), key);
        Ok(())
    }

    async fn eab(&self, kid: &str) -> Result<Option<EabKey>, Unavailable> {
        Ok(self.records().eabs.get(kid).cloned())
    }

    async fn eabs(&self) -> Result<Vec<EabKey>, Unavailable> {
        let mut eabs: Vec<_> = self.records().eabs.values().cloned().collect();
        eabs.sort_by_key(|eab| std::cmp::Reverse(eab.created));
        Ok(eabs)
    }

    async fn revoke_eab(&self, kid: &str) -> Result<bool, Unavailable> {
        let mut records = self.records();
        let unused = records.eabs.get_mut(kid).filter(|eab| eab.used_by.is_none() && !eab.revoked);
        Ok(unused.map(|eab| eab.revoked = true).is_some())
    }

    async fn account(&self, id: &str) -> Result<Option<Account>, Unavailable> {
        Ok(self.records().accounts.get(id).cloned())
    }

    async fn account_by_key(&self, thumbprint: &str) -> Result<Option<Account>, Unavailable> {
        Ok(self.records().by_key(thumbprint).cloned())
    }

    async fn accounts(&self) -> Result<Vec<Account>, Unavailable> {
        let mut accounts: Vec<_> = self.records().accounts.values().cloned().collect();
        accounts.sort_by_key(|account| std::cmp::Reverse(account.created));
        Ok(accounts)
    }

    async fn enrol(&self, account: Account, kid: &str, now: OffsetDateTime) -> Result<Enrolled, Unavailable> {
        let mut records = self.records();
        if let Some(existing) = records.by_key(&account.thumbprint) {
            return Ok(Enrolled::KeyExists(Box::new(existing.clone())));
        }
        let Some(eab) = records.open_eab(kid, now) else { return Ok(Enrolled::EabGone) };
        eab.used_by = Some(account.id.clone());
        records.accounts.insert(account.id.clone(), account);
        Ok(Enrolled::Created)
    }

    async fn enrol_again(&self, account: &str, kid: &str, now: OffsetDateTime) -> Result<bool, Unavailable> {
        let mut records = self.records();
        if records.valid_account(account).is_none() {
            return Ok(false);
        }
        let Some(eab) = records.open_eab(kid, now) else { return Ok(false) };
        eab.used_by = Some(account.to_owned());
        let enrolment = eab.enrolment.clone();
        if let Some(account) = records.valid_account(account) {
            account.enrolment = enrolment;
            account.kid = kid.to_owned();
        }
        Ok(true)
    }

    async fn change_account(&self, id: &str, change: AccountChange) -> Result<Changed, Unavailable> {
        let mut records = self.records();
        if let AccountChange::Key(key) = &change
            && let Some(owner) = records.by_key(&key.thumbprint())
        {
            return Ok(Changed::KeyTaken(owner.id.clone()));
        }
        let Some(account) = records.valid_account(id) else { return Ok(Changed::NotValid) };
        match change {
            AccountChange::Contact(contact) => account.contact = contact,
            AccountChange::End(status) => account.status = status,
            AccountChange::Key(key) => {
                account.thumbprint = key.thumbprint();
                account.key = key;
            }
        }
        Ok(Changed::Yes)
    }

    async fn add_order(&self, order: Order, authorizations: Vec<Authorization>) -> Result<bool, Unavailable> {
        let mut records = self.records();
        let replaced =
            |other: &Order| other.replaces == order.replaces && !matches!(other.state, OrderState::Invalid { .. });
        if order.replaces.is_some() && records.orders.values().any(replaced) {
            return Ok(false);
        }
        records.made.push(order.id.clone());
        records.orders.insert(order.id.clone(), order);
        records.authorizations.extend(authorizations.into_iter().map(|one| (one.id.clone(), one)));
        Ok(true)
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, Unavailable> {
        Ok(self.records().orders.get(id).cloned())
    }

    async fn orders_of(&self, account: &str) -> Result<Vec<String>, Unavailable> {
        let records = self.records();
        let own = |id: &&String| records.orders.get(*id).is_some_and(|order| order.account == account);
        Ok(records.made.iter().filter(own).cloned().collect())
    }

    async fn move_order(&self, id: &str, from: &OrderState, to: OrderState) -> Result<bool, Unavailable> {
        let mut records = self.records();
        let order = records.orders.get_mut(id).filter(|order| order.state == *from);
        Ok(order.map(|order| order.state = to).is_some())
    }

    async fn complete(&self, certificate: Certificate, from: &OrderState) -> Result<bool, Unavailable> {
        let mut records = self.records();
        if records.valid_account(&certificate.account).is_none() {
            return Ok(false);
        }
        let order = records.orders.get_mut(&certificate.order).filter(|order| order.state == *from);
        let Some(order) = order else { return Ok(false) };
        order.state = OrderState::Valid { certificate: certificate.id.clone() };
        records.certificates.insert(certificate.id.clone(), certificate);
        Ok(true)
    }

    async fn authorization(&self, id: &str) -> Result<Option<Authorization>, Unavailable> {
        Ok(self.records().authorizations.get(id).cloned())
    }

    async fn change_authorization(&self, from: &Authorization, to: Authorization) -> Result<bool, Unavailable> {
        let mut records = self.records();
        let stored = records.authorizations.get_mut(&from.id).filter(|stored| *stored == from);
        Ok(stored.map(|stored| *stored = to).is_some())
    }

    async fn has_proved(&self, account: &str, name: &Identifier, now: OffsetDateTime) -> Result<bool, Unavailable> {
        let records = self.records();
        Ok(records.authorizations.values().any(|one| {
            let valid = one.state == AuthorizationState::Valid && now < one.expires;
            valid && one.account == account && one.identifier == *name
        }))
    }

    async fn certificate(&self, id: &str) -> Result<Option<Certificate>, Unavailable> {
        Ok(self.records().certificates.get(id).cloned())
    }

    async fn certificate_by_renewal_id(&self, renewal_id: &str) -> Result<Option<Certificate>, Unavailable> {
        let records = self.records();
        Ok(records.certificates.values().find(|certificate| certificate.renewal_id == renewal_id).cloned())
    }

    async fn certificates_of(&self, account: &str) -> Result<Vec<Certificate>, Unavailable> {
        let records = self.records();
        Ok(records.certificates.values().filter(|certificate| certificate.account == account).cloned().collect())
    }

    async fn sweep(&self, now: OffsetDateTime) -> Result<usize, Unavailable> {
        let mut guard = self.records();
        let records = &mut *guard;
        let before = records.count();
        let day_ago = now - Duration::DAY;
        records.nonces.retain(|_, until| now < *until);
        records.eabs.retain(|_, eab| day_ago < eab.not_after);
        records.certificates.retain(|_, certificate| day_ago < certificate.not_after);
        let certificates = &records.certificates;
        records.orders.retain(|_, order| match &order.state {
            OrderState::Valid { certificate } => certificates.contains_key(certificate),
            _ => day_ago < order.expires,
        });
        let orders = &records.orders;
        records.made.retain(|id| orders.contains_key(id));
        let in_use = |id: &String| orders.values().any(|order| order.authorizations.contains(id));
        records.authorizations.retain(|id, one| day_ago < one.expires || in_use(id));
        records.accounts.retain(|id, account| {
            let lives = now - Duration::days(30) < account.enrolment.until;
            lives || certificates.values().any(|certificate| certificate.account == *id)
        });
        Ok(before - records.count())
    }
}

impl Records {
    fn count(&self) -> usize {
        self.nonces.len()
            + self.eabs.len()
            + self.accounts.len()
            + self.orders.len()
            + self.authorizations.len()
            + self.certificates.len()
    }
}
