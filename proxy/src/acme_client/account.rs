//! An account at an ACME server. What comes back as text is secret: it holds the account's private key.
use crate::acme_client::wire::Wire;
use instant_acme::{Account, Error, ExternalAccountKey, NewAccount};
use std::path::Path;
use url::Url;
use zeroize::Zeroizing;

/// A key that the server's operator gave out, which binds the account to somebody (RFC 8555 section 7.3.4).
pub struct OneTimeKey<'a> {
    pub kid: &'a str,
    /// Decoded.
    pub hmac: &'a [u8],
}

fn wire(directory: &Url, ca_file: Option<&Path>) -> Result<Box<Wire>, Error> {
    Wire::new(directory, ca_file).map(Box::new).map_err(|error| Error::Other(error.to_string().into()))
}

/// Makes an account, and the secret text with which [`open`] finds it again.
///
/// # Errors
/// The server cannot be asked, or says no.
pub async fn make(
    directory: &Url,
    ca_file: Option<&Path>,
    contact: &[&str],
    key: Option<OneTimeKey<'_>>,
) -> Result<(Account, Zeroizing<String>), Error> {
    let new = NewAccount { contact, terms_of_service_agreed: true, only_return_existing: false };
    let key = key.map(|key| ExternalAccountKey::new(key.kid.to_owned(), key.hmac));
    let builder = Account::builder_with_http(wire(directory, ca_file)?);
    let (account, credentials) = builder.create(&new, directory.as_str().to_owned(), key.as_ref()).await?;
    Ok((account, Zeroizing::new(serde_json::to_string(&credentials)?)))
}

/// # Errors
/// The text is not one of [`make`], or the server's directory cannot be read.
pub async fn open(directory: &Url, ca_file: Option<&Path>, secret: &str) -> Result<Account, Error> {
    let credentials = serde_json::from_str(secret)?;
    Account::builder_with_http(wire(directory, ca_file)?).from_credentials(credentials).await
}
