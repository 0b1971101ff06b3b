//! Device managements: each is read whole, again and again, and becomes a list of devices like the one in a file.
//!
//! ```text
//! fleet.rs    Fleet's REST API (osquery)
//! intune.rs   Microsoft Intune, through Graph
//! json.rs     any list of devices in JSON, by a mapping
//! ```
//!
//! A device is joined to a connection by what its client certificate says: serial number, hardware UUID, id. Never by its
//! host name, which it chooses itself.
mod fleet;
mod intune;
mod json;

use super::api::Api;
use super::directory::Failure;
use super::inventory::Index;
use super::polled::Fetch;
use async_trait::async_trait;
use std::sync::Arc;
use torhaus_authz::{Name, Report, SourceTrust, Timestamp};
use torhaus_config::{PostureApi, PostureSource};
use url::Url;

/// More devices than any company of ours has: a mistake, or a list that leads back to itself.
const MOST_DEVICES: usize = 100_000;
/// So many pages make up a list.
const MOST_PAGES: usize = 1_000;

pub struct Management {
    api: Api,
    config: Arc<PostureSource>,
}

impl Management {
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(config: Arc<PostureSource>) -> Result<Self, String> {
        let base = match &config.api {
            PostureApi::Fleet { url, .. } | PostureApi::Json { url, .. } => url,
            PostureApi::Intune { graph, .. } => graph,
        };
        Ok(Self { api: Api::new(base, &config.polled)?, config })
    }
}

#[async_trait]
impl Fetch<Index> for Management {
    async fn fetch(&self, _: Timestamp) -> Result<Index, Failure> {
        let says = Says { source: self.config.name.clone(), trust: self.config.trust };
        match &self.config.api {
            PostureApi::Fleet { url, token } => fleet::devices(&self.api, url, token, &says).await,
            PostureApi::Intune { login, graph, client_id, client_secret } => {
                let login = intune::Login { url: login, client_id, client_secret };
                intune::devices(&self.api, &login, graph, &says).await
            }
            PostureApi::Json { url, header, mapping } => {
                let header = header.as_ref().map(|(name, value)| (name.as_str(), value.expose()));
                json::devices(&self.api, url, header, mapping, &says).await
            }
        }
    }
}

/// Who reports.
struct Says {
    source: Name,
    trust: SourceTrust,
}

impl Says {
    /// A value that was there at this time; nothing where either is not known.
    fn report<T>(&self, value: Option<T>, at: Option<Timestamp>) -> Option<Report<T>> {
        Some(Report { value: value?, source: self.source.clone(), trust: self.trust, at: at? })
    }
}

/// # Errors
/// There are too many.
fn bounded(devices: usize, pages: usize) -> Result<(), Failure> {
    if devices > MOST_DEVICES || pages > MOST_PAGES {
        return Err(Failure::Garbage(format!("{devices} devices on {pages} pages")));
    }
    Ok(())
}

/// The address of a next page. A token goes to the server that it is for, whatever an answer says.
///
/// # Errors
/// It is no address, or one of another server.
fn next_page(text: &str, of: &Url) -> Result<Url, Failure> {
    let next = of.join(text).map_err(|error| Failure::Garbage(format!("the address of the next page: {error}")))?;
    match next.origin() == of.origin() {
        true => Ok(next),
        false => Err(Failure::Garbage("the next page is at another server".to_owned())),
    }
}
