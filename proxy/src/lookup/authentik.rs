//! authentik's own users and groups as a directory, by its API. With it Active Directory can be replaced behind authentik
//! without touching the gate.
//!
//! One person is asked about by name, which is what a login needs. Many are found in the list of all users, which the
//! batches of one poll share: the API takes one name at a time, and 2,000 questions every 30 s are more than it likes.
use super::api::Api;
use super::directory::{Directory, Failure, Person, Standing};
use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Mutex;
use torhaus_authz::{Groups, Name, Timestamp};
use torhaus_config::{Authentik, PolledApi};
use url::Url;

const PER_PAGE: usize = 100;
/// More users than any company of ours has: a mistake, or a list that leads back to itself.
const MOST_PAGES: u64 = 1_000;
/// Groups in groups in groups; deeper nesting is a circle.
const MAX_DEPTH: usize = 20;
/// Asked about by name up to this many.
const FEW: usize = 3;

pub struct AuthentikDirectory {
    api: Api,
    authentik: Arc<Authentik>,
    config: Arc<torhaus_config::Directory>,
    /// What was read last, and when. Held while it is read again, so that it is read once.
    groups: Mutex<Option<(Timestamp, Arc<Tree>)>>,
    users: Mutex<Option<(Timestamp, Arc<Users>)>>,
}

impl AuthentikDirectory {
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(config: Arc<torhaus_config::Directory>, authentik: Arc<Authentik>) -> Result<Self, String> {
        let bounds = PolledApi {
            ca_file: authentik.ca_file.clone(),
            poll: config.poll,
            max_stale: config.max_stale,
            timeout: config.timeout,
        };
        let api = Api::new(&authentik.url, &bounds)?;
        Ok(Self { api, authentik, config, groups: Mutex::default(), users: Mutex::default() })
    }

    /// Answers of the same poll share what was read.
    fn is_fresh(&self, read: Timestamp, now: Timestamp) -> bool {
        now.since(read) < self.config.poll / 2
    }

    async fn groups(&self, now: Timestamp) -> Result<Arc<Tree>, Failure> {
        let mut kept = self.groups.lock().await;
        if let Some((read, tree)) = &*kept
            && self.is_fresh(*read, now)
        {
            return Ok(tree.clone());
        }
        let groups: Vec<Group> = self.all("groups", &[("include_users", "false")]).await?;
        let tree = Arc::new(groups.into_iter().map(|group| (group.pk.clone(), group)).collect());
        *kept = Some((now, Arc::clone(&tree)));
        Ok(tree)
    }

    async fn users(&self, now: Timestamp) -> Result<Arc<Users>, Failure> {
        let mut kept = self.users.lock().await;
        if let Some((read, users)) = &*kept
            && self.is_fresh(*read, now)
        {
            return Ok(users.clone());
        }
        let users: Vec<User> = self.all("users", &[("include_groups", "false")]).await?;
        let users = Arc::new(users.into_iter().map(|user| (user.username.to_lowercase(), user)).collect());
        *kept = Some((now, Arc::clone(&users)));
        Ok(users)
    }

    async fn all<T: DeserializeOwned>(&self, what: &str, more: &[(&str, &str)]) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        let mut page = 1;
        loop {
            let (number, size) = (page.to_string(), PER_PAGE.to_string());
            let url = self.at(what, more.iter().copied().chain([("page", &*number), ("page_size", &*size)]))?;
            let answer: Page<T> = self.api.get(&url, &self.authentik.token).await?;
            found.extend(answer.results);
            // 0 after the last one.
            page = match answer.pagination.next {
                next if next > page && next <= MOST_PAGES => next,
                0 => return Ok(found),
                next => return Err(Failure::Garbage(format!("page {next} follows page {page}"))),
            };
        }
    }

    fn at<'a>(&self, what: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Url, Failure> {
        let mut url = self
            .authentik
            .url
            .join(&format!("/api/v3/core/{what}/"))
            .map_err(|error| Failure::Refused(format!("the address of the API cannot be made: {error}")))?;
        url.query_pairs_mut().extend_pairs(query);
        Ok(url)
    }

    fn person(&self, user: &User, tree: &Tree) -> Person {
        let groups: Groups = match self.config.first {
            true => all_groups(user, tree).into_iter().collect(),
            false => all_groups(user, tree).iter().map(|name| format!("{}/{name}", self.config.provider)).collect(),
        };
        Person {
            standing: if user.is_active { Standing::Active } else { Standing::Disabled },
            groups: Arc::new(groups),
            password_set: user.password_change_date.as_deref().and_then(Timestamp::parse),
        }
    }
}

#[async_trait]
impl Directory for AuthentikDirectory {
    async fn ask(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Person>>, Failure> {
        let tree = self.groups(now).await?;
        if names.len() > FEW {
            let users = self.users(now).await?;
            let find = |name: &Name| users.get(&name.to_lowercase()).map(|user| self.person(user, &tree));
            return Ok(names.iter().map(find).collect());
        }
        let mut people = Vec::with_capacity(names.len());
        for name in names {
            let url = self.at("users", [("username", &**name), ("include_groups", "false")].into_iter())?;
            let answer: Page<User> = self.api.get(&url, &self.authentik.token).await?;
            // Whatever it found: only the very name counts.
            let user = answer.results.iter().find(|user| user.username.to_lowercase() == name.to_lowercase());
            people.push(user.map(|user| self.person(user, &tree)));
        }
        Ok(people)
    }
}

/// Users by their name, lower case.
type Users = HashMap<String, User>;

/// Groups by their key.
type Tree = HashMap<String, Group>;

/// Whoever is in a group is in those above it.
fn all_groups(user: &User, tree: &Tree) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut level: Vec<&str> = user.groups.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for _ in 0..MAX_DEPTH {
        let mut above = Vec::new();
        for group in level.into_iter().filter(|key| seen.insert(*key)).filter_map(|key| tree.get(key)) {
            found.push(group.name.clone());
            above.extend(group.parents.iter().chain(&group.parent).map(String::as_str));
        }
        if above.is_empty() {
            break;
        }
        level = above;
    }
    found
}

#[derive(Deserialize)]
struct Page<T> {
    pagination: Pagination,
    results: Vec<T>,
}

#[derive(Deserialize)]
struct Pagination {
    next: u64,
}

#[derive(Deserialize)]
struct User {
    username: String,
    /// Without it nothing is known of the account.
    is_active: bool,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    password_change_date: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    pk: String,
    name: String,
    /// Until 2025.10 one, then several.
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    parents: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_in_a_group_is_in_those_above_it_and_a_circle_ends() {
        let group = |pk: &str, parent: Option<&str>, parents: &[&str]| Group {
            pk: pk.into(),
            name: format!("group {pk}"),
            parent: parent.map(Into::into),
            parents: parents.iter().map(|pk| (*pk).into()).collect(),
        };
        let groups = [
            group("a", Some("b"), &[]),
            group("b", None, &["c", "d"]),
            group("c", Some("a"), &[]),
            group("d", None, &[]),
            group("x", None, &["a"]),
        ];
        let tree: Tree = groups.into_iter().map(|group| (group.pk.clone(), group)).collect();
        let of = |groups: &[&str]| {
            let groups = groups.iter().map(|pk| (*pk).into()).collect();
            let user = User { username: "u".into(), is_active: true, groups, password_change_date: None };
            let mut found = all_groups(&user, &tree);
            found.sort();
            found
        };
        assert_eq!(of(&["a"]), ["group a", "group b", "group c", "group d"]);
        assert_eq!(of(&["d", "gone"]), ["group d"]);
        assert!(of(&[]).is_empty());
    }
}
