//! Why a login did not succeed: for the log a sentence, for the person one of a few kinds of page.
use super::http_client::FetchError;
use super::id_token::IdTokenError;
use super::keys::KeyError;
use super::metadata::MetadataError;
use super::names::NameError;
use super::token_endpoint::TokenError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    #[error("the provider names no `{0}`")]
    NoEndpoint(&'static str),
    #[error("this provider cannot prove tier `{0}`")]
    TierNotOffered(String),
    #[error("there is no randomness to be had")]
    NoRandomness,
    #[error("Torhaus is shutting down")]
    ShuttingDown,

    #[error("the answer came to another provider's address than the login began with")]
    OtherProvider,
    #[error("the answer does not belong to this login (`state`)")]
    State,
    #[error("the login took longer than ten minutes")]
    TooSlow,
    #[error("the answer is from another issuer than the login began with (`iss`, RFC 9207)")]
    MixUp,
    #[error("the answer does not name its issuer (`iss`), although the provider says that it does (RFC 9207)")]
    NoIssuer,
    #[error("the answer names a parameter twice, is too long, or is not text")]
    MalformedAnswer,
    #[error("the answer holds neither a code nor an error")]
    NoCode,
    #[error("the provider refused: {0}")]
    Refused(Refusal),

    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("the token answer holds no ID token; is `openid` among the scopes?")]
    NoIdToken,
    #[error("{0}")]
    IdToken(#[from] IdTokenError),
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("{0}")]
    UserInfo(#[from] UserInfoError),
}

/// UserInfo (OpenID Connect Core 1.0 s5.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserInfoError {
    #[error("UserInfo could not be asked: {0}")]
    Fetch(#[from] FetchError),
    #[error("UserInfo refused the access token")]
    Refused,
    #[error("UserInfo is about another person than the ID token (`sub`)")]
    OtherSubject,
}

/// An error of the authorization endpoint (RFC 6749 s4.1.2.1, OpenID Connect Core 1.0 s3.1.2.6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the person or the provider said no (`access_denied`)")]
    AccessDenied,
    #[error("the person is not signed in there (`login_required`)")]
    LoginRequired,
    #[error("the provider wanted to ask the person something (`interaction_required`)")]
    InteractionRequired,
    #[error("the person cannot reach the level that was asked for (`unmet_authentication_requirements`)")]
    TierNotMet,
    #[error("the provider has a problem of its own (`{0}`)")]
    Unavailable(String),
    #[error("`{0}`")]
    Other(String),
}

/// Which page the person sees. The sentence of the error is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginPage {
    /// "You chose not to sign in, or may not." Offer to try again.
    Declined,
    /// "This login is no longer valid." Offer to begin again.
    Expired,
    /// "You do not have what this needs" (a second factor, a key), and what to do.
    TierNotProven,
    /// "The sign-in service does not answer." Try later.
    ProviderDown,
    /// "The sign-in service and Torhaus do not agree." For the administrator; the log says more.
    Misconfigured,
}

impl LoginError {
    pub fn page(&self) -> LoginPage {
        match self {
            Self::Metadata(MetadataError::Fetch(_)) | Self::Token(TokenError::Fetch(_)) => LoginPage::ProviderDown,
            Self::IdToken(IdTokenError::Key(KeyError::Fetch(_))) => LoginPage::ProviderDown,
            Self::NoRandomness | Self::ShuttingDown => LoginPage::ProviderDown,
            Self::UserInfo(UserInfoError::Fetch(_)) | Self::Token(TokenError::Unavailable(_)) => {
                LoginPage::ProviderDown
            }
            Self::Refused(refusal) => match refusal {
                Refusal::AccessDenied => LoginPage::Declined,
                Refusal::LoginRequired | Refusal::InteractionRequired => LoginPage::Expired,
                Refusal::TierNotMet => LoginPage::TierNotProven,
                Refusal::Unavailable(_) => LoginPage::ProviderDown,
                Refusal::Other(_) => LoginPage::Misconfigured,
            },
            Self::TierNotOffered(_) => LoginPage::TierNotProven,
            Self::OtherProvider | Self::State | Self::TooSlow | Self::MixUp | Self::MalformedAnswer | Self::NoCode => {
                LoginPage::Expired
            }
            // A code that was used or has run out: the person pressed "back".
            Self::Token(TokenError::Refused(code)) if code == "invalid_grant" => LoginPage::Expired,
            Self::Metadata(_)
            | Self::NoEndpoint(_)
            | Self::NoIssuer
            | Self::Token(_)
            | Self::NoIdToken
            | Self::IdToken(_)
            | Self::Name(_)
            | Self::UserInfo(_) => LoginPage::Misconfigured,
        }
    }
}

impl Refusal {
    pub(super) fn of(code: &str) -> Self {
        match code {
            "access_denied" => Self::AccessDenied,
            "login_required" => Self::LoginRequired,
            "interaction_required" | "account_selection_required" | "consent_required" => Self::InteractionRequired,
            // OpenID Connect Core Error Code unmet_authentication_requirements 1.0.
            "unmet_authentication_requirements" => Self::TierNotMet,
            "server_error" | "temporarily_unavailable" => Self::Unavailable(error_code(code)),
            other => Self::Other(error_code(other)),
        }
    }
}

/// Longest error code shown; the registered ones are shorter.
const MAX_CODE: usize = 64;

/// An error code as it may stand in a log: the sender is not trusted with more than a word.
pub(super) fn error_code(raw: &str) -> String {
    let word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    raw.chars().filter(word).take(MAX_CODE).collect()
}
