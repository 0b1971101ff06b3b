//! Which groups somebody is in: asked of the server where it can tell (Active Directory, Samba), else level by level,
//! with a guard against groups that contain each other.
use super::account::{primary_group, sid};
use super::connection::{Connection, Search};
use super::entry::Entry;
use crate::lookup::directory::Failure;
use ldap3::{Scope, ldap_escape};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use torhaus_authz::Name;
use torhaus_config::{GroupName, GroupsBy, Ldap, LdapSchema};

pub(super) const MEMBER_OF: &str = "memberOf";
const OBJECT_SID: &str = "objectSid";
/// Groups of one person; more is a mistake, and a record would name them all.
const MAX_GROUPS: usize = 5_000;
/// Groups in groups in groups; deeper nesting is a mistake.
const MAX_DEPTH: usize = 20;
/// Names in one filter.
const BATCH: usize = 50;

/// Groups by SID, which never names another group.
pub(super) type Known = moka::sync::Cache<String, Entry>;

/// A group that was renamed counts by its new name after this long.
const KNOWN_FOR: Duration = Duration::from_secs(5 * 60);

pub(super) fn known() -> Known {
    Known::builder().max_capacity(u64::try_from(MAX_GROUPS).unwrap_or(u64::MAX)).time_to_live(KNOWN_FOR).build()
}

/// Finds groups, and remembers within one round of questions what many people share.
pub(super) struct Finder<'a> {
    config: &'a Ldap,
    known: &'a Known,
    /// Groups read by their DN, lower case.
    read: HashMap<String, Option<Entry>>,
}

impl<'a> Finder<'a> {
    pub fn new(config: &'a Ldap, known: &'a Known) -> Self {
        Self { config, known, read: HashMap::new() }
    }

    /// # Errors
    /// The directory could not be asked, or the groups are too many.
    pub async fn groups_of(
        &mut self,
        connection: &mut Connection,
        name: &str,
        person: &Entry,
    ) -> Result<Vec<Name>, Failure> {
        let is_ad = self.config.schema == LdapSchema::ActiveDirectory;
        let found = match self.config.groups_by {
            GroupsBy::MemberOf => self.upwards(connection, person).await?,
            GroupsBy::Member if is_ad && self.config.nested_groups => self.by_token(connection, person).await?,
            GroupsBy::Member if is_ad => self.direct(connection, person).await?,
            GroupsBy::Member => self.by_level(connection, name, person).await?,
        };
        Ok(found.iter().filter_map(|group| self.name_of(group)).collect())
    }

    /// What the server itself puts into somebody's access token: every security group, nested and primary ones
    /// included (MS-ADTS 3.1.1.4.5.19). The matching rule in chain would say the same, but makes Samba walk through all
    /// members of all groups: with 1,200 groups it took seconds where this takes milliseconds.
    async fn by_token(&self, connection: &mut Connection, person: &Entry) -> Result<Vec<Entry>, Failure> {
        const TOKEN_GROUPS: &str = "tokenGroups";
        let entry = connection.read(&person.dn, "(objectClass=*)", &[TOKEN_GROUPS]).await?;
        let sids: Vec<String> =
            entry.iter().flat_map(|entry| entry.values(TOKEN_GROUPS)).filter_map(|bytes| sid(bytes)).collect();
        if sids.is_empty() {
            // There is always the primary group.
            let dn = &person.dn;
            return Err(Failure::Unusable(format!("`{TOKEN_GROUPS}` of `{dn}` cannot be read; allow `bind_dn` to")));
        }
        self.of_sids(connection, sids).await
    }

    /// The groups that name the person, and the primary group, which no `member` names.
    async fn direct(&self, connection: &mut Connection, person: &Entry) -> Result<Vec<Entry>, Failure> {
        let member = &self.config.member_attribute;
        let mut found = self.search(connection, &format!("({member}={})", ldap_escape(person.dn.as_str()))).await?;
        found.extend(self.primary(connection, person).await?);
        bounded(found)
    }

    async fn primary(&self, connection: &mut Connection, person: &Entry) -> Result<Option<Entry>, Failure> {
        match primary_group(person) {
            Some(sid) => Ok(self.of_sids(connection, vec![sid]).await?.pop()),
            None => Ok(None),
        }
    }

    /// The groups with these identifiers, as far as they count as groups.
    async fn of_sids(&self, connection: &mut Connection, sids: Vec<String>) -> Result<Vec<Entry>, Failure> {
        let mut found: Vec<Entry> = Vec::new();
        let mut unknown = Vec::new();
        for sid in sids {
            match self.known.get(&sid) {
                Some(group) => found.push(group),
                None => unknown.push(sid),
            }
        }
        for batch in unknown.chunks(BATCH) {
            let any: String = batch.iter().map(|sid| format!("(objectSid={sid})")).collect();
            for group in self.search(connection, &format!("(|{any})")).await? {
                if let Some(sid) = group.values(OBJECT_SID).first().and_then(|bytes| sid(bytes)) {
                    self.known.insert(sid, group.clone());
                }
                found.push(group);
            }
        }
        bounded(found)
    }

    /// Groups that name the person, groups that name those, and so on.
    async fn by_level(&self, connection: &mut Connection, name: &str, person: &Entry) -> Result<Vec<Entry>, Failure> {
        // POSIX groups name people by their user name, and nest in nothing (RFC 2307 s3).
        let by_name = self.config.member_attribute.eq_ignore_ascii_case("memberUid");
        let mut members = vec![if by_name { name.to_owned() } else { person.dn.clone() }];
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for _ in 0..MAX_DEPTH {
            let mut level = Vec::new();
            for batch in members.chunks(BATCH) {
                let member = &self.config.member_attribute;
                let any: String = batch.iter().map(|dn| format!("({member}={})", ldap_escape(dn.as_str()))).collect();
                level.extend(self.search(connection, &format!("(|{any})")).await?);
            }
            level.retain(|group| seen.insert(normal(&group.dn)));
            members = level.iter().map(|group| group.dn.clone()).collect();
            all.extend(level);
            all = bounded(all)?;
            if members.is_empty() || by_name || !self.config.nested_groups {
                return Ok(all);
            }
        }
        Err(too_deep())
    }

    /// What the person's own `memberOf` names, what those groups' names, and so on.
    async fn upwards(&mut self, connection: &mut Connection, person: &Entry) -> Result<Vec<Entry>, Failure> {
        let primary = self.primary(connection, person).await?;
        let mut seen = HashSet::new();
        let mut all: Vec<Entry> = Vec::new();
        let mut level: Vec<String> = above(person);
        if let Some(primary) = primary {
            seen.insert(normal(&primary.dn));
            level.extend(above(&primary).into_iter().filter(|_| self.config.nested_groups));
            all.push(primary);
        }
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for dn in level {
                if !seen.insert(normal(&dn)) || !is_below(&dn, &self.config.group_base_dn) {
                    continue;
                }
                if let Some(group) = self.read(connection, &dn).await? {
                    next.extend(above(&group));
                    all.push(group);
                    all = bounded(all)?;
                }
            }
            if next.is_empty() || !self.config.nested_groups {
                return Ok(all);
            }
            level = next;
        }
        Err(too_deep())
    }

    async fn read(&mut self, connection: &mut Connection, dn: &str) -> Result<Option<Entry>, Failure> {
        let key = normal(dn);
        if let Some(known) = self.read.get(&key) {
            return Ok(known.clone());
        }
        let found = connection.read(dn, &self.config.group_filter, &self.attributes()).await?;
        self.read.insert(key, found.clone());
        Ok(found)
    }

    async fn search(&self, connection: &mut Connection, which: &str) -> Result<Vec<Entry>, Failure> {
        let filter = format!("(&{}{which})", self.config.group_filter);
        let base = &self.config.group_base_dn;
        let attributes = self.attributes();
        connection.search(&Search { base, scope: Scope::Subtree, filter: &filter, attributes: &attributes }).await
    }

    fn attributes(&self) -> Vec<&str> {
        // `1.1`: no attributes (RFC 4511 s4.5.1.8).
        let mut attributes = vec![match &self.config.group_name {
            GroupName::Dn => "1.1",
            GroupName::Attribute(name) => name,
        }];
        if self.config.groups_by == GroupsBy::MemberOf {
            attributes.push(MEMBER_OF);
        }
        if self.config.schema == LdapSchema::ActiveDirectory {
            attributes.push(OBJECT_SID);
        }
        attributes
    }

    fn name_of(&self, group: &Entry) -> Option<Name> {
        match &self.config.group_name {
            GroupName::Dn => Some(group.dn.as_str().into()),
            GroupName::Attribute(name) => group.text(name).map(Into::into),
        }
    }
}

fn above(entry: &Entry) -> Vec<String> {
    let values = entry.values(MEMBER_OF).iter().filter_map(|value| std::str::from_utf8(value).ok());
    values.map(str::to_owned).collect()
}

fn bounded(groups: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
    if groups.len() > MAX_GROUPS {
        return Err(Failure::Unusable(format!("somebody is in more than {MAX_GROUPS} groups")));
    }
    Ok(groups)
}

/// Some of them would not be known, and a rule may deny by just those.
fn too_deep() -> Failure {
    Failure::Unusable(format!("somebody is in groups that are nested more than {MAX_DEPTH} deep"))
}

/// For comparing: without case, and without the spaces that people type between parts.
fn normal(dn: &str) -> String {
    dn.to_lowercase().replace(", ", ",")
}

fn is_below(dn: &str, base: &str) -> bool {
    let (dn, base) = (normal(dn), normal(base));
    dn.strip_suffix(&base).is_some_and(|rest| {
        // RFC 4514 section 2.4: a comma behind a backslash is part of a value; two backslashes are one of a value.
        let before = rest.strip_suffix(',');
        let escapes = |before: &str| before.len() - before.trim_end_matches('\\').len();
        rest.is_empty() || before.is_some_and(|before| escapes(before) % 2 == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn an_entry_is_below_a_base_by_a_comma_that_separates() {
        let base = "DC=example,DC=test";
        for (dn, expected) in [
            ("DC=example,DC=test", true),
            ("CN=hr, DC=Example, DC=test", true),
            (r"CN=hr\\,DC=example,DC=test", true),
            (r"CN=hr\,DC=example,DC=test", false),
            ("CN=hrDC=example,DC=test", false),
        ] {
            assert_eq!(is_below(dn, base), expected, "{dn}");
        }
    }
}
