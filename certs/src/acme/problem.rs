//! Problem documents (RFC 7807, RFC 8555 s6.7): one table of kind, URN and status. Never says more about a secret or
//! about another account than that the answer is no.
use super::identifier::Identifier;
use serde_json::{Value, json};

/// What went wrong, in the words of RFC 8555 s6.7, RFC 9773 s7.4 and the profiles draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    InvalidProfile,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
}

impl Kind {
    /// The table: the last part of the URN, and the HTTP status unless the problem says otherwise.
    const fn row(self) -> (&'static str, u16) {
        match self {
            Self::AccountDoesNotExist => ("accountDoesNotExist", 400),
            Self::AlreadyReplaced => ("alreadyReplaced", 409),
            Self::AlreadyRevoked => ("alreadyRevoked", 400),
            Self::BadCsr => ("badCSR", 400),
            Self::BadNonce => ("badNonce", 400),
            Self::BadPublicKey => ("badPublicKey", 400),
            Self::BadRevocationReason => ("badRevocationReason", 400),
            Self::BadSignatureAlgorithm => ("badSignatureAlgorithm", 400),
            Self::Connection => ("connection", 400),
            Self::Dns => ("dns", 400),
            Self::ExternalAccountRequired => ("externalAccountRequired", 403),
            Self::IncorrectResponse => ("incorrectResponse", 403),
            Self::InvalidContact => ("invalidContact", 400),
            Self::InvalidProfile => ("invalidProfile", 400),
            Self::Malformed => ("malformed", 400),
            Self::OrderNotReady => ("orderNotReady", 403),
            Self::RateLimited => ("rateLimited", 429),
            Self::RejectedIdentifier => ("rejectedIdentifier", 403),
            Self::ServerInternal => ("serverInternal", 500),
            Self::Tls => ("tls", 400),
            Self::Unauthorized => ("unauthorized", 403),
            Self::UnsupportedContact => ("unsupportedContact", 400),
            Self::UnsupportedIdentifier => ("unsupportedIdentifier", 400),
            Self::UserActionRequired => ("userActionRequired", 403),
        }
    }

    /// `badNonce`: the last part of the URN.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    pub const fn status(self) -> u16 {
        self.row().1
    }

    pub fn urn(self) -> String {
        format!("urn:ietf:params:acme:error:{}", self.name())
    }
}

/// What a link of a problem points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Help {
    /// The configured page for people, `rel="help"`.
    Portal,
    /// The terms of service (RFC 8555 s7.3.3).
    Terms,
}

/// One problem document.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: Kind,
    pub status: u16,
    /// For a person: what is wrong and what to do.
    pub detail: String,
    /// Seldom there; a box keeps results small.
    pub(super) more: Box<More>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct More {
    pub identifier: Option<Identifier>,
    pub subproblems: Vec<Problem>,
    /// Seconds.
    pub retry_after: Option<u64>,
    pub location: Option<String>,
    pub allow: Option<&'static str>,
    pub help: Option<Help>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, status: kind.status(), detail: detail.into(), more: Box::default() }
    }

    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// One answer for what is not there and for what belongs to somebody else: an account learns nothing about the
    /// others.
    pub(super) fn not_yours(what: &str) -> Self {
        Self::new(Kind::Unauthorized, format!("this account has no such {what}"))
    }

    /// A part that Torhaus depends on did not answer.
    pub fn unavailable(what: &str) -> Self {
        let detail = format!("{what} does not answer at the moment; try again in a while");
        Self::new(Kind::ServerInternal, detail).status(503).retry_after(UNAVAILABLE_RETRY_SECONDS)
    }

    #[must_use]
    pub(super) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub(super) fn about(mut self, identifier: &Identifier) -> Self {
        self.more.identifier = Some(identifier.clone());
        self
    }

    #[must_use]
    pub(super) fn help(mut self, help: Help) -> Self {
        self.more.help = Some(help);
        self
    }

    #[must_use]
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.more.retry_after = Some(seconds);
        self
    }

    #[must_use]
    pub(super) fn at(mut self, location: String) -> Self {
        self.more.location = Some(location);
        self
    }

    #[must_use]
    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.more.allow = Some(methods);
        self
    }

    /// Several problems as one (RFC 8555 s6.7.1). One problem stays itself.
    pub(super) fn of_all(mut problems: Vec<Self>) -> Option<Self> {
        if problems.len() < 2 {
            return problems.pop();
        }
        let first = problems.first()?;
        let detail = format!("{} of the identifiers were refused: {}, ...", problems.len(), first.detail);
        let mut all = Self::new(first.kind, detail);
        all.more.subproblems = problems;
        Some(all)
    }

    /// The document, `status` included.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({"type": self.kind.urn(), "detail": self.detail, "status": self.status});
        let Some(members) = document.as_object_mut() else { return document };
        if let Some(identifier) = &self.more.identifier {
            members.insert("identifier".into(), identifier.to_json());
        }
        if !self.more.subproblems.is_empty() {
            members.insert("subproblems".into(), self.more.subproblems.iter().map(Self::document).collect());
        }
        if self.kind == Kind::BadSignatureAlgorithm {
            members.insert("algorithms".into(), super::jwk::ALGORITHMS.into());
        }
        document
    }
}

/// certbot and acme.sh honour up to ten minutes; a store comes back sooner.
const UNAVAILABLE_RETRY_SECONDS: u64 = 10;
