//! Days and times as text and back, over the whole range that a `DATE` and a `TIMESTAMP` have: years far beyond 9999, where the
//! library for times ends.

const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of a day since 1970, in the Gregorian calendar also before there was one.
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on the first of March, so that the day of a leap year is the last.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970; the other way round. Month and day are in their range.
#[must_use]
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// As DuckDB writes a `TIMESTAMP`.
#[must_use]
pub fn timestamp_text(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        // DuckDB's other end is one above the least.
        i64::MIN | -9_223_372_036_854_775_807 => return "-infinity".to_owned(),
        _ => {}
    }
    let (day, time) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
    let (seconds, fraction) = (time / 1_000_000, time % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{} {hour:02}:{minute:02}:{second:02}", day_text(day));
    if fraction > 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}

/// As DuckDB writes a `DATE`.
#[must_use]
pub fn date_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        -2_147_483_647 => "-infinity".to_owned(),
        days => day_text(days.into()),
    }
}

fn day_text(days: i64) -> String {
    match civil(days) {
        (year, month, day) if year > 0 => format!("{year:04}-{month:02}-{day:02}"),
        (year, month, day) => format!("{:04}-{month:02}-{day:02} (BC)", 1 - year),
    }
}

/// Microseconds since 1970 of an ISO 8601 date or date and time; without an offset it is UTC.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    if text.is_empty() || text.len() > 64 || !text.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    // Not by way of an instant: the library has none for the last hours of 9999.
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    let day = days(civil.year().into(), civil.month().into(), civil.day().into());
    let seconds = i64::from(civil.hour()) * 3_600 + i64::from(civil.minute()) * 60 + i64::from(civil.second());
    Some(day * DAY_MICROS + seconds * 1_000_000 + i64::from(civil.subsec_nanosecond()) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_and_come_back() {
        for day in (-1_000_000..4_000_000).step_by(97).chain([i32::MIN.into(), i32::MAX.into(), -719_528, -719_162]) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!(date_text(2_932_896), "9999-12-31");
        assert_eq!(date_text(2_932_897), "10000-01-01");
        assert_eq!(date_text(-719_163), "0001-12-31 (BC)");
    }

    #[test]
    fn times_keep_their_digits_to_the_end_of_the_year_9999() {
        for text in ["9999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "1969-12-31 23:59:59.5", "2024-02-29 00:00:00"] {
            assert_eq!(parse_timestamp(text).map(timestamp_text).as_deref(), Some(text));
        }
        assert_eq!(timestamp_text(i64::MAX - 1), "294247-01-10 04:00:54.775806");
    }
}
