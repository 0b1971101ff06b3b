//! How a command that nobody knows gets a one-time key that belongs to a person, without the key ever standing in an
//! address, on a clipboard or on a screen.
//!
//! The command draws a *verifier*, 256 random bits that it keeps. The portal is shown something that only the verifier
//! fits, a person who is signed in confirms that, and whoever then brings the verifier gets the key, once.
//!
//! ```text
//! a browser on this machine    RFC 7636 with a redirect to the loopback address (RFC 8252 section 7.3): the portal is
//!                              shown SHA-256 of the verifier, and answers with a one-time code to 127.0.0.1
//! no browser here              as RFC 8628: a person types a code into the portal, at any machine. The code is made of
//!                              the verifier and the device's name, so the portal needs to remember nothing of those
//!                              who only ask
//! ```
//!
//! The code that is typed has 60 bits and is stretched: who has seen it would need 2^77 hashes within ten minutes to
//! find another verifier for it.
use aws_lc_rs::pbkdf2;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::TryRng as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Where the portal asks the person.
pub const PAGE: &str = "/devices/enroll";
/// Where the command brings the verifier.
pub const KEY: &str = "/devices/enroll/key";
/// How long what a person confirmed can be brought.
pub const LIFE: Duration = Duration::from_secs(10 * 60);

/// 2^17 hashes for each guess; some 30 ms for the one who knows.
const STRETCH: NonZeroU32 = match NonZeroU32::new(1 << 17) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
/// Digits and letters that nobody takes for others (Crockford): 5 bits each.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LENGTH: usize = 12;

/// 256 random bits in base64url; the secret half of a pairing.
pub struct Verifier(Zeroizing<String>);

impl Verifier {
    /// None: the system has no randomness to give.
    pub fn new() -> Option<Self> {
        let mut bits = Zeroizing::new([0u8; 32]);
        rand::rngs::SysRng.try_fill_bytes(&mut *bits).ok()?;
        Some(Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bits.as_slice()))))
    }

    /// As the other side sent it.
    pub fn parse(text: &str) -> Option<Self> {
        is_43_of_base64url(text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself. Call it where it is sent, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// RFC 7636 section 4.2, method S256.
    pub fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.as_bytes()))
    }

    /// What a person types; bound to the name that the device will have.
    pub fn code(&self, label: &str) -> Code {
        let mut bits = [0u8; 8];
        let salt = format!("torhaus enroll 1\n{label}");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, STRETCH, salt.as_bytes(), self.0.as_bytes(), &mut bits);
        let mut bits = u64::from_be_bytes(bits);
        let mut text = String::with_capacity(CODE_LENGTH);
        for _ in 0..CODE_LENGTH {
            let letter = usize::try_from(bits & 31).ok().and_then(|at| ALPHABET.get(at));
            text.push(letter.map_or('0', |byte| char::from(*byte)));
            bits >>= 5;
        }
        Code(text)
    }

    /// Whether this is the verifier behind what the portal was shown.
    pub fn fits(&self, shown: &Shown, label: &str) -> bool {
        let (own, shown) = match shown {
            Shown::Challenge(challenge) => (self.challenge(), challenge),
            Shown::Code(code) => (self.code(label).0, &code.0),
        };
        own.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// What a person types, without its hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code(String);

impl Code {
    /// As it was typed: case, hyphens and spaces do not matter, and `O` and `I` are read as `0` and `1`.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |c: char| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        let code: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).map(letter).collect();
        let known = code.bytes().all(|byte| ALPHABET.contains(&byte));
        (known && code.len() == CODE_LENGTH).then_some(Self(code))
    }

    /// `XXXX-XXXX-XXXX`.
    pub fn shown(&self) -> String {
        let groups: Vec<String> =
            self.0.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        groups.join("-")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the portal was shown, and a person confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    Challenge(String),
    Code(Code),
}

/// What the command brings for its key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The one-time code that came to the loopback address, or the one that was typed.
    pub code: String,
    pub verifier: String,
    /// The device's name.
    pub label: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.verifier);
    }
}

/// A challenge as the address of the page carries it.
pub fn is_43_of_base64url(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verifier_and_the_name_that_were_confirmed_fit() {
        let (own, other) = (Verifier::new().unwrap(), Verifier::new().unwrap());
        for shown in [Shown::Challenge(own.challenge()), Shown::Code(own.code("laptop"))] {
            assert!(own.fits(&shown, "laptop"));
            assert!(!other.fits(&shown, "laptop"));
        }
        assert!(!own.fits(&Shown::Code(own.code("laptop")), "phone"), "the code stands for one name");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = Verifier::new().unwrap().code("laptop");
        let shown = code.shown();
        assert_eq!(shown.len(), 14);
        for typed in
            [shown.clone(), shown.to_lowercase(), shown.replace('-', " "), shown.replace('0', "o").replace('1', "l")]
        {
            assert_eq!(Code::parse(&typed), Some(code.clone()), "{typed}");
        }
        for wrong in ["", "ABCD-EFGH", "ABCD-EFGH-JKMU", "ABCD-EFGH-JKMN-P", "abcd-efgh-jkm\u{e9}"] {
            assert_eq!(Code::parse(wrong), None, "{wrong}");
        }
    }
}
