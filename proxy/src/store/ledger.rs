//! The ledger of certificates and our own authorities, in SQLite. A call that returned has written: commits wait for
//! the disk (`synchronous = FULL`).
use crate::ca::{AuthorityStore, StoredAuthority, StoredRole};
use crate::store::SqliteStore;
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use time::OffsetDateTime;
use torhaus_certs::{Counts, IssuedRecord, Ledger, LedgerError, Listed, Query, Reason, RevokedRecord, Serial};

/// One question about certificates answers with this many at most.
const MOST_LISTED: u32 = 10_000;

#[async_trait]
impl Ledger for SqliteStore {
    async fn record_issued(&self, record: &IssuedRecord) -> Result<(), LedgerError> {
        let names = serde_json::to_string(&record.names).map_err(|e| LedgerError::Unavailable(e.to_string()))?;
        let done = sqlx::query(
            "INSERT INTO certificates (serial, issuer, profile, common_name, names, owner, requested_by, why, sha256, \
             issued_at, not_before, not_after, der) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (serial) DO NOTHING",
        )
        .bind(record.serial.as_bytes())
        .bind(&record.issuer)
        .bind(&record.profile)
        .bind(&record.common_name)
        .bind(names)
        .bind(&record.owner)
        .bind(&record.requested_by)
        .bind(&record.why)
        .bind(&record.sha256)
        .bind(record.issued_at.unix_timestamp())
        .bind(record.not_before.unix_timestamp())
        .bind(record.not_after.unix_timestamp())
        .bind(&record.der)
        .execute(self.writer())
        .await
        .map_err(unavailable)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(LedgerError::SerialUsed(record.serial.to_string())) }
    }

    async fn record_revoked(&self, records: &[RevokedRecord]) -> Result<Vec<Serial>, LedgerError> {
        let mut tx = self.writer().begin().await.map_err(unavailable)?;
        let mut new = Vec::new();
        for record in records {
            let done = sqlx::query(
                "INSERT INTO revocations (serial, issuer, at, reason, revoked_by, why, not_after) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (serial) DO NOTHING",
            )
            .bind(record.serial.as_bytes())
            .bind(&record.issuer)
            .bind(record.at.unix_timestamp())
            .bind(i64::from(record.reason.code()))
            .bind(&record.revoked_by)
            .bind(&record.why)
            .bind(record.not_after.map(OffsetDateTime::unix_timestamp))
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
            if done.rows_affected() == 1 {
                new.push(record.serial.clone());
            }
        }
        tx.commit().await.map_err(unavailable)?;
        Ok(new)
    }

    async fn find(&self, serial: &Serial) -> Result<Option<Listed>, LedgerError> {
        let mut query = QueryBuilder::<Sqlite>::new(LISTED);
        query.push(" WHERE c.serial = ").push_bind(serial.as_bytes().to_vec());
        let row = query.build().fetch_optional(self.readers()).await.map_err(unavailable)?;
        row.as_ref().map(listed).transpose()
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listed>, LedgerError> {
        let mut sql = QueryBuilder::<Sqlite>::new(LISTED);
        sql.push(" WHERE true");
        if let Some(owner) = &query.owner {
            sql.push(" AND c.owner = ").push_bind(owner.clone());
        }
        if let Some(at) = query.valid_at {
            sql.push(" AND r.serial IS NULL AND c.not_after > ").push_bind(at.unix_timestamp());
        }
        sql.push(" ORDER BY c.issued_at DESC, c.rowid DESC LIMIT ");
        sql.push_bind(i64::from(query.limit.unwrap_or(MOST_LISTED).min(MOST_LISTED)));
        let rows = sql.build().fetch_all(self.readers()).await.map_err(unavailable)?;
        rows.iter().map(listed).collect()
    }

    async fn revoked_ending_after(&self, moment: OffsetDateTime) -> Result<Vec<RevokedRecord>, LedgerError> {
        let rows = sqlx::query(
            "SELECT serial, issuer AS r_issuer, at, reason, revoked_by, why AS r_why, not_after AS r_not_after \
             FROM revocations WHERE not_after IS NULL OR not_after > ?",
        )
        .bind(moment.unix_timestamp())
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        rows.iter().map(revoked).collect()
    }

    async fn count(&self, now: OffsetDateTime, ending_before: OffsetDateTime) -> Result<Counts, LedgerError> {
        let row = sqlx::query(
            "SELECT count(*) AS valid, coalesce(sum(c.not_after <= ?), 0) AS ending FROM certificates c \
             WHERE c.not_after > ? AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.serial = c.serial)",
        )
        .bind(ending_before.unix_timestamp())
        .bind(now.unix_timestamp())
        .fetch_one(self.readers())
        .await
        .map_err(unavailable)?;
        let number = |column: &str| row.try_get::<i64, _>(column).map_err(unavailable);
        Ok(Counts {
            valid: u64::try_from(number("valid")?).unwrap_or(0),
            ending: u64::try_from(number("ending")?).unwrap_or(0),
        })
    }

    async fn next_crl_number(&self, issuer: &str, at_least: u64) -> Result<u64, LedgerError> {
        let row = sqlx::query(
            "INSERT INTO crl_numbers (issuer, number) VALUES (?, ?) \
             ON CONFLICT (issuer) DO UPDATE SET number = max(number + 1, excluded.number) RETURNING number",
        )
        .bind(issuer)
        .bind(i64::try_from(at_least).unwrap_or(i64::MAX))
        .fetch_one(self.writer())
        .await
        .map_err(unavailable)?;
        let number: i64 = row.try_get("number").map_err(unavailable)?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

#[async_trait]
impl AuthorityStore for SqliteStore {
    async fn authorities(&self) -> Result<Vec<StoredAuthority>, LedgerError> {
        let rows = sqlx::query(
            "SELECT a.*, b.id IS NOT NULL AS active FROM authorities a LEFT JOIN active_authority b ON b.id = a.id \
             ORDER BY a.added, a.rowid",
        )
        .fetch_all(self.readers())
        .await
        .map_err(unavailable)?;
        let read = |row: &SqliteRow| -> sqlx::Result<StoredAuthority> {
            let role: String = row.try_get("role")?;
            Ok(StoredAuthority {
                id: row.try_get("id")?,
                role: if role == "root" { StoredRole::Root } else { StoredRole::Issuing },
                certificate: row.try_get("certificate")?,
                root: row.try_get("root")?,
                sealed_key: row.try_get("sealed_key")?,
                active: row.try_get("active")?,
            })
        };
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(unavailable)
    }

    async fn add_authorities(&self, added: &[StoredAuthority], at: OffsetDateTime) -> Result<(), LedgerError> {
        let mut tx = self.writer().begin().await.map_err(unavailable)?;
        for one in added {
            sqlx::query(
                "INSERT INTO authorities (id, role, certificate, root, sealed_key, added) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(&one.id)
            .bind(if one.role == StoredRole::Root { "root" } else { "issuing" })
            .bind(&one.certificate)
            .bind(&one.root)
            .bind(&one.sealed_key)
            .bind(at.unix_timestamp())
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        }
        for one in added.iter().filter(|one| one.active) {
            activate(&mut *tx, &one.id).await?;
        }
        tx.commit().await.map_err(unavailable)
    }

    async fn activate_authority(&self, id: &str) -> Result<(), LedgerError> {
        activate(self.writer(), id).await
    }

    async fn reseal_authority(&self, id: &str, sealed_key: &[u8]) -> Result<(), LedgerError> {
        sqlx::query("UPDATE authorities SET sealed_key = ? WHERE id = ?")
            .bind(sealed_key)
            .bind(id)
            .execute(self.writer())
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}

async fn activate<'e>(on: impl sqlx::Executor<'e, Database = Sqlite>, id: &str) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO active_authority (one, id) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET id = excluded.id",
    )
    .bind(id)
    .execute(on)
    .await
    .map_err(unavailable)?;
    Ok(())
}

const LISTED: &str = "SELECT c.*, r.serial AS r_serial, r.issuer AS r_issuer, r.at, r.reason, r.revoked_by, \
                      r.why AS r_why, r.not_after AS r_not_after \
                      FROM certificates c LEFT JOIN revocations r ON r.serial = c.serial";

fn listed(row: &SqliteRow) -> Result<Listed, LedgerError> {
    let text = |column: &str| row.try_get::<String, _>(column).map_err(unavailable);
    let time = |column: &str| moment(row.try_get(column).map_err(unavailable)?);
    let names = serde_json::from_str(&text("names")?).map_err(|e| LedgerError::Unavailable(e.to_string()))?;
    let issued = IssuedRecord {
        serial: serial(row)?,
        issuer: text("issuer")?,
        profile: text("profile")?,
        common_name: text("common_name")?,
        names,
        owner: text("owner")?,
        requested_by: text("requested_by")?,
        why: text("why")?,
        sha256: text("sha256")?,
        issued_at: time("issued_at")?,
        not_before: time("not_before")?,
        not_after: time("not_after")?,
        der: row.try_get("der").map_err(unavailable)?,
    };
    let is_revoked = row.try_get::<Option<Vec<u8>>, _>("r_serial").map_err(unavailable)?.is_some();
    Ok(Listed { revoked: is_revoked.then(|| revoked(row)).transpose()?, issued })
}

fn revoked(row: &SqliteRow) -> Result<RevokedRecord, LedgerError> {
    let code: i64 = row.try_get("reason").map_err(unavailable)?;
    let not_after: Option<i64> = row.try_get("r_not_after").map_err(unavailable)?;
    Ok(RevokedRecord {
        serial: serial(row)?,
        issuer: row.try_get("r_issuer").map_err(unavailable)?,
        at: moment(row.try_get("at").map_err(unavailable)?)?,
        // Whatever it says: it is revoked.
        reason: u64::try_from(code).ok().and_then(Reason::from_code).unwrap_or(Reason::Unspecified),
        revoked_by: row.try_get("revoked_by").map_err(unavailable)?,
        why: row.try_get("r_why").map_err(unavailable)?,
        not_after: not_after.map(moment).transpose()?,
    })
}

fn serial(row: &SqliteRow) -> Result<Serial, LedgerError> {
    Ok(Serial::from_bytes(&row.try_get::<Vec<u8>, _>("serial").map_err(unavailable)?))
}

fn moment(seconds: i64) -> Result<OffsetDateTime, LedgerError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| LedgerError::Unavailable(e.to_string()))
}

fn unavailable(error: sqlx::Error) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}
