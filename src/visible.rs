//! Text of others, for people: what a peer put into a name, a reason or an error must not steer the terminal that shows it.
//!
//! Escaped are control characters (C0 with ESC, CR and LF, DEL, C1), characters that turn the direction of the text around them,
//! line and paragraph separators, and tags, which no terminal shows. They come out as Rust and JSON write them (`\n`, `\u{1b}`);
//! everything else stays as it is.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// Whether a character does something else than being seen.
#[must_use]
pub fn is_hazard(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of direction (Unicode, UAX 9); separators of lines and paragraphs.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Interlinear annotations, the byte order mark, and tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// As one line: also line breaks are escaped, so that nothing looks like a line of ours.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hazard, |c, out| out.extend(c.escape_default()))
}

/// The same for what is to be shown by `Display`.
#[must_use]
pub fn one_line(text: impl Display) -> String {
    line(&text.to_string()).into_owned()
}

/// Several lines: line breaks and tabs stay, for text of our own in which that of others was made safe already.
#[must_use]
pub fn page(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hazard(c) && !matches!(c, '\n' | '\t'), |c, out| out.extend(c.escape_default()))
}

/// JSON as JSON: it says the same, with the hazards in its texts escaped. Control characters outside of texts are white space, which
/// stays.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| is_hazard(c) && !matches!(c, '\n' | '\t' | '\r'),
        |c, out| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a String takes everything");
            }
        },
    )
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for c in rest.chars() {
        if is_escaped(c) { escape(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clears the screen, writes a line of its own, turns the direction, and does the same by C1 and by a tag.
    const ATTACK: &str = "x\u{1b}[2J\r\nOK    gateway: fine\u{7f}\u{9b}31m\u{202e}txt\u{2028}\u{e0041}";

    #[test]
    fn nothing_that_steers_a_terminal_is_left_in_a_line() {
        let shown = line(ATTACK);
        assert!(!shown.chars().any(is_hazard), "{shown:?}");
        assert!(shown.starts_with("x\\u{1b}[2J\\r\\nOK    gateway: fine\\u{7f}\\u{9b}31m\\u{202e}txt"), "{shown}");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        for text in ["", "dev1/temperature", "Größe 21 °C ☀ 温度 👩‍🔧 שלום"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(json(text), Cow::Borrowed(_)));
        }
        assert_eq!(page("a\n\tb\u{1b}c"), "a\n\tb\\u{1b}c");
    }

    #[test]
    fn json_says_the_same_and_shows_no_hazard() {
        let value = serde_json::json!({ "topic": ATTACK, ATTACK: [ATTACK] });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = json(&text);
            assert!(!shown.chars().any(|c| is_hazard(c) && c != '\n'), "{shown:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
