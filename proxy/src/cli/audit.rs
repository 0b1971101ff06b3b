//! `torhaus audit verify|query|tail|archive`: works on the files, needs no running process.
use super::explain::duration;
use super::out::Out;
use super::{Answer, Failure, Output, load};
use crate::audit::against::{Compared, compare};
use crate::audit::archive::archive;
use crate::audit::read::{FOLLOW_EVERY, Filter, Follow, ReadError, query, verify_folder};
use crate::clock;
use clap::Subcommand;
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WordError, StrDeserializer};
use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use torhaus_authz::{Fact, Kind, Reason, Record, Timestamp, VerdictKind, Who};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check that no line was altered, removed or reordered. Exit code 1 if one was.
    Verify(VerifyArgs),
    /// Find records, oldest first.
    Query(QueryArgs),
    /// Show the newest records.
    Tail(TailArgs),
    /// Move old segments to another folder, after verifying all. The process that writes may go on.
    Archive(ArchiveArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The configuration; its state folder holds the log.
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    pub(super) config: PathBuf,
    /// The folder of the log itself, for example a copy.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Place {
    pub(super) fn folder(&self) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(load(&self.config)?.state_dir.join("audit")),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// A copy of the lines that was kept elsewhere (`torhaus run --audit-copy`), `-` for standard input: what is in it must
    /// be in the log.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    #[command(flatten)]
    place: Place,
    /// A person as in the policy, or a SPIFFE ID.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// What this exception of the policy opened.
    #[arg(long, value_name = "ID")]
    exception: Option<String>,
    /// allow, login, step_up or deny.
    #[arg(long, value_parser = word::<VerdictKind>)]
    verdict: Option<VerdictKind>,
    /// For example `zone_denied`.
    #[arg(long, value_parser = word::<Reason>)]
    reason: Option<Reason>,
    /// For example `decision`, `login`, `revocation`.
    #[arg(long, value_parser = word::<Kind>)]
    kind: Option<Kind>,
    /// The number that a refusal page shows.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// From then on: `2h`, `7d`, or 2026-11-23T08:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// `json` prints the lines as they stand in the log.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct TailArgs {
    #[command(flatten)]
    place: Place,
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    lines: usize,
    /// Go on as records are written.
    #[arg(short, long)]
    follow: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct ArchiveArgs {
    #[command(flatten)]
    place: Place,
    /// Segments whose last record is older: `90d` ago, or a moment.
    #[arg(long, value_name = "WHEN")]
    before: String,
    /// Where they go.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

pub fn audit(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Verify(args) => verify(&args, out),
        Verb::Query(args) => find(&args, out),
        Verb::Tail(args) => tail(&args, out),
        Verb::Archive(args) => put_away(&args, out),
    }
}

fn put_away(args: &ArchiveArgs, out: &mut Out) -> Result<Answer, Failure> {
    let before = when(&args.before, clock::now())?;
    let moved = archive(&args.place.folder()?, before, &args.to).map_err(|e| Failure::Failed(e.to_string()))?;
    for path in &moved {
        out.line(path.display())?;
    }
    if moved.is_empty() {
        out.line("no segment is as old; the newest one always stays")?;
    }
    Ok(Answer::Yes)
}

fn verify(args: &VerifyArgs, out: &mut Out) -> Result<Answer, Failure> {
    let folder = args.place.folder()?;
    let verified = match verify_folder(&folder) {
        Ok(verified) => verified,
        Err(error @ (ReadError::Broken(..) | ReadError::Missing { .. })) => {
            match args.output {
                Output::Text => out.line(&error)?,
                Output::Json => out.json(&serde_json::json!({ "ok": false, "error": error.to_string() }))?,
            }
            return Ok(Answer::No);
        }
        Err(error) => return Err(Failure::Failed(error.to_string())),
    };
    let compared = args.against.as_deref().map(|copy| against(&folder, copy)).transpose()?;
    let missing = compared.as_ref().and_then(|compared| compared.missing);
    if args.output == Output::Json {
        out.json(&serde_json::json!({ "ok": missing.is_none(), "verified": verified, "against": compared }))?;
        return Ok(missing.is_none().into());
    }
    out.line(format!(
        "{}: {} lines in {} segments form one chain, records {} to {}",
        folder.display(),
        verified.lines,
        verified.segments,
        verified.first_sequence,
        verified.last_sequence
    ))?;
    out.line(format!("last hash {}", verified.last_hash))?;
    match &compared {
        None => {
            out.line("the end of a chain can be cut off unseen: `--against` compares with a copy kept elsewhere")?
        }
        Some(Compared { missing: Some(sequence), .. }) => {
            out.line(format!(
                "record {sequence} of the copy is not in the log, or is another: it was cut off or replaced"
            ))?;
        }
        Some(compared) => out.line(format!(
            "{} records of the copy are in the log as they are there; {} are older than it",
            compared.same, compared.older
        ))?,
    }
    if verified.starts_in_the_middle {
        out.line("older segments are not in this folder; what they held is not verified")?;
    }
    if verified.unfinished_bytes > 0 {
        out.line(format!("{} bytes at the end are not a whole line yet", verified.unfinished_bytes))?;
    }
    Ok(missing.is_none().into())
}

fn against(folder: &Path, copy: &Path) -> Result<Compared, Failure> {
    let compared = if copy == Path::new("-") {
        compare(folder, std::io::stdin().lock())
    } else {
        let file = File::open(copy).map_err(|e| Failure::Failed(format!("`{}`: {e}", copy.display())))?;
        compare(folder, BufReader::new(file))
    };
    compared.map_err(|e| Failure::Failed(e.to_string()))
}

fn find(args: &QueryArgs, out: &mut Out) -> Result<Answer, Failure> {
    let now = clock::now();
    let filter = Filter {
        user: args.user.clone(),
        resource: args.resource.clone(),
        exception: args.exception.clone(),
        verdict: args.verdict,
        reason: args.reason,
        kind: args.kind,
        decision: args.decision.clone(),
        session: args.session.clone(),
        since: args.since.as_deref().map(|text| when(text, now)).transpose()?,
        until: args.until.as_deref().map(|text| when(text, now)).transpose()?,
    };
    let mut failure = None;
    let mut found = false;
    let read = query(&args.place.folder()?, &filter, |record, text| {
        found = true;
        match show(record, text, args.output, out) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    read.map_err(|e| Failure::Failed(e.to_string()))?;
    failure.map_or(Ok(found.into()), Err)
}

fn tail(args: &TailArgs, out: &mut Out) -> Result<Answer, Failure> {
    let failed = |e: ReadError| Failure::Failed(e.to_string());
    let mut follow = Follow::open(&args.place.folder()?, args.lines).map_err(failed)?;
    loop {
        while let Some((record, text)) = follow.next_record().map_err(failed)? {
            show(&record, &text, args.output, out)?;
        }
        out.flush()?;
        if !args.follow {
            return Ok(Answer::Yes);
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

fn show(record: &Record, text: &str, output: Output, out: &mut Out) -> Result<(), Failure> {
    match output {
        Output::Json => out.raw(text),
        Output::Text => out.line(line(record).replace('\n', "\\n")),
    }
}

/// One record in one line: when, what, the outcome, who, where to, from where.
fn line(record: &Record) -> String {
    let entry = &record.entry;
    let mut words = vec![entry.time.to_string(), serialised(&entry.kind)];
    words.extend(entry.verdict.map(|v| v.to_string()));
    words.extend(entry.reason.filter(|r| *r != Reason::Allowed).map(|r| r.as_str().to_owned()));
    words.extend(entry.condition.as_ref().map(|c| format!("({c})")));
    words.extend(match &entry.who {
        Some(Who::User { name, .. }) => Some(name.to_string()),
        Some(Who::Service { id, .. }) => Some(id.to_string()),
        Some(Who::Anonymous) => Some("nobody".to_owned()),
        None => None,
    });
    words.extend(entry.resource.as_ref().map(|r| format!("-> {r}")));
    words.extend(entry.method.as_ref().map(ToString::to_string));
    words.extend(entry.path.as_ref().map(ToString::to_string));
    match &entry.address {
        Some(Fact::Known(address)) => words.push(format!("from {address}")),
        Some(Fact::Unknown(_)) => words.push("from an unknown address".to_owned()),
        None => {}
    }
    words.extend(entry.zone.as_ref().map(|z| format!("[{z}]")));
    words.extend(entry.tier.as_ref().map(|t| format!("needs {t}")));
    words.extend(entry.exception.as_ref().map(|e| format!("by exception {e}")));
    if !entry.group_names.is_empty() {
        words.push(entry.group_names.join(", "));
    }
    if entry.before > 0 {
        words.push(format!("(and {} before)", entry.before));
    }
    words.extend(entry.detail.as_ref().map(|d| format!(": {d}")));
    words.extend(entry.decision.as_ref().map(|d| format!("#{d}")));
    words.join(" ")
}

/// `2h` ago, or a moment.
pub(super) fn when(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let moment = Timestamp::parse(text).or_else(|| duration(text).map(|ago| now.minus(ago)));
    moment
        .ok_or_else(|| Failure::Usage(format!("`{text}` is neither a time like `2h` nor like `2026-11-23T08:00:00Z`")))
}

/// A word of the log's own vocabulary.
fn word<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    let word: StrDeserializer<'_, WordError> = text.into_deserializer();
    T::deserialize(word).map_err(|e| e.to_string())
}

fn serialised(kind: &Kind) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
