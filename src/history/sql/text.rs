//! From a caller's text to sqlparser's tree, refusing early what no tree is needed for.

use sqlparser::ast::{Query, Select, SetExpr, Statement};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

/// Longest condition or column list.
pub(super) const LENGTH_MAX: usize = 16 * 1024;
/// Most words and signs. Trees of the parser are as deep as their text is long at worst, and are taken apart recursively.
const TOKENS_MAX: usize = 4096;
/// How deep parentheses, `CASE`, `NOT` and calls may nest.
pub(super) const DEPTH_MAX: usize = 48;

/// Reads `prefix` (ours), `text` (the caller's) and `suffix` (ours) as one SELECT about `table`.
pub(super) fn select(table: &str, prefix: &str, text: &str, suffix: &str) -> Result<(Query, Select), String> {
    if text.len() > LENGTH_MAX {
        return Err(format!("{} bytes are more than the {LENGTH_MAX} that are possible", text.len()));
    }
    let dialect = DuckDbDialect {};
    // By itself first, so that nothing in it can reach into what is ours.
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| syntax(&error.to_string(), text, 0))?;
    tokens.iter().try_for_each(allowed)?;
    if tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).count() > TOKENS_MAX {
        return Err(format!("more than {TOKENS_MAX} words and signs"));
    }
    // The caller's text has its own line, so that places in error messages are places in it.
    let whole = format!("{prefix}\n{text}\n{suffix}");
    let tokens =
        Tokenizer::new(&dialect, &whole).tokenize_with_location().map_err(|error| syntax(&error.to_string(), text, 1))?;
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(unqualified(table, tokens)?);
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

/// The tokens with `table.column` as a plain quoted name, so that no `.` is left. A name of anything else is refused here:
/// what may follow a `.` in SQL is much, and the parser tries all of it (`t.position(t.position(` never ends).
fn unqualified(table: &str, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, String> {
    let mut tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).peekable();
    let mut kept: Vec<TokenWithSpan> = Vec::new();
    while let Some(mut token) = tokens.next() {
        if token.token == Token::Period {
            let before = kept.pop().map(|before| before.token);
            let own = matches!(&before, Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(table));
            let Some(next) = tokens.next() else { return Err("a name is missing after `.`".to_owned()) };
            token = next;
            let more = matches!(tokens.peek().map(|token| &token.token), Some(Token::Period | Token::LParen));
            match &mut token.token {
                Token::Mul if own => {}
                Token::Word(word) if own && !more => (word.quote_style, word.keyword) = (Some('"'), Keyword::NoKeyword),
                after => {
                    let before = before.map(|before| before.to_string()).unwrap_or_default();
                    return Err(format!("`{before}.{after}` is not a column of table `{table}`"));
                }
            }
        }
        kept.push(token);
    }
    Ok(kept)
}

fn empty_values() -> sqlparser::ast::Values {
    sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}

/// Only signs of the language that is offered reach the parser. Others would be refused afterwards anyway, but some of them
/// (`[` with `!!` for one) send it into trying every combination: 300 bytes can take longer than a day.
fn allowed(token: &Token) -> Result<(), String> {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
            Err("comments are not possible".to_owned())
        }
        Token::SemiColon => Err("`;` is not possible, one call is one statement".to_owned()),
        Token::Placeholder(_) | Token::Colon => Err("placeholders are not possible, write the value".to_owned()),
        Token::DollarQuotedString(_) => Err("text is written 'like this', not between dollar signs".to_owned()),
        Token::LBracket | Token::RBracket => Err("lists are not possible".to_owned()),
        Token::LBrace | Token::RBrace => Err("structs and maps are not possible".to_owned()),
        Token::Arrow | Token::LongArrow => Err("access to parts of a value is not possible".to_owned()),
        Token::Tilde | Token::TildeAsterisk | Token::ExclamationMarkTilde | Token::ExclamationMarkTildeAsterisk => {
            Err("regular expressions are not possible".to_owned())
        }
        Token::EOF
        | Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::DoubleColon
        | Token::Eq
        | Token::DoubleEq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::DuckIntDiv
        | Token::Mod
        | Token::StringConcat => Ok(()),
        other => Err(format!("the sign `{other}` is not possible")),
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
