//! Challenges (RFC 8555 s8, RFC 8737, RFC 8738): what the network must show, and whether it did. One try each, as the
//! RFC has it: a client that says "ready" is ready.
use super::account::Account;
use super::authorization::{Authorization, AuthorizationState};
use super::identifier::Identifier;
use super::limits::Limit;
use super::problem::{Kind, Problem};
use super::reply::Reply;
use super::request::{Call, object};
use super::server::Server;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    pub kind: ChallengeKind,
    /// 128 random bits, base64url.
    pub token: String,
    pub state: ChallengeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeKind {
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "dns-01")]
    Dns01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeState {
    Pending,
    Processing { since: i64 },
    Valid { at: i64 },
    Invalid { problem: Value },
}

/// A try that takes longer has been lost with its process; another may begin.
const MAX_PROBE: Duration = Duration::minutes(1);

impl ChallengeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl Challenge {
    pub(super) fn new(kind: ChallengeKind, state: ChallengeState) -> Result<Self, Problem> {
        Ok(Self { kind, token: super::random_id()?, state })
    }

    /// Flat, but for an error: acme.sh reads it with regular expressions.
    pub(super) fn document(&self, authorization: &str, call: &Call) -> Value {
        let mut document = Map::new();
        let url = call.at("challenge", &format!("{authorization}/{}", self.kind.name()));
        document.insert("type".into(), self.kind.name().into());
        document.insert("url".into(), url.into());
        document.insert("token".into(), self.token.clone().into());
        let status = match &self.state {
            ChallengeState::Pending => "pending",
            ChallengeState::Processing { .. } => "processing",
            ChallengeState::Valid { at } => {
                let at = OffsetDateTime::from_unix_timestamp(*at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
                document.insert("validated".into(), super::rfc3339(at).into());
                "valid"
            }
            ChallengeState::Invalid { problem } => {
                document.insert("error".into(), problem.clone());
                "invalid"
            }
        };
        document.insert("status".into(), status.into());
        document.into()
    }
}

impl Server {
    /// RFC 8555 s7.5.1: a look (empty payload), or "ready", which is answered when the probe is done.
    pub(super) async fn challenge(
        &self,
        call: &Call,
        account: &Account,
        id: &str,
        kind: &str,
    ) -> Result<Reply, Problem> {
        let authorization = self.own_authorization(account, id).await?;
        let at = authorization.challenges.iter().position(|challenge| challenge.kind.name() == kind);
        let at = at.ok_or_else(|| Problem::not_yours("challenge"))?;
        let authorization = if call.payload.is_empty() {
            authorization
        } else {
            // Clients of drafts sent `keyAuthorization` here; whatever it says, it is not needed.
            let _: Map<String, Value> = object(&call.payload)?;
            self.validate(call, account, authorization, at).await?
        };
        let challenge = authorization.challenges.get(at).ok_or_else(|| Problem::not_yours("challenge"))?;
        let reply = Reply::json(challenge.document(&authorization.id, call));
        let reply = reply.link(call.at("authorization", &authorization.id), "up");
        Ok(match challenge.state {
            ChallengeState::Processing { .. } => reply.retry_after(1),
            _ => reply,
        })
    }

    async fn validate(
        &self,
        call: &Call,
        account: &Account,
        before: Authorization,
        at: usize,
    ) -> Result<Authorization, Problem> {
        let now = call.now.unix_timestamp();
        let Some(challenge) = before.challenges.get(at) else { return Ok(before) };
        let begin = match challenge.state {
            ChallengeState::Pending => true,
            ChallengeState::Processing { since } => now - since > MAX_PROBE.whole_seconds(),
            ChallengeState::Valid { .. } | ChallengeState::Invalid { .. } => false,
        };
        if !begin || before.state != AuthorizationState::Pending {
            return Ok(before);
        }
        if call.now >= before.expires {
            return Err(Problem::malformed("the authorization has expired; make a new order"));
        }
        self.limits.check(Limit::FailedValidations, &account.id, call.now)?;
        let started = with(&before, at, ChallengeState::Processing { since: now }, AuthorizationState::Pending);
        if !self.store.change_authorization(&before, started.clone()).await? {
            // Somebody else began, or the client deactivated it.
            return self.own_authorization(account, &before.id).await;
        }
        let seen = self.probe_for(&before.identifier.base(), challenge, &account.thumbprint).await;
        let ended = match seen {
            Ok(()) => with(&started, at, ChallengeState::Valid { at: now }, AuthorizationState::Valid),
            Err(problem) => {
                // The count may be full by now; this try is over all the same.
                let _ = self.limits.count(Limit::FailedValidations, &account.id, call.now);
                let state = ChallengeState::Invalid { problem: problem.document() };
                with(&started, at, state, AuthorizationState::Invalid)
            }
        };
        if !self.store.change_authorization(&started, ended.clone()).await? {
            return self.own_authorization(account, &before.id).await;
        }
        Ok(ended)
    }

    async fn probe_for(&self, host: &Identifier, challenge: &Challenge, thumbprint: &str) -> Result<(), Problem> {
        let token = &challenge.token;
        let key_authorization = format!("{token}.{thumbprint}");
        let hashed = digest(&SHA256, key_authorization.as_bytes());
        match (challenge.kind, host) {
            (ChallengeKind::Http01, host) => {
                let body = self.probe.http(host, &format!("/.well-known/acme-challenge/{token}")).await?;
                // RFC 8555 s8.3: white space at the end is ignored.
                let shown = body.trim_ascii_end() == key_authorization.as_bytes();
                if shown { Ok(()) } else { Err(incorrect("the file does not hold the key authorization")) }
            }
            (ChallengeKind::Dns01, Identifier::Dns(name)) => {
                let name = name.challenge_record();
                let values = self.probe.txt(&name).await?;
                let expected = BASE64_URL_SAFE_NO_PAD.encode(hashed);
                let shown = values.iter().any(|value| value.trim_ascii() == expected.as_bytes());
                let why = format!("no TXT record of {} holds the expected value", name.as_str());
                if shown { Ok(()) } else { Err(incorrect(&why)) }
            }
            (ChallengeKind::Dns01, Identifier::Ip(_)) => Err(incorrect("there is no DNS record for an address")),
            (ChallengeKind::TlsAlpn01, host) => {
                let certificate = self.probe.tls_alpn(host, &server_name(host)).await?;
                check_alpn_certificate(&certificate, host, hashed.as_ref()).map_err(incorrect)
            }
        }
    }
}

fn with(before: &Authorization, at: usize, challenge: ChallengeState, state: AuthorizationState) -> Authorization {
    let mut after = before.clone();
    if let Some(changed) = after.challenges.get_mut(at) {
        changed.state = challenge;
    }
    after.state = state;
    after
}

fn incorrect(why: &str) -> Problem {
    Problem::new(Kind::IncorrectResponse, why)
}

/// SNI has no addresses: RFC 8738 s6 sends the reverse name.
fn server_name(host: &Identifier) -> String {
    match host {
        Identifier::Dns(name) => name.as_str().to_owned(),
        Identifier::Ip(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
            let labels: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

/// RFC 8737 s3: exactly one name, the critical acmeIdentifier extension, self-signed.
fn check_alpn_certificate(der: &[u8], host: &Identifier, expected: &[u8]) -> Result<(), &'static str> {
    /// id-pe-acmeIdentifier.
    const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
    let names = certificate.subject_alternative_name().map_err(|_| "the certificate's names cannot be read")?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let right = match (names, host) {
        ([GeneralName::DNSName(name)], Identifier::Dns(host)) => name.eq_ignore_ascii_case(host.as_str()),
        ([GeneralName::IPAddress(bytes)], Identifier::Ip(IpAddr::V4(host))) => *bytes == host.octets(),
        ([GeneralName::IPAddress(bytes)], Identifier::Ip(IpAddr::V6(host))) => *bytes == host.octets(),
        _ => false,
    };
    if !right {
        return Err("the certificate must name exactly the identifier");
    }
    let mut marks = certificate.extensions().iter().filter(|ext| ext.oid.to_id_string() == ACME_IDENTIFIER);
    let (Some(mark), None) = (marks.next(), marks.next()) else {
        return Err("the certificate lacks the acmeIdentifier extension");
    };
    if !mark.critical {
        return Err("the acmeIdentifier extension is not critical");
    }
    // An OCTET STRING of 32 octets.
    let [0x04, 0x20, shown @ ..] = mark.value else { return Err("the acmeIdentifier extension cannot be read") };
    if shown != expected {
        return Err("the acmeIdentifier extension does not hold the key authorization's hash");
    }
    certificate.verify_signature(None).map_err(|_| "the certificate is not self-signed")
}
