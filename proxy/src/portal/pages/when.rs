//! Moments in words. A page does not know the reader's time zone, so moments are ages, or UTC and say so.
use super::strings::Strings;
use std::fmt::Write as _;
use time::OffsetDateTime;
use torhaus_authz::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `12 minutes ago`; in the future or under a minute ago: `just now`.
pub(super) fn ago(now: Timestamp, at: Timestamp, words: &Strings) -> String {
    let seconds = now.since(at).as_secs();
    let ago = &words.ago;
    match seconds {
        0..MINUTE => ago.just_now.to_owned(),
        MINUTE..HOUR => (ago.minutes)(seconds / MINUTE),
        HOUR..DAY => (ago.hours)(seconds / HOUR),
        _ => (ago.days)(seconds / DAY),
    }
}

/// `23 November 2026, 00:18 UTC`
pub(super) fn moment(at: Timestamp, words: &Strings) -> String {
    let Some(t) = utc(at) else { return String::new() };
    let month = words.months.get(usize::from(u8::from(t.month())).saturating_sub(1)).copied().unwrap_or("");
    let mut out = (words.date)(t.day(), month, t.year());
    // Writing to a String cannot fail.
    let _ = write!(out, ", {:02}:{:02} UTC", t.hour(), t.minute());
    out
}

/// RFC 3339 in UTC, for `<time datetime>` and JSON: `2026-11-23T00:18:01Z`
pub(super) fn rfc3339(at: Timestamp) -> String {
    utc(at).map_or_else(String::new, |t| {
        let month = u8::from(t.month());
        let (year, day, hour, minute, second) = (t.year(), t.day(), t.hour(), t.minute(), t.second());
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    })
}

fn utc(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.seconds()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::strings::strings;
    use super::*;
    use torhaus_authz::Language;

    #[test]
    fn ages_and_moments_read_as_people_say_them() {
        let (en, de) = (strings(Language::English), strings(Language::German));
        let now = Timestamp::from_seconds(1_795_393_081);
        let before = |seconds: i64| Timestamp::from_seconds(1_795_393_081 - seconds);
        for (seconds, english, german) in [
            (0, "just now", "gerade eben"),
            (-5, "just now", "gerade eben"),
            (60, "1 minute ago", "vor 1 Minute"),
            (3599, "59 minutes ago", "vor 59 Minuten"),
            (3600, "1 hour ago", "vor 1 Stunde"),
            (86_400, "1 day ago", "vor 1 Tag"),
            (172_800, "2 days ago", "vor 2 Tagen"),
        ] {
            assert_eq!(ago(now, before(seconds), en), english);
            assert_eq!(ago(now, before(seconds), de), german);
        }
        assert_eq!(moment(now, en), "23 November 2026, 00:18 UTC");
        assert_eq!(moment(now, de), "23. November 2026, 00:18 UTC");
        assert_eq!(rfc3339(now), "2026-11-23T00:18:01Z");
        assert_eq!(moment(Timestamp::from_seconds(i64::MAX), en), "");
    }
}
