//! `torhaus breakglass create|use`: a grant made in quiet times, and its use on the day on which nobody can sign in.
use super::out::Out;
use super::{Answer, Failure, Reach, ask, load};
use crate::admin::{BreakGlassAnswer, BreakGlassOrder};
use crate::clock;
use crate::login::break_glass::{Grant, LONGEST, MOST_DAYS, new_id};
use crate::login::seal::SealKey;
use crate::server::seal_key;
use clap::Subcommand;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a grant for one person: two files, each of them worth nothing without the other and this machine. Needs no
    /// running process.
    Create(CreateArgs),
    /// Spend a grant: prints a link that opens one session, once. Every log says so.
    Use(UseArgs),
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// Who it is for, as `user:NAME` in the policy.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A group that the person is in, as `group:NAME` in the policy; may be repeated.
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// The tier that it proves.
    #[arg(long, value_name = "TIER")]
    tier: String,
    /// How many hours a session by it lives: 1 to 12.
    #[arg(long, value_name = "HOURS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=LONGEST.as_secs() / 3600))]
    hours: u64,
    /// For how many days it can be used: 1 to 366.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DAYS)))]
    days: u32,
    /// The file to make with the grant.
    #[arg(long, value_name = "FILE")]
    grant: PathBuf,
    /// The file to make with its key; keep it in another safe.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct UseArgs {
    #[command(flatten)]
    reach: Reach,
    #[arg(long, value_name = "FILE")]
    grant: PathBuf,
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub fn break_glass(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Create(args) => create(args, out),
        Verb::Use(args) => spend(&args, out),
    }
}

fn create(args: CreateArgs, out: &mut Out) -> Result<Answer, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let config = load(&args.config)?;
    if !config.policy.tiers().any(|tier| *tier.name == *args.tier) {
        let known: Vec<_> = config.policy.tiers().map(|tier| tier.name.to_string()).collect();
        return Err(Failure::Usage(format!("the policy has no tier `{}`; it has {}", args.tier, known.join(", "))));
    }
    let gate = seal_key(&config).map_err(|error| failed(&error))?;
    let grant = Grant {
        id: new_id(),
        user: args.user,
        groups: args.groups,
        tier: args.tier,
        seconds: args.hours * 3600,
        not_after: clock::now().plus(Duration::from_secs(u64::from(args.days) * 86_400)),
    };
    SealKey::create(&args.key).map_err(|error| failed(&error))?;
    let own = SealKey::load(&args.key).map_err(|error| failed(&error))?;
    let text = grant.seal(&gate, &own).map_err(|error| failed(&error))?;
    write_new(&args.grant, &text).map_err(|error| failed(&format!("`{}`: {error}", args.grant.display())))?;
    out.line(format!("grant {} for {}, tier {}, until {}", grant.id, grant.user, grant.tier, grant.not_after))?;
    out.line(format!("  {}  the grant: into one safe", args.grant.display()))?;
    out.line(format!("  {}  its key: into another, and off this machine", args.key.display()))?;
    out.line("good once, on this gate alone. A new sealing key of the gate makes it worthless: then make another")?;
    Ok(Answer::Yes)
}

fn spend(args: &UseArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let order = BreakGlassOrder { grant: read(&args.grant)?.to_string(), key: read(&args.key)?.to_string() };
    let answer: BreakGlassAnswer = ask(client.post("/break-glass", &order))?;
    out.line(format!("open this in a browser within 5 minutes; it works once, for {}:", answer.user))?;
    out.line(&answer.url)?;
    out.line(format!(
        "the session ends in {} hours; `torhaus session revoke --provider break-glass` ends it now",
        answer.session_seconds / 3600
    ))?;
    Ok(Answer::Yes)
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    text.map_err(|error| Failure::Failed(format!("`{}`: {error}", file.display())))
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(made, "{text}")?;
    made.sync_all()
}
