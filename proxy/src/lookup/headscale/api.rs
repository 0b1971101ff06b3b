//! Headscale's API, as versions from 0.26 on answer. What a version adds is passed over; what it left out counts as empty.
use super::Nodes;
use crate::lookup::api::Api;
use crate::lookup::directory::Failure;
use crate::lookup::polled::Fetch;
use async_trait::async_trait;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::{Name, Timestamp};
use torhaus_config::Headscale;
use url::Url;

/// More nodes than any company of ours has: a mistake, or not this API.
const MOST_NODES: usize = 50_000;

/// A machine of the mesh, or what stands in for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique in the mesh.
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub user: Option<User>,
    pub tags: Vec<String>,
    /// None: never.
    pub expiry: Option<Timestamp>,
    /// It leads to other networks: traffic of others may come from its address.
    pub routes: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    #[serde(deserialize_with = "or_empty")]
    pub name: String,
    #[serde(deserialize_with = "or_empty")]
    pub email: String,
    #[serde(deserialize_with = "or_empty")]
    pub provider: String,
}

pub struct HeadscaleApi {
    api: Api,
    config: Arc<Headscale>,
}

impl HeadscaleApi {
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(config: Arc<Headscale>) -> Result<Self, String> {
        Ok(Self { api: Api::new(&config.url, &config.polled)?, config })
    }

    /// # Errors
    /// The control server does not answer, or not as Headscale does.
    pub async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        let answer: NodesAnswer = self.api.get(&self.at("node")?, &self.config.api_key).await?;
        if answer.nodes.len() > MOST_NODES {
            return Err(Failure::Garbage(format!("{} nodes", answer.nodes.len())));
        }
        answer.nodes.into_iter().map(NodeJson::read).collect()
    }

    /// # Errors
    /// As [`Self::nodes`].
    pub async fn users(&self) -> Result<Vec<User>, Failure> {
        let answer: UsersAnswer = self.api.get(&self.at("user")?, &self.config.api_key).await?;
        Ok(answer.users)
    }

    /// Its policy, as the server has it: huJSON.
    ///
    /// # Errors
    /// As [`Self::nodes`].
    pub async fn policy(&self) -> Result<String, Failure> {
        let answer: PolicyAnswer = self.api.get(&self.at("policy")?, &self.config.api_key).await?;
        Ok(answer.policy)
    }

    /// As the provider's `user_claim` has it.
    pub fn name_of<'a>(&self, user: &'a User) -> &'a str {
        super::name_of(user, &self.config)
    }

    /// The same as `user:` of the policy has it; none where Headscale does not say.
    pub fn policy_name_of(&self, user: &User) -> Option<Name> {
        super::policy_name(self.name_of(user), &self.config)
    }

    fn at(&self, what: &str) -> Result<Url, Failure> {
        let url = self.config.url.join(&format!("/api/v1/{what}"));
        url.map_err(|error| Failure::Refused(format!("the address of the API cannot be made: {error}")))
    }
}

#[async_trait]
impl Fetch<Nodes> for HeadscaleApi {
    async fn fetch(&self, _: Timestamp) -> Result<Nodes, Failure> {
        Ok(Nodes::of(self.nodes().await?, &self.config))
    }
}

#[derive(Deserialize)]
struct NodesAnswer {
    nodes: Vec<NodeJson>,
}

#[derive(Deserialize)]
struct UsersAnswer {
    users: Vec<User>,
}

#[derive(Deserialize)]
struct PolicyAnswer {
    policy: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson {
    ip_addresses: Vec<String>,
    given_name: String,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    expiry: Option<String>,
    /// From 0.28 on; before that, three lists.
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    forced_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    valid_tags: Vec<String>,
    /// Asked for by the node and not granted; a node that asks is not that person's to be.
    #[serde(default, deserialize_with = "or_empty")]
    approved_routes: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    subnet_routes: Vec<String>,
}

impl NodeJson {
    fn read(self) -> Result<Node, Failure> {
        let wrong = |what: &str, text: &str| Failure::Garbage(format!("node `{}`: {what} `{text}`", self.given_name));
        let address = |text: &String| text.parse().map_err(|_| wrong("the address", text));
        let addresses = self.ip_addresses.iter().map(address).collect::<Result<_, _>>()?;
        let expiry = match self.expiry.as_deref() {
            // The zero time of Go means never.
            None | Some("") => None,
            Some(text) if text.starts_with("0001-") => None,
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| wrong("the expiry", text))?),
        };
        let tags = match self.tags {
            Some(tags) => tags,
            None => self.forced_tags.into_iter().chain(self.valid_tags).collect(),
        };
        Ok(Node {
            name: self.given_name,
            addresses,
            user: self.user,
            tags,
            expiry,
            routes: !self.approved_routes.is_empty() || !self.subnet_routes.is_empty(),
        })
    }
}

/// `null` for what is empty.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
