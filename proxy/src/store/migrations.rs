//! The steps by which a database comes to this version's form. Forward only, and never edited once they were released:
//! applied ones are compared by checksum.
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::borrow::Cow;

/// Every database takes the same steps, each in its own words.
macro_rules! steps {
    ($database:literal) => {
        steps!($database:
            1 "sessions" "0001_sessions.sql",
            2 "seen places" "0002_seen_places.sql",
            3 "ledger" "0003_ledger.sql",
            10 "acme" "0010_acme.sql",
            40 "logouts" "0040_logouts.sql",
            46 "devices" "0046_devices.sql",
            47 "shelf" "0047_shelf.sql",
            48 "replicas" "0048_replicas.sql",
            58 "spent grants" "0058_spent_grants.sql",
            60 "session devices" "0060_session_devices.sql",
            62 "vouchers" "0062_vouchers.sql",
        )
    };
    ($database:literal: $($number:literal $name:literal $file:literal,)*) => {
        Migrator::with_migrations(vec![$(Migration::new(
            $number,
            Cow::Borrowed($name),
            MigrationType::Simple,
            include_str!(concat!("migrations/", $database, "/", $file)).into_sql_str(),
            false,
        )),*])
    };
}

/// An older program refuses a newer file instead of guessing.
pub fn of_sqlite() -> Migrator {
    steps!("sqlite")
}

/// During an upgrade the version before runs beside this one, and may be started again: it lives with steps that it does
/// not know, as long as the table `needs` does not say otherwise.
pub fn of_postgres() -> Migrator {
    let mut all = steps!("postgres");
    all.set_ignore_missing(true);
    all
}

/// The newest step that this program knows.
pub fn newest() -> i64 {
    of_postgres().iter().map(|step| step.version).max().unwrap_or(0)
}
