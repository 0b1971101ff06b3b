//! `torhaus check --online`: asks each source of facts as the gate would, and shows what it says.
use super::Failure;
use crate::clock;
use crate::lookup::ldap::{LdapDirectory, Sample};
use serde::Serialize;
use torhaus_config::Config;

/// What one question found.
#[derive(Serialize)]
pub struct Finding {
    pub what: String,
    pub ok: bool,
    pub words: String,
}

/// Groups shown of a person; who is in more knows it.
const SHOWN: usize = 30;

/// `user` is whom to look for; somebody whom the directory knows if it is none.
pub fn check(config: &Config, user: Option<&str>) -> Result<Vec<Finding>, Failure> {
    let Some(directory) = &config.directory else {
        return Ok(vec![Finding { what: "online".into(), ok: true, words: "no source of facts is configured".into() }]);
    };
    let source = LdapDirectory::new(directory.clone()).map_err(Failure::Failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    Ok(runtime.block_on(ldap(&source, user)))
}

async fn ldap(source: &LdapDirectory, user: Option<&str>) -> Vec<Finding> {
    let finding = |what: String, result: Result<String, String>| match result {
        Ok(words) => Finding { what, ok: true, words },
        Err(words) => Finding { what, ok: false, words },
    };
    let mut found = Vec::new();
    for (server, result) in source.try_each().await {
        let result = result.map(|()| "connected over TLS, bound".to_owned());
        found.push(finding(server, result.map_err(|failure| failure.to_string())));
    }
    // A refused password is counted by the directory: two tries are enough.
    if found.iter().any(|finding| finding.ok) {
        let person = match source.sample(user, clock::now()).await {
            Ok(Some(sample)) => Ok(describe(&sample)),
            Ok(None) => Err(match user {
                Some(name) => format!("nobody is called `{name}`; look at `base_dn`, `user_filter`, `user_attribute`"),
                None => "nobody is found; look at `base_dn`, `user_filter`, `user_attribute`".to_owned(),
            }),
            Err(failure) => Err(failure.to_string()),
        };
        found.push(finding("a person".to_owned(), person));
    }
    found
}

fn describe(Sample { dn, person }: &Sample) -> String {
    let groups: Vec<&str> = person.groups.iter().take(SHOWN).map(|group| &**group).collect();
    let more = person.groups.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let groups = if groups.is_empty() { "no group".to_owned() } else { groups.join(", ") };
    format!("`{dn}` is {}, in {groups}{more}", person.standing.describe())
}
