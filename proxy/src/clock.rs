//! The one place that reads the time of day. Everything else takes `now`.
use torhaus_authz::Timestamp;

/// Nanoseconds since 1970, for what others join with times of their own.
#[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
pub fn unix_nanos() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Now, by the system's clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
