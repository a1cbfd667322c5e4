//! Points in time and lengths of time as callers write them.

use crate::clock::Wall;
use crate::history::row::{Item, micros_of, parse_timestamp};
use std::time::Duration;

/// Seconds of the year 10000; a number beyond is not in seconds.
const SECONDS_MAX: f64 = 253_402_300_800.0;
/// Bounds of a bucket's width: finer than a clock ticks, coarser than the calendar leaves months alone.
const WIDTH_MIN: Duration = Duration::from_millis(1);
const WIDTH_MAX: Duration = Duration::from_secs(28 * 86_400);

/// Microseconds since 1970. Seconds since 1970, fractions allowed; a text such as `2026-11-21 12:00:00.5` or
/// `2026-11-21T13:00:00+01:00`, in UTC if it does not say otherwise; or `1h 30m`: so long before `now`.
pub(super) fn moment(value: &Item<'_>, now: Wall) -> Option<Result<i64, String>> {
    Some(match value {
        Item::Null => return None,
        Item::Micros(micros) => Ok(*micros),
        Item::Integer(seconds) => match i64::try_from(*seconds) {
            Ok(seconds) => seconds_to_micros(seconds),
            Err(_) => Err(not_seconds(*seconds)),
        },
        Item::Float(seconds) if seconds.is_finite() && *seconds < SECONDS_MAX => {
            micros_of(*seconds).ok_or_else(|| not_seconds(seconds))
        }
        Item::Float(seconds) => Err(not_seconds(seconds)),
        Item::Text(text) => text_moment(text, now)
            .ok_or_else(|| "expected a time like `2026-11-21 12:00:00`, or `1h` for an hour ago".to_owned()),
        other => Err(format!("expected a number of seconds or a text, found {}", other.describe())),
    })
}

fn text_moment(text: &str, now: Wall) -> Option<i64> {
    let now = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Some(now);
    }
    let before = text.strip_suffix("ago").unwrap_or(text).trim();
    match humantime::parse_duration(before.strip_prefix('-').unwrap_or(before)) {
        Ok(ago) => Some(now.saturating_sub_unsigned(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX))),
        Err(_) => parse_timestamp(text),
    }
}

/// The width of a time bucket in microseconds: `5m`, or a number of seconds.
pub(super) fn width(value: &Item<'_>) -> Option<Result<i64, String>> {
    let width = match value {
        Item::Null => return None,
        Item::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Item::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Item::Text(text) => humantime::parse_duration(text.trim()).ok(),
        other => return Some(Err(format!("expected a length of time like `5m`, found {}", other.describe()))),
    };
    Some(match width {
        Some(width) if (WIDTH_MIN..=WIDTH_MAX).contains(&width) => Ok(i64::try_from(width.as_micros()).unwrap_or(i64::MAX)),
        Some(_) => Err("a bucket is 1 ms to 28 days wide; for calendar months group by date_trunc in `where`".to_owned()),
        None => Err("expected a length of time like `5m` or `1h`".to_owned()),
    })
}

fn seconds_to_micros(seconds: i64) -> Result<i64, String> {
    #[expect(clippy::cast_possible_truncation, reason = "a constant that fits")]
    let most = SECONDS_MAX as i64;
    if seconds < most { Ok(seconds.saturating_mul(1_000_000)) } else { Err(not_seconds(seconds)) }
}

fn not_seconds(number: impl std::fmt::Display) -> String {
    format!("{number} is not a number of seconds since 1970")
}
