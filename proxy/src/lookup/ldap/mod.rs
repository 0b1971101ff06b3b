//! A directory by LDAP: Active Directory, Samba, OpenLDAP and others (RFC 4511).
//!
//! ```text
//! mod.rs         people by name, their standing, their groups
//! groups.rs      how groups are found: by the server, or level by level
//! account.rs     whether an account is in use
//! connection.rs  servers, TLS, bind, pool, paging
//! entry.rs       one entry, decoded without trust
//! ```
//!
//! Reads; never writes, never binds as the person.
mod account;
mod connection;
mod entry;
mod groups;

use crate::lookup::directory::{Directory, Failure, Person, Standing};
use async_trait::async_trait;
use connection::{Connection, Search, Servers};
use entry::Entry;
use futures::FutureExt as _;
use groups::Finder;
use ldap3::{Scope, ldap_escape};
use std::sync::Arc;
use torhaus_authz::{Groups, Name, Timestamp};
use torhaus_config::{GroupsBy, Ldap};

/// Names in one filter: servers give up on much longer ones.
pub const BATCH: usize = 50;
/// Batches asked for at the same time.
pub const AT_ONCE: usize = 4;

#[derive(Clone)]
pub struct LdapDirectory(Arc<Inner>);

struct Inner {
    servers: Servers,
    config: Arc<torhaus_config::Directory>,
    ldap: Arc<Ldap>,
    groups: groups::Known,
}

/// What `check --online` shows of one person.
pub struct Sample {
    pub dn: String,
    pub person: Person,
}

impl LdapDirectory {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(config: Arc<torhaus_config::Directory>, ldap: Arc<Ldap>) -> Result<Self, String> {
        let servers = Servers::new(&ldap, config.timeout)?;
        Ok(Self(Arc::new(Inner { servers, config, ldap, groups: groups::known() })))
    }

    /// Tries each server by itself: its name, and whether it accepts us.
    pub async fn try_each(&self) -> Vec<(String, Result<(), Failure>)> {
        self.0.servers.try_each().await
    }

    /// Somebody of whom the directory knows, or this person; none if there is nobody.
    ///
    /// # Errors
    /// As [`Directory::ask`].
    pub async fn sample(&self, name: Option<&str>, now: Timestamp) -> Result<Option<Sample>, Failure> {
        let (me, name) = (self.0.clone(), name.map(str::to_owned));
        contained(async move {
            me.servers.with_connection(|connection| me.clone().sample(connection, name.clone(), now).boxed()).await
        })
        .await
    }
}

#[async_trait]
impl Directory for LdapDirectory {
    async fn ask(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Person>>, Failure> {
        let (me, names): (_, Arc<[Name]>) = (self.0.clone(), names.into());
        contained(async move {
            me.servers.with_connection(|connection| me.clone().people(connection, names.clone(), now).boxed()).await
        })
        .await
    }
}

/// The LDAP library panics on some answers that are no LDAP; that ends the question and nothing else.
async fn contained<T: Send + 'static>(
    question: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    tokio::spawn(question).await.unwrap_or_else(|_| Err(Failure::Garbage("it is not LDAP".to_owned())))
}

impl Inner {
    async fn people(
        self: Arc<Self>,
        connection: &mut Connection,
        names: Arc<[Name]>,
        now: Timestamp,
    ) -> Result<Vec<Option<Person>>, Failure> {
        if names.is_empty() {
            // The root of the server's own description (RFC 4512 s5.1).
            connection.read("", "(objectClass=*)", &["1.1"]).await?;
        }
        let mut finder = Finder::new(&self.ldap, &self.groups);
        let mut people = vec![None; names.len()];
        for (names, people) in names.chunks(BATCH).zip(people.chunks_mut(BATCH)) {
            let entries = self.entries(connection, names).await?;
            for (name, person) in names.iter().zip(people) {
                if let Some(entry) = self.only(&entries, name) {
                    *person = match self.person(connection, &mut finder, name, entry, now).await {
                        Err(Failure::Unusable(why)) => {
                            tracing::warn!(%why, "somebody in the directory does not count");
                            None
                        }
                        said => Some(said?),
                    };
                }
            }
        }
        Ok(people)
    }

    async fn entries(&self, connection: &mut Connection, names: &[Name]) -> Result<Vec<Entry>, Failure> {
        let Ldap { base_dn, user_filter, user_attribute, .. } = &*self.ldap;
        let any: String = names.iter().map(|name| format!("({user_attribute}={})", ldap_escape(&**name))).collect();
        let filter = format!("(&{user_filter}(|{any}))");
        let attributes = self.attributes();
        let search = Search { base: base_dn, scope: Scope::Subtree, filter: &filter, attributes: &attributes };
        connection.search(&search).await
    }

    fn attributes(&self) -> Vec<&str> {
        let ldap = &*self.ldap;
        let mut attributes = vec![ldap.user_attribute.as_str()];
        attributes.extend(account::attributes(ldap.schema));
        if ldap.groups_by == GroupsBy::MemberOf {
            attributes.push(groups::MEMBER_OF);
        }
        attributes
    }

    /// The one entry of this name. A directory may find more than was asked for (accents, spaces): only the same name,
    /// but for case, counts; of two with the same name neither.
    fn only<'a>(&self, entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
        let attribute = &self.ldap.user_attribute;
        let wanted = name.to_lowercase();
        let is_called = |entry: &&Entry| {
            let values = entry.values(attribute).iter().filter_map(|value| std::str::from_utf8(value).ok());
            values.into_iter().any(|value| value.to_lowercase() == wanted)
        };
        let mut found = entries.iter().filter(is_called);
        let first = found.next()?;
        if found.next().is_some() {
            tracing::warn!(attribute, "two people in the directory have the same name; neither counts");
            return None;
        }
        Some(first)
    }

    async fn person(
        &self,
        connection: &mut Connection,
        finder: &mut Finder<'_>,
        name: &str,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Person, Failure> {
        let schema = self.ldap.schema;
        // First, and enough if the account is out: what is wrong with its groups must not hide that.
        let standing = account::standing(schema, entry, now)?;
        let password_set = account::password_set(schema, entry);
        if standing != Standing::Active {
            let groups = Arc::new(std::iter::empty::<String>().collect());
            return Ok(Person { standing, groups, password_set });
        }
        let found = finder.groups_of(connection, name, entry).await?;
        let groups: Groups = match self.config.first {
            true => found.into_iter().collect(),
            false => found.iter().map(|group| format!("{}/{group}", self.config.provider)).collect(),
        };
        Ok(Person { standing, groups: Arc::new(groups), password_set })
    }

    async fn sample(
        self: Arc<Self>,
        connection: &mut Connection,
        name: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Sample>, Failure> {
        let attribute = &self.ldap.user_attribute;
        let name: Name = match name {
            Some(name) => name.into(),
            None => {
                let filter = format!("(&{}({attribute}=*))", self.ldap.user_filter);
                let base = &self.ldap.base_dn;
                let search = Search { base, scope: Scope::Subtree, filter: &filter, attributes: &[attribute] };
                let found = connection.first(&search).await?;
                let Some(name) = found.as_ref().and_then(|entry| entry.text(attribute)) else { return Ok(None) };
                name.into()
            }
        };
        let entries = self.entries(connection, std::slice::from_ref(&name)).await?;
        let Some(entry) = self.only(&entries, &name) else { return Ok(None) };
        let mut finder = Finder::new(&self.ldap, &self.groups);
        let person = self.person(connection, &mut finder, &name, entry, now).await?;
        Ok(Some(Sample { dn: entry.dn.clone(), person }))
    }
}
