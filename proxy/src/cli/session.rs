//! `torhaus session list|revoke`: asks the running process.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::admin::{Selector, SessionLine};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show live sessions, newest first.
    List(ListArgs),
    /// End sessions and everything that is open under them, at once.
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    reach: Reach,
    /// Only this person's.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["provider", "resource", "device"])]
    user: Option<String>,
    /// Only those opened at this identity provider.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["resource", "device"])]
    provider: Option<String>,
    /// Only those that were used at a host of this resource.
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    resource: Option<String>,
    /// Only those that were used with this device: as `device list` or its certificate calls it.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    which: WhichArgs,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// One session, by the id that `session list` shows.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// All sessions of a person.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// All sessions opened at an identity provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// All sessions that were used at a host of this resource.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// All sessions that were used with this device: as `device list` or its certificate calls it.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// All sessions: everybody signs in again.
    #[arg(long)]
    all: bool,
}

pub fn session(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::List(args) => list(args, out),
        Verb::Revoke(args) => revoke(args, out),
    }
}

fn list(args: ListArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let asked =
        [("user", &args.user), ("provider", &args.provider), ("resource", &args.resource), ("device", &args.device)];
    for (name, value) in asked {
        query.extend_pairs(value.iter().map(|value| (name, value)));
    }
    let path = format!("/sessions?{}", query.finish());
    let sessions: Vec<SessionLine> = ask(client.get(&path))?;
    if args.output == Output::Json {
        out.json(&sessions)?;
        return Ok(Answer::Yes);
    }
    if sessions.is_empty() {
        out.line("no sessions")?;
        return Ok(Answer::Yes);
    }
    let head = ["session", "user", "proven", "opened", "last used", "from"].map(str::to_owned).to_vec();
    let rows = sessions.iter().map(|s| {
        let proven: Vec<&str> = s.proofs.iter().map(|(tier, _)| tier.as_str()).collect();
        let (created, seen) = (s.created.to_string(), s.last_seen.to_string());
        vec![s.id.clone(), s.user.clone(), proven.join(" "), created, seen, s.opened_from.clone()]
    });
    out.line(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
    Ok(Answer::Yes)
}

fn revoke(args: RevokeArgs, out: &mut Out) -> Result<Answer, Failure> {
    let WhichArgs { session, user, provider, resource, device, all } = args.which;
    let client = args.reach.client()?;
    let selector = Selector { session, user, provider, resource, device, all };
    let ended: Vec<String> = ask(client.post("/sessions/revoke", &selector))?;
    match args.output {
        Output::Json => out.json(&ended)?,
        Output::Text if ended.is_empty() => out.line("no live session was meant")?,
        Output::Text => {
            out.line(format!("{} ended:", ended.len()))?;
            ended.iter().try_for_each(|id| out.line(format!("  {id}")))?;
        }
    }
    Ok((!ended.is_empty()).into())
}
