//! Arithmetic with times, in UTC, as DuckDB has it.

use super::value::{Interval, Value};
use crate::history::row;
use crate::history::sql::functions::{Part, Unit};

pub(super) const DAY: i64 = 86_400_000_000;

/// A date or a time as microseconds since 1970.
pub(super) fn micros(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Timestamp(micros) => Some(*micros),
        Value::Date(days) => Some(i64::from(*days) * DAY),
        _ => None,
    }
}

/// A day in the calendar.
struct Civil {
    days: i64,
    year: i64,
    month: i64,
    day: i64,
}

impl Civil {
    fn of(micros: i64) -> Self {
        let days = micros.div_euclid(DAY);
        let (year, month, day) = row::civil(days);
        Self { days, year, month, day }
    }

    /// Months since the year 0.
    fn months(&self) -> i64 {
        self.year * 12 + self.month - 1
    }

    /// 1 is Monday.
    fn weekday(&self) -> i64 {
        (self.days + 3).rem_euclid(7) + 1
    }

    /// Year and number of the week; the first has the year's first Thursday.
    fn week(&self) -> (i64, i64) {
        let thursday = self.days - self.weekday() + 4;
        let (year, ..) = row::civil(thursday);
        (year, (thursday - row::days(year, 1, 1)) / 7 + 1)
    }
}

/// Midnight of a day.
fn midnight(year: i64, month: i64, day: i64) -> Result<i64, String> {
    row::days(year, month, day).checked_mul(DAY).ok_or_else(beyond)
}

fn beyond() -> String {
    "Out of Range Error: a time is beyond what a TIMESTAMP can be".to_owned()
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    row::days(next_year, next, 1) - row::days(year, month, 1)
}

/// `sign` is 1 or -1.
pub(super) fn add(at: i64, interval: Interval, sign: i64) -> Result<i64, String> {
    let at = if interval.months == 0 {
        at
    } else {
        // No table has more months than there are, so a year stays far below where its days would overflow.
        let more = interval.months.checked_mul(sign).filter(|months| months.abs() < 12_000_000).ok_or_else(beyond)?;
        let date = Civil::of(at);
        let months = date.months() + more;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let day = date.day.min(days_of(year, month));
        midnight(year, month, day)?.checked_add(at.rem_euclid(DAY)).ok_or_else(beyond)?
    };
    interval.micros.checked_mul(sign).and_then(|micros| at.checked_add(micros)).ok_or_else(beyond)
}

/// The interval of `count` units.
pub(super) fn interval(count: i64, unit: Unit) -> Result<Interval, String> {
    let (months, micros) = match unit {
        Unit::Year => (12, 0),
        Unit::Quarter => (3, 0),
        Unit::Month => (1, 0),
        other => (0, length(other)),
    };
    let times = |one: i64| count.checked_mul(one).ok_or_else(|| "Out of Range Error: an interval is too long".to_owned());
    Ok(Interval { months: times(months)?, micros: times(micros)? })
}

/// Microseconds of a unit that always has the same length.
fn length(unit: Unit) -> i64 {
    match unit {
        Unit::Week => 7 * DAY,
        Unit::Day => DAY,
        Unit::Hour => 3_600_000_000,
        Unit::Minute => 60_000_000,
        Unit::Second => 1_000_000,
        Unit::Millisecond => 1_000,
        Unit::Microsecond | Unit::Year | Unit::Quarter | Unit::Month => 1,
    }
}

pub(super) fn truncate(unit: Unit, at: i64) -> Result<i64, String> {
    let date = Civil::of(at);
    let floor = |at: i64, width: i64| at.checked_sub(at.rem_euclid(width)).ok_or_else(beyond);
    match unit {
        Unit::Year => midnight(date.year, 1, 1),
        Unit::Quarter => midnight(date.year, (date.month - 1) / 3 * 3 + 1, 1),
        Unit::Month => midnight(date.year, date.month, 1),
        Unit::Week => (date.days - date.weekday() + 1).checked_mul(DAY).ok_or_else(beyond),
        other => floor(at, length(other)),
    }
}

/// Start of the bucket that a time falls in, counted from Monday 2000-01-03.
pub(super) fn bucket(width_us: i64, at: i64) -> i64 {
    const ORIGIN: i64 = 946_857_600_000_000;
    at.saturating_sub(at.saturating_sub(ORIGIN).rem_euclid(width_us.max(1)))
}

/// How often the clock passes a boundary of the unit between two times.
pub(super) fn difference(unit: Unit, from: i64, to: i64) -> Result<i64, String> {
    let (start, end) = (Civil::of(from), Civil::of(to));
    Ok(match unit {
        Unit::Year => end.year - start.year,
        Unit::Quarter => end.months().div_euclid(3) - start.months().div_euclid(3),
        Unit::Month => end.months() - start.months(),
        Unit::Week => ((end.days - end.weekday()) - (start.days - start.weekday())) / 7,
        other => to.div_euclid(length(other)).checked_sub(from.div_euclid(length(other))).ok_or_else(beyond)?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "an epoch is a float")]
pub(super) fn part(part: Part, at: i64) -> Value<'static> {
    let date = Civil::of(at);
    let in_minute = at.rem_euclid(60_000_000);
    let in_day = at.rem_euclid(DAY);
    let whole = match part.sql() {
        "year" => date.year,
        "quarter" => (date.month - 1) / 3 + 1,
        "month" => date.month,
        "week" => date.week().1,
        "isoyear" => date.week().0,
        "day" => date.day,
        "hour" => in_day / 3_600_000_000,
        "minute" => in_day / 60_000_000 % 60,
        "second" => in_minute / 1_000_000,
        "millisecond" => in_minute / 1_000,
        "microsecond" => in_minute,
        "dow" => date.weekday() % 7,
        "isodow" => date.weekday(),
        "doy" => date.days - row::days(date.year, 1, 1) + 1,
        _ => return Value::Float(at as f64 / 1e6),
    };
    Value::Integer(i128::from(whole))
}

/// `make_timestamp` of six parts.
#[expect(clippy::cast_possible_truncation, reason = "rounded and checked to be a second's part")]
pub(super) fn make(parts: [i64; 5], seconds: f64) -> Result<i64, String> {
    let wrong = || "Conversion Error: these parts make no time".to_owned();
    let [year, month, day, hour, minute] = parts;
    let clock = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(&seconds);
    let calendar = year.abs() < 300_000 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !clock || !calendar {
        return Err(wrong());
    }
    let in_day = (hour * 60 + minute) * 60_000_000 + (seconds * 1e6).round() as i64;
    midnight(year, month, day)?.checked_add(in_day).ok_or_else(beyond)
}
