//! `torhaus status` and `torhaus reload`: asks the running process.
use super::out::{Out, table};
use super::{Answer, Failure, Output, Reach, ask};
use crate::admin::{ClientError, ReloadFailed, Reloaded, Status};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Exit code 0 whenever it answers, ready or not: whether it should be started again.
    #[arg(long)]
    alive: bool,
}

#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    reach: Reach,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Exit code 1 if the process says that it is not ready, unless only its life is asked for.
pub fn status(args: &StatusArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    let status: Status = ask(client.get("/status"))?;
    let ready = status.not_ready.is_empty();
    let answer = Answer::from(ready || args.alive);
    if args.output == Output::Json {
        out.json(&status)?;
        return Ok(answer);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("torhaus", format!("{}, process {}, up {}", status.version, status.pid, uptime(status.uptime_seconds))),
        row("config", format!("{} ({})", status.config_file, short(&status.config_hash))),
        row("loaded", status.config_loaded.to_string()),
        row("policy", short(&status.policy_version).to_owned()),
    ];
    if let Some(pinned) = &status.rolled_back {
        let (from, by, at) = (short(&pinned.from), &pinned.by, pinned.at);
        rows.push(row("ROLLED BACK", format!("by {by} at {at}; the file in place is not used (it was {from})")));
    }
    if let Some(candidate) = &status.candidate {
        let mode = candidate.share.map_or("watched".to_owned(), |share| format!("counts for {share}% of people"));
        rows.push(row("candidate", format!("{}, {mode}", short(&candidate.policy_version))));
    }
    for listener in &status.listeners {
        let value = format!("{} {}, {} connections", listener.name, listener.address, listener.connections);
        rows.push(row("listener", value));
    }
    rows.push(row("sessions", status.sessions_live.to_string()));
    for source in &status.sources {
        rows.push(row(&source.name, source.describe()));
    }
    rows.push(row("ready", if ready { "yes".to_owned() } else { status.not_ready.join("; ") }));
    rows.extend(status.degraded.iter().map(|what| row("degraded", what.clone())));
    rows.extend(status.without.iter().map(|source| row("without", source.clone())));
    if let Some(cluster) = &status.kubernetes {
        let role = if cluster.leader { "writes its status" } else { "another replica writes the status" };
        let read = if cluster.synced { "read" } else { "not read yet" };
        rows.push(row(
            "cluster",
            format!("{read}; {} ingresses, {} routes; {role}", cluster.ingresses, cluster.routes),
        ));
        for (ingress, problems) in &cluster.problems {
            rows.extend(problems.iter().map(|problem| row("ingress", format!("{ingress}: {problem}"))));
        }
    }
    out.line(table(&rows))?;
    if let Some(error) = &status.reload_error {
        out.line(format!("\nthe last reload failed; what was loaded before runs on:\n{error}"))?;
    }
    Ok(answer)
}

pub fn reload(args: &ReloadArgs, out: &mut Out) -> Result<Answer, Failure> {
    let client = args.reach.client()?;
    match ask_reloaded(&client, "/reload", &())? {
        Ok(done) if args.output == Output::Json => out.json(&done)?,
        Ok(done) => {
            done.warnings.iter().try_for_each(|warning| out.line(format!("warning: {warning}")))?;
            out.line(format!("loaded; config {}, policy {}", short(&done.config_hash), short(&done.policy_version)))?;
        }
        Err(failed) => {
            match args.output {
                Output::Json => out.json(&failed)?,
                Output::Text => out.line(format!("{}\nnothing was changed", failed.errors))?,
            }
            return Ok(Answer::No);
        }
    }
    Ok(Answer::Yes)
}

/// The inner error: it refused, and says why.
pub(super) fn ask_reloaded(
    client: &crate::admin::Client,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<Result<Reloaded, ReloadFailed>, Failure> {
    let answer = ask(async {
        match client.post::<Reloaded>(path, body).await {
            Ok(done) => Ok(Ok(done)),
            Err(ClientError::Refused(code, text)) => match serde_json::from_str(&text) {
                Ok(failed) => Ok(Err(failed)),
                Err(_) => Err(ClientError::Refused(code, text)),
            },
            Err(error) => Err(error),
        }
    })?;
    Ok(answer)
}

pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
