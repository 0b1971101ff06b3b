//! Windows of time: some days of the week, some hours of the day, by the clock of a place.
//!
//! The rules of time zones come with the program, never from the machine, so that one policy means the same everywhere.
//! They change by law a few times a year: a program older than such a law follows the old one. Whoever cannot live with
//! that writes a fixed offset from UTC.
use crate::identity::Name;
use crate::time::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::fmt;
use std::hash::{Hash, Hasher};

/// From Monday.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const MINUTES_PER_DAY: i64 = 24 * 60;

/// What must hold of the local day and minute. Checked: made by [`Window::new`] only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// From Monday; the day on which the window begins.
    days: [bool; 7],
    /// Minutes of the day. `from > to` lasts over midnight; both equal is refused.
    from: u16,
    to: u16,
    clock: Clock,
}

/// By which clock a window opens. Equal when it is written alike.
#[derive(Clone, Debug)]
pub struct Clock(Reading);

#[derive(Clone, Debug)]
enum Reading {
    /// Minutes east of UTC.
    Offset(i16),
    /// With its name in the IANA database.
    Zone(Name, TimeZone),
}

impl Clock {
    /// A fixed number of minutes east of UTC.
    ///
    /// # Errors
    /// [`InvalidWindow::Offset`].
    pub fn offset(minutes: i16) -> Result<Self, InvalidWindow> {
        if minutes.unsigned_abs() > 14 * 60 {
            return Err(InvalidWindow::Offset);
        }
        Ok(Self(Reading::Offset(minutes)))
    }

    /// A zone of the IANA database, by its name exactly: `Europe/Berlin`.
    pub fn zone(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| zone.iana_name() == Some(name))?;
        Some(Self(Reading::Zone(name.into(), zone)))
    }

    /// The names of all zones, for hints.
    pub fn zones() -> Vec<String> {
        TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
    }

    /// Seconds to add to UTC at that moment.
    fn offset_at(&self, seconds: i64) -> i64 {
        match &self.0 {
            Reading::Offset(minutes) => i64::from(*minutes) * 60,
            Reading::Zone(_, zone) => {
                let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
                let at = jiff::Timestamp::from_second(seconds.clamp(first, last)).unwrap_or(jiff::Timestamp::MAX);
                zone.to_offset(at).seconds().into()
            }
        }
    }

    /// What makes two clocks the same one.
    fn key(&self) -> Result<i16, &str> {
        match &self.0 {
            Reading::Offset(minutes) => Ok(*minutes),
            Reading::Zone(name, _) => Err(name),
        }
    }
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Clock {}

impl Hash for Clock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// "+01:00", "Europe/Berlin".
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key() {
            Err(name) => f.write_str(name),
            Ok(minutes) => {
                let (sign, offset) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
                write!(f, "{sign}{:02}:{:02}", offset / 60, offset % 60)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidWindow {
    NoDay,
    /// It would be open never, or always.
    Empty,
    /// Later than 24:00.
    Hour,
    /// Further than the 14 hours that some place on earth is away from UTC.
    Offset,
}

impl Window {
    /// `from` and `to` are minutes since midnight; 0 and 1440 are the whole day.
    ///
    /// # Errors
    /// See [`InvalidWindow`].
    pub fn new(days: [bool; 7], from: u16, to: u16, clock: Clock) -> Result<Self, InvalidWindow> {
        let day = u16::try_from(MINUTES_PER_DAY).unwrap_or(u16::MAX);
        if !days.contains(&true) {
            return Err(InvalidWindow::NoDay);
        }
        if from >= day || to > day {
            return Err(InvalidWindow::Hour);
        }
        if from == to {
            return Err(InvalidWindow::Empty);
        }
        Ok(Self { days, from, to, clock })
    }

    /// The first minute is inside, the last one is not.
    pub fn contains(&self, now: Timestamp) -> bool {
        let seconds = now.seconds();
        let minutes = seconds.saturating_add(self.clock.offset_at(seconds)).div_euclid(60);
        let (day, minute) = (minutes.div_euclid(MINUTES_PER_DAY), minutes.rem_euclid(MINUTES_PER_DAY));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if self.is_over_midnight() {
            // The morning belongs to the evening before.
            return (minute >= from && self.on(day)) || (minute < to && self.on(day - 1));
        }
        self.on(day) && (from..to).contains(&minute)
    }

    fn is_over_midnight(&self) -> bool {
        self.from > self.to
    }

    /// Days since the epoch, which was a Thursday.
    fn on(&self, day: i64) -> bool {
        usize::try_from((day + 3).rem_euclid(7)).ok().and_then(|index| self.days.get(index)) == Some(&true)
    }
}

/// "mon, tue from 08:00 to 18:00 (+01:00)".
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|(day, _)| *day).collect();
        let days = if days.len() == DAYS.len() { "every day".to_owned() } else { days.join(", ") };
        write!(
            f,
            "{days} from {:02}:{:02} to {:02}:{:02}",
            self.from / 60,
            self.from % 60,
            self.to / 60,
            self.to % 60
        )?;
        write!(f, " ({})", self.clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: [bool; 7] = [true, true, true, true, true, false, false];

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn offset(minutes: i16) -> Clock {
        Clock::offset(minutes).unwrap()
    }

    #[test]
    fn a_clock_is_written_as_the_policy_has_it_and_the_same_as_another_of_its_name() {
        for (minutes, shown) in [(0, "+00:00"), (60, "+01:00"), (-90, "-01:30"), (14 * 60, "+14:00")] {
            assert_eq!(offset(minutes).to_string(), shown);
        }
        let zone = |name: &str| Clock::zone(name).unwrap();
        assert_eq!(zone("Europe/Berlin"), zone("Europe/Berlin"));
        assert!(zone("Europe/Berlin") != zone("Europe/Paris") && offset(60) != zone("Europe/Berlin"));
    }

    #[test]
    fn a_zone_that_a_hint_names_is_one() {
        let zones = Clock::zones();
        assert!(zones.iter().any(|name| name == "Europe/Berlin"));
        assert!(zones.iter().all(|name| Clock::zone(name).is_some()));
    }

    #[test]
    fn a_window_has_its_first_minute_and_not_its_last() {
        let window = Window::new(WORK, 8 * 60, 18 * 60, offset(60)).unwrap();
        assert_eq!(window.to_string(), "mon, tue, wed, thu, fri from 08:00 to 18:00 (+01:00)");
        // 23 November 2026 is a Monday.
        for (text, inside) in [
            ("2026-11-23T06:59:59Z", false),
            ("2026-11-23T07:00:00Z", true),
            ("2026-11-23T16:59:59Z", true),
            ("2026-11-23T17:00:00Z", false),
            ("2026-11-22T12:00:00Z", false),
            ("2026-11-28T12:00:00Z", false),
            ("1969-12-31T12:00:00Z", true),
            ("1969-12-28T12:00:00Z", false),
        ] {
            assert_eq!(window.contains(at(text)), inside, "{text}");
        }
    }

    #[test]
    fn the_day_is_the_local_one_and_a_night_belongs_to_its_evening() {
        let only = |index: usize| std::array::from_fn(|day| day == index);
        let night = Window::new(only(4), 22 * 60, 6 * 60, offset(-300)).unwrap();
        for (text, inside) in [
            ("2026-11-27T21:59:00-05:00", false),
            ("2026-11-27T22:00:00-05:00", true),
            ("2026-11-28T05:59:00-05:00", true),
            ("2026-11-28T06:00:00-05:00", false),
            ("2026-11-28T22:00:00-05:00", false),
            ("2026-11-27T05:00:00-05:00", false),
        ] {
            assert_eq!(night.contains(at(text)), inside, "{text}");
        }
        let day = Window::new(only(0), 0, 1440, offset(840)).unwrap();
        assert!(day.contains(at("2026-11-22T10:00:00Z")) && !day.contains(at("2026-11-23T10:00:00Z")));
    }

    #[test]
    fn a_window_that_is_none_is_refused() {
        for (days, from, to, why) in [
            ([false; 7], 0, 60, InvalidWindow::NoDay),
            (WORK, 60, 60, InvalidWindow::Empty),
            (WORK, 1440, 60, InvalidWindow::Hour),
            (WORK, 0, 1441, InvalidWindow::Hour),
        ] {
            assert_eq!(Window::new(days, from, to, offset(0)), Err(why));
        }
        assert_eq!(Clock::offset(841), Err(InvalidWindow::Offset));
        assert!(Clock::offset(-840).is_ok());
        for name in ["Europe/Bonn", "europe/berlin", "CEST", "", "+01:00"] {
            assert_eq!(Clock::zone(name), None, "{name}");
        }
    }

    #[test]
    fn a_zone_follows_its_summer_time() {
        let window = Window::new([true; 7], 8 * 60, 18 * 60, Clock::zone("Europe/Berlin").unwrap()).unwrap();
        assert_eq!(window.to_string(), "every day from 08:00 to 18:00 (Europe/Berlin)");
        // Winter is +01:00, summer +02:00; in 2026 they change on 29 March and on 25 October at 01:00 UTC.
        for (text, inside) in [
            ("2026-01-15T06:59:59Z", false),
            ("2026-01-15T07:00:00Z", true),
            ("2026-07-15T05:59:59Z", false),
            ("2026-07-15T06:00:00Z", true),
            ("2026-03-28T06:30:00Z", false),
            ("2026-03-29T06:30:00Z", true),
            ("2026-10-24T16:30:00Z", false),
            ("2026-10-25T16:30:00Z", true),
        ] {
            assert_eq!(window.contains(at(text)), inside, "{text}");
        }
        // The clock of another place is another one, even where it shows the same time.
        assert_ne!(Clock::zone("Europe/Berlin"), Clock::zone("Europe/Paris"));
        // Where a clock has no rules any more: inside, or outside, and nothing else.
        let night = Window::new([true; 7], 18 * 60, 8 * 60, Clock::zone("Europe/Berlin").unwrap()).unwrap();
        for extreme in [i64::MIN, i64::MAX] {
            let extreme = Timestamp::from_millis(extreme);
            assert_ne!(window.contains(extreme), night.contains(extreme));
        }
    }
}
