//! The ledger of certificates and our own authorities. A call that returned has written.
use crate::ca::{AuthorityStore, StoredAuthority, StoredRole};
use crate::login::session::Unavailable;
use crate::store::SqlStore;
use crate::store::database::{Row, Statement, Steps, sql};
use async_trait::async_trait;
use time::OffsetDateTime;
use torhaus_certs::{Counts, IssuedRecord, Ledger, LedgerError, Listed, Query, Reason, RevokedRecord, Serial};

/// One question about certificates answers with this many at most.
const MOST_LISTED: u32 = 10_000;

#[async_trait]
impl Ledger for SqlStore {
    async fn record_issued(&self, record: &IssuedRecord) -> Result<(), LedgerError> {
        let names = serde_json::to_string(&record.names).map_err(|e| LedgerError::Unavailable(e.to_string()))?;
        let insert = sql(
            "INSERT INTO certificates (serial, issuer, profile, common_name, names, owner, requested_by, why, sha256, \
             issued_at, not_before, not_after, der) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (serial) DO NOTHING",
        );
        let insert = insert
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
            .bind(record.der.as_slice());
        match self.write(insert).await.map_err(unavailable)? {
            1 => Ok(()),
            _ => Err(LedgerError::SerialUsed(record.serial.to_string())),
        }
    }

    async fn record_revoked(&self, records: &[RevokedRecord]) -> Result<Vec<Serial>, LedgerError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut steps = self.begin().await.map_err(unavailable)?;
        let mut new = Vec::new();
        for record in records {
            let insert = sql("INSERT INTO revocations (serial, issuer, at, reason, revoked_by, why, not_after) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (serial) DO NOTHING");
            let insert = insert
                .bind(record.serial.as_bytes())
                .bind(&record.issuer)
                .bind(record.at.unix_timestamp())
                .bind(i64::from(record.reason.code()))
                .bind(&record.revoked_by)
                .bind(&record.why)
                .bind(record.not_after.map(OffsetDateTime::unix_timestamp));
            if steps.write(insert).await.map_err(unavailable)? == 1 {
                new.push(record.serial.clone());
            }
        }
        steps.commit().await.map_err(unavailable)?;
        Ok(new)
    }

    async fn find(&self, serial: &Serial) -> Result<Option<Listed>, LedgerError> {
        let find = sql(format!("{LISTED} WHERE c.serial = $1")).bind(serial.as_bytes());
        let rows = self.rows(find).await.map_err(unavailable)?;
        rows.first().map(listed).transpose()
    }

    async fn list(&self, query: &Query) -> Result<Vec<Listed>, LedgerError> {
        let mut asked = Statement { text: LISTED.into(), values: Vec::new() };
        let mut conditions = vec!["true".to_owned()];
        if let Some(owner) = &query.owner {
            asked = asked.bind(owner);
            conditions.push(format!("c.owner = ${}", asked.values.len()));
        }
        if let Some(at) = query.valid_at {
            asked = asked.bind(at.unix_timestamp());
            conditions.push(format!("r.serial IS NULL AND c.not_after > ${}", asked.values.len()));
        }
        asked = asked.bind(i64::from(query.limit.unwrap_or(MOST_LISTED).min(MOST_LISTED)));
        asked.text = format!(
            "{LISTED} WHERE {} ORDER BY c.issued_at DESC, c.rowid DESC LIMIT ${}",
            conditions.join(" AND "),
            asked.values.len()
        )
        .into();
        self.rows(asked).await.map_err(unavailable)?.iter().map(listed).collect()
    }

    async fn owners(&self, now: OffsetDateTime) -> Result<Vec<String>, LedgerError> {
        let ask = sql("SELECT DISTINCT c.owner FROM certificates c WHERE c.not_after > $1 \
             AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.serial = c.serial) ORDER BY c.owner");
        let rows = self.rows(ask.bind(now.unix_timestamp())).await.map_err(unavailable)?;
        rows.iter().map(|row| row.text("owner").map_err(unavailable)).collect()
    }

    async fn revoked_ending_after(&self, moment: OffsetDateTime) -> Result<Vec<RevokedRecord>, LedgerError> {
        let ask =
            sql("SELECT serial, issuer AS r_issuer, at, reason, revoked_by, why AS r_why, not_after AS r_not_after \
             FROM revocations WHERE not_after IS NULL OR not_after > $1");
        let rows = self.rows(ask.bind(moment.unix_timestamp())).await.map_err(unavailable)?;
        rows.iter().map(revoked).collect()
    }

    async fn count(&self, now: OffsetDateTime, ending_before: OffsetDateTime) -> Result<Counts, LedgerError> {
        let ask =
            sql("SELECT count(*) AS valid, coalesce(sum(CASE WHEN c.not_after <= $1 THEN 1 ELSE 0 END), 0) AS ending \
             FROM certificates c WHERE c.not_after > $2 \
             AND NOT EXISTS (SELECT 1 FROM revocations r WHERE r.serial = c.serial)");
        let ask = ask.bind(ending_before.unix_timestamp()).bind(now.unix_timestamp());
        let rows = self.rows(ask).await.map_err(unavailable)?;
        let number = |column: &str| rows.first().map_or(Ok(0), |row| row.count(column)).map_err(unavailable);
        Ok(Counts { valid: number("valid")?, ending: number("ending")? })
    }

    async fn next_crl_number(&self, issuer: &str, at_least: u64) -> Result<u64, LedgerError> {
        let next = sql(
            "INSERT INTO crl_numbers (issuer, number) VALUES ($1, $2) ON CONFLICT (issuer) DO UPDATE SET number = \
             CASE WHEN crl_numbers.number >= excluded.number THEN crl_numbers.number + 1 ELSE excluded.number END \
             RETURNING number",
        );
        let next = next.bind(issuer).bind(i64::try_from(at_least).unwrap_or(i64::MAX));
        let rows = self.change(next).await.map_err(unavailable)?;
        rows.first().map_or(Ok(0), |row| row.count("number")).map_err(unavailable)
    }
}

#[async_trait]
impl AuthorityStore for SqlStore {
    async fn authorities(&self) -> Result<Vec<StoredAuthority>, LedgerError> {
        let ask = sql("SELECT a.*, CAST(CASE WHEN b.id IS NULL THEN 0 ELSE 1 END AS BIGINT) AS active \
             FROM authorities a LEFT JOIN active_authority b ON b.id = a.id ORDER BY a.added, a.rowid");
        let read = |row: &Row| -> Result<StoredAuthority, Unavailable> {
            Ok(StoredAuthority {
                id: row.text("id")?,
                role: if row.text("role")? == "root" { StoredRole::Root } else { StoredRole::Issuing },
                certificate: row.text("certificate")?,
                root: row.text("root")?,
                sealed_key: row.optional_bytes("sealed_key")?,
                active: row.flag("active")?,
            })
        };
        self.change(ask).await.and_then(|rows| rows.iter().map(read).collect()).map_err(unavailable)
    }

    async fn add_first_authorities(&self, added: &[StoredAuthority], at: OffsetDateTime) -> Result<bool, LedgerError> {
        let mut steps = self.begin_alone().await.map_err(unavailable)?;
        let there = steps.rows(sql("SELECT id FROM authorities LIMIT 1")).await.map_err(unavailable)?;
        if !there.is_empty() {
            return Ok(false);
        }
        add(&mut *steps, added, at).await.map_err(unavailable)?;
        steps.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn add_authorities(&self, added: &[StoredAuthority], at: OffsetDateTime) -> Result<(), LedgerError> {
        let mut steps = self.begin_alone().await.map_err(unavailable)?;
        add(&mut *steps, added, at).await.map_err(unavailable)?;
        steps.commit().await.map_err(unavailable)
    }

    async fn activate_authority(&self, id: &str) -> Result<(), LedgerError> {
        self.write(activate(id)).await.map(drop).map_err(unavailable)
    }

    async fn reseal_authority(&self, id: &str, sealed_key: &[u8]) -> Result<(), LedgerError> {
        let reseal = sql("UPDATE authorities SET sealed_key = $1 WHERE id = $2").bind(sealed_key).bind(id);
        self.write(reseal).await.map(drop).map_err(unavailable)
    }
}

async fn add(steps: &mut dyn Steps, added: &[StoredAuthority], at: OffsetDateTime) -> Result<(), Unavailable> {
    for one in added {
        let insert = sql(
            "INSERT INTO authorities (id, role, certificate, root, sealed_key, added) VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let insert = insert
            .bind(&one.id)
            .bind(if one.role == StoredRole::Root { "root" } else { "issuing" })
            .bind(&one.certificate)
            .bind(&one.root)
            .bind(&one.sealed_key)
            .bind(at.unix_timestamp());
        steps.write(insert).await?;
    }
    for one in added.iter().filter(|one| one.active) {
        steps.write(activate(&one.id)).await?;
    }
    Ok(())
}

fn activate(id: &str) -> Statement {
    sql("INSERT INTO active_authority (one, id) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET id = excluded.id")
        .bind(id)
}

const LISTED: &str = "SELECT c.*, r.serial AS r_serial, r.issuer AS r_issuer, r.at, r.reason, r.revoked_by, \
                      r.why AS r_why, r.not_after AS r_not_after \
                      FROM certificates c LEFT JOIN revocations r ON r.serial = c.serial";

fn listed(row: &Row) -> Result<Listed, LedgerError> {
    let text = |column: &str| row.text(column).map_err(unavailable);
    let time = |column: &str| moment(row.integer(column).map_err(unavailable)?);
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
        der: row.bytes("der").map_err(unavailable)?,
    };
    let is_revoked = row.optional_bytes("r_serial").map_err(unavailable)?.is_some();
    Ok(Listed { revoked: is_revoked.then(|| revoked(row)).transpose()?, issued })
}

fn revoked(row: &Row) -> Result<RevokedRecord, LedgerError> {
    let code = row.integer("reason").map_err(unavailable)?;
    let not_after = row.optional_integer("r_not_after").map_err(unavailable)?;
    Ok(RevokedRecord {
        serial: serial(row)?,
        issuer: row.optional_text("r_issuer").map_err(unavailable)?,
        at: moment(row.integer("at").map_err(unavailable)?)?,
        // Whatever it says: it is revoked.
        reason: u64::try_from(code).ok().and_then(Reason::from_code).unwrap_or(Reason::Unspecified),
        revoked_by: row.text("revoked_by").map_err(unavailable)?,
        why: row.text("r_why").map_err(unavailable)?,
        not_after: not_after.map(moment).transpose()?,
    })
}

fn serial(row: &Row) -> Result<Serial, LedgerError> {
    Ok(Serial::from_bytes(&row.bytes("serial").map_err(unavailable)?))
}

fn moment(seconds: i64) -> Result<OffsetDateTime, LedgerError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| LedgerError::Unavailable(e.to_string()))
}

fn unavailable(error: Unavailable) -> LedgerError {
    LedgerError::Unavailable(error.0)
}
