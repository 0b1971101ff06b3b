//! What a code or a refresh token stands for. Each is used once.
use super::assurance::Level;
use super::people::Person;
use super::request::Request;
use super::shelf::{Shelf, token};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

/// An authentication that a client may learn of.
#[derive(Clone)]
pub struct Grant {
    pub client: String,
    pub person: &'static Person,
    pub sid: String,
    pub level: Level,
    pub methods: Vec<&'static str>,
    pub authenticated: OffsetDateTime,
    pub scopes: Vec<String>,
    pub nonce: Option<String>,
    /// One for all tokens that came of one code.
    family: String,
}

#[derive(Clone)]
struct Pending {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
}

pub struct Grants {
    codes: Shelf<Pending>,
    /// Codes that were used, with the family that came of them.
    used: Shelf<String>,
    refresh: Shelf<Grant>,
    /// Refresh tokens that were used; a second use means that somebody has a copy.
    spent: Shelf<String>,
}

/// RFC 6749 s4.1.2 allows ten minutes; a redirect takes a second.
const CODE_LIFE: Duration = Duration::seconds(60);
const REFRESH_LIFE: Duration = Duration::hours(10);

impl Grant {
    pub fn new(
        request: &Request,
        person: &'static Person,
        sid: String,
        (level, methods, authenticated): (Level, Vec<&'static str>, OffsetDateTime),
    ) -> Self {
        Self {
            client: request.client.clone(),
            person,
            sid,
            level,
            methods,
            authenticated,
            scopes: request.scopes.clone(),
            nonce: request.nonce.clone(),
            family: token(),
        }
    }
}

impl Grants {
    pub fn new() -> Self {
        Self { codes: Shelf::new(), used: Shelf::new(), refresh: Shelf::new(), spent: Shelf::new() }
    }

    pub fn code(&self, grant: Grant, request: &Request, now: OffsetDateTime) -> String {
        let code = token();
        let pending =
            Pending { grant, redirect_uri: request.redirect_uri.clone(), challenge: request.challenge.clone() };
        self.codes.put(code.clone(), pending, now + CODE_LIFE, now);
        code
    }

    /// Taken whether it fits or not: a code that met a wrong client, address or verifier is lost.
    /// A second use ends what came of the first (RFC 6749 s4.1.2).
    pub fn redeem(
        &self,
        code: &str,
        client: &str,
        redirect_uri: &str,
        verifier: &str,
        now: OffsetDateTime,
    ) -> Option<Grant> {
        if let Some(family) = self.used.find(code, now) {
            self.end_family(&family);
        }
        let pending = self.codes.take(code, now)?;
        self.used.put(code.to_owned(), pending.grant.family.clone(), now + REFRESH_LIFE, now);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let fits = pending.grant.client == client
            && pending.redirect_uri == redirect_uri
            // RFC 7636 s4.1: 43 to 128 characters.
            && (43..=128).contains(&verifier.len())
            && bool::from(challenge.as_bytes().ct_eq(pending.challenge.as_bytes()));
        fits.then_some(pending.grant)
    }

    pub fn refresh_token(&self, grant: &Grant, now: OffsetDateTime) -> String {
        let key = token();
        let grant = Grant { nonce: None, ..grant.clone() };
        self.refresh.put(key.clone(), grant, now + REFRESH_LIFE, now);
        key
    }

    /// Takes the token; the caller hands out the next one (rotation, RFC 9700 s4.14.2).
    pub fn refresh(&self, key: &str, client: &str, now: OffsetDateTime) -> Option<Grant> {
        if let Some(family) = self.spent.find(key, now) {
            self.end_family(&family);
            return None;
        }
        // Looked at before it is taken: a foreign client must not spend it.
        self.refresh.find(key, now).filter(|grant| grant.client == client)?;
        let grant = self.refresh.take(key, now)?;
        self.spent.put(key.to_owned(), grant.family.clone(), now + REFRESH_LIFE, now);
        Some(grant)
    }

    pub fn end_session(&self, sid: &str) {
        self.codes.drop_all(|pending| pending.grant.sid == sid);
        self.refresh.drop_all(|grant| grant.sid == sid);
    }

    fn end_family(&self, family: &str) {
        self.refresh.drop_all(|grant| grant.family == family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::assurance::Wanted;
    use crate::provider::people::find;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);
    const CALLBACK: &str = "https://rp.test/cb";
    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn request() -> Request {
        Request {
            client: "rp".into(),
            redirect_uri: CALLBACK.into(),
            state: None,
            nonce: Some("n".into()),
            scopes: vec!["openid".into()],
            challenge: CHALLENGE.into(),
            wanted: Wanted::Any,
            max_age: None,
            again: false,
            silent: false,
            login_hint: None,
            locales: None,
        }
    }

    fn code(grants: &Grants) -> String {
        let request = request();
        let alice = find("alice").unwrap();
        let grant = Grant::new(&request, alice, "sid".into(), (Level::Standard, vec!["pwd"], NOW));
        grants.code(grant, &request, NOW)
    }

    #[test]
    fn a_code_is_redeemed_once_by_its_client_address_and_verifier_within_a_minute() {
        let grants = Grants::new();
        let minute = NOW + Duration::seconds(60);
        let other = "x".repeat(43);
        for (what, client, address, verifier, at) in [
            ("another client", "other", CALLBACK, VERIFIER, NOW),
            ("another address", "rp", "https://rp.test/cb2", VERIFIER, NOW),
            ("another verifier", "rp", CALLBACK, other.as_str(), NOW),
            ("no verifier", "rp", CALLBACK, "", NOW),
            ("too late", "rp", CALLBACK, VERIFIER, minute),
        ] {
            let code = code(&grants);
            assert!(grants.redeem(&code, client, address, verifier, at).is_none(), "{what}");
            assert!(grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).is_none(), "{what}: and then it is lost");
        }
        let code = code(&grants);
        assert!(grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).is_some());
        assert!(grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).is_none());
    }

    #[test]
    fn a_second_use_of_a_code_or_a_refresh_token_ends_what_came_of_the_first() {
        let grants = Grants::new();
        let code = code(&grants);
        let grant = grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).unwrap();
        let refresh = grants.refresh_token(&grant, NOW);
        assert!(grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).is_none());
        assert!(grants.refresh(&refresh, "rp", NOW).is_none());

        let first = grants.refresh_token(&grant, NOW);
        assert!(grants.refresh(&first, "other", NOW).is_none());
        let again = grants.refresh(&first, "rp", NOW).unwrap();
        assert_eq!(again.nonce, None);
        let second = grants.refresh_token(&again, NOW);
        assert!(grants.refresh(&first, "rp", NOW).is_none());
        assert!(grants.refresh(&second, "rp", NOW).is_none(), "the thief's copy and ours both end");
    }

    #[test]
    fn the_end_of_a_session_ends_its_tokens() {
        let grants = Grants::new();
        let code = code(&grants);
        let grant = grants.redeem(&code, "rp", CALLBACK, VERIFIER, NOW).unwrap();
        let refresh = grants.refresh_token(&grant, NOW);
        grants.end_session("sid");
        assert!(grants.refresh(&refresh, "rp", NOW).is_none());
    }
}
