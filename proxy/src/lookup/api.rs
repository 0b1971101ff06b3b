//! Asks the API of another system for facts: within bounds, and with errors that say what to look at.
use super::directory::Failure;
use crate::login::http_client::{Answer, Bounds, FetchError, HttpClient};
use http::StatusCode;
use serde::de::DeserializeOwned;
use torhaus_config::{PolledApi, Secret};
use url::Url;

/// Largest answer: a thousand nodes of a mesh are about 1 MiB, and pages of a device management less.
const MAX_BODY: usize = 8 << 20;

pub struct Api {
    http: HttpClient,
}

impl Api {
    /// # Errors
    /// The CA file cannot be used.
    pub fn new(base: &Url, config: &PolledApi) -> Result<Self, String> {
        let bounds = Bounds { total: config.timeout, body: MAX_BODY };
        let http = HttpClient::within(base, config.ca_file.as_deref(), bounds).map_err(|error| error.to_string())?;
        Ok(Self { http })
    }

    /// A JSON document, asked for with a bearer token.
    ///
    /// # Errors
    /// There is none, it is not of this form, or the token is not accepted.
    pub async fn get<T: DeserializeOwned>(&self, url: &Url, token: &Secret) -> Result<T, Failure> {
        read(url, self.http.get(url, Some(token.expose())).await)
    }

    /// The same with one header of any name.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_with<T: DeserializeOwned>(&self, url: &Url, header: Option<(&str, &str)>) -> Result<T, Failure> {
        read(url, self.http.get_with(url, header).await)
    }

    /// The answer to a form.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: DeserializeOwned>(&self, url: &Url, form: &[(&str, &str)]) -> Result<T, Failure> {
        read(url, self.http.post_form(url, form, None).await)
    }
}

fn read<T: DeserializeOwned>(url: &Url, answer: Result<Answer, FetchError>) -> Result<T, Failure> {
    let answer = answer?;
    let said =
        || format!("`{}` answered `{}` with status {}", url.host_str().unwrap_or_default(), url.path(), answer.status);
    match answer.status {
        StatusCode::OK => Ok(answer.json(url)?),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::BindRefused(said())),
        _ => Err(Failure::Refused(said())),
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Timeout { host } => Self::Timeout(format!("`{host}`")),
            FetchError::Connect { .. } | FetchError::Broken { .. } => Self::Unreachable(error.to_string()),
            FetchError::Redirect { .. } | FetchError::Status { .. } => Self::Refused(error.to_string()),
            FetchError::TooLarge { .. } | FetchError::NotJson { .. } => Self::Garbage(error.to_string()),
        }
    }
}
