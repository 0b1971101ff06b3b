//! Signing in with the authorization code flow: to the provider and back (OpenID Connect Core 1.0 s3.1, RFC 9700).
//!
//! ```text
//! start(wish, state) -> URL for the browser + Started (kept by the caller: one-time, bound to the browser by `state`)
//! finish(started, callback) -> SignedIn: a person, their groups, and what the token proves
//! ```
use super::callback::CallbackParams;
use super::device_claim::{self, DeviceClaim};
use super::error::{LoginError, Refusal, UserInfoError};
use super::id_token::{IdToken, Nonce};
use super::jws::Claims;
use super::metadata::Metadata;
use super::names;
use super::proofs::{self, Evidence, NotProven, WithoutAuthTime};
use super::provider::{Issuer, OidcProvider};
use super::session::{Ticket, Tokens};
use super::token_endpoint::{self, TokenResponse};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::core::{CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreJsonWebKeySet};
use openidconnect::{
    AuthUrl, AuthenticationContextClass, ClientId, CsrfToken, IssuerUrl, LoginHint, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use torhaus_authz::{Fact, Groups, Name, Proof, Timestamp, User, Why};
use torhaus_config::TierProof;
use url::Url;
use zeroize::Zeroize as _;

/// A login under way is kept at most this long. It is also how long `put_once` should keep it.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(600);

/// What a login asks for. Asking proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// A tier that this provider offers; none: any login.
    pub tier: Option<Name>,
    /// How old the sign-in at the provider may be: give the `max_age` of a step-up, always. Without it a provider
    /// need not say when the person signed in, and an `acr` of unknown age proves nothing.
    pub max_age: Option<Duration>,
    /// Ask the person again in any case (`prompt=login`): the one retry.
    pub force: bool,
    pub login_hint: Option<String>,
    /// A language tag for the provider's pages.
    pub ui_language: Option<String>,
}

/// A login under way. Secrets: to be sealed where it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Started {
    pub provider: Name,
    /// Whose answer is expected (RFC 9207 s2.4).
    pub issuer: Name,
    /// Which of the provider's clients the login goes through.
    pub client_id: String,
    nonce: String,
    pkce_verifier: String,
    /// SHA-256 of `state`, base64url.
    state_hash: String,
    /// `auth_time` was demanded, by `max_age` or as an essential claim.
    auth_time_demanded: bool,
    pub wish: Wish,
    pub at: Timestamp,
}

/// A person who signed in.
#[derive(Debug)]
pub struct SignedIn {
    pub user: User,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub groups: Fact<Arc<Groups>>,
    /// The device that they signed in with, by the ID token alone.
    pub device: DeviceClaim,
    /// What this login proves; a session keeps the newest of these and its own.
    pub proofs: Vec<Proof>,
    /// The wish was for a tier, and this is why it is not proven: try once with `force`, then refuse.
    pub not_proven: Option<NotProven>,
    /// `sid`, for back-channel logout.
    pub provider_session: Option<String>,
    pub tokens: Tokens,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.nonce.zeroize();
        self.pkce_verifier.zeroize();
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Started({}, {:?})", self.provider, self.wish)
    }
}

impl OidcProvider {
    /// The address to send the browser to, and what to keep until it comes back. `state` is a fresh [`Ticket`] that
    /// the browser also holds in a cookie.
    ///
    /// # Errors
    /// 1. the provider was never reached; 2. it does not offer the tier; 3. no randomness.
    pub async fn start(&self, wish: Wish, state: &str, now: Timestamp) -> Result<(Url, Started), LoginError> {
        let needs = match &wish.tier {
            None => None,
            Some(tier) => {
                let needs = self.config.tiers.get(tier);
                Some(needs.ok_or_else(|| LoginError::TierNotOffered(tier.to_string()))?)
            }
        };
        let client = needs.and_then(|needs| needs.client.as_ref()).unwrap_or(&self.config.client);
        let issuer = self.issuer_of(&client.id).ok_or(LoginError::OtherProvider)?;
        let metadata = issuer.metadata(now).await?;
        let endpoint = metadata.authorization_endpoint.clone();
        let endpoint = endpoint.ok_or(LoginError::NoEndpoint("authorization_endpoint"))?;
        let secret = || Ticket::new().map(|t| t.expose().to_owned()).map_err(|_| LoginError::NoRandomness);
        let claims = needs.filter(|needs| needs.request_essential).and_then(essential_claims);
        let started = Started {
            provider: Arc::clone(&self.config.name),
            issuer: Arc::clone(&issuer.text),
            client_id: client.id.clone(),
            nonce: secret()?,
            // 43 characters of base64url are a valid verifier (RFC 7636 s4.1).
            pkce_verifier: secret()?,
            state_hash: sha256(state),
            auth_time_demanded: claims.is_some() || wish.max_age.is_some(),
            wish,
            at: now,
        };
        // Core 1.0 s5.5.1.1: what a provider makes of a wish beside a demand is unspecified, and to some the wish is the
        // last word. One that does not read demands gets the wish as well.
        let demand_is_read = claims.is_some() && metadata.claims_parameter;
        let acr_values = needs.filter(|_| !demand_is_read).map(wanted_acr).unwrap_or_default();
        let url = self.authorization_url(endpoint, &started, state, acr_values, claims)?;
        Ok((url, started))
    }

    /// The authentication request (OpenID Connect Core 1.0 s3.1.2.1), with PKCE S256 always (RFC 9700 s2.1.1).
    fn authorization_url(
        &self,
        endpoint: Url,
        started: &Started,
        state: &str,
        acr_values: &[String],
        claims: Option<String>,
    ) -> Result<Url, LoginError> {
        let issuer = IssuerUrl::from_url(self.config.issuer.clone());
        let redirect =
            RedirectUrl::new(self.redirect_uri.clone()).map_err(|_| LoginError::NoEndpoint("redirect_uri"))?;
        let verifier = PkceCodeVerifier::new(started.pkce_verifier.to_string());
        let wish = &started.wish;
        let client = CoreClient::new(ClientId::new(started.client_id.clone()), issuer, CoreJsonWebKeySet::default())
            .set_auth_uri(AuthUrl::from_url(endpoint))
            .set_redirect_uri(redirect);
        let (state, nonce) = (state.to_owned(), started.nonce.to_string());
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || openidconnect::Nonce::new(nonce),
            )
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            // The crate names `openid` itself.
            .add_scopes(self.config.scopes.iter().filter(|s| *s != "openid").cloned().map(Scope::new));
        for value in acr_values {
            request = request.add_auth_context_value(AuthenticationContextClass::new(value.to_owned()));
        }
        if let Some(claims) = claims {
            request = request.add_extra_param("claims", claims);
        }
        if let Some(max_age) = wish.max_age {
            // authentik takes 0 for "not given"; the caller's `force` says "again" without a number.
            request = request.set_max_age(max_age.max(Duration::from_secs(1)));
        }
        if wish.force {
            request = request.add_prompt(CoreAuthPrompt::Login);
        }
        if let Some(hint) = &wish.login_hint {
            request = request.set_login_hint(LoginHint::new(hint.clone()));
        }
        if let Some(language) = &wish.ui_language {
            request = request.add_extra_param("ui_locales", language.clone());
        }
        Ok(request.url().0)
    }

    /// Takes the browser's answer to a login that [`Self::start`] began. The caller has taken `started` out of the
    /// store (once) by the `state` that this browser's cookie holds.
    ///
    /// # Errors
    /// As [`LoginError`]: the answer is not for this login, or the provider refused, is down, or sent a token that
    /// does not pass.
    pub async fn finish(
        &self,
        started: &Started,
        callback: &CallbackParams,
        now: Timestamp,
    ) -> Result<SignedIn, LoginError> {
        // A reload may have taken both away meanwhile.
        let client = self.client(&started.client_id).ok_or(LoginError::OtherProvider)?;
        let issuer = self.issuer_of(&client.id).ok_or(LoginError::OtherProvider)?;
        let code = self.check_answer(issuer, started, callback, now).await?;
        let metadata = issuer.metadata(now).await?;
        let endpoint = metadata.token_endpoint.as_ref().ok_or(LoginError::NoEndpoint("token_endpoint"))?;
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &started.pkce_verifier),
        ];
        let tokens = token_endpoint::ask(&self.http, endpoint, metadata.token_auth, client, &grant).await?;
        let id_token = tokens.id_token.as_ref().ok_or(LoginError::NoIdToken)?;
        let nonce = Nonce::Exactly(&started.nonce);
        let checked = self.check_id_token(&metadata, id_token, &tokens, &client.id, nonce, now).await?;
        let profile = self.profile(&metadata, &checked, &tokens).await?;

        let evidence = Evidence {
            client_id: &client.id,
            acr: checked.acr.as_deref(),
            amr: &checked.amr,
            auth_time: checked.auth_time,
            without_auth_time: match started.auth_time_demanded {
                true => WithoutAuthTime::Nothing,
                false => WithoutAuthTime::Login(checked.issued_at),
            },
        };
        let Wish { tier, max_age, .. } = &started.wish;
        let tiers = &self.config.tiers;
        let not_proven = tier.as_ref().and_then(|tier| proofs::granted(tiers, tier, *max_age, &evidence, now).err());
        Ok(SignedIn {
            user: User {
                name: profile.name,
                provider: Arc::clone(&self.config.name),
                issuer: Arc::clone(&self.config.issuer_text),
                subject: checked.subject.as_str().into(),
                federated: self.config.federated,
            },
            display_name: profile.display_name,
            email: profile.email,
            groups: profile.groups,
            device: device_claim::read(&self.config, &checked.claims, now),
            proofs: proofs::proofs(tiers, &evidence, &self.config.name),
            not_proven,
            provider_session: checked.sid,
            tokens: Tokens {
                access_token: Some(tokens.access_token(now)),
                id_token: tokens.id_token,
                refresh_token: tokens.refresh_token,
            },
        })
    }

    /// Whether the answer belongs to the login, and its code. Everything that could be someone else's comes first.
    async fn check_answer<'a>(
        &self,
        issuer: &Issuer,
        started: &Started,
        callback: &'a CallbackParams,
        now: Timestamp,
    ) -> Result<&'a str, LoginError> {
        if started.provider != self.config.name || started.issuer != issuer.text {
            return Err(LoginError::OtherProvider);
        }
        let state = callback.state.as_deref().map(|state| sha256(state)).unwrap_or_default();
        if !bool::from(state.as_bytes().ct_eq(started.state_hash.as_bytes())) {
            return Err(LoginError::State);
        }
        if now.since(started.at) > LOGIN_LIFETIME || started.at > now.plus(super::id_token::LEEWAY) {
            return Err(LoginError::TooSlow);
        }
        // RFC 9207 s2.4: compared also in error answers, before anything is done with the rest.
        match &callback.iss {
            Some(iss) if **iss != *started.issuer => return Err(LoginError::MixUp),
            Some(_) => {}
            None if issuer.metadata(now).await?.iss_parameter => return Err(LoginError::NoIssuer),
            None => {}
        }
        if let Some(error) = &callback.error {
            return Err(LoginError::Refused(Refusal::of(error)));
        }
        match callback.code.as_deref() {
            Some(code) if !code.is_empty() => Ok(code),
            _ => Err(LoginError::NoCode),
        }
    }

    /// Who the person is in the words of the policy. UserInfo is asked only for a claim that the ID token lacks.
    async fn profile(
        &self,
        metadata: &Metadata,
        token: &IdToken,
        tokens: &TokenResponse,
    ) -> Result<Profile, LoginError> {
        let mut claims = token.claims.clone();
        let (user_missing, groups_missing) = (!self.names.has_user(&claims), !self.names.has_groups(&claims));
        let mut without_groups = Why::NotGiven;
        if let Some(endpoint) = &metadata.userinfo_endpoint
            && (user_missing || groups_missing)
        {
            match self.user_info(endpoint, tokens, &token.subject).await {
                Ok(more) => add_missing(&mut claims, more),
                // Another person's claims, or no name: no login. Only the groups are missing: they are unknown.
                Err(error @ UserInfoError::OtherSubject) => return Err(error.into()),
                Err(error) if user_missing => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(provider = %self.config.name, %error, "groups are unknown for this login");
                    without_groups = Why::SourceDown;
                }
            }
        }
        Profile::read(&self.names, &claims, without_groups)
    }
}

/// Who a person is, as far as claims say it.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: Name,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub groups: Fact<Arc<Groups>>,
}

impl Profile {
    pub(super) fn read(names: &names::Names, claims: &Claims, without_groups: Why) -> Result<Self, LoginError> {
        Ok(Self {
            name: names.user(claims)?,
            display_name: names::display_name(claims),
            email: names::email(claims),
            groups: names.groups(claims)?.map_or(Fact::Unknown(without_groups), Fact::Known),
        })
    }
}

/// The ID token is signed for us; UserInfo only adds to it.
pub(super) fn add_missing(claims: &mut Claims, more: Claims) {
    for (claim, value) in more {
        claims.entry(claim).or_insert(value);
    }
}

fn wanted_acr(needs: &TierProof) -> &[String] {
    match needs.request_acr_values.is_empty() {
        true => &needs.acr,
        false => &needs.request_acr_values,
    }
}

/// The `claims` parameter (OpenID Connect Core 1.0 s5.5.1.1): the level or an error, and when the person signed in.
fn essential_claims(needs: &TierProof) -> Option<String> {
    let values = wanted_acr(needs);
    (!values.is_empty()).then(|| {
        serde_json::json!({
            "id_token": { "acr": { "essential": true, "values": values }, "auth_time": { "essential": true } }
        })
        .to_string()
    })
}

/// base64url(SHA-256): the S256 challenge (RFC 7636 s4.2), and how `state` is kept.
fn sha256(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}
