//! Asks the portal for a one-time key. The key comes in the answer to our own request over TLS, to whoever has the
//! verifier; it stands in no address and on no page.
use crate::admin::EabAnswer;
use crate::enroll::EnrollError;
use crate::enroll::loopback::Loopback;
use crate::enroll::pairing::{Claim, KEY, LIFE, PAGE, Verifier};
use crate::login::http_client::{client_for, innermost};
use reqwest::{Client, StatusCode};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;
use zeroize::Zeroizing;

/// Between two questions whether somebody confirmed the code (RFC 8628 section 3.5).
const POLL: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(15);
/// An answer is some hundred bytes.
const MOST_BYTES: usize = 64 * 1024;

pub struct Portal {
    url: Url,
    client: Client,
}

/// What came of bringing a verifier.
enum Brought {
    Key(EabAnswer),
    /// Nobody confirmed it yet.
    NotYet,
}

impl Portal {
    /// `url` as browsers reach it; with a CA file, only that authority is believed.
    ///
    /// # Errors
    /// It is no https URL, or the authorities cannot be read.
    pub fn new(url: &Url, ca_file: Option<&Path>) -> Result<Self, EnrollError> {
        if url.scheme() != "https" {
            return Err(EnrollError::Here(format!("`{url}` is not the portal: write `https://…`")));
        }
        let client = client_for(url, ca_file, TIMEOUT).map_err(|error| EnrollError::Here(error.to_string()))?;
        Ok(Self { url: url.clone(), client })
    }

    /// By a browser on this machine. `open` is told the address to go to, once somebody can come back from there.
    ///
    /// # Errors
    /// Nobody confirmed it, or the portal says no.
    pub async fn by_browser(&self, label: &str, open: impl FnOnce(&Url)) -> Result<EabAnswer, EnrollError> {
        let (verifier, state) = (verifier()?, verifier()?);
        let loopback = Loopback::open().await.map_err(|error| EnrollError::Here(format!("127.0.0.1: {error}")))?;
        let mut page = self.at(PAGE)?;
        page.query_pairs_mut()
            .append_pair("label", label)
            .append_pair("challenge", &verifier.challenge())
            .append_pair("port", &loopback.port().to_string())
            .append_pair("state", state.expose());
        open(&page);
        let code = Zeroizing::new(loopback.code(state.expose()).await?);
        match self.bring(&code, &verifier, label).await? {
            Brought::Key(key) => Ok(key),
            Brought::NotYet => Err(EnrollError::Refused("the portal does not know this confirmation any more".into())),
        }
    }

    /// By a browser somewhere else: `show` is told the address and the code to type there.
    ///
    /// # Errors
    /// Nobody typed it in time, or the portal says no.
    pub async fn by_code(&self, label: &str, show: impl FnOnce(&Url, &str)) -> Result<EabAnswer, EnrollError> {
        let verifier = verifier()?;
        let code = verifier.code(label);
        show(&self.at(PAGE)?, &code.shown());
        let end = Instant::now() + LIFE;
        while Instant::now() < end {
            match self.bring(code.as_str(), &verifier, label).await {
                Ok(Brought::Key(key)) => return Ok(key),
                Ok(Brought::NotYet) => {}
                // A restart of the gate takes a moment; the person may be typing.
                Err(EnrollError::Unreachable(_)) if Instant::now() + POLL < end => {}
                Err(error) => return Err(error),
            }
            sleep(POLL).await;
        }
        Err(EnrollError::Here("nobody typed the code within 10 minutes".into()))
    }

    async fn bring(&self, code: &str, verifier: &Verifier, label: &str) -> Result<Brought, EnrollError> {
        let claim = Claim { code: code.to_owned(), verifier: verifier.expose().to_owned(), label: label.to_owned() };
        let body = serde_json::to_vec(&claim).map_err(|error| EnrollError::Here(error.to_string()))?;
        let asked = self.client.post(self.at(KEY)?).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let asked = asked.header(http::header::ACCEPT, "application/json");
        let failed = |error| EnrollError::Unreachable(format!("`{}`: {}", self.url, innermost(error)));
        let mut answer = asked.send().await.map_err(failed)?;
        let status = answer.status();
        let mut read = Zeroizing::new(Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if read.len() + chunk.len() > MOST_BYTES {
                return Err(EnrollError::Unreachable(format!("`{}` sent more than was asked for", self.url)));
            }
            read.extend_from_slice(&chunk);
        }
        match status {
            StatusCode::OK => serde_json::from_slice(&read)
                .map(Brought::Key)
                .map_err(|_| EnrollError::Unreachable(format!("`{}` did not send a key; is it a torhaus?", self.url))),
            StatusCode::ACCEPTED => Ok(Brought::NotYet),
            // Others behind this address sign in, too: later.
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(EnrollError::Unreachable(sentence(&read, status)))
            }
            status => Err(EnrollError::Refused(sentence(&read, status))),
        }
    }

    fn at(&self, path: &str) -> Result<Url, EnrollError> {
        self.url.join(path).map_err(|error| EnrollError::Here(error.to_string()))
    }
}

fn verifier() -> Result<Verifier, EnrollError> {
    Verifier::new().ok_or_else(|| EnrollError::Here("the system has no randomness to give".into()))
}

/// The sentence of a problem document (RFC 9457).
fn sentence(body: &[u8], status: StatusCode) -> String {
    let said: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = said.as_ref().and_then(|said| said["detail"].as_str().or_else(|| said["title"].as_str()));
    detail.map_or_else(|| format!("the portal answered with status {}", status.as_u16()), str::to_owned)
}
