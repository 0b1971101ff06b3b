//! `torhaus device list|approve|forget`: devices that came to the running process.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::admin::{ApproveOrder, ForgetOrder};
use crate::lookup::records::DeviceRecord;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show devices that came with a client certificate or from the mesh, those that came last first.
    List(ListArgs),
    /// Vouch for a device that is in no list: from now on it is a known one, by its certificate.
    Approve(ApproveArgs),
    /// Remove a device with its approval and its report; it is written down anew if it comes again.
    Forget(ForgetArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    reach: Reach,
    /// Only those of this person, or that this person used last.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those that are in no list and not approved.
    #[arg(long)]
    unknown: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    reach: Reach,
    /// As `device list` shows it.
    #[arg(value_name = "DEVICE")]
    id: String,
    /// Whose it is, as in `user:alice`.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    #[command(flatten)]
    reach: Reach,
    /// As `device list` shows it.
    #[arg(value_name = "DEVICE")]
    id: String,
}

pub fn device(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::List(args) => list(&args, out),
        Verb::Approve(args) => {
            let order = ApproveOrder { id: args.id.clone(), owner: args.owner.clone() };
            let done: bool = ask(args.reach.client()?.post("/devices/approve", &order))?;
            told(done, &args.id, "is a known device now", out)
        }
        Verb::Forget(args) => {
            let order = ForgetOrder { id: args.id.clone() };
            let done: bool = ask(args.reach.client()?.post("/devices/forget", &order))?;
            told(done, &args.id, "is forgotten", out)
        }
    }
}

fn told(done: bool, id: &str, what: &str, out: &mut Out) -> Result<Answer, Failure> {
    out.line(match done {
        true => format!("`{id}` {what}"),
        false => format!("there is no device `{id}`; `torhaus device list` shows them"),
    })?;
    Ok(done.into())
}

fn list(args: &ListArgs, out: &mut Out) -> Result<Answer, Failure> {
    let mut devices: Vec<DeviceRecord> = ask(args.reach.client()?.get("/devices"))?;
    let is = |name: &Option<torhaus_authz::Name>| name.as_deref() == args.user.as_deref();
    devices.retain(|device| args.user.is_none() || is(&device.owner) || is(&device.used_by));
    devices.retain(|device| !args.unknown || (&*device.sources == "certificate" && device.approved.is_none()));
    if args.output == Output::Json {
        out.json(&devices)?;
        return Ok(Answer::Yes);
    }
    if devices.is_empty() {
        out.line("no devices")?;
        return Ok(Answer::Yes);
    }
    let head = ["device", "owner", "used by", "known by", "last seen", "reported"].map(str::to_owned).to_vec();
    let rows = devices.iter().map(|device| {
        let text = |name: &Option<torhaus_authz::Name>| name.as_deref().unwrap_or("-").to_owned();
        let reported = device.report.as_ref().and_then(|report| report.newest());
        vec![
            device.id.to_string(),
            text(&device.owner),
            text(&device.used_by),
            device.sources.to_string(),
            device.last_seen.to_string(),
            reported.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]
    });
    out.line(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
    Ok(Answer::Yes)
}
