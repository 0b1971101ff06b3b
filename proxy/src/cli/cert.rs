//! `torhaus cert list|show|issue|revoke`: asks the running process about the certificates that it issued.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::admin::{IssueOrder, IssuedAnswer, RevokeOrder, RevokedAnswer};
use crate::ca::status::CertificateLine;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show certificates, newest first.
    List(ListArgs),
    /// Show one certificate.
    Show(ShowArgs),
    /// Have one issued, on an operator's own word; it is recorded who and why.
    Issue(IssueArgs),
    /// Revoke: refused on the next request, and whatever is open with it ends. There is no way back.
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    reach: Reach,
    /// Only this owner's.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Also those that are over or revoked.
    #[arg(long)]
    all: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    reach: Reach,
    /// As `cert list` shows it.
    #[arg(value_name = "SERIAL")]
    serial: String,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct IssueArgs {
    #[command(flatten)]
    reach: Reach,
    /// user, device, service or server.
    #[arg(long, value_name = "NAME")]
    profile: String,
    /// `spiffe://…`, a DNS name, an address or an e-mail address; may be repeated.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// The person whom it belongs to: nobody else can use it beside a session.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// What people read in it.
    #[arg(long, value_name = "TEXT")]
    common_name: Option<String>,
    /// Who answers for it, if not the person or service itself.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Shorter than the profile's.
    #[arg(long, value_name = "SECONDS")]
    life_seconds: Option<u32>,
    /// PEM: a certificate request. Of what it says, only the key counts.
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// Stands in the ledger and in the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    which: WhichArgs,
    /// unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn.
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: String,
    /// Stands in the ledger and in the audit log.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// By serial number; may be repeated. One that the ledger does not know is refused from now on, too.
    #[arg(long = "serial", value_name = "SERIAL")]
    serials: Vec<String>,
    /// All that this owner has.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
}

pub fn cert(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::List(args) => list(&args, out),
        Verb::Show(args) => show(&args, out),
        Verb::Issue(args) => issue(args, out),
        Verb::Revoke(args) => revoke(args, out),
    }
}

fn list(args: &ListArgs, out: &mut Out) -> Result<Answer, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("valid", if args.all { "false" } else { "true" });
    query.extend_pairs(args.owner.iter().map(|owner| ("owner", owner)));
    let path = format!("/certificates?{}", query.finish());
    let found: Vec<CertificateLine> = ask(args.reach.client()?.get(&path))?;
    if args.output == Output::Json {
        out.json(&found)?;
        return Ok(Answer::Yes);
    }
    if found.is_empty() {
        out.line("no certificates")?;
        return Ok(Answer::Yes);
    }
    let head = ["serial", "profile", "owner", "names", "until", "revoked"].map(str::to_owned).to_vec();
    let rows = found.iter().map(|one| {
        let revoked = one.revoked.as_ref().map(|revoked| revoked.reason.clone()).unwrap_or_default();
        let names = one.names.join(" ");
        vec![one.serial.clone(), one.profile.clone(), one.owner.clone(), names, one.not_after.to_string(), revoked]
    });
    out.line(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
    Ok(Answer::Yes)
}

fn show(args: &ShowArgs, out: &mut Out) -> Result<Answer, Failure> {
    let mut path = "/certificates/".to_owned();
    path.extend(url::form_urlencoded::byte_serialize(args.serial.as_bytes()));
    let one: CertificateLine = ask(args.reach.client()?.get(&path))?;
    if args.output == Output::Json {
        out.json(&one)?;
        return Ok(Answer::Yes);
    }
    for (label, value) in [
        ("serial", &one.serial),
        ("profile", &one.profile),
        ("common name", &one.common_name),
        ("names", &one.names.join(" ")),
        ("owner", &one.owner),
        ("requested by", &one.requested_by),
        ("why", &one.why),
        ("issued", &one.issued_at.to_string()),
        ("until", &one.not_after.to_string()),
        ("authority", &one.issuer),
        ("SHA-256", &one.sha256),
    ] {
        out.line(format!("{label:<13} {value}"))?;
    }
    if let Some(revoked) = &one.revoked {
        out.line(format!("{:<13} {} by {}, {}: {}", "revoked", revoked.at, revoked.by, revoked.reason, revoked.why))?;
    }
    out.line(one.pem.as_deref().unwrap_or_default().trim_end())?;
    Ok(Answer::Yes)
}

fn issue(args: IssueArgs, out: &mut Out) -> Result<Answer, Failure> {
    let csr_pem = std::fs::read_to_string(&args.csr)
        .map_err(|error| Failure::Usage(format!("`{}` cannot be read: {error}", args.csr.display())))?;
    let client = args.reach.client()?;
    let order = IssueOrder {
        profile: args.profile,
        names: args.names,
        common_name: args.common_name,
        user: args.user,
        owner: args.owner,
        why: args.why,
        life_seconds: args.life_seconds,
        csr_pem,
    };
    let issued: IssuedAnswer = ask(client.post("/certificates/issue", &order))?;
    match args.output {
        Output::Json => out.json(&issued)?,
        // Ready for a file: `torhaus cert issue … > service.pem`.
        Output::Text => out.line(issued.chain_pem.trim_end())?,
    }
    Ok(Answer::Yes)
}

fn revoke(args: RevokeArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let WhichArgs { serials, owner } = args.which;
    let order = RevokeOrder { serials, owner, reason: args.reason, why: args.why };
    let done: RevokedAnswer = ask(client.post("/certificates/revoke", &order))?;
    if args.output == Output::Json {
        out.json(&done)?;
        return Ok((!done.new.is_empty()).into());
    }
    for serial in &done.new {
        let note = if done.unknown.contains(serial) { " (not in the ledger; refused from now on)" } else { "" };
        out.line(format!("revoked {serial}{note}"))?;
    }
    if done.new.is_empty() {
        out.line(if done.already > 0 { "all of them were revoked before" } else { "no certificate was meant" })?;
    }
    out.line(format!("{} open requests ended", done.streams_ended))?;
    Ok((!done.new.is_empty()).into())
}
