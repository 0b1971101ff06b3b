//! `torhaus backup key|create|verify|restore`: works on files, needs no running process and disturbs none.
use super::out::Out;
use super::{Answer, Failure, Output, load};
use crate::backup::{self, BackupError, Contents};
use crate::ca::own_domain;
use crate::clock;
use crate::login::seal::SealKey;
use clap::Subcommand;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use torhaus_authz::Timestamp;
use torhaus_config::Config;

/// Backups in a folder begin and end so; nothing else there is ever removed.
const PREFIX: &str = "torhaus-";
const ENDING: &str = ".backup";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a key that seals backups. Keep it away from the backups, and away from this machine too.
    Key(KeyArgs),
    /// Back the state folder up, while Torhaus runs.
    Create(CreateArgs),
    /// Read a backup to its end, and check what is in it.
    Verify(VerifyArgs),
    /// Put a backup in place of a state folder that is not there.
    Restore(RestoreArgs),
}

#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The file to make; it must not be there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// A folder, on another disk than the state; `-` is standard output.
    #[arg(long, value_name = "DIR")]
    to: String,
    /// The key of `torhaus backup key`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Keep this many backups in the folder, and remove older ones after this one is checked.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// The folder is carried away by something else, so it may lie on the disk of the state.
    #[arg(long)]
    same_disk: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The backup; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    from: String,
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    #[arg(long, value_name = "FILE", default_value = "torhaus.yaml")]
    config: PathBuf,
    /// The backup; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    from: String,
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The state folder from before, moved away: what was ended in it stays ended. Without it everybody signs in again.
    #[arg(long, value_name = "DIR")]
    merge: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::Failed(error.to_string())
    }
}

pub fn backup(verb: Verb, out: &mut Out) -> Result<Answer, Failure> {
    match verb {
        Verb::Key(args) => {
            SealKey::create(&args.out).map_err(|error| Failure::Failed(error.to_string()))?;
            out.line(format!("made `{}`; without it no backup opens, with it every backup does", args.out.display()))?;
            Ok(Answer::Yes)
        }
        Verb::Create(args) => create(&args, out),
        Verb::Verify(args) => verify(&args, out),
        Verb::Restore(args) => restore(&args, out),
    }
}

fn create(args: &CreateArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    if config.postgres.is_some() {
        let hint = "back it up by its own tools (`pg_dump`, `pg_basebackup`), and the audit folder as files (docs/high-availability.md)";
        return Err(Failure::Failed(format!("the state is in PostgreSQL: {hint}")));
    }
    let state = config.state_dir;
    let key = key_apart(&args.key, &[&state, Path::new(&args.to)])?;
    if args.to == "-" {
        // Standard output is the backup: nothing else may be said there.
        let written = in_a_work_folder(&state, |work| run(backup::create(&state, work, &key, io::stdout().lock())))?;
        drop(written);
        return Ok(Answer::Yes);
    }
    let folder = Path::new(&args.to);
    if !folder.is_dir() {
        return Err(Failure::Failed(format!("`{}` is no folder; make it first, for its owner alone", args.to)));
    }
    if !args.same_disk {
        backup::on_another_disk(&state, folder)?;
    }
    let now = clock::now();
    let second = Timestamp::from_seconds(now.seconds()).to_string().replace(':', "");
    let name = format!("{PREFIX}{second}-{:03}{ENDING}", now.millis().rem_euclid(1000));
    let (aside, file) = (folder.join(format!("{name}.part")), folder.join(name));
    let failed = |path: &Path, why: io::Error| Failure::Failed(format!("`{}`: {why}", path.display()));
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(|e| failed(&aside, e))?;
    // What is unpacked for a moment lies in the state folder, which is for its owner alone, and never in the target.
    let written = in_a_work_folder(&state, |work| run(backup::create(&state, work, &key, io::BufWriter::new(to))));
    let written = written.and_then(|(to, contents)| {
        let to = to.into_inner().map_err(|e| failed(&aside, e.into_error()))?;
        to.sync_all().map_err(|e| failed(&aside, e))?;
        // What cannot be restored is no backup: it is read again before it counts, and before older ones go.
        let checked = in_a_work_folder(&state, |work| {
            let from = File::open(&aside).map_err(|e| failed(&aside, e))?;
            run(backup::verify(io::BufReader::new(from), &key, work))
        })?;
        if (checked.files, checked.bytes) != (contents.files, contents.bytes) {
            return Err(Failure::Failed(format!("`{}` holds less than was written", aside.display())));
        }
        fs::rename(&aside, &file).and_then(|()| File::open(folder)?.sync_all()).map_err(|e| failed(&file, e))?;
        Ok(checked)
    });
    let contents = match written {
        Ok(contents) => contents,
        Err(failure) => {
            // Half a backup is none; if it cannot be removed, its name says so.
            let _ = fs::remove_file(&aside);
            return Err(failure);
        }
    };
    if let Some(keep) = args.keep {
        remove_older(folder, keep).map_err(|e| failed(folder, e))?;
    }
    show(&format!("wrote {}", file.display()), &contents, args.output, out)
}

fn verify(args: &VerifyArgs, out: &mut Out) -> Result<Answer, Failure> {
    let key = key_apart(&args.key, &[])?;
    let contents = in_a_work_folder(&std::env::temp_dir(), |work| run(backup::verify(open(&args.from)?, &key, work)))?;
    show(&format!("{} is whole", args.from), &contents, args.output, out)
}

fn restore(args: &RestoreArgs, out: &mut Out) -> Result<Answer, Failure> {
    let config = load(&args.config)?;
    let state = config.state_dir.clone();
    let key = key_apart(&args.key, &[])?;
    if args.merge.is_none() && forgets_revocations(&config) {
        Out::stderr().line(
            "warning: certificates that were revoked since the backup will be believed again: their revocations lie in \
             the state folder. Merge that one (--merge), or revoke them again; `ca.revocations_file` keeps them elsewhere",
        )?;
    }
    let from = Progress { from: open(&args.from)?, read: 0, said: 0 };
    let contents = run(backup::restore(from, &key, &state, args.merge.as_deref()))?;
    show(&format!("restored {}", state.display()), &contents, args.output, out)
}

/// Its own authority's journal of revocations goes back in time with the state folder.
fn forgets_revocations(config: &Config) -> bool {
    let inside = |file: &PathBuf| file.starts_with(&config.state_dir);
    own_domain(config).is_some() && config.ca.revocations_file.as_ref().is_none_or(inside)
}

fn show(what: &str, contents: &Contents, output: Output, out: &mut Out) -> Result<Answer, Failure> {
    match output {
        Output::Json => out.json(contents)?,
        Output::Text => out.line(format!(
            "{what}: {} files, {} bytes, {} live sessions, {} lines of the audit log up to {}",
            contents.files, contents.bytes, contents.sessions, contents.audit_lines, contents.last_audit_hash
        ))?,
    }
    Ok(Answer::Yes)
}

/// The key, which may not lie where what it seals lies: whoever takes one has the other.
fn key_apart(key: &Path, from: &[&Path]) -> Result<SealKey, Failure> {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let inside = |folder: &&Path| real(key).zip(real(folder)).is_some_and(|(key, folder)| key.starts_with(folder));
    if let Some(folder) = from.iter().find(|folder| inside(folder)) {
        return Err(Failure::Usage(format!("the key lies in `{}`; keep it apart from it", folder.display())));
    }
    SealKey::load(key).map_err(|error| Failure::Failed(error.to_string()))
}

fn open(from: &str) -> Result<Box<dyn Read>, Failure> {
    match from {
        "-" => Ok(Box::new(io::stdin().lock())),
        file => match File::open(file) {
            Ok(opened) => Ok(Box::new(io::BufReader::new(opened))),
            Err(error) => Err(Failure::Failed(format!("`{file}`: {error}"))),
        },
    }
}

/// A folder for what has to be unpacked to be looked at; removed again.
fn in_a_work_folder<T>(below: &Path, work: impl FnOnce(&Path) -> Result<T, Failure>) -> Result<T, Failure> {
    let folder = below.join(format!("{}{:016x}", backup::WORK, rand::random::<u64>()));
    backup::make_folder(&folder)?;
    let done = work(&folder);
    fs::remove_dir_all(&folder).map_err(|e| Failure::Failed(format!("`{}`: {e}", folder.display())))?;
    done
}

/// The names hold the time, so that their order is that of time.
fn remove_older(folder: &Path, keep: u32) -> io::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with(PREFIX) && name.ends_with(ENDING)
        })
        .collect();
    names.sort();
    let older = names.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    names.iter().take(older).try_for_each(fs::remove_file)
}

/// Says on standard error how far it is, every 64 MiB.
struct Progress<R> {
    from: R,
    read: u64,
    said: u64,
}

const EVERY: u64 = 64 * 1024 * 1024;

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.read += read as u64;
        if self.read / EVERY > self.said {
            self.said = self.read / EVERY;
            // Whoever does not look misses nothing.
            let _ = Out::stderr().line(format!("{} MiB read", self.read / (1024 * 1024)));
        }
        Ok(read)
    }
}

fn run<T>(work: impl Future<Output = Result<T, BackupError>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    Ok(runtime.block_on(work)?)
}
