//! Records of devices.
use crate::login::session::Unavailable;
use crate::lookup::records::{Approval, DeviceRecord, DeviceStore};
use crate::store::SqlStore;
use crate::store::database::{Row, sql};
use async_trait::async_trait;
use std::sync::Arc;
use torhaus_authz::{Name, Posture, Timestamp};

#[async_trait]
impl DeviceStore for SqlStore {
    async fn devices(&self) -> Result<Vec<DeviceRecord>, Unavailable> {
        self.rows(sql("SELECT * FROM devices")).await?.iter().map(record).collect()
    }

    async fn device_seen(&self, seen: &DeviceRecord) -> Result<(), Unavailable> {
        let keep =
            sql("INSERT INTO devices (id, serial, owner, certificate, used_by, sources, first_seen, last_seen) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET serial = excluded.serial, \
             owner = coalesce(excluded.owner, devices.owner), certificate = excluded.certificate, \
             used_by = coalesce(excluded.used_by, devices.used_by), sources = excluded.sources, last_seen = \
             CASE WHEN devices.last_seen > excluded.last_seen THEN devices.last_seen ELSE excluded.last_seen END");
        let keep = keep
            .bind(&*seen.id)
            .bind(seen.serial.as_deref())
            .bind(seen.owner.as_deref())
            .bind(seen.certificate.as_deref())
            .bind(seen.used_by.as_deref())
            .bind(&*seen.sources)
            .bind(seen.first_seen.millis())
            .bind(seen.last_seen.millis());
        self.write(keep).await.map(drop)
    }

    async fn approve_device(&self, id: &str, approval: &Approval) -> Result<bool, Unavailable> {
        let approve = sql(
            "UPDATE devices SET approved_by = $1, approved_at = $2, approved_owner = $3, owner = coalesce($3, owner) \
             WHERE id = $4",
        );
        let approve = approve.bind(&*approval.by).bind(approval.at.millis()).bind(approval.owner.as_deref()).bind(id);
        Ok(self.write(approve).await? > 0)
    }

    async fn device_reported(&self, id: &str, report: &Posture) -> Result<bool, Unavailable> {
        let report = serde_json::to_string(report).map_err(|error| Unavailable(error.to_string()))?;
        Ok(self.write(sql("UPDATE devices SET report = $1 WHERE id = $2").bind(report).bind(id)).await? > 0)
    }

    async fn forget_device(&self, id: &str) -> Result<bool, Unavailable> {
        Ok(self.write(sql("DELETE FROM devices WHERE id = $1").bind(id)).await? > 0)
    }

    async fn forget_devices(&self, before: Timestamp) -> Result<(), Unavailable> {
        let forget = sql("DELETE FROM devices WHERE approved_at IS NULL AND last_seen < $1").bind(before.millis());
        self.write(forget).await.map(drop)
    }
}

fn record(row: &Row) -> Result<DeviceRecord, Unavailable> {
    let text = |column: &str| row.text(column).map(Name::from);
    let optional = |column: &str| row.optional_text(column).map(|text| text.map(Name::from));
    let time = |column: &str| row.integer(column).map(Timestamp::from_millis);
    let approved = match (row.optional_integer("approved_at")?, optional("approved_by")?) {
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
