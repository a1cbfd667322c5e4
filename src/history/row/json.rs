//! Values as JSON text, for structured values in `TEXT` columns.

use super::civil::{date_text, timestamp_text};
use super::item::{Children, Item, Malformed};
use base64::Engine as _;
use std::fmt::Write as _;

/// The value as JSON text, for structured values in `TEXT` columns. Bytes become base64 text, NaN and infinities null.
pub(super) fn write(item: &Item<'_>, out: &mut String) -> Result<(), Malformed> {
    write_at(item, 0, out)
}

fn write_at(item: &Item<'_>, depth: usize, out: &mut String) -> Result<(), Malformed> {
    let written = match item {
        Item::Null | Item::Simple(_) => out.write_str("null"),
        Item::Bool(value) => write!(out, "{value}"),
        Item::Integer(value) => write!(out, "{value}"),
        Item::Huge(_, Some(digits)) => out.write_str(digits),
        Item::Huge(value, None) | Item::Float(value) if value.is_finite() => write!(out, "{value:?}"),
        Item::Huge(..) | Item::Float(_) => out.write_str("null"),
        Item::Text(text) => write!(out, "{}", serde_json::Value::from(text.as_ref())),
        Item::Bytes(bytes) | Item::Frame(bytes) => {
            write!(out, "\"{}\"", base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Item::Micros(micros) => write!(out, "\"{}\"", timestamp_text(*micros)),
        Item::Days(days) => write!(out, "\"{}\"", date_text(*days)),
        Item::List(raw) => {
            let mut children = Children::nested(raw, depth + 1);
            let mut before = '[';
            while let Some(child) = children.next_item()? {
                out.push(before);
                before = ',';
                write_at(&child, depth + 1, out)?;
            }
            out.write_str(if before == '[' { "[]" } else { "]" })
        }
        Item::Map(raw) => {
            let mut children = Children::nested(raw, depth + 1);
            let mut before = '{';
            while let Some((key, value)) = children.next_pair()? {
                out.push(before);
                before = ',';
                match &key {
                    Item::Text(_) => write_at(&key, depth + 1, out)?,
                    other => {
                        let mut text = String::new();
                        write_at(other, depth + 1, &mut text)?;
                        write_at(&Item::Text(text.into()), depth + 1, out)?;
                    }
                }
                out.push(':');
                write_at(&value, depth + 1, out)?;
            }
            out.write_str(if before == '{' { "{}" } else { "}" })
        }
    };
    written.expect("writing to a String does not fail");
    Ok(())
}
