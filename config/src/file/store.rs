//! `store:` — where the state is kept, if not in a file of its own.
use crate::at::At;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub postgres: At<Postgres>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Postgres {
    pub url_file: At<String>,
    pub ca_file: Option<At<String>>,
    pub seal_file: At<String>,
    pub connections: Option<At<u64>>,
    pub live_without: Option<At<String>>,
}
