//! Windows of time: some days of the week, some hours of the day, at a fixed offset from UTC.
//!
//! No time zones: their rules change by law, several times a year, and a gate that follows an old copy of them is wrong
//! without saying so. Whoever wants summer time moves the hours, or opens the window an hour wider.
use crate::time::Timestamp;
use std::fmt;

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
    offset_minutes: i16,
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
    pub fn new(days: [bool; 7], from: u16, to: u16, offset_minutes: i16) -> Result<Self, InvalidWindow> {
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
        if offset_minutes.unsigned_abs() > 14 * 60 {
            return Err(InvalidWindow::Offset);
        }
        Ok(Self { days, from, to, offset_minutes })
    }

    /// The first minute is inside, the last one is not.
    pub fn contains(&self, now: Timestamp) -> bool {
        let minutes = now.seconds().div_euclid(60) + i64::from(self.offset_minutes);
        let (day, minute) = (minutes.div_euclid(MINUTES_PER_DAY), minutes.rem_euclid(MINUTES_PER_DAY));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            return self.on(day) && (from..to).contains(&minute);
        }
        // Over midnight: the morning belongs to the evening before.
        (minute >= from && self.on(day)) || (minute < to && self.on(day - 1))
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
        let (sign, offset) = (if self.offset_minutes < 0 { '-' } else { '+' }, self.offset_minutes.unsigned_abs());
        write!(f, " ({sign}{:02}:{:02})", offset / 60, offset % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: [bool; 7] = [true, true, true, true, true, false, false];

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_window_has_its_first_minute_and_not_its_last() {
        let window = Window::new(WORK, 8 * 60, 18 * 60, 60).unwrap();
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
        let night = Window::new(only(4), 22 * 60, 6 * 60, -300).unwrap();
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
        let day = Window::new(only(0), 0, 1440, 840).unwrap();
        assert!(day.contains(at("2026-11-22T10:00:00Z")) && !day.contains(at("2026-11-23T10:00:00Z")));
    }

    #[test]
    fn a_window_that_is_none_is_refused() {
        for (days, from, to, offset, why) in [
            ([false; 7], 0, 60, 0, InvalidWindow::NoDay),
            (WORK, 60, 60, 0, InvalidWindow::Empty),
            (WORK, 1440, 60, 0, InvalidWindow::Hour),
            (WORK, 0, 1441, 0, InvalidWindow::Hour),
            (WORK, 0, 60, 841, InvalidWindow::Offset),
        ] {
            assert_eq!(Window::new(days, from, to, offset), Err(why));
        }
    }
}
