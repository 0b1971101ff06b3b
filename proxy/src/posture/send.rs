//! Sends a report to the gate, with the certificate of the device.
use super::report::{DeviceReport, PATH};
use crate::login::http_client::innermost;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// A gate that does not answer in this time is asked again by the timer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where to, and as whom.
pub struct To<'a> {
    /// Any address of a host that takes certificates of devices.
    pub gate: &'a Url,
    /// PEM: the device's certificate, then those that signed it.
    pub certificate: &'a Path,
    pub key: &'a Path,
    /// PEM: the authority of the gate's certificate; none: the system's.
    pub ca_file: Option<&'a Path>,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Files(String),
    #[error("the gate cannot be reached: {0}")]
    Unreachable(String),
    #[error("the gate did not take the report ({status}): {words}")]
    Refused { status: u16, words: String },
}

/// # Errors
/// 1. a file cannot be used; 2. the gate cannot be reached; 3. it does not take the report, and says why.
pub async fn send(report: &DeviceReport, to: &To<'_>) -> Result<(), SendError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| SendError::Files(format!("`{}`: {error}", path.display())));
    let unusable = |path: &Path, error: reqwest::Error| {
        SendError::Files(format!("`{}` cannot be used: {}", path.display(), innermost(error)))
    };
    let mut pem = read(to.key)?;
    pem.push(b'\n');
    pem.extend(read(to.certificate)?);
    let identity = reqwest::Identity::from_pem(&pem).map_err(|error| unusable(to.certificate, error))?;
    let mut builder = reqwest::Client::builder()
        .identity(identity)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("torhaus/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = to.ca_file {
        let roots = reqwest::Certificate::from_pem_bundle(&read(file)?).map_err(|error| unusable(file, error))?;
        builder = builder.tls_certs_only(roots);
    }
    let client = builder.build().map_err(|error| unusable(to.ca_file.unwrap_or(to.certificate), error))?;
    let mut url = to.gate.clone();
    url.set_path(PATH);
    url.set_query(None);
    let answer = client.post(url).json(report).send().await;
    let answer = answer.map_err(|error| SendError::Unreachable(innermost(error)))?;
    let status = answer.status().as_u16();
    if answer.status().is_success() {
        return Ok(());
    }
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    let words = body.get("detail").and_then(|detail| detail.as_str()).unwrap_or("no reason was given");
    // Of the gate's, but shown on a terminal.
    let words = words.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(SendError::Refused { status, words })
}
