//! What validation sees of the network. The proxy dials (allowed networks, resolver and ports are its settings); what
//! an answer must say is checked in `challenge.rs`.
use super::identifier::{DnsName, Identifier};
use super::problem::{Kind, Problem};
use async_trait::async_trait;
use std::collections::HashMap;

/// Why nothing could be seen. The text is shown to the client and must not tell more about the network than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The name does not resolve.
    Dns(String),
    /// No answer, or not HTTP.
    Connection(String),
    /// No TLS, or not `acme-tls/1`.
    Tls(String),
    /// The address is outside of the networks that probes may reach.
    NotAllowed,
}

#[async_trait]
pub trait Probe: Send + Sync {
    /// `GET http://host:80{path}`, up to ten redirects to ports 80 and 443, each of them to an allowed network. The
    /// body of a 200, cut at [`MAX_BODY`].
    async fn http(&self, host: &Identifier, path: &str) -> Result<Vec<u8>, Unseen>;

    /// All TXT values of `name`, CNAMEs followed, the strings of one record joined.
    async fn txt(&self, name: &DnsName) -> Result<Vec<Vec<u8>>, Unseen>;

    /// A TLS handshake with `host:443`, this server name and the one protocol `acme-tls/1`. The DER of the
    /// end-entity certificate, whoever signed it. An error if the server did not choose the protocol.
    async fn tls_alpn(&self, host: &Identifier, server_name: &str) -> Result<Vec<u8>, Unseen>;
}

/// A key authorization has about 90 octets; the rest may be white space.
pub const MAX_BODY: usize = 1024;

impl From<Unseen> for Problem {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Dns(why) => Self::new(Kind::Dns, why),
            Unseen::Connection(why) => Self::new(Kind::Connection, why),
            Unseen::Tls(why) => Self::new(Kind::Tls, why),
            Unseen::NotAllowed => Self::new(
                Kind::Connection,
                "the name points to an address that this server does not probe; its operator allows the networks",
            ),
        }
    }
}

/// Answers from a script, for tests. What is not in it does not exist.
#[derive(Clone, Debug, Default)]
pub struct Scripted {
    /// By host and path.
    pub http: HashMap<(String, String), Result<Vec<u8>, Unseen>>,
    pub txt: HashMap<String, Result<Vec<Vec<u8>>, Unseen>>,
    /// By server name.
    pub tls: HashMap<String, Result<Vec<u8>, Unseen>>,
}

#[async_trait]
impl Probe for Scripted {
    async fn http(&self, host: &Identifier, path: &str) -> Result<Vec<u8>, Unseen> {
        let answer = self.http.get(&(host.to_string(), path.to_owned())).cloned();
        answer.unwrap_or_else(|| Err(Unseen::Connection("connection refused".into())))
    }

    async fn txt(&self, name: &DnsName) -> Result<Vec<Vec<u8>>, Unseen> {
        self.txt.get(name.as_str()).cloned().unwrap_or_else(|| Err(Unseen::Dns("no such name".into())))
    }

    async fn tls_alpn(&self, _: &Identifier, server_name: &str) -> Result<Vec<u8>, Unseen> {
        self.tls.get(server_name).cloned().unwrap_or_else(|| Err(Unseen::Connection("connection refused".into())))
    }
}
