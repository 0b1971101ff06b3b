//! From the claims of a provider to the names of the policy table: `alice` and `it-admins` for the first provider,
//! `partner/bob` for every other one. Group names are kept exactly: Keycloak's path `/it-admins` stays `/it-admins`,
//! and is another group than `it-admins`.
use super::claims::{OddClaim, text, texts};
use super::id_token::is_subject;
use super::jws::Claims;
use serde_json::Value;
use std::sync::Arc;
use torhaus_authz::{Groups, Name};

/// Real names are shorter; LDAP paths of groups can be long.
const MAX_NAME_BYTES: usize = 512;
/// A person in more groups than this is a mistake of a mapping, or an attack on memory.
const MAX_GROUPS: usize = 5000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{0}")]
    Odd(#[from] OddClaim),
    #[error("claim `{0}`, which names the user, is missing; choose another `user_claim` or let the provider send it")]
    NoUser(String),
    #[error("claim `{0}` holds a name that is empty, too long, or has control characters")]
    Malformed(String),
    #[error("claim `{claim}` holds a name that begins with `{prefix}/`: such names belong to that provider")]
    Reserved { claim: String, prefix: Name },
    #[error("claim `{0}` lists more than 5000 groups")]
    TooManyGroups(String),
    #[error("the provider says that the e-mail address, which names the user here, is not verified")]
    UnverifiedEmail,
}

/// Which claims name people and groups, and how their names look in the policy.
#[derive(Clone, Debug)]
pub struct Names {
    /// None for the first provider: its names are bare.
    prefix: Option<Name>,
    /// The prefixes of all other providers.
    reserved: Arc<[Name]>,
    user_claim: String,
    groups_claim: String,
}

impl Names {
    /// `others` are the names of all providers and bearer issuers; `prefix` itself may be among them.
    pub fn new(prefix: Option<Name>, others: Arc<[Name]>, user_claim: &str, groups_claim: &str) -> Self {
        Self { prefix, reserved: others, user_claim: user_claim.to_owned(), groups_claim: groups_claim.to_owned() }
    }

    /// The claim that names the user is in here.
    pub fn has_user(&self, claims: &Claims) -> bool {
        claims.contains_key(&self.user_claim)
    }

    /// The claim that lists the groups is in here.
    pub fn has_groups(&self, claims: &Claims) -> bool {
        claims.contains_key(&self.groups_claim)
    }

    /// # Errors
    /// The claim is missing, is not a string, or holds a name that nobody of this provider may have.
    pub fn user(&self, claims: &Claims) -> Result<Name, NameError> {
        let claim = self.user_claim.as_str();
        let raw = text(claims, claim)?.ok_or_else(|| NameError::NoUser(claim.to_owned()))?;
        // Whoever may type an address into the provider's profile page must not become its owner here.
        if claim == "email" && claims.get("email_verified").is_some_and(|verified| !is_true(verified)) {
            return Err(NameError::UnverifiedEmail);
        }
        if claim == "sub" && !is_subject(raw) {
            return Err(NameError::Malformed(claim.to_owned()));
        }
        self.qualify(claim, raw)
    }

    /// The groups; none if the claim is missing.
    ///
    /// # Errors
    /// The claim is neither a string nor a list of strings, or holds a name that is none.
    pub fn groups(&self, claims: &Claims) -> Result<Option<Arc<Groups>>, NameError> {
        let claim = self.groups_claim.as_str();
        let Some(raw) = texts(claims, claim)? else {
            return Ok(None);
        };
        if raw.len() > MAX_GROUPS {
            return Err(NameError::TooManyGroups(claim.to_owned()));
        }
        let groups: Groups = raw.into_iter().map(|name| self.qualify(claim, name)).collect::<Result<_, _>>()?;
        Ok(Some(Arc::new(groups)))
    }

    fn qualify(&self, claim: &str, raw: &str) -> Result<Name, NameError> {
        if raw.is_empty() || raw.len() > MAX_NAME_BYTES || raw.chars().any(char::is_control) {
            return Err(NameError::Malformed(claim.to_owned()));
        }
        if let Some(prefix) = &self.prefix {
            return Ok(format!("{prefix}/{raw}").into());
        }
        // Otherwise a person of the first provider could call itself `partner/bob`, and be that person.
        let taken = |prefix: &&Name| raw.strip_prefix(&***prefix).is_some_and(|rest| rest.starts_with('/'));
        match self.reserved.iter().find(taken) {
            Some(prefix) => Err(NameError::Reserved { claim: claim.to_owned(), prefix: Arc::clone(prefix) }),
            None => Ok(raw.into()),
        }
    }
}

/// What pages and applications are told of a person; decides nothing.
pub fn display_name(claims: &Claims) -> Option<String> {
    ["name", "preferred_username"].into_iter().find_map(|claim| shown(claims, claim))
}

/// The address, unless the provider says that it is not verified: applications take it for an identity.
pub fn email(claims: &Claims) -> Option<String> {
    let unverified = claims.get("email_verified").is_some_and(|verified| !is_true(verified));
    (!unverified).then(|| shown(claims, "email")).flatten()
}

fn shown(claims: &Claims, claim: &str) -> Option<String> {
    let text = claims.get(claim)?.as_str()?;
    let plain = !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
    plain.then(|| text.to_owned())
}

/// Some providers write `"true"` (AWS Cognito).
fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true) || *value == Value::String("true".to_owned())
}
