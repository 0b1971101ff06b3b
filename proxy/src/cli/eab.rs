//! `torhaus eab create|list|revoke`: one-time keys for ACME clients, and what was enrolled with them.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::acme::enrolment::EnrolmentLine;
use crate::admin::{EabAnswer, EabEnd, EabOrder};
use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a one-time key, with which an ACME client makes an account. It is shown once.
    Create(CreateArgs),
    /// Show keys that nobody used yet, and the accounts that came of others, newest first.
    List(ListArgs),
    /// Take back a key, or end an account: its certificates are revoked, and what is open with them ends.
    Revoke(RevokeArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CreateOutput {
    #[default]
    Text,
    Json,
    /// A manifest of a Secret, for cert-manager's `externalAccountBinding`.
    KubernetesSecret,
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[command(flatten)]
    reach: Reach,
    /// Who answers for it; with profile `user` or `device`, the user.
    #[arg(long, value_name = "NAME")]
    owner: String,
    /// user, device, service or server.
    #[arg(long, value_name = "NAME")]
    profile: String,
    /// A DNS name or address that may be ordered, or the `spiffe://…` of a service; may be repeated.
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Every name below this one may be ordered; may be repeated.
    #[arg(long, value_name = "DOMAIN")]
    below: Vec<String>,
    /// Also `*.` of these names.
    #[arg(long)]
    wildcards: bool,
    /// Each name is proved by http-01, dns-01 or tls-alpn-01; without, orders are born ready.
    #[arg(long)]
    challenge: bool,
    /// For lists: the machine, or what it is for.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// The key can be used for this many hours.
    #[arg(long, value_name = "HOURS", default_value_t = 1)]
    key_hours: u32,
    /// The account renews for this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    days: u32,
    #[arg(long, value_enum, default_value_t)]
    output: CreateOutput,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    reach: Reach,
    /// Only this owner's.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    which: WhichArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// A key or an account, as `eab list` shows it.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// All that this owner has.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
}

pub fn eab(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Create(args) => create(args, out),
        Verb::List(args) => list(&args, out),
        Verb::Revoke(args) => revoke(args, out),
    }
}

fn create(args: CreateArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let order = EabOrder {
        owner: args.owner,
        profile: args.profile,
        names: args.names,
        below: args.below,
        wildcards: args.wildcards,
        challenge: args.challenge,
        label: args.label,
        key_seconds: u64::from(args.key_hours) * 3600,
        enrolment_seconds: u64::from(args.days) * 24 * 3600,
    };
    let key: EabAnswer = ask(client.post("/enrolments/create", &order))?;
    match args.output {
        CreateOutput::Json => out.json(&key)?,
        CreateOutput::Text => {
            for (label, value) in [
                ("directory", &key.directory),
                ("key id", &key.kid),
                ("HMAC key", &key.hmac_key),
                ("names", &key.names.join(" ")),
                ("use by", &key.not_after.to_string()),
            ] {
                out.line(format!("{label:<10} {value}"))?;
            }
        }
        // Hex and base64url need no quoting.
        CreateOutput::KubernetesSecret => out.line(format!(
            "# spec.acme.externalAccountBinding: {{ keyID: {kid}, keySecretRef: {{ name: torhaus-eab, key: secret }} }}\n\
             # spec.acme.server: {directory}\n\
             apiVersion: v1\nkind: Secret\nmetadata:\n  name: torhaus-eab\ntype: Opaque\nstringData:\n  kid: \"{kid}\"\n  \
             secret: \"{secret}\"",
            kid = key.kid,
            directory = key.directory,
            secret = key.hmac_key,
        ))?,
    }
    Ok(Answer::Yes)
}

fn list(args: &ListArgs, out: &mut Out) -> Result<Answer, Failure> {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(args.owner.iter().map(|owner| ("owner", owner)));
    let found: Vec<EnrolmentLine> = ask(args.reach.client()?.get(&format!("/enrolments?{}", query.finish())))?;
    if args.output == Output::Json {
        out.json(&found)?;
        return Ok(Answer::Yes);
    }
    if found.is_empty() {
        out.line("no keys and no accounts")?;
        return Ok(Answer::Yes);
    }
    let head = ["id", "state", "profile", "owner", "label", "until", "names"].map(str::to_owned).to_vec();
    let rows = found.iter().map(|one| {
        vec![
            one.account.clone().unwrap_or_else(|| one.kid.clone()),
            one.state.as_str().to_owned(),
            one.profile.clone(),
            one.owner.clone(),
            one.label.clone(),
            one.until.to_string(),
            one.names.join(" "),
        ]
    });
    out.line(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))?;
    Ok(Answer::Yes)
}

fn revoke(args: RevokeArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let WhichArgs { id, owner } = args.which;
    let ended: usize = ask(client.post("/enrolments/end", &EabEnd { id, owner }))?;
    out.line(if ended == 0 { "nothing was there to end".to_owned() } else { format!("{ended} ended") })?;
    Ok((ended > 0).into())
}
