//! What the ACME server remembers, in SQLite. Each step is one transaction of the one writer, so what it reads in there
//! nobody changes before it writes. Never decides anything: `torhaus_certs::acme` does.
use crate::store::SqliteStore;
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, SqliteConnection, Transaction};
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

#[async_trait]
impl Store for SqliteStore {
    async fn spend_nonce(&self, nonce: NonceId, until: OffsetDateTime) -> Result<bool> {
        let done = sqlx::query("INSERT INTO acme_nonces (id, until) VALUES (?, ?) ON CONFLICT (id) DO NOTHING")
            .bind(nonce.as_slice())
            .bind(until.unix_timestamp())
            .execute(self.writer())
            .await
            .map_err(unavailable)?;
        Ok(done.rows_affected() == 1)
    }

    async fn add_eab(&self, key: EabKey) -> Result<()> {
        sqlx::query("INSERT INTO acme_eabs (kid, not_after, record) VALUES (?, ?, ?)")
            .bind(&key.kid)
            .bind(key.not_after.unix_timestamp())
            .bind(self.sealed(&key)?)
            .execute(self.writer())
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn eab(&self, kid: &str) -> Result<Option<EabKey>> {
        let row = sqlx::query("SELECT kid, record FROM acme_eabs WHERE kid = ?").bind(kid);
        let row = row.fetch_optional(self.readers()).await.map_err(unavailable)?;
        row.map(|row| self.opened(&row)).transpose()
    }

    async fn eabs(&self) -> Result<Vec<EabKey>> {
        let rows = sqlx::query("SELECT kid, record FROM acme_eabs ORDER BY number DESC");
        let rows = rows.fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter().map(|row| self.opened(row)).collect()
    }

    async fn revoke_eab(&self, kid: &str) -> Result<bool> {
        let mut tx = self.step().await?;
        let unused = self.eab_in(&mut tx, kid).await?.filter(|eab| eab.used_by.is_none() && !eab.revoked);
        let Some(mut eab) = unused else { return Ok(false) };
        eab.revoked = true;
        self.put_eab(&mut tx, &eab).await?;
        commit(tx).await
    }

    async fn account(&self, id: &str) -> Result<Option<Account>> {
        let row = sqlx::query("SELECT record FROM acme_accounts WHERE id = ?").bind(id);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn account_by_key(&self, thumbprint: &str) -> Result<Option<Account>> {
        let row = sqlx::query("SELECT record FROM acme_accounts WHERE thumbprint = ?").bind(thumbprint);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn accounts(&self) -> Result<Vec<Account>> {
        let rows = sqlx::query("SELECT record FROM acme_accounts ORDER BY number DESC");
        all(rows.fetch_all(self.readers()).await)
    }

    async fn enrol(&self, account: Account, kid: &str, now: OffsetDateTime) -> Result<Enrolled> {
        let mut tx = self.step().await?;
        let known = sqlx::query("SELECT record FROM acme_accounts WHERE thumbprint = ?").bind(&account.thumbprint);
        if let Some(existing) = one::<Account>(known.fetch_optional(&mut *tx).await)? {
            return Ok(Enrolled::KeyExists(Box::new(existing)));
        }
        let open = self.eab_in(&mut tx, kid).await?.filter(|eab| eab.is_open(now));
        let Some(mut eab) = open else { return Ok(Enrolled::EabGone) };
        eab.used_by = Some(account.id.clone());
        self.put_eab(&mut tx, &eab).await?;
        sqlx::query("INSERT INTO acme_accounts (id, thumbprint, until, record) VALUES (?, ?, ?, ?)")
            .bind(&account.id)
            .bind(&account.thumbprint)
            .bind(account.enrolment.until.unix_timestamp())
            .bind(json(&account)?)
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        commit(tx).await?;
        Ok(Enrolled::Created)
    }

    async fn enrol_again(&self, account: &str, kid: &str, now: OffsetDateTime) -> Result<bool> {
        let mut tx = self.step().await?;
        let Some(account) = valid_account(&mut tx, account).await? else { return Ok(false) };
        let open = self.eab_in(&mut tx, kid).await?.filter(|eab| eab.is_open(now));
        let Some(mut eab) = open else { return Ok(false) };
        let account = Account { enrolment: eab.enrolment.clone(), kid: kid.to_owned(), ..account };
        put_account(&mut tx, &account).await?;
        eab.used_by = Some(account.id);
        self.put_eab(&mut tx, &eab).await?;
        commit(tx).await
    }

    async fn change_account(&self, id: &str, change: AccountChange) -> Result<Changed> {
        let mut tx = self.step().await?;
        if let AccountChange::Key(key) = &change {
            let taken = sqlx::query("SELECT record FROM acme_accounts WHERE thumbprint = ?").bind(key.thumbprint());
            if let Some(owner) = one::<Account>(taken.fetch_optional(&mut *tx).await)? {
                return Ok(Changed::KeyTaken(owner.id));
            }
        }
        let Some(mut account) = valid_account(&mut tx, id).await? else { return Ok(Changed::NotValid) };
        match change {
            AccountChange::Contact(contact) => account.contact = contact,
            AccountChange::End(status) => account.status = status,
            AccountChange::Key(key) => {
                account.thumbprint = key.thumbprint();
                account.key = key;
            }
        }
        put_account(&mut tx, &account).await?;
        commit(tx).await?;
        Ok(Changed::Yes)
    }

    async fn add_order(&self, order: Order, authorizations: Vec<Authorization>) -> Result<bool> {
        let mut tx = self.step().await?;
        if let Some(replaces) = &order.replaces {
            let other = sqlx::query("SELECT 1 FROM acme_orders WHERE replaces = ?").bind(replaces);
            if other.fetch_optional(&mut *tx).await.map_err(unavailable)?.is_some() {
                return Ok(false);
            }
        }
        sqlx::query("INSERT INTO acme_orders (id, account, expires, replaces, record) VALUES (?, ?, ?, ?, ?)")
            .bind(&order.id)
            .bind(&order.account)
            .bind(order.expires.unix_timestamp())
            .bind(&order.replaces)
            .bind(json(&order)?)
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        for one in &authorizations {
            sqlx::query(
                "INSERT INTO acme_authorizations (id, order_id, account, identifier, valid, expires, record) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&one.id)
            .bind(&order.id)
            .bind(&one.account)
            .bind(json(&one.identifier)?)
            .bind(one.state == AuthorizationState::Valid)
            .bind(one.expires.unix_timestamp())
            .bind(json(one)?)
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        }
        commit(tx).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>> {
        let row = sqlx::query("SELECT record FROM acme_orders WHERE id = ?").bind(id);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn orders_of(&self, account: &str) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT id FROM acme_orders WHERE account = ? ORDER BY number").bind(account);
        let rows = rows.fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter().map(|row| row.try_get("id").map_err(unavailable)).collect()
    }

    async fn move_order(&self, id: &str, from: &OrderState, to: OrderState) -> Result<bool> {
        let mut tx = self.step().await?;
        if !move_order(&mut tx, id, from, to).await? {
            return Ok(false);
        }
        commit(tx).await
    }

    async fn complete(&self, certificate: Certificate, from: &OrderState) -> Result<bool> {
        let mut tx = self.step().await?;
        let to = OrderState::Valid { certificate: certificate.id.clone() };
        if valid_account(&mut tx, &certificate.account).await?.is_none()
            || !move_order(&mut tx, &certificate.order, from, to).await?
        {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO acme_certificates (id, account, renewal_id, not_after, record) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&certificate.id)
        .bind(&certificate.account)
        .bind(&certificate.renewal_id)
        .bind(certificate.not_after.unix_timestamp())
        .bind(json(&certificate)?)
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
        commit(tx).await
    }

    async fn authorization(&self, id: &str) -> Result<Option<Authorization>> {
        let row = sqlx::query("SELECT record FROM acme_authorizations WHERE id = ?").bind(id);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn change_authorization(&self, from: &Authorization, to: Authorization) -> Result<bool> {
        let mut tx = self.step().await?;
        let row = sqlx::query("SELECT record FROM acme_authorizations WHERE id = ?").bind(&from.id);
        let stored: Option<Authorization> = one(row.fetch_optional(&mut *tx).await)?;
        if stored.as_ref() != Some(from) {
            return Ok(false);
        }
        sqlx::query("UPDATE acme_authorizations SET valid = ?, expires = ?, record = ? WHERE id = ?")
            .bind(to.state == AuthorizationState::Valid)
            .bind(to.expires.unix_timestamp())
            .bind(json(&to)?)
            .bind(&from.id)
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        commit(tx).await
    }

    async fn has_proved(&self, account: &str, name: &Identifier, now: OffsetDateTime) -> Result<bool> {
        let row = sqlx::query(
            "SELECT 1 FROM acme_authorizations WHERE account = ? AND identifier = ? AND valid AND expires > ? LIMIT 1",
        )
        .bind(account)
        .bind(json(name)?)
        .bind(now.unix_timestamp())
        .fetch_optional(self.readers())
        .await
        .map_err(unavailable)?;
        Ok(row.is_some())
    }

    async fn certificate(&self, id: &str) -> Result<Option<Certificate>> {
        let row = sqlx::query("SELECT record FROM acme_certificates WHERE id = ?").bind(id);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn certificate_by_renewal_id(&self, renewal_id: &str) -> Result<Option<Certificate>> {
        let row = sqlx::query("SELECT record FROM acme_certificates WHERE renewal_id = ?").bind(renewal_id);
        one(row.fetch_optional(self.readers()).await)
    }

    async fn certificates_of(&self, account: &str) -> Result<Vec<Certificate>> {
        let rows = sqlx::query("SELECT record FROM acme_certificates WHERE account = ? ORDER BY rowid").bind(account);
        all(rows.fetch_all(self.readers()).await)
    }

    async fn sweep(&self, now: OffsetDateTime) -> Result<usize> {
        let mut tx = self.step().await?;
        let mut gone = 0;
        for (sql, moment) in [
            ("DELETE FROM acme_nonces WHERE until <= ?", now),
            ("DELETE FROM acme_eabs WHERE not_after <= ?", now - KEPT),
            ("DELETE FROM acme_certificates WHERE not_after <= ?", now - KEPT),
            ("DELETE FROM acme_orders WHERE certificate IS NULL AND expires <= ?", now - KEPT),
            (
                "DELETE FROM acme_orders WHERE certificate IS NOT NULL AND ? IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM acme_certificates c WHERE c.id = acme_orders.certificate)",
                now,
            ),
            (
                "DELETE FROM acme_authorizations WHERE expires <= ? \
                 AND NOT EXISTS (SELECT 1 FROM acme_orders o WHERE o.id = acme_authorizations.order_id)",
                now - KEPT,
            ),
            (
                "DELETE FROM acme_accounts WHERE until <= ? \
                 AND NOT EXISTS (SELECT 1 FROM acme_certificates c WHERE c.account = acme_accounts.id)",
                now - ACCOUNT_KEPT,
            ),
        ] {
            let done = sqlx::query(sql).bind(moment.unix_timestamp()).execute(&mut *tx).await.map_err(unavailable)?;
            gone += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
        }
        commit(tx).await?;
        Ok(gone)
    }
}

impl SqliteStore {
    async fn step(&self) -> Result<Transaction<'_, Sqlite>> {
        self.writer().begin().await.map_err(unavailable)
    }

    fn sealed(&self, key: &EabKey) -> Result<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(key).map_err(|_| Unavailable)?);
        self.seal().seal(&purpose(&key.kid), &plain).map_err(|_| Unavailable)
    }

    fn opened(&self, row: &SqliteRow) -> Result<EabKey> {
        let kid: String = row.try_get("kid").map_err(unavailable)?;
        let sealed: Vec<u8> = row.try_get("record").map_err(unavailable)?;
        let plain = self.seal().open(&purpose(&kid), &sealed).map_err(|error| {
            tracing::error!(kid, %error, "an EAB key cannot be read");
            Unavailable
        })?;
        serde_json::from_slice(&plain).map_err(|_| Unavailable)
    }

    async fn eab_in(&self, tx: &mut SqliteConnection, kid: &str) -> Result<Option<EabKey>> {
        let row = sqlx::query("SELECT kid, record FROM acme_eabs WHERE kid = ?").bind(kid);
        let row = row.fetch_optional(tx).await.map_err(unavailable)?;
        row.map(|row| self.opened(&row)).transpose()
    }

    async fn put_eab(&self, tx: &mut SqliteConnection, key: &EabKey) -> Result<()> {
        let query = sqlx::query("UPDATE acme_eabs SET record = ? WHERE kid = ?").bind(self.sealed(key)?).bind(&key.kid);
        query.execute(tx).await.map_err(unavailable)?;
        Ok(())
    }
}

/// Bound to its place: a record moved to another row does not open.
fn purpose(kid: &str) -> String {
    format!("acme-eab:{kid}")
}

async fn valid_account(tx: &mut SqliteConnection, id: &str) -> Result<Option<Account>> {
    let row = sqlx::query("SELECT record FROM acme_accounts WHERE id = ?").bind(id);
    let account: Option<Account> = one(row.fetch_optional(tx).await)?;
    Ok(account.filter(|account| account.status == AccountStatus::Valid))
}

async fn put_account(tx: &mut SqliteConnection, account: &Account) -> Result<()> {
    sqlx::query("UPDATE acme_accounts SET thumbprint = ?, until = ?, record = ? WHERE id = ?")
        .bind(&account.thumbprint)
        .bind(account.enrolment.until.unix_timestamp())
        .bind(json(account)?)
        .bind(&account.id)
        .execute(tx)
        .await
        .map_err(unavailable)?;
    Ok(())
}

async fn move_order(tx: &mut SqliteConnection, id: &str, from: &OrderState, to: OrderState) -> Result<bool> {
    let row = sqlx::query("SELECT record FROM acme_orders WHERE id = ?").bind(id);
    let order: Option<Order> = one(row.fetch_optional(&mut *tx).await)?;
    let Some(order) = order.filter(|order| order.state == *from) else { return Ok(false) };
    // An invalid order does not stand in the way of another that replaces the same certificate.
    let replaces = order.replaces.clone().filter(|_| !matches!(to, OrderState::Invalid { .. }));
    let certificate = match &to {
        OrderState::Valid { certificate } => Some(certificate.clone()),
        _ => None,
    };
    sqlx::query("UPDATE acme_orders SET replaces = ?, certificate = ?, record = ? WHERE id = ?")
        .bind(replaces)
        .bind(certificate)
        .bind(json(&Order { state: to, ..order })?)
        .bind(id)
        .execute(tx)
        .await
        .map_err(unavailable)?;
    Ok(true)
}

async fn commit(tx: Transaction<'_, Sqlite>) -> Result<bool> {
    tx.commit().await.map_err(unavailable)?;
    Ok(true)
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Unavailable)
}

fn one<T: DeserializeOwned>(row: sqlx::Result<Option<SqliteRow>>) -> Result<Option<T>> {
    row.map_err(unavailable)?.as_ref().map(record).transpose()
}

fn all<T: DeserializeOwned>(rows: sqlx::Result<Vec<SqliteRow>>) -> Result<Vec<T>> {
    rows.map_err(unavailable)?.iter().map(record).collect()
}

fn record<T: DeserializeOwned>(row: &SqliteRow) -> Result<T> {
    let text: String = row.try_get("record").map_err(unavailable)?;
    serde_json::from_str(&text).map_err(|error| {
        tracing::error!(%error, "a record of the ACME server cannot be read");
        Unavailable
    })
}

/// Database errors name tables and constraints, never bound values, so they may be shown.
fn unavailable(error: sqlx::Error) -> Unavailable {
    tracing::error!(%error, "the ACME server's records cannot be used");
    Unavailable
}
