//! Arithmetic with times, in UTC, as DuckDB has it.

use super::value::{Interval, Value};
use crate::history::sql::functions::{Part, Unit};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

pub(super) const DAY: i64 = 86_400_000_000;

/// A date or a time as microseconds since 1970.
pub(super) fn micros(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Timestamp(micros) => Some(*micros),
        Value::Date(days) => Some(i64::from(*days) * DAY),
        _ => None,
    }
}

fn civil(micros: i64) -> Result<DateTime, String> {
    Timestamp::from_microsecond(micros).map(|at| Offset::UTC.to_datetime(at)).map_err(|_| beyond())
}

fn from_civil(at: DateTime) -> Result<i64, String> {
    Offset::UTC.to_timestamp(at).map(|at| at.as_microsecond()).map_err(|_| beyond())
}

fn beyond() -> String {
    "Out of Range Error: a time is before the year -9999 or after 9999".to_owned()
}

/// `sign` is 1 or -1.
pub(super) fn add(at: i64, interval: Interval, sign: i64) -> Result<i64, String> {
    let at = if interval.months == 0 {
        at
    } else {
        let months = interval.months.checked_mul(sign).ok_or_else(beyond)?;
        let span = Span::new().try_months(months).map_err(|_| beyond())?;
        from_civil(civil(at)?.checked_add(span).map_err(|_| beyond())?)?
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
    let month = |date: jiff::civil::Date, month: i8| {
        let first = jiff::civil::Date::new(date.year(), month, 1).map_err(|_| beyond())?;
        from_civil(first.to_datetime(jiff::civil::Time::midnight()))
    };
    match unit {
        Unit::Year => month(civil(at)?.date(), 1),
        Unit::Quarter => {
            let date = civil(at)?.date();
            month(date, (date.month() - 1) / 3 * 3 + 1)
        }
        Unit::Month => {
            let date = civil(at)?.date();
            month(date, date.month())
        }
        // 1970-01-01 was a Thursday; weeks begin with Monday.
        Unit::Week => Ok((at + 3 * DAY).div_euclid(7 * DAY) * 7 * DAY - 3 * DAY),
        other => Ok(at.div_euclid(length(other)) * length(other)),
    }
}

/// Start of the bucket that a time falls in, counted from Monday 2000-01-03.
pub(super) fn bucket(width_us: i64, at: i64) -> i64 {
    const ORIGIN: i64 = 946_857_600_000_000;
    at.saturating_sub(at.saturating_sub(ORIGIN).rem_euclid(width_us.max(1)))
}

/// How often the clock passes a boundary of the unit between two times.
pub(super) fn difference(unit: Unit, from: i64, to: i64) -> Result<i64, String> {
    let months = |at: i64| civil(at).map(|at| i64::from(at.year()) * 12 + i64::from(at.month()) - 1);
    Ok(match unit {
        Unit::Year => i64::from(civil(to)?.year()) - i64::from(civil(from)?.year()),
        Unit::Quarter => months(to)?.div_euclid(3) - months(from)?.div_euclid(3),
        Unit::Month => months(to)? - months(from)?,
        Unit::Week => (truncate(unit, to)? - truncate(unit, from)?) / (7 * DAY),
        other => to.div_euclid(length(other)) - from.div_euclid(length(other)),
    })
}

#[expect(clippy::cast_precision_loss, reason = "an epoch is a float")]
pub(super) fn part(part: Part, at: i64) -> Result<Value<'static>, String> {
    let time = civil(at)?;
    let in_minute = at.rem_euclid(60_000_000);
    let whole = match part.sql() {
        "year" => time.year().into(),
        "quarter" => (i64::from(time.month()) - 1) / 3 + 1,
        "month" => time.month().into(),
        "week" => time.date().iso_week_date().week().into(),
        "isoyear" => time.date().iso_week_date().year().into(),
        "day" => time.day().into(),
        "hour" => time.hour().into(),
        "minute" => time.minute().into(),
        "second" => in_minute / 1_000_000,
        "millisecond" => in_minute / 1_000,
        "microsecond" => in_minute,
        "dow" => time.weekday().to_sunday_zero_offset().into(),
        "isodow" => time.weekday().to_monday_one_offset().into(),
        "doy" => time.day_of_year().into(),
        _ => return Ok(Value::Float(at as f64 / 1e6)),
    };
    Ok(Value::Integer(i128::from(whole)))
}

/// `make_timestamp` of six parts.
#[expect(clippy::cast_possible_truncation, reason = "rounded and checked to be a second's part")]
pub(super) fn make(parts: [i64; 5], seconds: f64) -> Result<i64, String> {
    let wrong = || "Conversion Error: these parts make no time".to_owned();
    let [year, month, day, hour, minute] = parts;
    let small = |part: i64| i8::try_from(part).map_err(|_| wrong());
    if !(0.0..60.0).contains(&seconds) {
        return Err(wrong());
    }
    let year = i16::try_from(year).map_err(|_| wrong())?;
    let at = DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, 0, 0).map_err(|_| wrong())?;
    Ok(from_civil(at)? + (seconds * 1e6).round() as i64)
}
