//! Writes an audit log of a size, to time `torhaus policy replay` and `torhaus audit verify` with: people of a company
//! ask for every row of the policy in turn, some of them too often refused.
//!
//! ```text
//! record --config torhaus.yaml --lines 1000000     # into the state folder that the configuration names
//! ```
use clap::Parser;
use futures::StreamExt as _;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use torhaus::audit::{Audit, Note};
use torhaus::{clock, policies};
use torhaus_authz::{Entry, Fact, Facts, Groups, Identity, Proof, User};

#[derive(Parser)]
struct Args {
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    lines: u64,
}

/// People, each in the same three groups out of twenty.
const PEOPLE: u64 = 500;
/// Lines on their way to the disk at the same time.
const AT_ONCE: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let now = clock::now();
    let config = policies::load(&args.config, now)?.config;
    let policy = &config.policy;
    let rows: Vec<Arc<str>> = policy.rows().iter().map(|row| row.resource.clone()).collect();
    let tiers: Vec<Arc<str>> = policy.tiers().map(|tier| tier.name.clone()).collect();
    let people: Vec<(Arc<User>, Arc<Groups>)> = (0..PEOPLE).map(person).collect();
    let audit = Audit::open(&config.state_dir.join("audit"), now)?;
    let pick = |n: u64, of: usize| usize::try_from(n).unwrap_or(0) % of.max(1);
    let lines = (0..args.lines).filter_map(|n| {
        let (user, groups) = people.get(pick(n, people.len()))?;
        let tier = tiers.get(pick(n / 7, tiers.len()))?.clone();
        let proof =
            Proof { tier, proven_at: now.minus(Duration::from_secs(n % 90_000)), provider: user.provider.clone() };
        let facts = Facts {
            method: "GET",
            path: "/a/page",
            listener: "public",
            address: Fact::Known([10, 0, u8::try_from(n % 251).unwrap_or(0), 7].into()),
            identity: Identity::User(user.clone()),
            groups: Fact::Known(groups.clone()),
            proofs: [proof].into(),
            certificate: Fact::Known(None),
            ..Facts::unknown(now, rows.get(pick(n, rows.len()))?)
        };
        let entry = Entry::decided(&format!("{n:016x}"), &facts, &policy.decide(&facts));
        Some(Note { entry, groups: Some(groups.clone()) })
    });
    let mut written = futures::stream::iter(lines.map(|note| audit.event(note))).buffer_unordered(AT_ONCE);
    while let Some(line) = written.next().await {
        line?;
    }
    drop(written);
    audit.close(now).await?;
    Ok(())
}

fn person(n: u64) -> (Arc<User>, Arc<Groups>) {
    let user = User {
        name: format!("user-{n}").into(),
        provider: "corp".into(),
        issuer: "https://idp.example.test".into(),
        subject: format!("{n}").into(),
        federated: false,
    };
    let groups = [n % 20, (n + 3) % 20, (n + 11) % 20].map(|group| format!("group-{group}"));
    (user.into(), Arc::new(groups.into_iter().chain(["all-employees".to_owned()]).collect()))
}
