//! `store`: a database that several replicas share.
use super::settings::{count, positive};
use super::{Cx, ca, trust};
use crate::at::At;
use crate::config::Postgres;
use crate::file;
use crate::units::Mistake;
use url::Url;

/// Defaults; their reasons stand in `reference`, and so in `docs/config.md`.
pub(crate) mod default {
    use std::time::Duration;

    pub(crate) const CONNECTIONS: usize = 10;
    pub(crate) const LIVE_WITHOUT: Duration = Duration::from_secs(5 * 60);
}

/// The outer `None` is a mistake that was reported.
pub(crate) fn postgres(at: Option<&At<file::store::Store>>, cx: &mut Cx<'_>) -> Option<Option<Postgres>> {
    let Some(at) = at else { return Some(None) };
    let typed = at.get()?.postgres.get()?;
    let url = cx.secret(&typed.url_file, "file with the URL");
    let url = url.filter(|secret| match looks_right(secret.expose()) {
        Ok(()) => true,
        Err(mistake) => {
            cx.mistake(&typed.url_file.place, mistake);
            false
        }
    });
    let ca_file = typed.ca_file.as_ref().map(|at| trust::ca_file(at, cx));
    let key =
        cx.secret(&typed.seal_file, "seal file").filter(|key| ca::is_long_enough(key, &typed.seal_file.place, cx));
    let connections = count(typed.connections.as_ref(), default::CONNECTIONS, cx);
    let live_without = positive(typed.live_without.as_ref(), default::LIVE_WITHOUT, cx);
    let ca_file = match ca_file {
        Some(checked) => Some(checked?),
        None => None,
    };
    Some(Some(Postgres {
        url: url?,
        ca_file,
        key: key?,
        // One listens to the other replicas.
        connections: u32::try_from(connections?.max(2)).unwrap_or(u32::MAX),
        live_without: live_without?,
    }))
}

/// It holds a password, so nothing of it is repeated.
fn looks_right(text: &str) -> Result<(), Mistake> {
    let hint = "it begins with `postgres://`; user, password, host and database follow";
    let url = Url::parse(text.trim()).map_err(|_| Mistake::new("the file holds no URL").hint(hint))?;
    match url.scheme() {
        "postgres" | "postgresql" => Ok(()),
        _ => Err(Mistake::new("the URL in the file is not of a PostgreSQL server").hint(hint)),
    }
}
