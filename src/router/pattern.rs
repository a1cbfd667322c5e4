//! Rembus topic patterns: `*` is one or more characters of one segment, `**` any number of whole segments, none included.
//!
//! The rules are those of `protocol/rembus.md` section 7.1, superset decision included. Text that a wildcard captures never
//! contains `@`. Here are the parts of a pattern and the rule for one level; the tree puts them together.

/// One segment of a pattern in which `**` stands only as a whole segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    /// Contains `*`, such as `*`, `a*` or `*x`.
    Glob(&'a str),
    /// `**`
    AnySegments,
}

/// Splits a pattern into segments, or `None` if `**` touches other text (`a**`, `***`): there it takes any
/// characters, slashes included.
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

pub(super) fn count_at(text: &str) -> usize {
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
}
