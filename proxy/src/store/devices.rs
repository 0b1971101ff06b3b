//! Records of devices, in the same SQLite file.
use super::sqlite::{SqliteStore, unavailable};
use crate::login::session::Unavailable;
use crate::lookup::records::{Approval, DeviceRecord, DeviceStore};
use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::sync::Arc;
use torhaus_authz::{Name, Posture, Timestamp};

#[async_trait]
impl DeviceStore for SqliteStore {
    async fn devices(&self) -> Result<Vec<DeviceRecord>, Unavailable> {
        let rows = sqlx::query("SELECT * FROM devices").fetch_all(&self.readers).await.map_err(unavailable)?;
        rows.iter().map(record).collect()
    }

    async fn device_seen(&self, seen: &DeviceRecord) -> Result<(), Unavailable> {
        sqlx::query(
            "INSERT INTO devices (id, serial, owner, certificate, used_by, sources, first_seen, last_seen) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET \
             serial = excluded.serial, owner = coalesce(excluded.owner, owner), certificate = excluded.certificate, \
             used_by = coalesce(excluded.used_by, used_by), sources = excluded.sources, \
             last_seen = max(last_seen, excluded.last_seen)",
        )
        .bind(&*seen.id)
        .bind(seen.serial.as_deref())
        .bind(seen.owner.as_deref())
        .bind(seen.certificate.as_deref())
        .bind(seen.used_by.as_deref())
        .bind(&*seen.sources)
        .bind(seen.first_seen.millis())
        .bind(seen.last_seen.millis())
        .execute(&self.writer)
        .await
        .map_err(unavailable)?;
        Ok(())
    }

    async fn approve_device(&self, id: &str, approval: &Approval) -> Result<bool, Unavailable> {
        let done = sqlx::query(
            "UPDATE devices SET approved_by = ?, approved_at = ?, approved_owner = ?, owner = coalesce(?, owner) \
             WHERE id = ?",
        )
        .bind(&*approval.by)
        .bind(approval.at.millis())
        .bind(approval.owner.as_deref())
        .bind(approval.owner.as_deref())
        .bind(id)
        .execute(&self.writer)
        .await
        .map_err(unavailable)?;
        Ok(done.rows_affected() > 0)
    }

    async fn device_reported(&self, id: &str, report: &Posture) -> Result<bool, Unavailable> {
        let report = serde_json::to_string(report).map_err(|error| Unavailable(error.to_string()))?;
        let done = sqlx::query("UPDATE devices SET report = ? WHERE id = ?").bind(report).bind(id);
        let done = done.execute(&self.writer).await.map_err(unavailable)?;
        Ok(done.rows_affected() > 0)
    }

    async fn forget_device(&self, id: &str) -> Result<bool, Unavailable> {
        let done = sqlx::query("DELETE FROM devices WHERE id = ?").bind(id).execute(&self.writer).await;
        Ok(done.map_err(unavailable)?.rows_affected() > 0)
    }

    async fn forget_devices(&self, before: Timestamp) -> Result<(), Unavailable> {
        sqlx::query("DELETE FROM devices WHERE approved_at IS NULL AND last_seen < ?")
            .bind(before.millis())
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }
}

fn record(row: &SqliteRow) -> Result<DeviceRecord, Unavailable> {
    let text = |column: &str| row.try_get::<String, _>(column).map(Name::from).map_err(unavailable);
    let optional =
        |column: &str| row.try_get::<Option<String>, _>(column).map(|text| text.map(Name::from)).map_err(unavailable);
    let time = |column: &str| row.try_get(column).map(Timestamp::from_millis).map_err(unavailable);
    let approved_at: Option<i64> = row.try_get("approved_at").map_err(unavailable)?;
    let approved = match (approved_at, optional("approved_by")?) {
        (Some(at), Some(by)) => {
            Some(Approval { by, at: Timestamp::from_millis(at), owner: optional("approved_owner")? })
        }
        _ => None,
    };
    // One that a later version wrote in another form is none to this one.
    let report = optional("report")?.and_then(|json| serde_json::from_str::<Posture>(&json).ok()).map(Arc::new);
    Ok(DeviceRecord {
        id: text("id")?,
        serial: optional("serial")?,
        owner: optional("owner")?,
        certificate: optional("certificate")?,
        used_by: optional("used_by")?,
        sources: text("sources")?,
        first_seen: time("first_seen")?,
        last_seen: time("last_seen")?,
        approved,
        report,
    })
}
