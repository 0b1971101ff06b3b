//! Obtains a certificate for an enrolment, and renews it when it is time.
use crate::acme_client::account;
use crate::acme_client::due::{Window, due};
use crate::acme_client::obtain::{Leaf, Wanted, obtain};
use crate::admin::EabAnswer;
use crate::enroll::EnrollError;
use crate::enroll::folder::{Base, Enrolment, Settings};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use instant_acme::Account;
use std::path::PathBuf;
use std::process::Stdio;
use time::OffsetDateTime;
use tokio::process::Command;
use url::Url;
use zeroize::Zeroizing;

/// Tries of one command; the timer comes again.
const TRIES: u32 = 3;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// What a new enrolment is made with.
pub struct New {
    pub key: EabAnswer,
    pub ca_file: Option<PathBuf>,
    pub pkcs12: bool,
    pub pkcs12_password_file: Option<PathBuf>,
    pub after: Option<String>,
}

/// What a renewal did.
pub enum Done {
    New(Leaf),
    /// It is good until then.
    NotYet(OffsetDateTime),
}

/// Makes an account with a one-time key, and obtains the first certificate.
///
/// # Errors
/// The key cannot be used, the server says no, or something cannot be written. Once the account is made it is kept:
/// [`renew`] goes on from there.
pub async fn enroll(base: &Base, new: New) -> Result<(Enrolment, Leaf), EnrollError> {
    let names: Vec<String> = new.key.names.iter().filter(|name| !name.contains("://")).cloned().collect();
    let first = names.first().ok_or_else(|| EnrollError::Refused("the key is for no name of DNS".into()))?;
    if let Some(wide) = names.iter().find(|name| name.starts_with("*.")) {
        return Err(EnrollError::Refused(format!(
            "the key is for `{wide}`; have one made that names this machine's own name"
        )));
    }
    let directory = Url::parse(&new.key.directory);
    let directory = directory.map_err(|_| EnrollError::Refused("the key does not say where the server is".into()))?;
    let enrolment = base.enrolment(first)?;
    let hmac = BASE64_URL_SAFE_NO_PAD.decode(new.key.hmac_key.trim_end_matches('='));
    let hmac = Zeroizing::new(hmac.map_err(|_| EnrollError::Refused("the key is not base64url".into()))?);
    let key = account::OneTimeKey { kid: &new.key.kid, hmac: &hmac };
    let (account, secret) = account::make(&directory, new.ca_file.as_deref(), &[], Some(key)).await?;
    let pkcs12_password_file = match (new.pkcs12_password_file, new.pkcs12) {
        (Some(file), _) => Some(file),
        (None, true) => Some(enrolment.password_file()?),
        (None, false) => None,
    };
    let settings = Settings {
        directory,
        ca_file: new.ca_file,
        names,
        account: secret.to_string(),
        pkcs12_password_file,
        after: new.after,
    };
    // The one-time key is used up: from here on this is how to go on.
    enrolment.keep_settings(&settings)?;
    // An earlier certificate of this name was another enrolment's.
    let leaf = replace(&enrolment, &settings, &account, None).await?;
    Ok((enrolment, leaf))
}

/// Renews if it is time (RFC 9773), or at once if that is `forced`.
///
/// # Errors
/// As [`enroll`].
pub async fn renew(enrolment: &Enrolment, forced: bool, now: OffsetDateTime) -> Result<Done, EnrollError> {
    let settings = enrolment.settings()?;
    let account = account::open(&settings.directory, settings.ca_file.as_deref(), &settings.account).await?;
    let leaf = enrolment.leaf();
    if let Some(leaf) = leaf.as_ref().filter(|_| !forced) {
        let at = due(leaf, window(&account, leaf).await);
        if now < at {
            return Ok(Done::NotYet(at));
        }
    }
    replace(enrolment, &settings, &account, leaf.as_ref()).await.map(Done::New)
}

/// None: the server does not say.
async fn window(account: &Account, leaf: &Leaf) -> Option<Window> {
    let (info, _) = account.renewal_info(&leaf.ari()?).await.ok()?;
    Some(Window { start: info.suggested_window.start, end: info.suggested_window.end })
}

async fn replace(
    enrolment: &Enrolment,
    settings: &Settings,
    account: &Account,
    before: Option<&Leaf>,
) -> Result<Leaf, EnrollError> {
    let wanted = Wanted { names: &settings.names, profile: None, replaces: before.map(|leaf| &leaf.der), prove: None };
    let mut tries = 1;
    let obtained = loop {
        match obtain(account, &wanted).await.map_err(EnrollError::from) {
            Err(EnrollError::Unreachable(_)) if tries < TRIES => tokio::time::sleep(PAUSE * tries).await,
            other => break other?,
        }
        tries += 1;
    };
    enrolment.install(&obtained, settings)?;
    let leaf = Leaf::of(&obtained.chain_pem);
    leaf.ok_or_else(|| EnrollError::Refused("the certificate that came back cannot be read".into()))
}

/// Runs the command of an enrolment, if it has one, with `TORHAUS_LIVE` and `TORHAUS_NAME`.
///
/// # Errors
/// It failed; the certificate is in place all the same.
pub async fn after(enrolment: &Enrolment) -> Result<(), EnrollError> {
    let settings = enrolment.settings()?;
    let Some(command) = &settings.after else { return Ok(()) };
    let run = Command::new("sh")
        .args(["-c", command])
        .env("TORHAUS_LIVE", enrolment.live())
        .env("TORHAUS_NAME", enrolment.name())
        .stdin(Stdio::null())
        .status();
    let failed = |why: String| EnrollError::Here(format!("the new certificate is in place, but `{command}` {why}"));
    match run.await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ended with {status}"))),
        Err(error) => Err(failed(format!("could not be run: {error}"))),
    }
}
