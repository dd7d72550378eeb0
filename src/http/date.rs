//! The time of a message, as its `Date` header has it.

use std::fmt::{self, Write};
use std::str;
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// 9999-12-31 23:59:59, the last second whose year has four digits.
const LAST_SECOND: u64 = 253_402_300_799;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A date and time of day in the form of RFC 9110 section 5.6.7 (IMF-fixdate), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpDate {
    /// ASCII.
    text: [u8; Self::LENGTH],
}

impl HttpDate {
    const LENGTH: usize = 29;

    /// The form of `time`, without its fraction of a second. `None` before 1970 and after 9999: a clock that is so wrong is none,
    /// and a server without a clock sends no date (section 6.6.1).
    pub(crate) fn of(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        if seconds > LAST_SECOND {
            return None;
        }
        let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        let (year, month, day) = civil_date(days);
        let mut date = HttpDate {
            text: [0; Self::LENGTH],
        };
        write!(
            Fill(&mut date.text),
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[(days % 7) as usize],
            MONTHS[month],
            second / 3600,
            second / 60 % 60,
            second % 60,
        )
        .ok()?;
        Some(date)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// The bytes that are still to be written.
struct Fill<'a>(&'a mut [u8]);

impl Write for Fill<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = std::mem::take(&mut self.0);
        let (place, rest) = room.split_at_mut_checked(text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.0 = rest;
        Ok(())
    }
}

/// The year, the month from 0 and the day of the month from 1, `days` after 1970-01-01 in the Gregorian calendar.
///
/// Years are counted from March, so that the day of a leap year is a year's last one. 400 of them, an era, have always the same
/// number of days.
fn civil_date(days: u64) -> (u64, usize, u64) {
    const FROM_MARCH_OF_YEAR_0_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + FROM_MARCH_OF_YEAR_0_TO_1970;
    let (era, day) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    // One day of the era is taken off for each leap year before it, added for each century, and so on: all years have 365 then.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on the months have 31, 30, 31, 30 and 31 days, which are 153, and again.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    let month = (month + 2) % 12;
    (
        400 * era + year + u64::from(is_next_year),
        month as usize,
        day_of_month,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Option<HttpDate> {
        HttpDate::of(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// The vectors are those of RFC 9110 section 5.6.7, and of `date -u -d @SECONDS`.
    #[test]
    fn rfc_9110_section_5_6_7_known_dates() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (59, "Thu, 01 Jan 1970 00:00:59 GMT"),
            (86_399, "Thu, 01 Jan 1970 23:59:59 GMT"),
            (86_400, "Fri, 02 Jan 1970 00:00:00 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (94_694_399, "Sun, 31 Dec 1972 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (978_307_199, "Sun, 31 Dec 2000 23:59:59 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (1_764_460_800, "Sun, 30 Nov 2025 00:00:00 GMT"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (4_294_967_296, "Sun, 07 Feb 2106 06:28:16 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let date = at(seconds).expect(text);
            assert_eq!(date.as_str(), text);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_gives_no_date() {
        assert_eq!(HttpDate::of(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(at(LAST_SECOND + 1), None);
        assert!(HttpDate::of(UNIX_EPOCH + Duration::from_nanos(999_999_999)).is_some());
    }

    /// Counts the days one by one, which is another way to the same dates.
    #[test]
    fn every_day_to_the_year_3000() {
        let is_leap = |year: u64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut days = 0;
        for year in 1970..3000 {
            for (month, length) in lengths.into_iter().enumerate() {
                let length = length + u64::from(month == 1 && is_leap(year));
                for day in 1..=length {
                    assert_eq!(civil_date(days), (year, month, day), "{days}");
                    days += 1;
                }
            }
        }
    }
}
