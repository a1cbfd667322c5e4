//! The functions of [`functions`](crate::history::sql::functions), as DuckDB has them.

use super::node::Evaluated;
use super::time;
use super::value::{Type, Value, compare};
use crate::history::kind;
use crate::history::model::ColumnKind;
use crate::history::sql::case;
use std::borrow::Cow;
use std::cmp::Ordering;

/// A call of a function with values of the types that it was bound with; `ty` is the type of its result.
pub(super) fn call<'a>(name: &'static str, ty: Type, values: Vec<Value<'a>>) -> Evaluated<'a> {
    match name {
        "greatest" | "least" => {
            let wanted = if name == "greatest" { Ordering::Greater } else { Ordering::Less };
            let better = |best: Value<'a>, value: Value<'a>| if compare(&value, &best) == wanted { value } else { best };
            return Ok(values.into_iter().filter(|value| !value.is_null()).reduce(better).unwrap_or(Value::Null));
        }
        "||" if values.iter().any(Value::is_null) => return Ok(Value::Null),
        "concat" | "||" => {
            let texts = values.iter().map(|value| if let Value::Text(text) = value { text.as_ref() } else { "" });
            return Ok(Value::Text(texts.collect::<String>().into()));
        }
        _ => {}
    }
    if values.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    let mut values = values.into_iter();
    let (first, second, third) = (values.next().unwrap_or(Value::Null), values.next(), values.next());
    match first {
        Value::Text(text) => texts(name, text, second, third),
        value if name.starts_with("epoch") => epoch(name, &value),
        Value::Integer(year) if name == "make_timestamp" => match (second, third) {
            (Some(second), Some(third)) => {
                let mut parts = [year, integer(&second), integer(&third), 0, 0];
                for part in parts.iter_mut().skip(3) {
                    *part = values.next().as_ref().map_or(0, integer);
                }
                let seconds = values.next().and_then(|value| value.number()).unwrap_or_default();
                let parts = parts.map(|part| i64::try_from(part).unwrap_or(i64::MAX));
                time::make(parts, seconds).map(Value::Timestamp)
            }
            _ => i64::try_from(year).map(Value::Timestamp).map_err(|_| "Out of Range Error: a time".to_owned()),
        },
        value => number(name, ty, &value, second.as_ref()),
    }
}

fn integer(value: &Value<'_>) -> i128 {
    if let Value::Integer(value) = value { *value } else { 0 }
}

fn epoch<'a>(name: &str, value: &Value<'_>) -> Evaluated<'a> {
    let Some(at) = time::micros(value) else {
        // `epoch_ms` of a number goes the other way.
        let at = i64::try_from(integer(value)).ok().and_then(|ms| ms.checked_mul(1_000));
        return at.map(Value::Timestamp).ok_or_else(|| "Out of Range Error: a time".to_owned());
    };
    #[expect(clippy::cast_precision_loss, reason = "an epoch is a float")]
    Ok(match name {
        "epoch" => Value::Float(at as f64 / 1e6),
        "epoch_ms" => Value::Integer(at.div_euclid(1_000).into()),
        "epoch_ns" => Value::Integer(i128::from(at) * 1_000),
        _ => Value::Integer(at.into()),
    })
}

#[expect(clippy::cast_possible_truncation, reason = "rounded to f32 where the result is one; a sign is small")]
fn number<'a>(name: &str, ty: Type, value: &Value<'_>, second: Option<&Value<'_>>) -> Evaluated<'a> {
    if let Value::Integer(whole) = value {
        match name {
            "abs" => {
                let high = if let Type::Of(kind) = ty { kind::integer_range(kind).map(|(_, high)| high) } else { None };
                let size = whole.checked_abs().filter(|size| high.is_none_or(|high| *size <= high));
                return size.map(Value::Integer).ok_or_else(|| format!("Out of Range Error: Overflow on abs({whole})"));
            }
            "sign" => return Ok(Value::Integer(whole.signum())),
            "trunc" => return Ok(Value::Integer(*whole)),
            "round" if ty != Type::Of(ColumnKind::Double) => {
                let rounded = round_whole(*whole, second.map_or(0, integer));
                let range = if let Type::Of(kind) = ty { kind::integer_range(kind) } else { None };
                let fits = range.is_none_or(|(low, high)| (low..=high).contains(&rounded));
                // What would be beyond the type is cut off instead, as DuckDB has it.
                let places = second.map_or(0, integer);
                return Ok(Value::Integer(if fits { rounded } else { cut_whole(*whole, places) }));
            }
            _ => {}
        }
    }
    let Some(x) = value.number() else { return Ok(Value::Null) };
    let y = second.and_then(Value::number).unwrap_or_default();
    let range = |what: &str| Err(format!("Out of Range Error: cannot take {what}"));
    let result = match name {
        "abs" => x.abs(),
        "ceil" => x.ceil(),
        "floor" => x.floor(),
        "trunc" => x.trunc(),
        "round" => round(x, y as i32),
        "sign" => return Ok(Value::Integer(if x > 0.0 { 1 } else { -i128::from(x < 0.0) })),
        "sqrt" if x < 0.0 => return range("square root of a negative number"),
        "sqrt" => x.sqrt(),
        "exp" => x.exp(),
        "ln" | "log10" if x == 0.0 => return range("logarithm of zero"),
        "ln" | "log10" if x < 0.0 => return range("logarithm of a negative number"),
        "ln" => x.ln(),
        "log10" => x.log10(),
        "pow" | "power" => x.powf(y),
        "isnan" => return Ok(Value::Boolean(x.is_nan())),
        "isinf" => return Ok(Value::Boolean(x.is_infinite())),
        "isfinite" => return Ok(Value::Boolean(x.is_finite())),
        _ => return Err(format!("Binder Error: {name} does not take a value of this type")),
    };
    Ok(Value::Float(if ty == Type::Of(ColumnKind::Float) { (result as f32).into() } else { result }))
}

/// Halves go away from zero.
fn round(x: f64, digits: i32) -> f64 {
    if digits == 0 {
        return x.round();
    }
    let scale = 10f64.powi(digits.saturating_abs());
    let rounded = if digits > 0 { (x * scale).round() / scale } else { (x / scale).round() * scale };
    match rounded.is_finite() {
        true => rounded,
        // Of what is no number nothing is left when its digits before the point are rounded.
        false if digits < 0 => 0.0,
        false => x,
    }
}

fn round_whole(x: i128, digits: i128) -> i128 {
    let places = u32::try_from(-digits).unwrap_or(0);
    let Some(scale) = 10i128.checked_pow(places) else { return 0 };
    let half = scale / 2 * x.signum();
    x.checked_add(half).map_or(x, |x| x / scale * scale)
}

fn cut_whole(x: i128, digits: i128) -> i128 {
    let scale = 10i128.checked_pow(u32::try_from(-digits).unwrap_or(0)).unwrap_or(1);
    x / scale * scale
}

fn texts<'a>(name: &str, text: Cow<'a, str>, second: Option<Value<'a>>, third: Option<Value<'a>>) -> Evaluated<'a> {
    let count = |value: &Option<Value<'a>>| value.as_ref().map(|value| i64::try_from(integer(value)).unwrap_or(i64::MAX));
    let other = if let Some(Value::Text(other)) = &second { other.as_ref() } else { "" };
    let truth = |value: bool| Ok(Value::Boolean(value));
    match name {
        "lower" | "lcase" => Ok(Value::Text(text.chars().map(case::lower).collect::<String>().into())),
        "upper" | "ucase" => Ok(Value::Text(text.chars().map(case::upper).collect::<String>().into())),
        "length" | "len" => Ok(Value::Integer(text.chars().count() as i128)),
        "trim" | "ltrim" | "rtrim" => {
            let drop = |c: char| if second.is_some() { other.contains(c) } else { c == ' ' };
            let kept = if name == "rtrim" { text.as_ref() } else { text.trim_start_matches(drop) };
            let kept = if name == "ltrim" { kept } else { kept.trim_end_matches(drop) };
            Ok(Value::Text(kept.to_owned().into()))
        }
        "substr" | "substring" => {
            let start = count(&second).unwrap_or(1);
            Ok(Value::Text(part(&text, start, count(&third)).into()))
        }
        "left" | "right" => {
            let wanted = count(&second).unwrap_or(0);
            let all = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            let kept = if wanted < 0 { all.saturating_add(wanted).max(0) } else { wanted.min(all) };
            let skipped = if name == "left" { 0 } else { all - kept };
            let (kept, skipped) = (usize::try_from(kept).unwrap_or(0), usize::try_from(skipped).unwrap_or(0));
            Ok(Value::Text(text.chars().skip(skipped).take(kept).collect::<String>().into()))
        }
        "contains" => truth(text.contains(other)),
        "starts_with" | "prefix" => truth(text.starts_with(other)),
        "ends_with" | "suffix" => truth(text.ends_with(other)),
        "strpos" => {
            let before = text.find(other).and_then(|at| text.get(..at));
            Ok(Value::Integer(before.map_or(0, |before| before.chars().count() as i128 + 1)))
        }
        _ => Err(format!("Binder Error: {name} does not take a text")),
    }
}

/// `substr`: counted from 1, from the end if negative; a negative length goes backwards.
fn part(text: &str, start: i64, length: Option<i64>) -> String {
    let all = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let from = if start < 0 { all.saturating_add(start) } else { start - 1 };
    let (from, to) = match length {
        None => (from, all),
        Some(length) if length < 0 => (from.saturating_add(length), from),
        Some(length) => (from, from.saturating_add(length)),
    };
    let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to.min(all)).unwrap_or(0));
    text.chars().take(to).skip(from).collect()
}

/// `LIKE` without recursion: after a `%` it only ever has to go back to the last one, so it ends after at most
/// pattern × text steps.
pub(super) fn like(text: &str, pattern: &str, escape: Option<char>) -> Result<bool, String> {
    enum Want {
        One,
        Many,
        Char(char),
    }
    let mut wants = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        wants.push(match c {
            c if Some(c) == escape => Want::Char(
                characters.next().ok_or_else(|| "Syntax Error: Like pattern must not end with escape character!".to_owned())?,
            ),
            '%' => Want::Many,
            '_' => Want::One,
            c => Want::Char(c),
        });
    }
    let (mut want, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        let matched = match (wants.get(want), rest.next()) {
            (Some(Want::Many), _) => {
                rest = before;
                want += 1;
                retry = Some((want, rest.clone()));
                continue;
            }
            (None, None) => return Ok(true),
            (Some(Want::One), Some(_)) => true,
            (Some(Want::Char(wanted)), Some(found)) => *wanted == found,
            (None | Some(_), _) => false,
        };
        if matched {
            want += 1;
            continue;
        }
        let Some((after, from)) = &mut retry else { return Ok(false) };
        if from.next().is_none() {
            return Ok(false);
        }
        (want, rest) = (*after, from.clone());
    }
}
