//! `store`: a database that several replicas share.
use super::settings::{count, positive};
use super::{Cx, ca, trust};
use crate::at::At;
use crate::config::Postgres;
use crate::file;
use crate::secret::Secret;
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
    let urls = url.and_then(|secret| match servers(secret.expose()) {
        Ok(urls) => Some(urls),
        Err(mistake) => {
            cx.mistake(&typed.url_file.place, mistake);
            None
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
        urls: urls?,
        ca_file,
        key: key?,
        // One listens to the other replicas.
        connections: u32::try_from(connections?.max(2)).unwrap_or(u32::MAX),
        live_without: live_without?,
    }))
}

/// `host1:5432,host2:5432`, as PostgreSQL's own clients take it: a URL for each.
fn servers(text: &str) -> Result<Vec<Secret>, Mistake> {
    let text = text.trim();
    let begin = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at_checked(begin).unwrap_or(("", text));
    let (authority, path) =
        rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len())).unwrap_or((rest, ""));
    let (user, hosts) =
        authority.split_at_checked(authority.rfind('@').map_or(0, |at| at + 1)).unwrap_or(("", authority));
    let urls = hosts.split(',').map(|host| format!("{scheme}{user}{host}{path}"));
    urls.map(|url| looks_right(&url).map(|()| Secret::new(url))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_hosts_are_a_url_for_each() {
        let of = |text| servers(text).map(|urls| urls.iter().map(|url| url.expose().to_owned()).collect::<Vec<_>>());
        assert_eq!(
            of("postgres://t:a,b%40@db1:5432,[::1]:5433,db3/torhaus?x=1,2\n").unwrap(),
            [
                "postgres://t:a,b%40@db1:5432/torhaus?x=1,2",
                "postgres://t:a,b%40@[::1]:5433/torhaus?x=1,2",
                "postgres://t:a,b%40@db3/torhaus?x=1,2"
            ]
        );
        assert_eq!(of("postgresql://db1/torhaus").unwrap(), ["postgresql://db1/torhaus"]);
        for wrong in ["", "db1,db2", "postgres://t:p@db1:x,db2/torhaus", "mysql://db1,db2/torhaus"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
