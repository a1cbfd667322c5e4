//! Small and capital letters as DuckDB has them: one character for one character, without regard to where it stands.

/// The small letter.
pub(in crate::history) fn lower(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        // İ alone has two: an i, and the dot above it.
        _ => 'i',
    }
}

/// The capital letter; where there are only several for one, the one character that stands for them, or none.
pub(in crate::history) fn upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    if let (Some(one), None) = (upper.next(), upper.next()) {
        return one;
    }
    match character {
        'ß' => 'ẞ',
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(character) + 8).unwrap_or(character)
        }
        '\u{1fb3}' => '\u{1fbc}',
        '\u{1fc3}' => '\u{1fcc}',
        '\u{1ff3}' => '\u{1ffc}',
        other => other,
    }
}
