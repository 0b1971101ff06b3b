//! Points in time as the policy sees them: an argument, never a clock.
use std::fmt;
use std::time::Duration;

/// Milliseconds since the Unix epoch, UTC. Displayed and parsed as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

const MILLIS_PER_DAY: i64 = 86_400_000;

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Reads RFC 3339 (`2026-12-01T00:00:00Z`, `...+02:00`, up to milliseconds; more digits are cut).
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let (clock, rest) = rest.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let (millis, zone) = fraction(rest)?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let day_millis = ((hour * 60 + minute) * 60 + second) * 1000 + millis;
        Some(Self(days_from_civil(year, month, day) * MILLIS_PER_DAY + day_millis - offset_minutes(zone)? * 60_000))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long before `self` the moment `earlier` lies; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Writes it as [`fmt::Display`] does, without a formatter: each line of a log has one.
    pub fn append_to(self, text: &mut Vec<u8>) {
        let (year, rest, shown) = self.parts();
        match usize::try_from(year) {
            Ok(year @ 0..10_000) => text.extend([1000, 100, 10, 1].map(|unit| digit(year / unit))),
            _ => text.extend_from_slice(format!("{year:04}").as_bytes()),
        }
        text.extend_from_slice(rest.get(..shown).unwrap_or_default());
        text.push(b'Z');
    }

    /// The year, and what follows it: so many bytes of it, milliseconds only where there are some.
    fn parts(self) -> (i64, [u8; 19], usize) {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MILLIS_PER_DAY));
        let of_day = self.0.rem_euclid(MILLIS_PER_DAY);
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut text = *b"-00-00T00:00:00.000";
        let parts = [(1..3, month), (4..6, day), (7..9, hour), (10..12, minute), (13..15, second), (16..19, millis)];
        for (place, value) in parts {
            let mut value = usize::try_from(value).unwrap_or(0);
            for place in text.get_mut(place).into_iter().flatten().rev() {
                *place = digit(value);
                value /= 10;
            }
        }
        (year, text, if millis == 0 { 15 } else { 19 })
    }
}

/// The last digit of a number.
fn digit(value: usize) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

/// RFC 3339 in UTC; milliseconds only where there are some.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, rest, shown) = self.parts();
        let rest = rest.get(..shown).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        write!(f, "{year:04}{rest}Z")
    }
}

/// For `#[serde(with = "time::rfc3339")]`: where people read the value.
pub(crate) mod rfc3339 {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

/// `12h`, `90m`, `45s`, `1h 30m`: how durations stand in tables and explanations.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    // Hours up to two days read better than days: `36h` is how people write it.
    let parts = match seconds < 2 * 86_400 {
        true => [(0, "d"), (seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")],
        false => parts,
    };
    let text: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.join(" ") }
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (slot, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        *slot =
            (part.len() == width && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(out)
}

/// `.123456Z` -> (123, `Z`).
fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(rest) = rest.strip_prefix('.') else {
        return Some((0, rest));
    };
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, zone) = rest.split_at_checked(end)?;
    let millis: String = digits.chars().chain("000".chars()).take(3).collect();
    (!digits.is_empty()).then(|| Some((millis.parse().ok()?, zone))).flatten()
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, zone.strip_prefix('-')?),
    };
    let (hour, minute) = rest.split_once(':')?;
    let two = |s: &str| (s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse::<i64>().ok());
    let (hour, minute) = (two(hour)??, two(minute)??);
    (hour < 24 && minute < 60).then_some(sign * (hour * 60 + minute))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": eras of 400 years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_and_written() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2026-12-01T00:00:00Z", 1_796_083_200_000),
            ("2024-02-29T12:30:45.120Z", 1_709_209_845_120),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(millis)), "{text}");
            assert_eq!(Timestamp(millis).millis(), millis);
            assert_eq!(Timestamp(millis).to_string().replace(".12Z", ".120Z"), text);
        }
        for millis in [0, -1, 1_709_209_845_120, 1_709_209_845_003, 253_402_300_800_000, -62_198_755_200_000] {
            let mut appended = b"at ".to_vec();
            Timestamp(millis).append_to(&mut appended);
            assert_eq!(appended, format!("at {}", Timestamp(millis)).into_bytes());
        }
        assert_eq!(Timestamp::parse("2026-12-01T02:00:00.5+02:00"), Some(Timestamp(1_796_083_200_500)));
        assert_eq!(Timestamp::parse("2026-12-01T05:30:00+05:30"), Some(Timestamp(1_796_083_200_000)));
        assert_eq!(Timestamp::parse("2026-11-30T18:29:00-05:31"), Some(Timestamp(1_796_083_200_000)));
        for text in ["2000-02-29T00:00:00Z", "2026-04-30T00:00:00Z", "2026-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "2026-12-01",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T23:60:00Z",
            "2026-12-01T23:59:60Z",
            "2026-12-01T00:00:00",
            "2026-12-01T00:00:00.Z",
            "2026-12-01T00:00:00+2:00",
            "2026-12-01T00:00:00+24:00",
            "2026-12-01T00:00:00+00:60",
            "2026-12-01T00:00:00+0a:00",
            "+026-12-01T00:00:00Z",
            "2026-12-01T00:00:00Zx",
            "ä026-12-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        for day in (-800_000..800_000).step_by(37) {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (5400, "1h 30m"),
            (43_200, "12h"),
            (86_400, "24h"),
            (90_000, "25h"),
            (187_200, "2d 4h"),
            (172_980, "2d 3m"),
            (172_805, "2d 5s"),
            (1_209_600, "14d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
