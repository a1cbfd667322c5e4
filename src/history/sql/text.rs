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
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| syntax(&error.to_string()))?;
    tokens.iter().try_for_each(allowed)?;
    if tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).count() > TOKENS_MAX {
        return Err(format!("more than {TOKENS_MAX} words and signs"));
    }
    // The caller's text has its own line, so that places in error messages are places in it.
    let whole = format!("{prefix}\n{text}\n{suffix}");
    let mut parser = Parser::new(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .try_with_sql(&whole)
        .map_err(|error| syntax(&error.to_string()))?;
    let mut statements = parser.parse_statements().map_err(|error| syntax(&error.to_string()))?;
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

/// The parser's words, with its line dropped: a condition is one line to its caller.
fn syntax(words: &str) -> String {
    let words = words.trim_start_matches("sql parser error: ");
    let Some((what, place)) = words.rsplit_once(" at Line: ") else {
        return match words {
            "recursion limit exceeded" => "nested too deeply".to_owned(),
            words => words.to_owned(),
        };
    };
    let column = place.rsplit_once("Column: ").map_or("", |(_, column)| column);
    let what = what.replace("Expected: ", "expected ").replace(", found: ", ", found ");
    format!("{what} at character {column}")
}
