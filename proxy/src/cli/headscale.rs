//! `torhaus headscale groups|acl|check|import`: what of our configuration belongs into Headscale's policy, whether that
//! policy leads around the gate, and what of it can stand in ours. Prints; changes nothing.
use super::out::Out;
use super::{Answer, Failure, load};
use crate::clock;
use crate::lookup::directory::{Failure as DirectoryFailure, Standing};
use crate::lookup::headscale::api::{HeadscaleApi, User};
use crate::lookup::headscale::export::{self, Upstreams};
use crate::lookup::headscale::import::Import;
use crate::lookup::headscale::policy::{Policy, Target};
use crate::lookup::people::directory_of;
use clap::Subcommand;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;
use torhaus_authz::{Groups, Name};
use torhaus_config::Config;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the `groups` block: who of the mesh's users is in which group of the directory. Disabled people are in none.
    Groups(GroupsArgs),
    /// Print rules by which the gate, and nobody else, reaches each application, and everybody the gate.
    Acl(AclArgs),
    /// Read Headscale's policy, and show every rule by which somebody but the gate reaches an application.
    Check(AclArgs),
    /// Print the policy's hosts as named networks of torhaus.yaml, and its groups and tags as rows may name them.
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// A policy in a file, huJSON. Without it, the one in force.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct GroupsArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// A group of the directory; may be repeated. Without it, those that the policy names.
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct AclArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// The gate's own node: its tag, or an address of it.
    #[arg(long, value_name = "TAG", default_value = "tag:torhaus")]
    gate: String,
}

pub fn headscale(verb: &Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Groups(args) => groups(args, out),
        Verb::Acl(args) => acl(args, out),
        Verb::Check(args) => check(args, out),
        Verb::Import(args) => import(args, out),
    }
}

fn groups(args: &GroupsArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    let wanted: BTreeSet<Name> = match args.groups.is_empty() {
        false => args.groups.iter().map(|name| name.as_str().into()).collect(),
        true => config.policy.rows().iter().flat_map(|row| row.groups()).cloned().collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let users = runtime.block_on(users(&config))?;
    out.json(&export::groups(&users, &wanted))?;
    Ok(Answer::Yes)
}

/// The users of the mesh that the directory knows and that are in use, with their groups.
async fn users(config: &Config) -> Result<Vec<(User, Groups)>, Failure> {
    let missing = |keys: &str| Failure::Usage(format!("{keys} is not configured, so there is nobody to ask"));
    let headscale = config.headscale.as_ref().ok_or_else(|| missing("`lookups.headscale`"))?;
    let directory = config.directory.as_ref();
    let directory = directory.ok_or_else(|| missing("neither `lookups.ldap` nor `lookups.authentik`"))?;
    let failed = |what: &str, why: String| Failure::Failed(format!("{what}: {why}"));
    let api = HeadscaleApi::new(headscale.clone()).map_err(|why| failed("headscale", why))?;
    let source = directory_of(directory).map_err(|why| failed("directory", why))?;
    let users = api.users().await.map_err(|failure| failed("headscale", failure.to_string()))?;
    let names: Vec<Name> = users.iter().map(|user| api.name_of(user).into()).collect();
    let people = source.ask(&names, clock::now()).await.map_err(|failure| failed("directory", failure.to_string()))?;
    let known = users.into_iter().zip(people);
    let in_use = known.filter_map(|(user, person)| {
        let person = person.filter(|person| person.standing == Standing::Active)?;
        Some((user, Arc::unwrap_or_clone(person.groups)))
    });
    Ok(in_use.collect())
}

fn acl(args: &AclArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    is_gate(&args.gate)?;
    let upstreams = Upstreams::of(&config);
    let (addresses, unknown) = resolved(&upstreams);
    out.json(&export::acl(&config, &upstreams, &args.gate, &addresses))?;
    match unknown.is_empty() {
        true => Ok(Answer::Yes),
        // Without a rule the gate does not reach them: nothing opens by it.
        false => Err(Failure::Failed(format!("these names have no address, and no rule: {}", unknown.join(", ")))),
    }
}

fn check(args: &AclArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    is_gate(&args.gate)?;
    let (api, runtime) = api_of(&config)?;
    let asked = runtime.block_on(async { Ok((api.nodes().await?, api.policy().await?)) });
    let (nodes, policy) = asked.map_err(|failure: DirectoryFailure| failed(failure.to_string()))?;
    let policy = Policy::parse(&policy).map_err(|why| failed(format!("its policy cannot be read: {why}")))?;
    let upstreams = Upstreams::of(&config);
    let (addresses, unknown) = resolved(&upstreams);
    let of = |host: &String| match host.parse() {
        Ok(address) => vec![address],
        Err(_) => addresses.get(host).cloned().unwrap_or_default(),
    };
    let targets: BTreeSet<Target> = upstreams
        .targets
        .iter()
        .flat_map(|(host, port)| of(host).into_iter().map(|address| Target { address, port: *port }))
        .collect();
    let ways = policy.ways_around(&args.gate, &targets, &nodes);
    for way in &ways {
        let to = SocketAddr::new(way.to.address, way.to.port);
        out.line(format!("{}: `{}` reaches {to} without the gate", way.rule, way.from))?;
    }
    if !unknown.is_empty() {
        return Err(Failure::Failed(format!(
            "these names have no address, and were not looked at: {}",
            unknown.join(", ")
        )));
    }
    if ways.is_empty() {
        out.line(format!("nobody but `{}` reaches the {} applications over the mesh", args.gate, targets.len()))?;
    }
    Ok(ways.is_empty().into())
}

/// Headscale, and what to ask it on.
fn api_of(config: &Config) -> Result<(HeadscaleApi, Runtime), Failure> {
    let missing = || Failure::Usage("`lookups.headscale` is not configured, so there is nobody to ask".to_owned());
    let headscale = config.headscale.as_ref().ok_or_else(missing)?;
    let api = HeadscaleApi::new(headscale.clone()).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok((api, runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?))
}

fn failed(why: String) -> Failure {
    Failure::Failed(format!("headscale: {why}"))
}

fn import(args: &ImportArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    let (api, runtime) = api_of(&config)?;
    let (file, text) = match &args.policy {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::Failed(format!("`{}`: {error}", file.display())))?;
            (file.as_path(), text)
        }
        None => {
            let policy = runtime.block_on(api.policy()).map_err(|failure| failed(failure.to_string()))?;
            (Path::new("Headscale's policy"), policy)
        }
    };
    let import = Import::read(file, &text).map_err(|mistakes| {
        let mistakes: String = mistakes.iter().map(ToString::to_string).collect();
        Failure::Failed(format!("the policy cannot be read\n{}", mistakes.trim_end()))
    })?;
    // Who its names mean, Headscale alone knows.
    let users = runtime.block_on(api.users()).map_err(|failure| failed(failure.to_string()))?;
    out.line(import.yaml(&users, |user| api.policy_name_of(user)))?;
    Ok(Answer::Yes)
}

fn is_gate(gate: &str) -> Result<(), Failure> {
    let known = gate.strip_prefix("tag:").is_some_and(|tag| !tag.is_empty()) || gate.parse::<IpAddr>().is_ok();
    match known {
        true => Ok(()),
        false => Err(Failure::Usage(format!("`{gate}` is neither a tag (`tag:torhaus`) nor an address"))),
    }
}

/// What the names resolve to here, and those that do not.
fn resolved(upstreams: &Upstreams) -> (BTreeMap<String, Vec<IpAddr>>, Vec<&str>) {
    let mut addresses = BTreeMap::new();
    let mut unknown = Vec::new();
    for name in upstreams.names() {
        let found: BTreeSet<IpAddr> =
            (name, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default();
        match found.is_empty() {
            true => unknown.push(name),
            false => drop(addresses.insert(name.to_owned(), found.into_iter().collect())),
        }
    }
    (addresses, unknown)
}
