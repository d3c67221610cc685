//! The `Date` of a response (RFC 9110 §5.6.7, §6.6.1).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
/// The last second that four digits of a year can name.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Writes the time as an IMF-fixdate, in place of what `out` holds. A time before 1970 becomes 1970.
pub fn write_date(out: &mut String, time: SystemTime) {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = seconds.min(SECONDS_MAX);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin with March here, so that a leap day is the last one; they come in fours, centuries, and
    // 400 years of 146,097 days. March 1 of the year 0 was 719,468 days before 1970.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months have 153 days, whichever five they are.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = 400 * era + year + u64::from(month >= 10);
    out.clear();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn date(seconds: u64) -> String {
        let mut date = String::from("what was there");
        write_date(&mut date, UNIX_EPOCH + Duration::from_secs(seconds));
        date
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            // The example of RFC 9110.
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (SECONDS_MAX + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        let mut before = String::new();
        write_date(&mut before, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(before, date(0));
    }

    /// 800 years, day by day, against a calendar that counts.
    #[test]
    fn each_day_follows_the_one_before_it() {
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..292_194_u64 {
            let name = MONTHS[(month + 10) % 12];
            let expected = format!("{}, {day:02} {name} {year} ", DAYS[(days % 7) as usize]);
            assert!(date(days * 86_400).starts_with(&expected), "{expected}");
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let len = [31, 28 + u32::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
            day += 1;
            if day > len {
                (day, month) = (1, (month + 1) % 12);
                year += i32::from(month == 0);
            }
        }
    }
}
