//! The steps by which a database comes to this version's form. Forward only, and never edited once they were released:
//! applied ones are compared by checksum.
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::borrow::Cow;

macro_rules! step {
    ($database:literal, $file:literal, $number:literal, $name:literal) => {
        Migration::new(
            $number,
            Cow::Borrowed($name),
            MigrationType::Simple,
            include_str!(concat!("migrations/", $database, "/", $file)).into_sql_str(),
            false,
        )
    };
}

/// An older program refuses a newer file instead of guessing.
pub fn of_sqlite() -> Migrator {
    Migrator::with_migrations(vec![
        step!("sqlite", "0001_sessions.sql", 1, "sessions"),
        step!("sqlite", "0002_seen_places.sql", 2, "seen places"),
        step!("sqlite", "0003_ledger.sql", 3, "ledger"),
        step!("sqlite", "0010_acme.sql", 10, "acme"),
        step!("sqlite", "0040_logouts.sql", 40, "logouts"),
        step!("sqlite", "0046_devices.sql", 46, "devices"),
        step!("sqlite", "0047_shelf.sql", 47, "shelf"),
        step!("sqlite", "0048_replicas.sql", 48, "replicas"),
        step!("sqlite", "0058_spent_grants.sql", 58, "spent grants"),
    ])
}

/// During an upgrade the version before runs beside this one, and may be started again: it lives with steps that it does
/// not know, as long as the table `needs` does not say otherwise.
pub fn of_postgres() -> Migrator {
    let mut all = Migrator::with_migrations(vec![
        step!("postgres", "0001_sessions.sql", 1, "sessions"),
        step!("postgres", "0002_seen_places.sql", 2, "seen places"),
        step!("postgres", "0003_ledger.sql", 3, "ledger"),
        step!("postgres", "0010_acme.sql", 10, "acme"),
        step!("postgres", "0040_logouts.sql", 40, "logouts"),
        step!("postgres", "0046_devices.sql", 46, "devices"),
        step!("postgres", "0047_shelf.sql", 47, "shelf"),
        step!("postgres", "0048_replicas.sql", 48, "replicas"),
        step!("postgres", "0058_spent_grants.sql", 58, "spent grants"),
    ]);
    all.set_ignore_missing(true);
    all
}

/// The newest step that this program knows.
pub fn newest() -> i64 {
    of_postgres().iter().map(|step| step.version).max().unwrap_or(0)
}
