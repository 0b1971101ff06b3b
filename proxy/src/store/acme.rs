//! What the ACME server remembers. Each step is alone in the database (`begin_alone`), so what it reads in there nobody
//! changes before it writes. Never decides anything: `torhaus_certs::acme` does.
use crate::login::session;
use crate::store::SqlStore;
use crate::store::database::{Row, Steps, sql};
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{Duration, OffsetDateTime};
use torhaus_certs::acme::{
    Account, AccountChange, AccountStatus, Authorization, AuthorizationState, Certificate, Changed, EabKey, Enrolled,
    Identifier, NonceId, Order, OrderState, Store, Unavailable,
};
use zeroize::Zeroizing;

/// How long what is over can still be asked about.
const KEPT: Duration = Duration::days(1);
/// An account goes this long after its enrolment ended, if no certificate of it is left.
const ACCOUNT_KEPT: Duration = Duration::days(30);

type Result<T> = std::result::Result<T, Unavailable>;
type Found = std::result::Result<Vec<Row>, session::Unavailable>;

#[async_trait]
impl Store for SqlStore {
    async fn spend_nonce(&self, nonce: NonceId, until: OffsetDateTime) -> Result<bool> {
        let new = self
            .write(
                sql("INSERT INTO acme_nonces (id, until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
                    .bind(nonce.as_slice())
                    .bind(until.unix_timestamp()),
            )
            .await
            .map_err(unavailable)?;
        Ok(new == 1)
    }

    async fn add_eab(&self, key: EabKey) -> Result<()> {
        self.write(
            sql("INSERT INTO acme_eabs (kid, not_after, record) VALUES ($1, $2, $3)")
                .bind(&key.kid)
                .bind(key.not_after.unix_timestamp())
                .bind(self.sealed(&key)?),
        )
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    async fn eab(&self, kid: &str) -> Result<Option<EabKey>> {
        let row = sql("SELECT kid, record FROM acme_eabs WHERE kid = $1").bind(kid);
        let rows = self.rows(row).await.map_err(unavailable)?;
        rows.first().map(|row| self.opened(row)).transpose()
    }

    async fn eabs(&self) -> Result<Vec<EabKey>> {
        let rows = sql("SELECT kid, record FROM acme_eabs ORDER BY number DESC");
        let rows = self.rows(rows).await.map_err(unavailable)?;
        rows.iter().map(|row| self.opened(row)).collect()
    }

    async fn revoke_eab(&self, kid: &str) -> Result<bool> {
        let mut tx = self.step().await?;
        let unused = self.eab_in(&mut *tx, kid).await?.filter(|eab| eab.used_by.is_none() && !eab.revoked);
        let Some(mut eab) = unused else { return Ok(false) };
        eab.revoked = true;
        self.put_eab(&mut *tx, &eab).await?;
        commit(tx).await
    }

    async fn account(&self, id: &str) -> Result<Option<Account>> {
        let row = sql("SELECT record FROM acme_accounts WHERE id = $1").bind(id);
        one(self.rows(row).await)
    }

    async fn account_by_key(&self, thumbprint: &str) -> Result<Option<Account>> {
        let row = sql("SELECT record FROM acme_accounts WHERE thumbprint = $1").bind(thumbprint);
        one(self.rows(row).await)
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        let rows = sql("SELECT record FROM acme_accounts ORDER BY number DESC");
        all(self.rows(rows).await)
    }

    async fn enrol(&self, account: Account, kid: &str, now: OffsetDateTime) -> Result<Enrolled> {
        let mut tx = self.step().await?;
        let known = sql("SELECT record FROM acme_accounts WHERE thumbprint = $1").bind(&account.thumbprint);
        if let Some(existing) = one::<Account>(tx.rows(known).await)? {
            return Ok(Enrolled::KeyExists(Box::new(existing)));
        }
        let open = self.eab_in(&mut *tx, kid).await?.filter(|eab| eab.is_open(now));
        let Some(mut eab) = open else { return Ok(Enrolled::EabGone) };
        eab.used_by = Some(account.id.clone());
        self.put_eab(&mut *tx, &eab).await?;
        tx.write(
            sql("INSERT INTO acme_accounts (id, thumbprint, until, record) VALUES ($1, $2, $3, $4)")
                .bind(&account.id)
                .bind(&account.thumbprint)
                .bind(account.enrolment.until.unix_timestamp())
                .bind(json(&account)?),
        )
        .await
        .map_err(unavailable)?;
        commit(tx).await?;
        Ok(Enrolled::Created)
    }

    async fn enrol_again(&self, account: &str, kid: &str, now: OffsetDateTime) -> Result<bool> {
        let mut tx = self.step().await?;
        let Some(account) = valid_account(&mut *tx, account).await? else { return Ok(false) };
        let open = self.eab_in(&mut *tx, kid).await?.filter(|eab| eab.is_open(now));
        let Some(mut eab) = open else { return Ok(false) };
        let account = Account { enrolment: eab.enrolment.clone(), kid: kid.to_owned(), ..account };
        put_account(&mut *tx, &account).await?;
        eab.used_by = Some(account.id);
        self.put_eab(&mut *tx, &eab).await?;
        commit(tx).await
    }

    async fn change_account(&self, id: &str, change: AccountChange) -> Result<Changed> {
        let mut tx = self.step().await?;
        if let AccountChange::Key(key) = &change {
            let taken = sql("SELECT record FROM acme_accounts WHERE thumbprint = $1").bind(key.thumbprint());
            if let Some(owner) = one::<Account>(tx.rows(taken).await)? {
                return Ok(Changed::KeyTaken(owner.id));
            }
        }
        let Some(mut account) = valid_account(&mut *tx, id).await? else { return Ok(Changed::NotValid) };
        match change {
            AccountChange::Contact(contact) => account.contact = contact,
            AccountChange::End(status) => account.status = status,
            AccountChange::Key(key) => {
                account.thumbprint = key.thumbprint();
                account.key = key;
            }
        }
        put_account(&mut *tx, &account).await?;
        commit(tx).await?;
        Ok(Changed::Yes)
    }

    async fn add_order(&self, order: Order, authorizations: Vec<Authorization>) -> Result<bool> {
        let mut tx = self.step().await?;
        if let Some(replaces) = &order.replaces {
            let other = sql("SELECT 1 FROM acme_orders WHERE replaces = $1").bind(replaces);
            if !tx.rows(other).await.map_err(unavailable)?.is_empty() {
                return Ok(false);
            }
        }
        tx.write(
            sql("INSERT INTO acme_orders (id, account, expires, replaces, record) VALUES ($1, $2, $3, $4, $5)")
                .bind(&order.id)
                .bind(&order.account)
                .bind(order.expires.unix_timestamp())
                .bind(&order.replaces)
                .bind(json(&order)?),
        )
        .await
        .map_err(unavailable)?;
        for one in &authorizations {
            tx.write(
                sql("INSERT INTO acme_authorizations (id, order_id, account, identifier, valid, expires, record) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)")
                .bind(&one.id)
                .bind(&order.id)
                .bind(&one.account)
                .bind(json(&one.identifier)?)
                .bind(one.state == AuthorizationState::Valid)
                .bind(one.expires.unix_timestamp())
                .bind(json(one)?),
            )
            .await
            .map_err(unavailable)?;
        }
        commit(tx).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>> {
        let row = sql("SELECT record FROM acme_orders WHERE id = $1").bind(id);
        one(self.rows(row).await)
    }

    async fn orders_of(&self, account: &str) -> Result<Vec<String>> {
        let rows = sql("SELECT id FROM acme_orders WHERE account = $1 ORDER BY number").bind(account);
        let rows = self.rows(rows).await.map_err(unavailable)?;
        rows.iter().map(|row| row.text("id").map_err(unavailable)).collect()
    }

    async fn move_order(&self, id: &str, from: &OrderState, to: OrderState) -> Result<bool> {
        let mut tx = self.step().await?;
        if !move_order(&mut *tx, id, from, to).await? {
            return Ok(false);
        }
        commit(tx).await
    }

    async fn complete(&self, certificate: Certificate, from: &OrderState) -> Result<bool> {
        let mut tx = self.step().await?;
        let to = OrderState::Valid { certificate: certificate.id.clone() };
        if valid_account(&mut *tx, &certificate.account).await?.is_none()
            || !move_order(&mut *tx, &certificate.order, from, to).await?
        {
            return Ok(false);
        }
        tx.write(sql(
            "INSERT INTO acme_certificates (id, account, renewal_id, not_after, record) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&certificate.id)
        .bind(&certificate.account)
        .bind(&certificate.renewal_id)
        .bind(certificate.not_after.unix_timestamp())
        .bind(json(&certificate)?)).await.map_err(unavailable)?;
        commit(tx).await
    }

    async fn authorization(&self, id: &str) -> Result<Option<Authorization>> {
        let row = sql("SELECT record FROM acme_authorizations WHERE id = $1").bind(id);
        one(self.rows(row).await)
    }

    async fn change_authorization(&self, from: &Authorization, to: Authorization) -> Result<bool> {
        let mut tx = self.step().await?;
        let row = sql("SELECT record FROM acme_authorizations WHERE id = $1").bind(&from.id);
        let stored: Option<Authorization> = one(tx.rows(row).await)?;
        if stored.as_ref() != Some(from) {
            return Ok(false);
        }
        tx.write(
            sql("UPDATE acme_authorizations SET valid = $1, expires = $2, record = $3 WHERE id = $4")
                .bind(to.state == AuthorizationState::Valid)
                .bind(to.expires.unix_timestamp())
                .bind(json(&to)?)
                .bind(&from.id),
        )
        .await
        .map_err(unavailable)?;
        commit(tx).await
    }

    async fn has_proved(&self, account: &str, name: &Identifier, now: OffsetDateTime) -> Result<bool> {
        let row = sql(
            "SELECT 1 FROM acme_authorizations WHERE account = $1 AND identifier = $2 AND valid = 1 AND expires > $3 LIMIT 1",
        )
        .bind(account)
        .bind(json(name)?)
        .bind(now.unix_timestamp())
        ;
        Ok(!self.rows(row).await.map_err(unavailable)?.is_empty())
    }

    async fn certificate(&self, id: &str) -> Result<Option<Certificate>> {
        let row = sql("SELECT record FROM acme_certificates WHERE id = $1").bind(id);
        one(self.rows(row).await)
    }

    async fn certificate_by_renewal_id(&self, renewal_id: &str) -> Result<Option<Certificate>> {
        let row = sql("SELECT record FROM acme_certificates WHERE renewal_id = $1").bind(renewal_id);
        one(self.rows(row).await)
    }

    async fn certificates_of(&self, account: &str) -> Result<Vec<Certificate>> {
        let rows = sql("SELECT record FROM acme_certificates WHERE account = $1 ORDER BY rowid").bind(account);
        all(self.rows(rows).await)
    }

    async fn sweep(&self, now: OffsetDateTime) -> Result<usize> {
        let mut tx = self.step().await?;
        let mut gone = 0;
        for (text, moment) in [
            ("DELETE FROM acme_nonces WHERE until <= $1", now),
            ("DELETE FROM acme_eabs WHERE not_after <= $1", now - KEPT),
            ("DELETE FROM acme_certificates WHERE not_after <= $1", now - KEPT),
            ("DELETE FROM acme_orders WHERE certificate IS NULL AND expires <= $1", now - KEPT),
            (
                "DELETE FROM acme_orders WHERE certificate IS NOT NULL AND $1 IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM acme_certificates c WHERE c.id = acme_orders.certificate)",
                now,
            ),
            (
                "DELETE FROM acme_authorizations WHERE expires <= $1 \
                 AND NOT EXISTS (SELECT 1 FROM acme_orders o WHERE o.id = acme_authorizations.order_id)",
                now - KEPT,
            ),
            (
                "DELETE FROM acme_accounts WHERE until <= $1 \
                 AND NOT EXISTS (SELECT 1 FROM acme_certificates c WHERE c.account = acme_accounts.id)",
                now - ACCOUNT_KEPT,
            ),
        ] {
            let rows = tx.write(sql(text).bind(moment.unix_timestamp())).await.map_err(unavailable)?;
            gone += usize::try_from(rows).unwrap_or(usize::MAX);
        }
        commit(tx).await?;
        Ok(gone)
    }
}

impl SqlStore {
    async fn step(&self) -> Result<Box<dyn Steps>> {
        self.begin_alone().await.map_err(unavailable)
    }

    fn sealed(&self, key: &EabKey) -> Result<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(key).map_err(|_| Unavailable)?);
        self.seal().seal(&purpose(&key.kid), &plain).map_err(|_| Unavailable)
    }

    fn opened(&self, row: &Row) -> Result<EabKey> {
        let kid = row.text("kid").map_err(unavailable)?;
        let sealed = row.bytes("record").map_err(unavailable)?;
        let plain = self.seal().open(&purpose(&kid), &sealed).map_err(|error| {
            tracing::error!(kid, %error, "an EAB key cannot be read");
            Unavailable
        })?;
        serde_json::from_slice(&plain).map_err(|_| Unavailable)
    }

    async fn eab_in(&self, tx: &mut dyn Steps, kid: &str) -> Result<Option<EabKey>> {
        let row = sql("SELECT kid, record FROM acme_eabs WHERE kid = $1").bind(kid);
        let rows = tx.rows(row).await.map_err(unavailable)?;
        rows.first().map(|row| self.opened(row)).transpose()
    }

    async fn put_eab(&self, tx: &mut dyn Steps, key: &EabKey) -> Result<()> {
        let query = sql("UPDATE acme_eabs SET record = $1 WHERE kid = $2").bind(self.sealed(key)?).bind(&key.kid);
        tx.write(query).await.map_err(unavailable)?;
        Ok(())
    }
}

/// Bound to its place: a record moved to another row does not open.
fn purpose(kid: &str) -> String {
    format!("acme-eab:{kid}")
}

async fn valid_account(tx: &mut dyn Steps, id: &str) -> Result<Option<Account>> {
    let row = sql("SELECT record FROM acme_accounts WHERE id = $1").bind(id);
    let account: Option<Account> = one(tx.rows(row).await)?;
    Ok(account.filter(|account| account.status == AccountStatus::Valid))
}

async fn put_account(tx: &mut dyn Steps, account: &Account) -> Result<()> {
    tx.write(
        sql("UPDATE acme_accounts SET thumbprint = $1, until = $2, record = $3 WHERE id = $4")
            .bind(&account.thumbprint)
            .bind(account.enrolment.until.unix_timestamp())
            .bind(json(account)?)
            .bind(&account.id),
    )
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn move_order(tx: &mut dyn Steps, id: &str, from: &OrderState, to: OrderState) -> Result<bool> {
    let row = sql("SELECT record FROM acme_orders WHERE id = $1").bind(id);
    let order: Option<Order> = one(tx.rows(row).await)?;
    let Some(order) = order.filter(|order| order.state == *from) else { return Ok(false) };
    // An invalid order does not stand in the way of another that replaces the same certificate.
    let replaces = order.replaces.clone().filter(|_| !matches!(to, OrderState::Invalid { .. }));
    let certificate = match &to {
        OrderState::Valid { certificate } => Some(certificate.clone()),
        _ => None,
    };
    tx.write(
        sql("UPDATE acme_orders SET replaces = $1, certificate = $2, record = $3 WHERE id = $4")
            .bind(replaces)
            .bind(certificate)
            .bind(json(&Order { state: to, ..order })?)
            .bind(id),
    )
    .await
    .map_err(unavailable)?;
    Ok(true)
}

async fn commit(tx: Box<dyn Steps>) -> Result<bool> {
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Unavailable)
}

fn one<T: DeserializeOwned>(row: Found) -> Result<Option<T>> {
    row.map_err(unavailable)?.first().map(record).transpose()
}

fn all<T: DeserializeOwned>(rows: Found) -> Result<Vec<T>> {
    rows.map_err(unavailable)?.iter().map(record).collect()
}

fn record<T: DeserializeOwned>(row: &Row) -> Result<T> {
    let text = row.text("record").map_err(unavailable)?;
    serde_json::from_str(&text).map_err(|error| {
        tracing::error!(%error, "a record of the ACME server cannot be read");
        Unavailable
    })
}

fn unavailable(error: session::Unavailable) -> Unavailable {
    tracing::error!(%error, "the ACME server's records cannot be used");
    Unavailable
}
