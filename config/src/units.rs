//! Quantities as people type them: `15m`, `10MiB`, `2026-12-01`. Every one carries its unit; a bare number is refused.
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, macros::format_description};
use torhaus_authz::Timestamp;

/// Why a text is not what it should be, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub message: String,
    pub hint: Option<String>,
}

impl Mistake {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Longest duration we take: what is longer is a typing error, and would overflow when added to a date.
const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// `500ms`, `30s`, `15m`, `12h`, `30d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Mistake> {
    let (number, unit) = split(text);
    let wrong = || {
        let hint = match (number.is_empty(), unit) {
            (false, "") => format!("add the unit: `{number}s`, `{number}m`, `{number}h` or `{number}d`"),
            (false, "min" | "mins" | "minutes" | "minute") => format!("write `{number}m`"),
            (false, "sec" | "secs" | "seconds" | "second") => format!("write `{number}s`"),
            (false, "hours" | "hour" | "hr" | "H") => format!("write `{number}h`"),
            (false, "days" | "day" | "D") => format!("write `{number}d`"),
            _ => "write a whole number and a unit: `500ms`, `30s`, `15m`, `12h`, `30d`".to_owned(),
        };
        Mistake::new(format!("`{text}` is not a duration")).hint(hint)
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    let factor_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    let duration = count.checked_mul(factor_ms).map(Duration::from_millis);
    match duration {
        Some(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(Mistake::new(format!("`{text}` is longer than ten years")).hint("choose a shorter time")),
    }
}

/// `512B`, `32KiB`, `10MiB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<usize, Mistake> {
    let (number, unit) = split(text);
    let wrong = || {
        let hint = match (number.is_empty(), unit) {
            (false, "") => format!("add the unit: `{number}B`, `{number}KiB` or `{number}MiB`"),
            (false, "k" | "K" | "KB" | "kb" | "kB") => format!("write `{number}KiB`"),
            (false, "m" | "M" | "MB" | "mb") => format!("write `{number}MiB`"),
            _ => "write a whole number and a unit: `512B`, `32KiB`, `10MiB`, `1GiB`".to_owned(),
        };
        Mistake::new(format!("`{text}` is not a size")).hint(hint)
    };
    let count: usize = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    count.checked_mul(factor).ok_or_else(|| Mistake::new(format!("`{text}` is too large")))
}

/// `10%`, `0.5%`: a share, 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, Mistake> {
    let wrong =
        || Mistake::new(format!("`{text}` is not a share")).hint("write `0%` to `100%`, for example `10%` or `0.5%`");
    let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let percent: f64 = number.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    if percent > 100.0 { Err(wrong()) } else { Ok(percent / 100.0) }
}

/// `2026-12-01T00:00:00Z`, or a day: its first moment, in UTC.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, Mistake> {
    let day = format_description!("[year]-[month]-[day]");
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| Date::parse(text, &day).map(|date| date.midnight().assume_utc()))
        .map_err(|_| {
            Mistake::new(format!("`{text}` is not a point in time"))
                .hint("write `2026-12-01` or `2026-12-01T18:00:00Z`")
        })?;
    Ok(Timestamp::from_seconds(at.unix_timestamp()))
}

/// `08:00`, `24:00`: minutes since midnight.
pub(crate) fn time_of_day(text: &str) -> Result<u16, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not a time of day")).hint("write it in quotes, as `\"08:00\"`");
    let (hour, minute) = two_by_two(text).ok_or_else(wrong)?;
    match (hour, minute) {
        (0..=23, 0..=59) | (24, 0) => Ok(hour * 60 + minute),
        _ => Err(wrong()),
    }
}

/// `+01:00`, `-05:00`: minutes east of UTC.
pub(crate) fn utc_offset(text: &str) -> Result<i16, Mistake> {
    let wrong = || {
        Mistake::new(format!("`{text}` is not an offset from UTC"))
            .hint("write it in quotes, as `\"+01:00\"`; a place that has summer time is a `zone: Europe/Berlin`")
    };
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hour, minute) = two_by_two(rest).filter(|(_, minute)| *minute < 60).ok_or_else(wrong)?;
    i16::try_from(hour * 60 + minute).map(|minutes| sign * minutes).map_err(|_| wrong())
}

fn two_by_two(text: &str) -> Option<(u16, u16)> {
    let two = |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok());
    let (left, right) = text.split_once(':')?;
    Some((two(left)??, two(right)??))
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for (text, hint) in [("30", "`30s`"), ("15min", "`15m`"), ("-1s", "whole number"), ("1.5h", "whole number")] {
            let mistake = duration(text).unwrap_err();
            assert!(mistake.hint.unwrap().contains(hint), "{text}");
        }
        assert!(duration("99999999999999999999d").is_err() && duration("4000d").is_err());
    }

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        assert_eq!(size("32KiB"), Ok(32 * 1024));
        assert_eq!(size("10MiB"), Ok(10 * 1024 * 1024));
        assert_eq!(size("32KB").unwrap_err().hint.unwrap(), "write `32KiB`");
        assert!(size("99999999999GiB").is_err() && size("ten").is_err());
    }

    #[test]
    fn a_point_in_time_is_a_day_or_a_moment() {
        assert_eq!(timestamp("2026-12-01"), timestamp("2026-12-01T00:00:00Z"));
        assert_eq!(timestamp("2026-12-01T01:00:00+01:00"), timestamp("2026-12-01T00:00:00Z"));
        assert!(timestamp("next week").is_err());
    }
    #[test]
    fn a_time_of_day_and_an_offset_are_hours_and_minutes() {
        for (text, minutes) in [("00:00", 0), ("08:30", 510), ("24:00", 1440)] {
            assert_eq!(time_of_day(text), Ok(minutes), "{text}");
        }
        for text in ["8:00", "24:01", "12:60", "12", "0800", "+8:00", "ä2:00"] {
            assert!(time_of_day(text).is_err(), "{text}");
        }
        for (text, minutes) in [("+01:00", 60), ("-05:30", -330), ("+00:00", 0)] {
            assert_eq!(utc_offset(text), Ok(minutes), "{text}");
        }
        for text in ["01:00", "Z", "Europe/Berlin", "+1", "+01:60", "ä", ""] {
            assert!(utc_offset(text).is_err(), "{text}");
        }
    }
}
