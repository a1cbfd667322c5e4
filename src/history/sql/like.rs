//! `LIKE` in linear time.
//!
//! DuckDB 1.5 tries every place for every `%`, and cannot be interrupted while it does: `'%a_%b'` on 2,048 texts of 4 KiB holds
//! a worker for longer than anybody waited (90 s). So a pattern is taken apart here. The usual ones become `=`, `starts_with`, `suffix` and `contains`; the others a regular expression, which the engine (RE2) matches in
//! time proportional to the text. It is compiled once because it stands in the SQL; to be safe there, every character of the
//! caller is written as its number, `\x{61}`.

use super::expr::{Case, Expr};
use crate::history::model::Cell;
use std::fmt::Write;

/// Longest pattern, in characters, and most wildcards in it: what RE2 makes of each `_` is not small.
const CHARACTERS_MAX: usize = 1_000;
const WILDCARDS_MAX: usize = 64;

/// What a pattern means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Equals(String),
    Starts(String),
    Ends(String),
    Contains(String),
    /// For RE2; of this program's own characters only.
    Expression(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Letter(char),
    One,
    Many,
}

/// What the literals of an [`Expr::Like`] mean.
pub(super) fn of(pattern: &Expr, escape: Option<&Expr>, case: Case) -> Result<Pattern, String> {
    let Expr::Literal(Cell::Text(pattern)) = pattern else {
        return Err("the pattern of LIKE is a text".to_owned());
    };
    let escape = match escape {
        Some(Expr::Literal(Cell::Text(text))) => text.chars().next(),
        _ => None,
    };
    parse(pattern, escape, case)
}

/// Takes a pattern apart.
pub(super) fn parse(pattern: &str, escape: Option<char>, case: Case) -> Result<Pattern, String> {
    let pieces = pieces(pattern, escape)?;
    if pieces.len() > CHARACTERS_MAX {
        return Err(format!("a pattern of LIKE has at most {CHARACTERS_MAX} characters"));
    }
    if pieces.iter().filter(|piece| !matches!(piece, Piece::Letter(_))).count() > WILDCARDS_MAX {
        return Err(format!("a pattern of LIKE has at most {WILDCARDS_MAX} wildcards"));
    }
    let plain = |pieces: &[Piece]| -> Option<String> {
        let letter = |piece: &Piece| if let Piece::Letter(letter) = piece { Some(*letter) } else { None };
        pieces.iter().map(letter).collect()
    };
    // As DuckDB's own ILIKE, which compares small letters: what is matched is in small letters too, see `write.rs`.
    let pieces: Vec<Piece> = pieces.into_iter().map(|piece| piece.as_compared(case)).collect();
    let simple = match pieces.as_slice() {
        [Piece::Many, inner @ .., Piece::Many] => plain(inner).map(Pattern::Contains),
        [Piece::Many, inner @ ..] => plain(inner).map(Pattern::Ends),
        [inner @ .., Piece::Many] => plain(inner).map(Pattern::Starts),
        all => plain(all).map(Pattern::Equals),
    };
    Ok(simple.unwrap_or_else(|| Pattern::Expression(expression(&pieces))))
}

fn pieces(pattern: &str, escape: Option<char>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let piece = match character {
            escaping if Some(escaping) == escape => {
                let next = characters.next().ok_or("the pattern of LIKE ends with its escape character")?;
                Piece::Letter(next)
            }
            '%' => Piece::Many,
            '_' => Piece::One,
            letter => Piece::Letter(letter),
        };
        // `%%` is `%`.
        if piece != Piece::Many || pieces.last() != Some(&Piece::Many) {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

impl Piece {
    fn as_compared(self, case: Case) -> Self {
        match (self, case) {
            (Self::Letter(letter), Case::Insensitive) => Self::Letter(super::case::lower(letter)),
            (piece, _) => piece,
        }
    }
}

fn expression(pieces: &[Piece]) -> String {
    let mut out = String::from("(?s)");
    for piece in pieces {
        match piece {
            Piece::One => out.push('.'),
            Piece::Many => out.push_str(".*"),
            Piece::Letter(letter) => write!(out, "\\x{{{:x}}}", u32::from(*letter)).expect("a String takes everything"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensitive(pattern: &str) -> Pattern {
        parse(pattern, None, Case::Sensitive).unwrap()
    }

    #[test]
    fn the_usual_patterns_need_no_matcher() {
        assert_eq!(sensitive("dev1"), Pattern::Equals("dev1".into()));
        assert_eq!(sensitive("dev%"), Pattern::Starts("dev".into()));
        assert_eq!(sensitive("%%dev"), Pattern::Ends("dev".into()));
        assert_eq!(sensitive("%dev%"), Pattern::Contains("dev".into()));
        assert_eq!(sensitive("%"), Pattern::Ends(String::new()));
        assert_eq!(parse("100!%", Some('!'), Case::Sensitive), Ok(Pattern::Equals("100%".into())));
    }

    #[test]
    fn others_become_an_expression_without_a_character_of_the_caller() {
        assert_eq!(sensitive("a'_%é"), Pattern::Expression(r"(?s)\x{61}\x{27}..*\x{e9}".into()));
        assert_eq!(parse("A_İ%", None, Case::Insensitive), Ok(Pattern::Expression(r"(?s)\x{61}.\x{69}.*".into())));
    }

    #[test]
    fn patterns_have_limits() {
        assert!(parse(&"a%".repeat(64), None, Case::Sensitive).is_ok());
        assert!(parse(&"a%".repeat(65), None, Case::Sensitive).is_err());
        assert!(parse(&"a".repeat(1_001), None, Case::Sensitive).is_err());
        assert!(parse("a!", Some('!'), Case::Sensitive).is_err());
    }
}
