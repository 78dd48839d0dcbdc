//! Times in words, as docker writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_OF_DAY: u64 = 86_400;

/// The present moment: `2026-11-25T17:19:50.123456789Z`.
pub fn now() -> String {
    rfc_3339(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The moment this long after 1970.
pub fn rfc_3339(since: Duration) -> String {
    let (year, month, day) = date(since.as_secs() / SECONDS_OF_DAY);
    let second = since.as_secs() % SECONDS_OF_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanosecond = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z")
}

/// The Gregorian date of a day, counted from 1970: years begin in March, so that the day that leap years have more is
/// the last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 1 March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
