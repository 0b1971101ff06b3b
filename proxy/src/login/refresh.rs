//! Asking the provider again without the person: is the session still alive there, and with which groups? A refresh
//! never proves a tier: nobody was asked for a factor.
use super::device_claim::{self, DeviceClaim};
use super::error::{LoginError, UserInfoError};
use super::id_token::{IdTokenError, Nonce};
use super::keys::KeyError;
use super::metadata::MetadataError;
use super::names::NameError;
use super::oidc::{Profile, add_missing};
use super::provider::OidcProvider;
use super::session::{SessionId, Tokens};
use super::token_endpoint::{self, TokenError};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Fact, Timestamp, Why};

/// How long the outcome of a refresh is kept for others who come with the same refresh token: with rotation it works
/// once, and a second use would look like theft to the provider (RFC 9700 s4.14.2).
const SHARED_FOR: Duration = Duration::from_secs(30);
const MAX_SHARED: u64 = 100_000;

/// What a refresh brought. `tokens` must be stored: the old refresh token may be gone.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// Name, groups and so on; none if the provider answered without saying: keep what is known.
    pub profile: Option<Profile>,
    /// By the ID token alone.
    pub device: DeviceClaim,
    pub tokens: Tokens,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum RefreshError {
    /// The provider ended it (disabled user, signed out, expired), or answered about someone else. End the session.
    #[error("the provider does not continue the session: {0}")]
    Ended(Box<LoginError>),
    /// The provider could not be asked, or is misconfigured. The session goes on as its own lifetime says.
    #[error("the provider could not be asked: {0}")]
    Unavailable(Box<LoginError>),
    #[error("the session has no refresh token")]
    NoRefreshToken,
}

/// Refreshes under way, by session and refresh token.
pub(super) struct Flights(Cache<[u8; 32], Arc<Refreshed>>);

impl Flights {
    pub(super) fn new() -> Self {
        Self(Cache::builder().time_to_live(SHARED_FOR).max_capacity(MAX_SHARED).build())
    }
}

impl OidcProvider {
    /// Asks again for a session of `subject`. Of several callers one asks, all get the outcome. It goes on to its end
    /// when the caller goes away, because the provider may have replaced the refresh token by then.
    ///
    /// # Errors
    /// As [`RefreshError`]; [`RefreshError::Ended`] alone ends the session.
    pub async fn refresh(
        self: &Arc<Self>,
        session: &SessionId,
        subject: &str,
        tokens: &Tokens,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        let refresh_token = tokens.refresh_token.as_ref().ok_or(RefreshError::NoRefreshToken)?;
        let key: [u8; 32] = Sha256::new()
            .chain_update(session.as_bytes())
            .chain_update([0])
            .chain_update(refresh_token.as_bytes())
            .finalize()
            .into();
        let (provider, subject, tokens) = (Arc::clone(self), subject.to_owned(), tokens.clone());
        let flight = tokio::spawn(async move {
            let ask = async { provider.ask_again(&subject, &tokens, now).await.map(Arc::new) };
            provider.flights.0.try_get_with(key, ask).await
        });
        match flight.await {
            Ok(Ok(refreshed)) => Ok((*refreshed).clone()),
            Ok(Err(error)) => Err((*error).clone()),
            // The task is never aborted and does not panic; only a runtime that shuts down drops it.
            Err(_) => Err(RefreshError::Unavailable(Box::new(LoginError::ShuttingDown))),
        }
    }

    async fn ask_again(&self, subject: &str, tokens: &Tokens, now: Timestamp) -> Result<Refreshed, RefreshError> {
        let refresh_token = tokens.refresh_token.as_ref().ok_or(RefreshError::NoRefreshToken)?;
        // A refresh token belongs to the client that it was issued to, and so does the ID token kept beside it.
        let client = tokens.id_token.as_ref().map_or(&self.config.client, |id_token| self.client_of(id_token));
        let issuer = self.issuer_of(&client.id).ok_or(LoginError::OtherProvider)?;
        let metadata = issuer.metadata(now).await?;
        let endpoint = metadata.token_endpoint.as_ref().ok_or(LoginError::NoEndpoint("token_endpoint"))?;
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
        let answer = token_endpoint::ask(&self.http, endpoint, metadata.token_auth, client, &grant)
            .await
            .map_err(LoginError::from)?;

        let mut claims = match &answer.id_token {
            None => None,
            Some(id_token) => {
                let nonce = Nonce::Refresh { subject };
                let checked = self.check_id_token(&metadata, id_token, &answer, &client.id, nonce, now).await;
                Some(checked.map_err(LoginError::from)?.claims)
            }
        };
        let device = match &claims {
            Some(claims) => device_claim::read(&self.config, claims, now),
            None => Fact::Unknown(Why::NotGiven),
        };
        let complete = |claims: &_| self.names.has_user(claims) && self.names.has_groups(claims);
        if let Some(endpoint) = &metadata.userinfo_endpoint
            && !claims.as_ref().is_some_and(complete)
        {
            match self.user_info(endpoint, &answer, subject).await {
                Ok(more) => add_missing(claims.get_or_insert_default(), more),
                // The provider is up and refuses its own fresh token, or speaks of someone else.
                Err(error @ (UserInfoError::Refused | UserInfoError::OtherSubject)) => {
                    return Err(LoginError::from(error).into());
                }
                // The new refresh token must not be lost because a second endpoint is down.
                Err(UserInfoError::Fetch(_)) => claims = None,
            }
        }
        let profile = match claims.filter(|claims| self.names.has_user(claims)) {
            Some(claims) => Some(Profile::read(&self.names, &claims, Why::NotGiven)?),
            None => None,
        };
        Ok(Refreshed {
            profile,
            device,
            tokens: Tokens {
                access_token: Some(answer.access_token(now)),
                id_token: answer.id_token.or_else(|| tokens.id_token.clone()),
                // RFC 6749 s6: without a new one, the old one stays.
                refresh_token: answer.refresh_token.or_else(|| tokens.refresh_token.clone()),
            },
        })
    }
}

/// What could not be asked, or is our own mistake, does not end a person's session; everything else does.
impl From<LoginError> for RefreshError {
    fn from(error: LoginError) -> Self {
        let keeps = match &error {
            LoginError::Metadata(_) | LoginError::NoEndpoint(_) => true,
            LoginError::Token(TokenError::Fetch(_) | TokenError::Unavailable(_) | TokenError::Malformed) => true,
            LoginError::Token(TokenError::Refused(code)) => {
                // RFC 6749 s5.2: these speak of the client, not of the person.
                matches!(code.as_str(), "invalid_client" | "unauthorized_client" | "unsupported_grant_type")
            }
            // It may have new keys that we do not know yet, or none at all: that says nothing about a person.
            LoginError::IdToken(IdTokenError::Key(error)) => *error != KeyError::Signature,
            LoginError::UserInfo(UserInfoError::Fetch(_)) => true,
            _ => false,
        };
        match keeps {
            true => Self::Unavailable(Box::new(error)),
            false => Self::Ended(Box::new(error)),
        }
    }
}

impl From<MetadataError> for RefreshError {
    fn from(error: MetadataError) -> Self {
        LoginError::from(error).into()
    }
}

impl From<NameError> for RefreshError {
    fn from(error: NameError) -> Self {
        LoginError::from(error).into()
    }
}
