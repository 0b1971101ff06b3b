//! Relying parties: who they are and where people may be sent back to.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

pub struct Client {
    pub id: String,
    pub secret: String,
    /// Compared as exact text (RFC 9700 s2.1).
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
}

/// Why a client was not believed.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTheClient {
    /// Neither a header nor form fields, or both at once (RFC 6749 s2.3).
    Unclear,
    Wrong,
}

/// The client that a token request proves to be from: `client_secret_basic` or `client_secret_post`.
pub fn authenticate<'a>(
    clients: &'a [Client],
    authorization: Option<&str>,
    form: (Option<&str>, Option<&str>),
) -> Result<&'a Client, NotTheClient> {
    let (id, secret) = match (authorization, form) {
        (Some(header), (_, None)) => basic(header).ok_or(NotTheClient::Unclear)?,
        (None, (Some(id), Some(secret))) => (id.to_owned(), secret.to_owned()),
        _ => return Err(NotTheClient::Unclear),
    };
    let client = clients.iter().find(|client| client.id == id).ok_or(NotTheClient::Wrong)?;
    if form.0.is_some_and(|other| other != client.id) {
        return Err(NotTheClient::Unclear);
    }
    if bool::from(client.secret.as_bytes().ct_eq(secret.as_bytes())) { Ok(client) } else { Err(NotTheClient::Wrong) }
}

/// User and password are form-encoded before base64 (RFC 6749 s2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decode(id), decode(secret)))
}

fn decode(text: &str) -> String {
    // Parsed as the name of a single pair, so `&` and `=` are hidden first.
    let hidden = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(hidden.as_bytes()).next().map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_proves_itself_in_exactly_one_way() {
        let clients = [Client {
            id: "torhaus".into(),
            secret: "s:e+c r=&t".into(),
            redirect_uris: vec![],
            post_logout_redirect_uris: vec![],
        }];
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let good = header("torhaus:s%3Ae%2Bc+r%3D%26t");
        let raw = header("torhaus:s:e%2Bc r=&t");
        let bad = header("torhaus:wrong");
        let post = (Some("torhaus"), Some("s:e+c r=&t"));
        let check = |header: Option<&str>, form| authenticate(&clients, header, form).map(|client| client.id.as_str());
        assert_eq!(check(Some(&good), (None, None)), Ok("torhaus"));
        assert_eq!(check(Some(&raw), (None, None)), Ok("torhaus"));
        assert_eq!(check(Some(&good), (Some("torhaus"), None)), Ok("torhaus"));
        assert_eq!(check(None, post), Ok("torhaus"));
        assert_eq!(check(Some(&bad), (None, None)), Err(NotTheClient::Wrong));
        assert_eq!(check(None, (Some("torhaus"), Some(""))), Err(NotTheClient::Wrong));
        assert_eq!(check(None, (Some("nobody"), Some("s"))), Err(NotTheClient::Wrong));
        assert_eq!(check(Some(&good), post), Err(NotTheClient::Unclear));
        assert_eq!(check(Some(&good), (Some("other"), None)), Err(NotTheClient::Unclear));
        assert_eq!(check(Some("Bearer x"), (None, None)), Err(NotTheClient::Unclear));
        assert_eq!(check(None, (Some("torhaus"), None)), Err(NotTheClient::Unclear));
    }
}
