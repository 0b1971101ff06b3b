//! One configured provider, ready to sign people in: its endpoints, keys and clients, and our addresses there.
use super::error::UserInfoError;
use super::http_client::{HttpClient, HttpClientError};
use super::id_token::{self, Expected, IdToken, IdTokenError, Nonce};
use super::jws::{Claims, Unverified};
use super::keys::{KeySource, Sender};
use super::logout_token::{self, LogoutToken, LogoutTokenError};
use super::metadata::{Metadata, MetadataError, MetadataSource};
use super::names::Names;
use super::refresh::Flights;
use super::token_endpoint::TokenResponse;
use http::StatusCode;
use std::fmt;
use std::sync::Arc;
use torhaus_authz::{Name, Timestamp};
use torhaus_config::{OidcClient, Provider};
use url::Url;

/// Longest `id_token_hint` that still fits into an URL everywhere (RP-Initiated Logout 1.0 s2; servers take 8 KiB).
const MAX_HINT_BYTES: usize = 4096;

pub struct OidcProvider {
    pub(super) config: Arc<Provider>,
    pub(super) http: Arc<HttpClient>,
    /// The provider's own first, then those of clients for a tier.
    issuers: Vec<Issuer>,
    pub(super) names: Names,
    /// `{portal}/callback/{provider}`: one address per provider (RFC 9700 s4.4.2.2, where `iss` is missing).
    pub(super) redirect_uri: String,
    /// `{portal}/signed-out`.
    signed_out_uri: String,
    pub(super) flights: Flights,
}

/// Who signs tokens. Of authentik each application is one; its people are the provider's all the same.
pub(super) struct Issuer {
    /// As configured, byte for byte.
    pub text: Arc<str>,
    metadata: Arc<MetadataSource>,
    keys: Arc<KeySource>,
}

impl Issuer {
    fn new(http: &Arc<HttpClient>, text: &Arc<str>) -> Self {
        let metadata = MetadataSource::new(Arc::clone(http), Arc::clone(text));
        Self { text: Arc::clone(text), metadata, keys: KeySource::new(Arc::clone(http)) }
    }

    pub async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, MetadataError> {
        self.metadata.get(now).await
    }

    fn answers(&self) -> Option<bool> {
        match (self.metadata.answers(), self.keys.answers()) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (metadata, keys) => metadata.or(keys),
        }
    }
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OidcProvider({})", self.config.name)
    }
}

impl OidcProvider {
    /// Asks nobody: a provider that is down stops no start. `others` are the names of all providers and bearer
    /// issuers, which users and groups of the first provider may not begin with.
    ///
    /// # Errors
    /// The HTTP client cannot be built, as with an unreadable CA file.
    pub fn new(config: Arc<Provider>, portal: &Url, others: Arc<[Name]>) -> Result<Self, HttpClientError> {
        let http = Arc::new(HttpClient::new(&config.issuer, config.ca_file.as_deref())?);
        let portal = portal.as_str().trim_end_matches('/');
        let mut issuers = vec![Issuer::new(&http, &config.issuer_text)];
        for text in config.tiers.values().filter_map(|needs| needs.client_issuer.as_ref()) {
            if !issuers.iter().any(|known| known.text == *text) {
                issuers.push(Issuer::new(&http, text));
            }
        }
        let prefix = (!config.first).then(|| Arc::clone(&config.name));
        Ok(Self {
            redirect_uri: format!("{portal}/callback/{}", config.name),
            signed_out_uri: format!("{portal}/signed-out"),
            issuers,
            names: Names::new(prefix, others, &config.user_claim, &config.groups_claim),
            flights: Flights::new(),
            http,
            config,
        })
    }

    pub fn config(&self) -> &Arc<Provider> {
        &self.config
    }

    /// Whether a login here can prove this tier.
    pub fn offers(&self, tier: &str) -> bool {
        self.config.tiers.contains_key(tier)
    }

    /// Where to send the browser to end the provider's session too; none if the provider has no such place, or was
    /// never reached. The local session ends first, whatever comes back.
    pub fn logout_url(&self, id_token_hint: Option<&str>, state: &str) -> Option<Url> {
        let client = id_token_hint.map_or(&self.config.client, |hint| self.client_of(hint));
        let mut url = self.issuer_of(&client.id)?.metadata.known()?.end_session_endpoint.clone()?;
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &client.id)
            .append_pair("post_logout_redirect_uri", &self.signed_out_uri)
            .append_pair("state", state);
        if let Some(hint) = id_token_hint.filter(|hint| hint.len() <= MAX_HINT_BYTES) {
            query.append_pair("id_token_hint", hint);
        }
        drop(query);
        Some(url)
    }

    pub(super) fn client(&self, id: &str) -> Option<&OidcClient> {
        let own = self.config.tiers.values().filter_map(|needs| needs.client.as_ref());
        std::iter::once(&self.config.client).chain(own).find(|client| client.id == id)
    }

    /// Who issues the tokens of this client. None only if there is no such client.
    pub(super) fn issuer_of(&self, client: &str) -> Option<&Issuer> {
        let tier =
            || self.config.tiers.values().find(|needs| needs.client.as_ref().is_some_and(|own| own.id == client));
        let text = match client == self.config.client.id {
            true => &self.config.issuer_text,
            false => tier()?.client_issuer.as_ref().unwrap_or(&self.config.issuer_text),
        };
        self.issuers.iter().find(|issuer| issuer.text == *text)
    }

    /// Whether this is an issuer of the provider.
    pub fn is_issuer(&self, text: &str) -> bool {
        self.issuers.iter().any(|issuer| *issuer.text == *text)
    }

    /// The client that one of our stored ID tokens was issued to. It was verified before it was stored.
    pub(super) fn client_of(&self, id_token: &str) -> &OidcClient {
        let of_token = Unverified::parse(id_token).ok().and_then(|token| {
            let audience = super::claims::texts(token.unverified_claims(), "aud").ok()??;
            audience.into_iter().find_map(|id| self.client(id))
        });
        of_token.unwrap_or(&self.config.client)
    }

    /// Checks an ID token that came with `tokens`: signature, then the whole checklist.
    pub(super) async fn check_id_token(
        &self,
        metadata: &Metadata,
        id_token: &str,
        tokens: &TokenResponse,
        client_id: &str,
        nonce: Nonce<'_>,
        now: Timestamp,
    ) -> Result<IdToken, IdTokenError> {
        let issuer = self.issuer_of(client_id).ok_or(IdTokenError::Audience)?;
        let token = Unverified::parse(id_token)?;
        // From its own token endpoint, so its key may be as new as the token.
        let (verified, _) = issuer.keys.verify(&metadata.jwks_uri, token, Sender::Issuer, now).await?;
        let expected = Expected {
            issuer: &issuer.text,
            client_id,
            nonce,
            access_token: &tokens.access_token,
            algorithms: &metadata.id_token_algorithms,
        };
        id_token::check(verified, &expected, now)
    }

    /// Whether what its tokens say of a device counts.
    pub fn reports_devices(&self) -> bool {
        self.config.posture.is_some()
    }

    /// Whether the provider answered when it was last asked for its document or its keys; none: it was not asked yet.
    pub fn answers(&self) -> Option<bool> {
        let answers = || self.issuers.iter().filter_map(Issuer::answers);
        answers().next().map(|_| answers().all(|answers| answers))
    }

    /// Checks a logout token: signature, then the whole checklist.
    ///
    /// # Errors
    /// As [`LogoutTokenError`].
    pub async fn check_logout_token(&self, text: &str, now: Timestamp) -> Result<LogoutToken, LogoutTokenError> {
        if text.len() > logout_token::MAX_BYTES {
            return Err(LogoutTokenError::TooLong);
        }
        let token = Unverified::parse(text)?;
        let claimed = super::claims::text(token.unverified_claims(), "iss").ok().flatten();
        let named = self.issuers.iter().find(|issuer| claimed == Some(&*issuer.text));
        let issuer = named.or(self.issuers.first()).ok_or(LogoutTokenError::Issuer)?;
        let metadata = issuer.metadata.get(now).await?;
        let (verified, _) = issuer.keys.verify(&metadata.jwks_uri, token, Sender::Anybody, now).await?;
        let own = self.config.tiers.values().filter_map(|needs| needs.client.as_ref());
        let all = std::iter::once(&self.config.client).chain(own).map(|client| client.id.as_str());
        let is_its = |client: &&str| self.issuer_of(client).is_some_and(|own| own.text == issuer.text);
        let clients: Vec<&str> = all.filter(is_its).collect();
        let expected = logout_token::Expected {
            issuer: &issuer.text,
            clients: &clients,
            algorithms: &metadata.id_token_algorithms,
        };
        logout_token::check(verified, text, &expected, now)
    }

    /// What UserInfo says of the same person (OpenID Connect Core 1.0 s5.3.2: `sub` MUST be equal, or nothing counts).
    pub(super) async fn user_info(
        &self,
        endpoint: &Url,
        tokens: &TokenResponse,
        subject: &str,
    ) -> Result<Claims, UserInfoError> {
        let answer = self.http.get(endpoint, Some(&tokens.access_token)).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(UserInfoError::Refused),
            status => {
                let host = endpoint.host_str().unwrap_or_default().to_owned();
                return Err(super::http_client::FetchError::Status { host, status: status.as_u16() }.into());
            }
        }
        let claims: Claims = answer.json(endpoint)?;
        match claims.get("sub").and_then(serde_json::Value::as_str) {
            Some(found) if found == subject => Ok(claims),
            _ => Err(UserInfoError::OtherSubject),
        }
    }
}
