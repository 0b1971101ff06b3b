//! `lookups.ldap`, `lookups.authentik`: a directory that can be asked, and whose people are in it.
use super::settings::positive;
use super::{Cx, host, polled, trust};
use crate::at::At;
use crate::config::{self, Directory, DirectorySource, GroupName, GroupsBy, LdapSchema, Provider};
use crate::file;
use crate::file::identity::OneOrMany;
use crate::file::lookups::{Authentik, Ldap};
use crate::place::Place;
use crate::suggest;
use crate::units::Mistake;
use std::sync::Arc;
use url::Url;

/// Defaults; their reasons stand in `reference`, and so in `docs/config.md`.
mod default {
    use std::time::Duration;

    pub(super) const POLL: Duration = Duration::from_secs(30);
    pub(super) const MAX_STALE: Duration = Duration::from_secs(5 * 60);
    pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
    /// Computers and contacts are no people.
    pub(super) const AD_USERS: &str = "(&(objectCategory=person)(objectClass=user))";
    /// Security groups: whoever may make a distribution list gives no access by it.
    pub(super) const AD_GROUPS: &str = "(&(objectClass=group)(groupType:1.2.840.113556.1.4.803:=2147483648))";
    pub(super) const USERS: &str = "(objectClass=person)";
    pub(super) const GROUPS: &str = "(|(objectClass=groupOfNames)(objectClass=groupOfMembers)\
        (objectClass=groupOfUniqueNames)(objectClass=posixGroup))";
}

const SCHEMAS: [(&str, LdapSchema); 2] =
    [("active_directory", LdapSchema::ActiveDirectory), ("generic", LdapSchema::Generic)];
const GROUPS_BY: [(&str, GroupsBy); 2] = [("member", GroupsBy::Member), ("member_of", GroupsBy::MemberOf)];

/// The outer `None` is a mistake that was reported.
pub(crate) fn directory(
    lookups: Option<&At<file::lookups::Lookups>>,
    providers: Option<&[Arc<Provider>]>,
    cx: &mut Cx<'_>,
) -> Option<Option<Directory>> {
    let Some(lookups) = lookups.and_then(At::get) else { return Some(None) };
    match (&lookups.ldap, &lookups.authentik) {
        (None, None) => Some(None),
        (Some(_), Some(at)) => {
            cx.error(
                &at.place,
                "there are two directories: `ldap` and `authentik`",
                "keep the one that people are managed in; a provider has one directory",
            );
            None
        }
        (Some(at), None) => {
            let typed = at.get()?;
            let source = ldap(typed, cx).map(|ldap| DirectorySource::Ldap(Arc::new(ldap)));
            let Ldap { provider, poll, max_stale, timeout, .. } = typed;
            of(source, [provider, poll, max_stale, timeout].map(Option::as_ref), &at.place, providers, cx).map(Some)
        }
        (None, Some(at)) => {
            let typed = at.get()?;
            let source = authentik(typed, cx).map(|authentik| DirectorySource::Authentik(Arc::new(authentik)));
            let Authentik { provider, poll, max_stale, timeout, .. } = typed;
            of(source, [provider, poll, max_stale, timeout].map(Option::as_ref), &at.place, providers, cx).map(Some)
        }
    }
}

/// What both kinds have in common: `provider`, `poll`, `max_stale`, `timeout`.
fn of(
    source: Option<DirectorySource>,
    [provider_at, poll_at, max_stale_at, timeout_at]: [Option<&At<String>>; 4],
    place: &Place,
    providers: Option<&[Arc<Provider>]>,
    cx: &mut Cx<'_>,
) -> Option<Directory> {
    let provider = provider(provider_at, providers, cx);
    let poll = positive(poll_at, default::POLL, cx);
    let max_stale = positive(max_stale_at, default::MAX_STALE, cx);
    let timeout = positive(timeout_at, default::TIMEOUT, cx);
    let (poll, max_stale) = (poll?, max_stale?);
    if max_stale < poll * 2 {
        cx.error(
            max_stale_at.or(poll_at).map_or(place, |at| &at.place),
            "`max_stale` is less than two polls, so one answer that is lost makes groups unknown",
            "make `max_stale` at least twice as long as `poll`",
        );
        return None;
    }
    let provider = provider?;
    Some(Directory {
        first: provider.first,
        provider: provider.name.clone(),
        poll,
        max_stale,
        timeout: timeout?,
        source: source?,
    })
}

fn authentik(typed: &Authentik, cx: &mut Cx<'_>) -> Option<config::Authentik> {
    let url = cx.parse(&typed.url, polled::server);
    let ca_file = typed.ca_file.as_ref().map(|at| trust::ca_file(at, cx));
    let token = cx.secret(&typed.token_file, "secret file");
    Some(config::Authentik { url: url?, ca_file: ca_file.map_or(Some(None), |file| file.map(Some))?, token: token? })
}

fn ldap(typed: &Ldap, cx: &mut Cx<'_>) -> Option<config::Ldap> {
    let urls = urls(&typed.url, cx);
    let ca_file = trust::ca_file(&typed.ca_file, cx);
    let bind_password = cx.secret(&typed.bind_password_file, "secret file");
    let bind_dn = cx.parse(&typed.bind_dn, filled);
    let base_dn = cx.parse(&typed.base_dn, dn);
    let group_base_dn = typed.group_base_dn.as_ref().map(|at| cx.parse(at, dn));
    let schema = cx.parse_or(typed.schema.as_ref(), LdapSchema::ActiveDirectory, |text| one_of(text, &SCHEMAS));
    let groups_by = cx.parse_or(typed.groups_by.as_ref(), GroupsBy::Member, |text| one_of(text, &GROUPS_BY));
    // What does not depend on the schema is checked even if the schema is wrong.
    let ad = schema != Some(LdapSchema::Generic);
    let (users, groups) = if ad { (default::AD_USERS, default::AD_GROUPS) } else { (default::USERS, default::GROUPS) };
    let (user, group) = if ad { ("sAMAccountName", "sAMAccountName") } else { ("uid", "cn") };
    let user_attribute = cx.parse_or(typed.user_attribute.as_ref(), user.to_owned(), attribute);
    let user_filter = cx.parse_or(typed.user_filter.as_ref(), users.to_owned(), filter);
    let group_filter = cx.parse_or(typed.group_filter.as_ref(), groups.to_owned(), filter);
    let member_attribute = cx.parse_or(typed.member_attribute.as_ref(), "member".to_owned(), attribute);
    let group_name =
        cx.parse_or(typed.group_name.as_ref(), GroupName::Attribute(group.to_owned()), |text| match text {
            "dn" => Ok(GroupName::Dn),
            text => attribute(text).map(GroupName::Attribute),
        });
    let base_dn = base_dn?;
    Some(config::Ldap {
        urls: urls?,
        ca_file: ca_file?,
        bind_dn: bind_dn?,
        bind_password: bind_password?,
        group_base_dn: group_base_dn.unwrap_or_else(|| Some(base_dn.clone()))?,
        base_dn,
        schema: schema?,
        user_attribute: user_attribute?,
        user_filter: user_filter?,
        group_filter: group_filter?,
        group_name: group_name?,
        member_attribute: member_attribute?,
        groups_by: groups_by?,
        nested_groups: typed.nested_groups.as_ref().map_or(Some(true), |at| at.get().copied())?,
    })
}

/// Whose people are in the directory; the first provider's, unless another one is named.
pub(super) fn provider<'a>(
    at: Option<&At<String>>,
    providers: Option<&'a [Arc<Provider>]>,
    cx: &mut Cx<'_>,
) -> Option<&'a Provider> {
    let providers = providers?;
    let Some(at) = at else { return providers.first().map(|first| &**first) };
    let name = at.text()?;
    let found = providers.iter().find(|provider| *provider.name == *name);
    if found.is_none() {
        let hint = suggest::hint(name, providers.iter().map(|provider| &*provider.name));
        cx.mistake(&at.place, Mistake { message: format!("unknown provider `{name}`"), hint });
    }
    found.map(|found| &**found)
}

fn urls(at: &At<OneOrMany>, cx: &mut Cx<'_>) -> Option<Vec<Url>> {
    let found: Vec<Option<Url>> = match at.get()? {
        OneOrMany::One(text) => match url(text) {
            Ok(url) => vec![Some(url)],
            Err(mistake) => {
                cx.mistake(&at.place, mistake);
                return None;
            }
        },
        OneOrMany::Many(list) => list.items.iter().map(|item| cx.parse(item, url)).collect(),
    };
    if found.is_empty() {
        cx.error(&at.place, "no server is named", "write `url: ldaps://dc01.example.test`");
        return None;
    }
    found.into_iter().collect()
}

/// `ldaps://host[:port]`. StartTLS begins in the clear, where somebody on the way can take it out.
fn url(text: &str) -> Result<Url, Mistake> {
    if let Some(rest) = text.strip_prefix("ldap://") {
        return Err(Mistake::new("the directory is reached over TLS only: the password of the bind would be readable")
            .hint(format!("write `ldaps://{rest}`; Samba and Active Directory answer there on port 636")));
    }
    let url = host::url(text, &["ldaps"])?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Mistake::new(format!("`{text}` names no server")).hint("write `ldaps://dc01.example.test`"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        return Err(Mistake::new("the URL of a directory is only its server")
            .hint("where to search stands in `base_dn`, and as whom in `bind_dn`"));
    }
    Ok(url)
}

pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Mistake> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let hint = suggest::hint(text, words.iter().map(|(word, _)| *word));
        Mistake { message: format!("`{text}` is not possible here"), hint }
    })
}

fn filled(text: &str) -> Result<String, Mistake> {
    // A bind without a name is anonymous, and "succeeds" (RFC 4513 s5.1.1).
    match text.trim() {
        "" => Err(Mistake::new("a bind without a name is anonymous").hint("write the account that torhaus reads with")),
        text => Ok(text.to_owned()),
    }
}

fn dn(text: &str) -> Result<String, Mistake> {
    let is_dn = !text.is_empty() && text.split(',').any(|part| part.contains('='));
    is_dn.then(|| text.to_owned()).ok_or_else(|| {
        Mistake::new(format!("`{text}` is not a distinguished name")).hint("write it as `DC=example,DC=test`")
    })
}

/// The name of an attribute (RFC 4512 s1.4), without options.
fn attribute(text: &str) -> Result<String, Mistake> {
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    if begins && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not the name of an attribute")).hint("for example `sAMAccountName` or `cn`"))
}

/// A filter (RFC 4515) as far as brackets go; the rest is tried by `check --online`, which asks the directory.
fn filter(text: &str) -> Result<String, Mistake> {
    let mut depth = 0_i32;
    let mut closed_early = !text.starts_with('(') || !text.ends_with(')');
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        closed_early |= depth <= 0 && index + 1 < text.len();
    }
    if depth != 0 || closed_early {
        return Err(
            Mistake::new(format!("`{text}` is not one filter")).hint("write it in brackets: `(objectClass=user)`")
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_pair_of_brackets() {
        for (text, good) in [
            ("(objectClass=user)", true),
            ("(&(a=b)(!(c=d)))", true),
            ("objectClass=user", false),
            ("(a=b)(c=d)", false),
            ("(a=b", false),
            ("(a=b))", false),
            ("", false),
        ] {
            assert_eq!(filter(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_directory_is_reached_by_tls_alone() {
        for (text, good) in [
            ("ldaps://dc01.example.test", true),
            ("ldaps://127.0.0.1:6360", true),
            ("ldap://dc01.example.test", false),
            ("ldaps://dc01.example.test/DC=example", false),
            ("ldaps://", false),
        ] {
            assert_eq!(url(text).is_ok(), good, "{text}");
        }
    }
}
