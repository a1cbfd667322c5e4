//! Rembus topic patterns: `*` is one or more characters of one segment, `**` any number of whole segments, none included.
//!
//! The rules are those of `protocol/rembus.md` section 7.1, superset decision included. Text that a wildcard captures never
//! contains `@`. Every match takes time linear in the topic's length; a pattern cannot hang the router.

/// One segment of a pattern in which `**` stands only as a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    /// Contains `*`, such as `*`, `a*` or `*x`.
    Glob(&'a str),
    /// `**`
    AnySegments,
}

/// Splits a pattern into segments, or `None` if `**` touches other text (`a**`, `***`); [`matches_irregular`] is for those.
pub(super) fn segments(pattern: &str) -> Option<Vec<Segment<'_>>> {
    pattern
        .split('/')
        .map(|segment| match segment {
            "**" => Some(Segment::AnySegments),
            _ if segment.contains("**") => None,
            _ if segment.contains('*') => Some(Segment::Glob(segment)),
            _ => Some(Segment::Literal(segment)),
        })
        .collect()
}

fn count_at(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'@').count()
}

/// Whether one topic segment matches a glob. Each `*` takes at least one character; leftmost placement of the literals between
/// decides, since a later one never helps.
pub(super) fn glob_matches(glob: &str, segment: &str) -> bool {
    if count_at(glob) != count_at(segment) {
        return false;
    }
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = segment.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The star before `part` takes the shortest text that lets `part` follow.
        let Some(after) = skip_one(rest) else { return false };
        let Some(found) = after.find(part) else { return false };
        rest = after.get(found + part.len()..).unwrap_or_default();
    }
    match skip_one(rest) {
        Some(after) => after.ends_with(last),
        None => false,
    }
}

fn skip_one(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

/// Whether `topic` matches a pattern in which `**` may touch other text: there it takes any characters, slashes included.
/// Simulates the pattern's automaton, so the time is bounded by the product of the lengths whatever the pattern.
pub(super) fn matches_irregular(pattern: &str, topic: &str) -> bool {
    if count_at(pattern) != count_at(topic) {
        return false;
    }
    let tokens = tokens(pattern);
    let mut now = vec![false; tokens.len() + 1];
    let mut next = now.clone();
    reach(&tokens, &mut now, 0);
    for c in topic.chars() {
        next.fill(false);
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| now.get(*at) == Some(&true)) {
            match token {
                Token::Char(wanted) if *wanted == c => reach(&tokens, &mut next, at + 1),
                Token::Char(_) => {}
                // Stays, or goes on: one character is enough.
                Token::Star if c != '/' => {
                    reach(&tokens, &mut next, at);
                    reach(&tokens, &mut next, at + 1);
                }
                Token::Star => {}
                Token::Any => reach(&tokens, &mut next, at),
            }
        }
        std::mem::swap(&mut now, &mut next);
    }
    now.last() == Some(&true)
}

#[derive(Debug)]
enum Token {
    Char(char),
    Star,
    Any,
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => Token::Any,
            '*' => Token::Star,
            c => Token::Char(c),
        });
    }
    out
}

/// Marks `at` and all that follows it without taking a character.
fn reach(tokens: &[Token], set: &mut [bool], mut at: usize) {
    while let Some(mark) = set.get_mut(at) {
        *mark = true;
        if !matches!(tokens.get(at), Some(Token::Any)) {
            break;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_takes_at_least_one_character_of_one_segment() {
        assert!(
            glob_matches("*", "x") && glob_matches("a*", "ab") && glob_matches("*x", "yx") && glob_matches("a*b*c", "a1b2c")
        );
        assert!(
            !glob_matches("*", "") && !glob_matches("a*", "a") && !glob_matches("*x", "x") && !glob_matches("a*b*c", "abc")
        );
        assert!(glob_matches("*ab", "abab"), "the last literal may begin inside what an earlier one could have taken");
    }

    #[test]
    fn captured_text_never_contains_an_at_sign() {
        assert!(!glob_matches("*", "@e") && glob_matches("@*", "@e") && !glob_matches("@*", "@@"));
    }

    #[test]
    fn double_star_beside_text_crosses_segments() {
        assert!(matches_irregular("a**", "a") && matches_irregular("a**", "abc/d") && !matches_irregular("a**", "b"));
        assert!(matches_irregular("a**/z*", "ab/c/zz") && !matches_irregular("a**/z*", "ab/c/z"));
    }

    #[test]
    fn a_hostile_pattern_takes_linear_time() {
        // The reference hangs on this one.
        let topic = "a".repeat(60_000);
        assert!(!glob_matches(&format!("{}b", "*a".repeat(30)), &topic));
        assert!(!matches_irregular("**a**a**a**a**b", &topic));
    }
}
