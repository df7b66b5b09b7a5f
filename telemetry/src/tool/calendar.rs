//! The time by the calendar, and how it is written.
//!
//! A calendar is set by people and by other machines: it jumps, it may be before 1970, on a board
//! without a battery at every start, and past the year 9999 if its bytes were wrong. Whatever it says
//! is written, as near to it as the format goes.

use crate::tool::panics;
use crate::tool::silence;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Says what time it is.
#[derive(Clone, Default)]
pub(crate) struct Calendar {
    /// `None`: the system's.
    set: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

impl Calendar {
    pub(crate) fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Calendar {
            set: Some(Arc::new(now)),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        match &self.set {
            None => SystemTime::now(),
            // What panics on telemetry's own thread is caught there, and counted.
            Some(now) if silence::is_silent() => now(),
            Some(now) => panics::caught(|| now()).unwrap_or_else(SystemTime::now),
        }
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.set.is_some() { "set" } else { "system" };
        write!(f, "Calendar({whose})")
    }
}

/// The years that RFC 3339 has room for, as days since the first of January 1970.
const FIRST_DAY: i64 = -719_528;
const LAST_DAY: i64 = 2_932_896;
const DAY: i64 = 86_400_000;

/// RFC 3339, in UTC, with milliseconds. What is before the year 0 or after 9999 is written as the first or
/// last moment of these.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let millis = |since: Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let since_1970 = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        // The millisecond that it is in begins before it.
        Err(before) => -millis(
            before
                .duration()
                .saturating_add(Duration::from_nanos(999_999)),
        ),
    };
    let millis = since_1970.clamp(FIRST_DAY * DAY, (LAST_DAY + 1) * DAY - 1);
    let (year, month, day) = date(millis.div_euclid(DAY));
    let of_day = millis.rem_euclid(DAY);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Year, month and day, this many days after the first of January 1970.
fn date(days: i64) -> (i64, i64, i64) {
    // Years that begin with March have their leap day at the end, and every 400 of them are alike.
    const FROM_MARCH_0: i64 = 719_468;
    const DAYS_OF_400: i64 = 146_097;
    let days = days + FROM_MARCH_0;
    let (centuries, day) = (days.div_euclid(DAYS_OF_400), days.rem_euclid(DAYS_OF_400));
    // Without the leap days so far, of which each hundredth year has none.
    let year = (day - day / 1460 + day / 36_524 - day / (DAYS_OF_400 - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days, and five again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (centuries * 400 + year + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> SystemTime {
        let apart = Duration::from_secs(seconds.unsigned_abs());
        match seconds < 0 {
            true => SystemTime::UNIX_EPOCH - apart,
            false => SystemTime::UNIX_EPOCH + apart,
        }
    }

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"),
            (-2_208_988_800, "1900-01-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
            (-62_167_219_200, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), text);
        }
        let moment = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(timestamp(moment), "1969-12-31T23:59:59.999Z");
        let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_999_999);
        assert_eq!(timestamp(moment), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn times_that_cannot_be_written_are_the_nearest_that_can() {
        for (seconds, text) in [
            (253_402_300_800, "9999-12-31T23:59:59.999Z"),
            (i64::MAX / 2, "9999-12-31T23:59:59.999Z"),
            (-62_167_219_201, "0000-01-01T00:00:00.000Z"),
            (i64::MIN / 2, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), text);
        }
    }

    #[test]
    fn days_follow_each_other() {
        let mut last = date(FIRST_DAY - 1);
        for day in FIRST_DAY..=LAST_DAY {
            let today = date(day);
            let (year, month, of_month) = today;
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [
                31,
                28 + i64::from(is_leap),
                31,
                30,
                31,
                30,
                31,
                31,
                30,
                31,
                30,
                31,
            ];
            let is_next = match (of_month, month) {
                (1, 1) => last == (year - 1, 12, 31),
                (1, _) => last == (year, month - 1, days[month as usize - 2]),
                _ => last == (year, month, of_month - 1),
            };
            assert!(
                is_next && of_month <= days[month as usize - 1],
                "{last:?} {today:?}"
            );
            last = today;
        }
        assert_eq!(last, (9999, 12, 31));
    }

    #[test]
    fn a_calendar_that_panics_is_not_asked_again_on_the_applications_threads() {
        let calendar = Calendar::of(|| std::panic::resume_unwind(Box::new(())));
        assert!(calendar.now() > at(0));
    }
}
