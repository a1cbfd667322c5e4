//! From a caller's text to sqlparser's tree, refusing early what no tree is needed for.

use sqlparser::ast::{Query, Select, SetExpr, Statement};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

/// Longest condition or column list.
pub(super) const LENGTH_MAX: usize = 16 * 1024;
/// Most words and signs. Trees of the parser are as deep as their text is long at worst, and are taken apart recursively.
const TOKENS_MAX: usize = 4096;
/// How deep parentheses, `CASE`, `NOT` and calls may nest.
pub(super) const DEPTH_MAX: usize = 48;

/// Reads `prefix` (ours) and `text` (the caller's) as one SELECT.
pub(super) fn select(prefix: &str, text: &str, suffix: &str) -> Result<(Query, Select), String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("{} bytes are more than the {LENGTH_MAX} that are possible", text.len()));
    }
    let dialect = DuckDbDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| syntax(&error.to_string(), text, 0))?;
    tokens.iter().try_for_each(allowed)?;
    if tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).count() > TOKENS_MAX {
        return Err(format!("more than {TOKENS_MAX} words and signs"));
    }
    // The caller's text has its own line, so that places in error messages are places in it.
    let whole = format!("{prefix}\n{text}\n{suffix}");
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(&whole)
        .map_err(|error| syntax(&error.to_string(), text, 1))?;
    let mut statements = parser.parse_statements().map_err(|error| syntax(&error.to_string(), text, 1))?;
    let (Some(Statement::Query(mut query)), true) = (statements.pop(), statements.is_empty()) else {
        return Err("only one condition is possible".to_owned());
    };
    let body = std::mem::replace(&mut *query.body, SetExpr::Values(empty_values()));
    match body {
        SetExpr::Select(select) => Ok((*query, *select)),
        SetExpr::SetOperation { op, .. } => Err(format!("{op} is not possible")),
        _ => Err("only a condition is possible".to_owned()),
    }
}

fn empty_values() -> sqlparser::ast::Values {
    sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}

/// Signs that have no place in a condition, whatever they would mean.
fn allowed(token: &Token) -> Result<(), String> {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
            Err("comments are not possible".to_owned())
        }
        Token::SemiColon => Err("`;` is not possible, one call is one statement".to_owned()),
        Token::Placeholder(_) => Err("placeholders are not possible, write the value".to_owned()),
        Token::DollarQuotedString(_) => Err("text is written 'like this', not between dollar signs".to_owned()),
        _ => Ok(()),
    }
}

/// The parser's words, with places in the caller's text instead of in ours.
fn syntax(words: &str, text: &str, before: usize) -> String {
    let words = words.trim_start_matches("sql parser error: ");
    if words == "recursion limit exceeded" {
        return "nested too deeply".to_owned();
    }
    let plain = |words: &str| {
        words.replace("Expected: ", "expected ").replace(", found: ", ", found ").replace("found EOF", "found the end")
    };
    let place = words.rsplit_once(" at Line: ").and_then(|(what, place)| {
        let (line, column) = place.split_once(", Column: ")?;
        Some((what, line.parse::<usize>().ok()?.checked_sub(before)?, column))
    });
    match place {
        None => plain(words),
        Some((what, line, _)) if line > text.split('\n').count() => {
            let what = plain(what);
            format!("{}, found the end", what.split(", found ").next().unwrap_or_default())
        }
        Some((what, 1, column)) => format!("{} at character {column}", plain(what)),
        Some((what, line, column)) => format!("{} at line {line}, character {column}", plain(what)),
    }
}
