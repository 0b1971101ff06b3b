//! Policies that ran, kept in the state folder, and the way back to one of them.
//!
//! Git stays the truth: a rollback pins a kept policy until the file in place is that policy again, or an operator lets
//! go of it. While it lasts the file in place is not used, whatever it says.
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use torhaus_authz::Timestamp;
use torhaus_config::{Config, Errors, Mistake, PolicyText, load_with_policy, state_dir};

/// Policies kept. A way back longer than this is one for Git.
const MOST_KEPT: usize = 10;
/// Names the base file of a kept policy.
const BASE: &str = "base";
const ORDER: &str = "order";
const PINNED: &str = "pinned.json";

/// The folder `policies` of the state folder: a folder per version, in the order in which they came to run.
#[derive(Clone, Debug)]
pub struct KeptPolicies {
    dir: PathBuf,
}

/// A rollback that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Version that runs.
    pub to: String,
    /// Version that ran before, and most likely stands in the file.
    pub from: String,
    pub at: Timestamp,
    pub by: String,
}

/// A configuration as it is to run.
pub struct Loaded {
    pub config: Config,
    /// Its policy is a kept one, and not the file in place.
    pub pinned: Option<Pinned>,
    /// The file in place is the pinned policy again: the rollback is over.
    pub released: Option<Pinned>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("no policy ran before this one, so there is none to return to")]
    NothingBefore,
    #[error("no kept policy begins with `{0}`; kept are: {1}")]
    Unknown(String, String),
    #[error("several kept policies begin with `{0}`: {1}")]
    Ambiguous(String, String),
    #[error("no rollback is in force")]
    NotPinned,
    #[error("kept policies in `{0}`: {1}")]
    Folder(PathBuf, #[source] io::Error),
}

/// Loads what is to run: the files in place, or while a rollback lasts the kept policy on the configuration in place.
///
/// # Errors
/// Every mistake of the files. A pin that cannot be read is one, too: it must not end by itself.
pub fn load(file: &Path, now: Timestamp) -> Result<Loaded, Errors> {
    let in_place = torhaus_config::load(file, now);
    let state = in_place.as_ref().map(|config| config.state_dir.clone()).ok().or_else(|| state_dir(file));
    let Some(kept) = state.map(|state| KeptPolicies::in_state(&state)) else {
        return in_place.map(Loaded::of);
    };
    let pinned = kept.pinned().map_err(|error| mistake(&kept.dir.join(PINNED), error.to_string()))?;
    let Some(pinned) = pinned else {
        return in_place.map(Loaded::of);
    };
    if let Ok(config) = in_place
        && **config.policy.version() == *pinned.to
    {
        return Ok(Loaded { released: Some(pinned), ..Loaded::of(config) });
    }
    let base = kept.base_of(&pinned.to).map_err(|error| mistake(&kept.dir, error.to_string()))?;
    let mut config = load_with_policy(file, &base, now)?;
    if **config.policy.version() != *pinned.to {
        let why = format!("the kept policy is not version {} any more: it was changed", pinned.to);
        return Err(mistake(&base, why));
    }
    // What is in place is watched: it ends the rollback.
    config.files.extend(torhaus_config::load(file, now).map(|in_place| in_place.files).unwrap_or_default());
    config.files.push(config.policy_file.clone());
    config.files.sort();
    config.files.dedup();
    Ok(Loaded { pinned: Some(pinned), ..Loaded::of(config) })
}

fn mistake(file: &Path, message: String) -> Errors {
    let hint = Some("`torhaus policy rollback --clear` ends the rollback".to_owned());
    let path = String::new();
    Errors { errors: vec![Mistake { file: file.to_owned(), line: 0, column: 1, path, message, hint, excerpt: None }] }
}

impl Loaded {
    fn of(config: Config) -> Self {
        Self { config, pinned: None, released: None }
    }
}

impl KeptPolicies {
    pub fn in_state(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("policies") }
    }

    /// Keeps the policy that came to run, as the newest one.
    ///
    /// # Errors
    /// It could not be written; what was kept before is untouched.
    pub fn keep(&self, config: &Config) -> Result<(), KeptError> {
        let version: &str = config.policy.version();
        let mut order = self.order()?;
        if order.last().is_some_and(|newest| newest == version) {
            return Ok(());
        }
        self.write(version, &config.policy_texts).map_err(|e| self.folder(e))?;
        order.retain(|own| own != version);
        order.push(version.to_owned());
        let pinned = self.pinned()?.map(|pinned| pinned.to);
        let too_many = order.len().saturating_sub(MOST_KEPT);
        let gone: Vec<String> =
            order.iter().take(too_many).filter(|own| pinned.as_ref() != Some(*own)).cloned().collect();
        order.retain(|own| !gone.contains(own));
        self.replace(ORDER, &(order.join("\n") + "\n")).map_err(|e| self.folder(e))?;
        for version in gone {
            // A folder that stays is only not used.
            let _ = fs::remove_dir_all(self.dir.join(version));
        }
        Ok(())
    }

    /// The version that ran before this one.
    ///
    /// # Errors
    /// There is none.
    pub fn before(&self, version: &str) -> Result<String, KeptError> {
        let order = self.order()?;
        let at = order.iter().position(|own| own == version).unwrap_or(order.len());
        let before = at.checked_sub(1).and_then(|at| order.get(at));
        before.cloned().ok_or(KeptError::NothingBefore)
    }

    /// The version that begins like this.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, start: &str) -> Result<String, KeptError> {
        let order = self.order()?;
        let found: Vec<&String> = order.iter().filter(|own| own.starts_with(start)).collect();
        let listed = |all: Vec<&String>| {
            let short: Vec<&str> = all.into_iter().map(|own| own.get(..12).unwrap_or(own)).collect();
            if short.is_empty() { "none".to_owned() } else { short.join(", ") }
        };
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(KeptError::Unknown(start.to_owned(), listed(order.iter().collect()))),
            _ => Err(KeptError::Ambiguous(start.to_owned(), listed(found))),
        }
    }

    /// The base file of a kept version.
    ///
    /// # Errors
    /// It is not kept.
    pub fn base_of(&self, version: &str) -> Result<PathBuf, KeptError> {
        let version = self.find(version)?;
        let folder = self.dir.join(version);
        let name = fs::read_to_string(folder.join(BASE)).map_err(|e| self.folder(e))?;
        Ok(folder.join("files").join(name.trim_end()))
    }

    /// The rollback in force.
    ///
    /// # Errors
    /// Whether there is one cannot be told.
    pub fn pinned(&self) -> Result<Option<Pinned>, KeptError> {
        match fs::read_to_string(self.dir.join(PINNED)) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| self.folder(e.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.folder(error)),
        }
    }

    /// # Errors
    /// It could not be written; nothing has changed.
    pub fn pin(&self, pinned: &Pinned) -> Result<(), KeptError> {
        let text = serde_json::to_string_pretty(pinned).map_err(|e| self.folder(e.into()))?;
        self.replace(PINNED, &text).map_err(|e| self.folder(e))
    }

    /// # Errors
    /// It is still there.
    pub fn unpin(&self) -> Result<(), KeptError> {
        match fs::remove_file(self.dir.join(PINNED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.folder(error)),
            _ => Ok(()),
        }
    }

    /// Oldest first.
    fn order(&self) -> Result<Vec<String>, KeptError> {
        match fs::read_to_string(self.dir.join(ORDER)) {
            Ok(text) => Ok(text.lines().filter(|line| is_version(line)).map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.folder(error)),
        }
    }

    /// Whole or not at all: beside its place first.
    fn write(&self, version: &str, texts: &[PolicyText]) -> io::Result<()> {
        let (folder, beside) = (self.dir.join(version), self.dir.join(format!("{version}.part")));
        match fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for text in texts {
            let path = beside.join("files").join(&text.name);
            make(path.parent().unwrap_or(&beside))?;
            write_new(&path, &text.text)?;
            if let Some(signature) = &text.signature {
                let mut name = path.into_os_string();
                name.push(".minisig");
                write_new(Path::new(&name), signature)?;
            }
        }
        make(&beside)?;
        write_new(&beside.join(BASE), texts.first().map_or("", |base| &base.name))?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&beside, &folder)
    }

    fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        make(&self.dir)?;
        let beside = self.dir.join(format!("{name}.part"));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, self.dir.join(name))
    }

    fn folder(&self, error: io::Error) -> KeptError {
        KeptError::Folder(self.dir.clone(), error)
    }
}

/// What may be the name of a folder of ours.
fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
