//! The only place that asks what time it is. Everything below takes `now`.
use time::OffsetDateTime;

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
