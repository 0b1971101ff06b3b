//! Whether an account is in use, by what its entry says. Pure: `now` is an argument.
use super::entry::Entry;
use crate::lookup::directory::{Failure, Standing};
use torhaus_authz::Timestamp;
use torhaus_config::LdapSchema;

/// Bits of `userAccountControl` and of its computed twin (MS-ADTS 2.2.16).
const DISABLED: i64 = 0x2;
const LOCKED_OUT: i64 = 0x10;
/// `accountExpires`: never.
const NEVER: [i64; 2] = [0, i64::MAX];

/// What is read of a person beside the name.
pub(super) fn attributes(schema: LdapSchema) -> &'static [&'static str] {
    match schema {
        LdapSchema::ActiveDirectory => &[
            "userAccountControl",
            "msDS-User-Account-Control-Computed",
            "accountExpires",
            "lockoutTime",
            "pwdLastSet",
            "primaryGroupID",
            "objectSid",
        ],
        // OpenLDAP's password policy, 389 Directory Server, shadow accounts, eDirectory.
        LdapSchema::Generic => {
            &["pwdAccountLockedTime", "pwdChangedTime", "nsAccountLock", "shadowExpire", "loginDisabled"]
        }
    }
}

/// # Errors
/// The entry does not say what every account of this kind says: torhaus may not read it.
pub(super) fn standing(schema: LdapSchema, entry: &Entry, now: Timestamp) -> Result<Standing, Failure> {
    match schema {
        LdapSchema::ActiveDirectory => active_directory(entry, now),
        LdapSchema::Generic => Ok(generic(entry, now)),
    }
}

fn active_directory(entry: &Entry, now: Timestamp) -> Result<Standing, Failure> {
    let Some(control) = entry.number("userAccountControl") else {
        let dn = &entry.dn;
        return Err(Failure::Unusable(format!("`userAccountControl` of `{dn}` cannot be read; allow `bind_dn` to")));
    };
    let expires = entry.number("accountExpires").filter(|value| !NEVER.contains(value));
    // The computed value knows how long a lock lasts; where there is none, a lock lasts until the next login.
    let is_locked = match entry.number("msDS-User-Account-Control-Computed") {
        Some(computed) => computed & LOCKED_OUT != 0,
        None => entry.number("lockoutTime").is_some_and(|time| time != 0),
    };
    Ok(if control & DISABLED != 0 {
        Standing::Disabled
    } else if expires.is_some_and(|time| of_filetime(time) <= now) {
        Standing::Expired
    } else if is_locked {
        Standing::Locked
    } else {
        Standing::Active
    })
}

fn generic(entry: &Entry, now: Timestamp) -> Standing {
    /// `shadowExpire` counts days.
    const DAY: i64 = 24 * 3600;
    let is_true = |name| entry.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let expires = entry.number("shadowExpire").filter(|days| *days > 0).and_then(|days| days.checked_mul(DAY));
    if is_true("nsAccountLock") || is_true("loginDisabled") {
        Standing::Disabled
    } else if expires.is_some_and(|seconds| Timestamp::from_seconds(seconds) <= now) {
        Standing::Expired
    } else if entry.text("pwdAccountLockedTime").is_some() {
        Standing::Locked
    } else {
        Standing::Active
    }
}

/// When the password was set; 1601 for "must be changed at the next login".
pub(super) fn password_set(schema: LdapSchema, entry: &Entry) -> Option<Timestamp> {
    match schema {
        LdapSchema::ActiveDirectory => entry.number("pwdLastSet").map(of_filetime),
        LdapSchema::Generic => entry.text("pwdChangedTime").and_then(of_generalized_time),
    }
}

/// 100 ns since 1601-01-01 (MS-DTYP 2.3.3).
fn of_filetime(value: i64) -> Timestamp {
    const TICKS_PER_MILLISECOND: i64 = 10_000;
    const FROM_1601_TO_1970: i64 = 11_644_473_600_000;
    Timestamp::from_millis(value / TICKS_PER_MILLISECOND - FROM_1601_TO_1970)
}

/// `20261128100000Z`, with or without a fraction (RFC 4517 s3.3.13); other zones are not written by servers.
fn of_generalized_time(text: &str) -> Option<Timestamp> {
    let whole = text.strip_suffix('Z')?.split('.').next()?;
    let format = time::macros::format_description!("[year][month][day][hour][minute][second]");
    let time = time::PrimitiveDateTime::parse(whole, format).ok()?;
    Some(Timestamp::from_seconds(time.assume_utc().unix_timestamp()))
}

/// `S-1-5-21-…` of the bytes of a SID (MS-DTYP 2.4.2.2).
pub(super) fn sid(bytes: &[u8]) -> Option<String> {
    let [1, count, authority @ ..] = bytes else { return None };
    let (authority, rest) = authority.split_at_checked(6)?;
    if rest.len() != usize::from(*count) * 4 {
        return None;
    }
    let authority = authority.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let mut text = format!("S-1-{authority}");
    for part in rest.chunks_exact(4) {
        let part: [u8; 4] = part.try_into().ok()?;
        text.push_str(&format!("-{}", u32::from_le_bytes(part)));
    }
    Some(text)
}

/// The SID of somebody's primary group, which `memberOf` and `member` never name: the domain's, and its number there.
pub(super) fn primary_group(entry: &Entry) -> Option<String> {
    let own = sid(entry.values("objectSid").first()?)?;
    let (domain, _) = own.rsplit_once('-')?;
    let number = u32::try_from(entry.number("primaryGroupID")?).ok()?;
    Some(format!("{domain}-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);
    /// One hour before and after `NOW`.
    const BEFORE: &str = "134398620000000000";
    const AFTER: &str = "134398692000000000";

    #[test]
    fn an_account_is_in_use_or_not_for_a_reason() {
        use LdapSchema::{ActiveDirectory as Ad, Generic};
        use Standing::{Active, Disabled, Expired, Locked};
        for (schema, attributes, expected) in [
            (Ad, &[("userAccountControl", "512")][..], Active),
            (Ad, &[("userAccountControl", "514")], Disabled),
            (Ad, &[("userAccountControl", "66048"), ("accountExpires", "0")], Active),
            (Ad, &[("userAccountControl", "512"), ("accountExpires", "9223372036854775807")], Active),
            (Ad, &[("userAccountControl", "512"), ("accountExpires", BEFORE)], Expired),
            (Ad, &[("userAccountControl", "512"), ("accountExpires", AFTER)], Active),
            (Ad, &[("userAccountControl", "512"), ("lockoutTime", BEFORE)], Locked),
            (Ad, &[("userAccountControl", "512"), ("lockoutTime", "0")], Active),
            (
                Ad,
                &[("userAccountControl", "512"), ("lockoutTime", BEFORE), ("msDS-User-Account-Control-Computed", "0")],
                Active,
            ),
            (Ad, &[("userAccountControl", "512"), ("msDS-User-Account-Control-Computed", "16")], Locked),
            (Generic, &[], Active),
            (Generic, &[("nsAccountLock", "TRUE")], Disabled),
            (Generic, &[("nsAccountLock", "false")], Active),
            (Generic, &[("pwdAccountLockedTime", "000001010000Z")], Locked),
            (Generic, &[("shadowExpire", "20000")], Expired),
            (Generic, &[("shadowExpire", "-1")], Active),
        ] {
            let values: Vec<(&str, [&str; 1])> = attributes.iter().map(|(name, value)| (*name, [*value])).collect();
            let values: Vec<(&str, &[&str])> = values.iter().map(|(name, value)| (*name, &value[..])).collect();
            let entry = Entry::of("cn=alice", &values);
            assert_eq!(standing(schema, &entry, NOW).unwrap(), expected, "{attributes:?}");
        }
        let hidden = standing(LdapSchema::ActiveDirectory, &Entry::of("cn=alice", &[]), NOW).unwrap_err();
        assert!(hidden.to_string().contains("`userAccountControl` of `cn=alice` cannot be read"), "{hidden}");
    }

    #[test]
    fn times_and_identifiers_are_read_as_microsoft_and_the_rfc_write_them() {
        assert_eq!(of_filetime(116_444_736_000_000_000), Timestamp::from_seconds(0));
        assert_eq!(of_generalized_time("20261123000000Z"), Some(NOW));
        assert_eq!(of_generalized_time("20261123000000.123456Z"), Some(NOW));
        assert_eq!(of_generalized_time("2026112300"), None);
        let bytes = [1, 5, 0, 0, 0, 0, 0, 5, 0x15, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0xf4, 1, 0, 0];
        assert_eq!(sid(&bytes).unwrap(), "S-1-5-21-1-2-3-500");
        for length in 0..bytes.len() {
            assert_eq!(sid(&bytes[..length]), None);
        }
    }
}
