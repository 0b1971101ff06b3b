//! Reads claims strictly: a claim has its type or the token is refused. Nothing is guessed from an odd value.
use super::jws::Claims;
use serde_json::Value;
use torhaus_authz::Timestamp;

/// A claim is there and is not what it must be. Names the claim, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claim `{claim}` is not {expected}")]
pub struct OddClaim {
    pub claim: String,
    pub expected: &'static str,
}

pub fn text<'a>(claims: &'a Claims, claim: &str) -> Result<Option<&'a str>, OddClaim> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(odd(claim, "a string")),
    }
}

/// RFC 7519 s2, NumericDate: seconds since the epoch, perhaps with a fraction.
pub fn time(claims: &Claims, claim: &str) -> Result<Option<Timestamp>, OddClaim> {
    /// 9999-12-31: beyond it is a mistake (milliseconds) or an attack on arithmetic.
    const LAST: f64 = 253_402_300_799.0;
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            // Below 2^53 the number is exact; a fraction is rounded down to the millisecond.
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
            Some(seconds) if (0.0..=LAST).contains(&seconds) => {
                Ok(Some(Timestamp::from_millis((seconds * 1000.0) as i64)))
            }
            _ => Err(odd(claim, "a time in seconds")),
        },
        Some(_) => Err(odd(claim, "a time in seconds")),
    }
}

/// An array of strings, or one string: `aud` is written so (RFC 7519 s4.1.3), and some providers write a list of one
/// the same way. A string is one name; it is never split.
pub fn texts<'a>(claims: &'a Claims, claim: &str) -> Result<Option<Vec<&'a str>>, OddClaim> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one])),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().ok_or_else(|| odd(claim, "a list of strings")))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(odd(claim, "a list of strings")),
    }
}

pub fn odd(claim: &str, expected: &'static str) -> OddClaim {
    // The claim's name comes from our own source or configuration, so it may be shown.
    OddClaim { claim: claim.to_owned(), expected }
}
