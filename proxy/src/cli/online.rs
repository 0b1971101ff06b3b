//! `torhaus check --online`: asks each source of facts as the gate would, and looks at the database; shows what they say.
use super::Failure;
use crate::clock;
use crate::login::seal::SealKey;
use crate::lookup::directory::Directory;
use crate::lookup::headscale::api::{HeadscaleApi, Node};
use crate::lookup::ldap::{LdapDirectory, Sample};
use crate::lookup::management::Management;
use crate::lookup::people::directory_of;
use crate::lookup::polled::Fetch as _;
use crate::store::Reach;
use crate::store::examine::examine;
use serde::Serialize;
use std::sync::Arc;
use torhaus_config::{Config, DirectorySource, Postgres, Secret};

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let mut found = Vec::new();
    if let Some(directory) = &config.directory {
        found.extend(match &directory.source {
            DirectorySource::Ldap(source) => {
                let source = LdapDirectory::new(directory.clone(), source.clone()).map_err(Failure::Failed)?;
                runtime.block_on(ldap(&source, user))
            }
            DirectorySource::Authentik(_) => {
                let source = directory_of(directory).map_err(Failure::Failed)?;
                runtime.block_on(authentik(&*source, user))
            }
        });
    }
    if let Some(headscale) = &config.headscale {
        let api = HeadscaleApi::new(headscale.clone()).map_err(Failure::Failed)?;
        found.push(match runtime.block_on(api.nodes()) {
            Ok(nodes) => finding("headscale".into(), Ok(describe_nodes(&nodes))),
            Err(failure) => finding("headscale".into(), Err(failure.to_string())),
        });
    }
    for source in &config.posture.sources {
        let asked = Management::new(source.clone()).map_err(Failure::Failed)?;
        let devices = runtime.block_on(asked.fetch(clock::now()));
        let words = devices.map(|index| format!("answers, with {} devices", index.count()));
        found.push(finding(source.name.to_string(), words.map_err(|failure| failure.to_string())));
    }
    if let Some(postgres) = &config.postgres {
        found.push(runtime.block_on(store(postgres)));
    }
    if found.is_empty() {
        found.push(Finding {
            what: "online".into(),
            ok: true,
            words: "nothing is configured that could be asked".into(),
        });
    }
    Ok(found)
}

async fn store(postgres: &Postgres) -> Finding {
    let examined = async {
        let urls = postgres.urls.iter().map(Secret::expose);
        let reach = Reach::any(urls, postgres.ca_file.as_deref(), 1).map_err(|error| error.to_string())?;
        let seal = SealKey::derived(postgres.key.expose()).map_err(|error| error.to_string())?;
        examine(reach, Arc::new(seal)).await.map_err(|error| error.to_string())
    };
    finding("store".into(), examined.await.map(|examined| examined.to_string()))
}

fn finding(what: String, result: Result<String, String>) -> Finding {
    match result {
        Ok(words) => Finding { what, ok: true, words },
        Err(words) => Finding { what, ok: false, words },
    }
}

async fn authentik(source: &dyn Directory, user: Option<&str>) -> Vec<Finding> {
    let answers = source.ask(&[], clock::now()).await;
    let mut found =
        vec![finding("authentik".into(), answers.map(|_| "answers".into()).map_err(|failure| failure.to_string()))];
    if let Some(name) = user.filter(|_| found.iter().all(|finding| finding.ok)) {
        let person = source.ask(&[name.into()], clock::now()).await.map(|mut people| people.pop().flatten());
        found.push(finding(
            "a person".into(),
            match person {
                Ok(Some(person)) => Ok(describe(&Sample { dn: name.to_owned(), person })),
                Ok(None) => Err(format!("nobody is called `{name}`")),
                Err(failure) => Err(failure.to_string()),
            },
        ));
    }
    found
}

fn describe_nodes(nodes: &[Node]) -> String {
    let tagged = nodes.iter().filter(|node| !node.tags.is_empty()).count();
    let routers = nodes.iter().filter(|node| node.routes).count();
    format!("answers, with {} nodes, {tagged} of them tagged, {routers} subnet routers", nodes.len())
}

async fn ldap(source: &LdapDirectory, user: Option<&str>) -> Vec<Finding> {
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
