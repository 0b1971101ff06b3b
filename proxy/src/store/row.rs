//! A session as columns: what is JSON, what is sealed. No SQL here.
use crate::login::device_claim::DeviceClaim;
use crate::login::session::{AccessToken, Session, SessionId, Tokens, Unavailable};
use crate::store::Seal;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use torhaus_authz::{Fact, Groups, Proof, Timestamp, Why};
use zeroize::{Zeroize as _, Zeroizing};

/// Groups as stored. What was unknown at login stays unknown, with its reason: it never becomes "none".
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredGroups {
    Known(Vec<String>),
    Unknown(Why),
}

#[derive(Serialize, Deserialize)]
struct StoredProof {
    tier: String,
    proven_at: Timestamp,
    provider: String,
}

#[derive(Default, Serialize, Deserialize)]
struct StoredTokens {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What the ID token said of the device; none: nothing was to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token_expires: Option<Timestamp>,
}

impl Drop for StoredTokens {
    fn drop(&mut self) {
        self.id_token.zeroize();
        self.refresh_token.zeroize();
        self.access_token.zeroize();
    }
}

/// The columns that are not plain values.
pub struct Encoded {
    pub groups: String,
    pub proofs: String,
    pub tokens: Vec<u8>,
}

/// # Errors
/// The tokens cannot be sealed.
pub fn encode(session: &Session, seal: &dyn Seal) -> Result<Encoded, Unavailable> {
    let groups = match &session.groups {
        Fact::Known(groups) => StoredGroups::Known(groups.iter().map(ToString::to_string).collect()),
        Fact::Unknown(why) => StoredGroups::Unknown(*why),
    };
    let proofs: Vec<StoredProof> = session
        .proofs
        .iter()
        .map(|p| StoredProof { tier: p.tier.to_string(), proven_at: p.proven_at, provider: p.provider.to_string() })
        .collect();
    let tokens = StoredTokens {
        id_token: session.tokens.id_token.as_ref().map(|t| t.to_string()),
        refresh_token: session.tokens.refresh_token.as_ref().map(|t| t.to_string()),
        device: Some(session.device.clone()).filter(|device| *device != Fact::Unknown(Why::NotConfigured)),
        access_token: session.tokens.access_token.as_ref().map(|t| t.secret.to_string()),
        access_token_expires: session.tokens.access_token.as_ref().map(|t| t.expires),
    };
    let unwritable = |_| Unavailable(format!("session {} cannot be written as JSON", session.id));
    let plain = Zeroizing::new(serde_json::to_vec(&tokens).map_err(unwritable)?);
    Ok(Encoded {
        groups: serde_json::to_string(&groups).map_err(unwritable)?,
        proofs: serde_json::to_string(&proofs).map_err(unwritable)?,
        tokens: seal.seal(&tokens_purpose(&session.id), &plain)?,
    })
}

/// # Errors
/// The stored text is not what `encode` writes. The error never repeats it.
pub fn decode_groups(id: &str, text: &str) -> Result<Fact<Arc<Groups>>, Unavailable> {
    let stored: StoredGroups = serde_json::from_str(text).map_err(|_| damaged(id, "groups"))?;
    Ok(match stored {
        StoredGroups::Known(names) => Fact::Known(Arc::new(names.into_iter().collect())),
        StoredGroups::Unknown(why) => Fact::Unknown(why),
    })
}

/// # Errors
/// As [`decode_groups`].
pub fn decode_proofs(id: &str, text: &str) -> Result<Arc<[Proof]>, Unavailable> {
    let stored: Vec<StoredProof> = serde_json::from_str(text).map_err(|_| damaged(id, "proofs"))?;
    Ok(stored
        .into_iter()
        .map(|p| Proof { tier: p.tier.into(), proven_at: p.proven_at, provider: p.provider.into() })
        .collect())
}

/// # Errors
/// As [`decode_groups`], or the tokens do not open.
pub fn decode_tokens(id: &SessionId, sealed: &[u8], seal: &dyn Seal) -> Result<(Tokens, DeviceClaim), Unavailable> {
    let plain = seal.open(&tokens_purpose(id), sealed)?;
    let mut stored: StoredTokens = serde_json::from_slice(&plain).map_err(|_| damaged(id, "tokens"))?;
    let tokens = Tokens {
        id_token: stored.id_token.take().map(Zeroizing::new),
        refresh_token: stored.refresh_token.take().map(Zeroizing::new),
        access_token: stored
            .access_token
            .take()
            .map(Zeroizing::new)
            .zip(stored.access_token_expires)
            .map(|(secret, expires)| AccessToken { secret, expires }),
    };
    Ok((tokens, stored.device.take().unwrap_or(Fact::Unknown(Why::NotConfigured))))
}

/// Bound to the session, so that tokens copied into another row do not open there.
fn tokens_purpose(id: &str) -> String {
    format!("session-tokens:{id}")
}

fn damaged(id: &str, column: &str) -> Unavailable {
    Unavailable(format!("session {id} has damaged {column}"))
}
