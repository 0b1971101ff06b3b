//! `torhaus enroll`: a certificate for this machine, and its renewal. Asks no process of ours: the gate is elsewhere.
use super::out::Out;
use super::{Answer, Failure};
use crate::admin::EabAnswer;
use crate::ca::timestamp;
use crate::clock;
use crate::enroll::EnrollError;
use crate::enroll::folder::{Base, Enrolment};
use crate::enroll::portal::Portal;
use crate::enroll::renew::{self, Done, New};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use url::Url;
use zeroize::Zeroizing;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
  torhaus enroll --portal https://auth.example.test            sign in with the browser of this machine
  torhaus enroll --portal https://auth.example.test --no-browser   type a code into any browser
  torhaus enroll --service --eab-file backup.json              with what `torhaus eab create --output json` printed
  torhaus enroll --renew                                       what the timer runs")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["portal", "service", "renew"]))]
pub struct Args {
    /// The gate's portal, as browsers reach it: enrol this machine for whoever signs in there.
    #[arg(long, value_name = "URL")]
    portal: Option<Url>,
    /// The machine's name in the list of devices; without, its host name.
    #[arg(long, value_name = "NAME", requires = "portal")]
    name: Option<String>,
    /// Show a code to type into a browser of another machine.
    #[arg(long, requires = "portal")]
    no_browser: bool,
    /// Enrol a service, with a key that an operator made.
    #[arg(long, requires = "eab_file")]
    service: bool,
    /// The key, as `torhaus eab create --output json` prints it.
    #[arg(long, value_name = "FILE", requires = "service")]
    eab_file: Option<PathBuf>,
    /// Renew what is due of all that is enrolled here.
    #[arg(long)]
    renew: bool,
    /// Renew now, due or not.
    #[arg(long, requires = "renew")]
    force: bool,
    /// Where keys and certificates are; without, $STATE_DIRECTORY, /var/lib/torhaus-enroll for root, and
    /// ~/.local/state/torhaus-enroll for others.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// PEM: the only authority that the gate's own certificate is believed by.
    #[arg(long, value_name = "FILE", conflicts_with = "renew")]
    ca_file: Option<PathBuf>,
    /// Also write bundle.p12, for browsers; its password is in pkcs12.password, or in the file that is named.
    #[arg(long, value_name = "PASSWORD_FILE", num_args = 0..=1, conflicts_with = "renew")]
    #[expect(clippy::option_option, reason = "absent, present, present with a value: clap's own form")]
    pkcs12: Option<Option<PathBuf>>,
    /// Run by `sh -c` after each new certificate, with TORHAUS_LIVE (the folder) and TORHAUS_NAME.
    #[arg(long, value_name = "COMMAND", conflicts_with = "renew")]
    after: Option<String>,
}

impl From<EnrollError> for Failure {
    fn from(error: EnrollError) -> Self {
        match error {
            EnrollError::Unreachable(_) => Self::Unreachable(error.to_string()),
            EnrollError::Refused(_) | EnrollError::Here(_) => Self::Failed(error.to_string()),
        }
    }
}

pub fn enroll(args: Args, out: &mut Out) -> Result<Answer, Failure> {
    let base = Base::open(&folder(args.dir.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    if args.renew {
        return runtime.block_on(renew_all(&base, args.force, out));
    }
    runtime.block_on(first(&base, args, out))
}

async fn first(base: &Base, args: Args, out: &mut Out) -> Result<Answer, Failure> {
    let ca_file = match &args.ca_file {
        // The timer runs somewhere else.
        Some(file) => Some(fs::canonicalize(file).map_err(|e| EnrollError::file(file, e))?),
        None => None,
    };
    let key = match (&args.portal, &args.eab_file) {
        (Some(portal), _) => by_person(portal, ca_file.as_deref(), &args, out).await?,
        (None, Some(file)) => key_in(file)?,
        (None, None) => return Err(Failure::Usage("name `--portal`, or `--service` with `--eab-file`".into())),
    };
    let pkcs12_password_file = match args.pkcs12.clone().flatten() {
        Some(file) => Some(fs::canonicalize(&file).map_err(|e| EnrollError::file(&file, e))?),
        None => None,
    };
    let new = New { key, ca_file, pkcs12: args.pkcs12.is_some(), pkcs12_password_file, after: args.after };
    let (enrolment, leaf) = renew::enroll(base, new).await?;
    let live = enrolment.live();
    out.line(format!("{} is enrolled; its certificate is good until {}", enrolment.name(), timestamp(leaf.not_after)))?;
    out.line(format!("key          {}", live.join("key.pem").display()))?;
    out.line(format!("certificate  {}", live.join("fullchain.pem").display()))?;
    if args.pkcs12.is_some() {
        out.line(format!("for browsers {}", live.join("bundle.p12").display()))?;
    }
    out.line("Have it renewed: `systemctl --user enable --now torhaus-enroll.timer`, for root without `--user`.")?;
    renew::after(&enrolment).await?;
    Ok(Answer::Yes)
}

async fn by_person(portal: &Url, ca_file: Option<&Path>, args: &Args, out: &mut Out) -> Result<EabAnswer, Failure> {
    let label = match &args.name {
        Some(name) => name.clone(),
        None => host_name()
            .ok_or_else(|| Failure::Usage("this machine has no name; give it one: `--name laptop`".into()))?,
    };
    let portal = Portal::new(portal, ca_file)?;
    if args.no_browser || !has_browser() {
        let mut said = Ok(());
        let show = |page: &Url, code: &str| {
            said = out
                .line(format!("Open  {page}\nand type this code for `{label}`:  {code}\nWaiting for ten minutes …"))
                .and_then(|()| out.flush());
        };
        let key = portal.by_code(&label, show).await;
        said?;
        return Ok(key?);
    }
    let mut said = Ok(());
    let open = |page: &Url| {
        said = out
            .line(format!("Confirm in the browser that `{label}` is yours. If none opens, go to\n{page}"))
            .and_then(|()| out.flush());
        open_browser(page);
    };
    let key = portal.by_browser(&label, open).await;
    said?;
    Ok(key?)
}

fn key_in(file: &Path) -> Result<EabAnswer, Failure> {
    let text = Zeroizing::new(fs::read(file).map_err(|e| EnrollError::file(file, e))?);
    let wrong = "is not what `torhaus eab create --output json` prints";
    Ok(serde_json::from_slice(&text).map_err(|_| EnrollError::file(file, wrong))?)
}

/// One that fails does not keep the others from it.
async fn renew_all(base: &Base, force: bool, out: &mut Out) -> Result<Answer, Failure> {
    let all = base.all()?;
    if all.is_empty() {
        out.line("nothing is enrolled here")?;
        return Ok(Answer::Yes);
    }
    let mut good = true;
    for enrolment in &all {
        let done = renew_one(enrolment, force).await;
        good &= done.is_ok();
        out.line(format!("{}: {}", enrolment.name(), done.unwrap_or_else(|why| why)))?;
    }
    Ok(good.into())
}

async fn renew_one(enrolment: &Enrolment, force: bool) -> Result<String, String> {
    let now = crate::ca::moment(clock::now());
    match renew::renew(enrolment, force, now).await {
        Ok(Done::NotYet(at)) => Ok(format!("is renewed after {}", timestamp(at))),
        Ok(Done::New(leaf)) => {
            renew::after(enrolment).await.map_err(|error| error.to_string())?;
            Ok(format!("renewed, good until {}", timestamp(leaf.not_after)))
        }
        Err(error) => {
            let until = enrolment
                .leaf()
                .map(|leaf| format!("; the certificate in use is good until {}", timestamp(leaf.not_after)));
            Err(format!("not renewed: {error}{}", until.unwrap_or_default()))
        }
    }
}

fn folder(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // Of a systemd unit with `StateDirectory=`.
    if let Some(folder) = set("STATE_DIRECTORY") {
        return Ok(folder);
    }
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Ok(PathBuf::from("/var/lib/torhaus-enroll"));
    }
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| Failure::Usage("there is no $HOME; name a folder: `--dir FOLDER`".into()))?;
    Ok(state.join("torhaus-enroll"))
}

fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let first = name.trim().split('.').next()?.to_owned();
    (!first.is_empty() && first != "localhost").then_some(first)
}

fn has_browser() -> bool {
    ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|set| !set.is_empty()))
}

/// Whether one opens or not: the address has been printed.
fn open_browser(page: &Url) {
    let program = std::env::var_os("BROWSER").filter(|set| !set.is_empty()).unwrap_or_else(|| "xdg-open".into());
    let started = Command::new(program)
        .arg(page.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    drop(started);
}
