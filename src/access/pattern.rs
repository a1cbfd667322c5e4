//! Which topics a rule is about.
//!
//! MQTT filter syntax, for MQTT topics, Rembus topics and methods alike, because all of them are paths of levels: `+` is one
//! level, `#` the rest (the parent included). `%u` stands for the user, `%c` for the client id or component name, also within
//! a level (`dev-%u`).
//!
//! ```text
//! plant/+/temperature      %u/#      query_telemetry      $SYS/#
//! ```
//!
//! * What a placeholder stands for is never read as syntax: it is text of one level. A name that contains `/`, `+`, `#` or `*`,
//!   or begins a pattern with `$`, makes an allowing rule give nothing, and a denying one take everything from there on.
//! * A wildcard at the beginning does not match a topic that begins with `$` where a rule allows (as in MQTT, \[MQTT-4.7.2-1\]);
//!   where a rule denies it does. Both err on the safe side.

use crate::names::LEVELS_MAX;
use crate::router::Filter;
use std::fmt;
use std::sync::Arc;

/// Longest pattern, in bytes; longer topics are matched all the same.
pub const PATTERN_MAX: usize = 1024;

/// A pattern as it was written, placeholders included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// Itself, if it has no placeholders: then everybody shares it.
    fixed: Option<Arc<Levels>>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern has at least one character")]
    Empty,
    #[error("a pattern has at most {PATTERN_MAX} bytes")]
    TooLong,
    #[error("a pattern has at most {LEVELS_MAX} levels")]
    TooDeep,
    #[error("`#` stands alone in the last level, `+` alone in its level")]
    Wildcard,
    #[error("`*` is no wildcard here: `+` is one level, `#` the rest")]
    Star,
    #[error("`%` begins `%u` (the user) or `%c` (the client id), nothing else")]
    Placeholder,
    #[error("control characters cannot be part of a pattern")]
    Control,
}

/// Whom the placeholders stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Who<'a> {
    pub user: Option<&'a str>,
    /// Client id or component name.
    pub client: Option<&'a str>,
}

/// What a rule does with what it matches; it decides which side is the safe one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Allow,
    Deny,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.split('/').nth(LEVELS_MAX).is_some() {
            return Err(PatternError::TooDeep);
        }
        Self::stored(text)
    }

    /// Out of a file: an earlier release took deeper ones, and a rule that denies must not get lost.
    pub(super) fn stored(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_MAX {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        if text.contains('*') {
            return Err(PatternError::Star);
        }
        let mut placeholders = false;
        for after in text.split('%').skip(1) {
            if !after.starts_with(['u', 'c']) {
                return Err(PatternError::Placeholder);
            }
            placeholders = true;
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let alone = match level {
                "#" => levels.peek().is_none(),
                "+" => true,
                _ => !level.contains(['+', '#']),
            };
            if !alone {
                return Err(PatternError::Wildcard);
            }
        }
        let mut pattern = Self { text: text.into(), fixed: None };
        if !placeholders {
            pattern.fixed = pattern.fill(Effect::Allow, Who::default()).map(Arc::new);
        }
        Ok(pattern)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it needs a client id to mean anything.
    #[must_use]
    pub fn asks_for_client(&self) -> bool {
        self.text.contains("%c")
    }

    /// What the pattern means for somebody; `None` if a rule that allows means nothing for him.
    #[must_use]
    pub fn resolve(&self, effect: Effect, who: Who<'_>) -> Option<Arc<Levels>> {
        match &self.fixed {
            Some(fixed) => Some(Arc::clone(fixed)),
            None => self.fill(effect, who).map(Arc::new),
        }
    }

    fn fill(&self, effect: Effect, who: Who<'_>) -> Option<Levels> {
        let mut levels = Vec::new();
        for (depth, level) in self.text.split('/').enumerate() {
            levels.push(match level {
                "+" => Level::One,
                "#" => Level::Rest,
                _ => match literal(level, who) {
                    // A name cannot reach into `$SYS` either.
                    Some(text) if depth > 0 || !text.starts_with('$') || level.starts_with('$') => Level::Literal(text.into()),
                    _ if effect == Effect::Allow => return None,
                    _ => {
                        levels.push(Level::Rest);
                        break;
                    }
                },
            });
        }
        // `+/#` is everything, since every topic has a level; the comparison of filters relies on there being one spelling.
        if levels == [Level::One, Level::Rest] {
            levels.remove(0);
        }
        Some(Levels(levels.into()))
    }
}

/// The text of a level; `None` if a placeholder stands for nobody, or for a name that would be more than text.
fn literal(level: &str, who: Who<'_>) -> Option<String> {
    let mut parts = level.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('u') {
            Some(rest) => (who.user, rest),
            None => (who.client, part.strip_prefix('c')?),
        };
        let name = name.filter(|name| !name.is_empty() && !name.contains(['/', '+', '#', '*']))?;
        text.push_str(name);
        text.push_str(rest);
    }
    Some(text)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern that means the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(Box<[Level]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    /// `+`
    One,
    /// `#`
    Rest,
}

impl Levels {
    /// Whether a topic or a method is meant.
    #[must_use]
    pub fn matches(&self, effect: Effect, topic: &str) -> bool {
        if effect == Effect::Allow && topic.starts_with('$') && !matches!(self.0.first(), Some(Level::Literal(_))) {
            return false;
        }
        let mut levels = self.0.iter();
        let mut parts = topic.split('/');
        loop {
            match (levels.next(), parts.next()) {
                (Some(Level::Rest), _) | (None, None) => return true,
                (Some(Level::One), Some(_)) => {}
                (Some(Level::Literal(text)), Some(part)) if **text == *part => {}
                _ => return false,
            }
        }
    }

    /// Whether everything is meant that a filter matches, topics that begin with `$` left aside where a rule allows and the
    /// filter begins with a wildcard: deliveries are asked for one by one anyhow.
    #[must_use]
    pub fn covers(&self, effect: Effect, filter: &Filter) -> bool {
        let Some(steps) = steps(filter) else { return *self.0 == [Level::Rest] };
        let system = matches!(steps.first(), Some(Step::Literal(text)) if text.starts_with('$'));
        if effect == Effect::Allow && system && !matches!(self.0.first(), Some(Level::Literal(_))) {
            return false;
        }
        // Row by row from the end: whether the levels from `at` on cover the steps from each place on.
        let mut below: Vec<bool> = vec![false; steps.len() + 1];
        if let Some(end) = below.last_mut() {
            *end = true;
        }
        for level in self.0.iter().rev() {
            let mut row = vec![*level == Level::Rest; steps.len() + 1];
            for (at, step) in steps.iter().enumerate().rev() {
                let get = |row: &[bool], at: usize| row.get(at).copied().unwrap_or_default();
                let covered = match (level, step) {
                    (Level::Rest, _) => true,
                    (Level::One, Step::Literal(_) | Step::One) => get(&below, at + 1),
                    (Level::Literal(text), Step::Literal(wanted)) => **text == **wanted && get(&below, at + 1),
                    // It may take nothing, or one level more.
                    (Level::One, Step::Any) => get(&row, at + 1) && get(&below, at),
                    (Level::Literal(_), Step::One | Step::Any) => false,
                };
                if let Some(cell) = row.get_mut(at) {
                    *cell = covered;
                }
            }
            below = row;
        }
        below.first().copied().unwrap_or_default()
    }
}

/// A level of a filter of either dialect, by what it can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Literal(&'a str),
    /// Some levels, not only a certain one.
    One,
    /// Any number of levels, none included.
    Any,
}

/// The steps of a filter, or of something that matches more; `None` if it has too many levels. No such filter is granted while
/// rules apply, unless everything is: comparing it would take too long.
fn steps(filter: &Filter) -> Option<Vec<Step<'_>>> {
    if filter.pattern().split('/').nth(LEVELS_MAX).is_some() {
        return None;
    }
    let mut steps = Vec::new();
    match filter {
        Filter::Mqtt(filter) | Filter::Shared { filter, .. } => {
            for level in unshared(filter).split('/') {
                steps.push(match level {
                    "+" => Step::One,
                    "#" => Step::Any,
                    text => Step::Literal(text),
                });
            }
        }
        // What stands behind `#` makes no difference: more is covered than is meant.
        Filter::Bus(topic) => {
            for level in topic.split('/') {
                match level {
                    "+" => steps.push(Step::One),
                    "#" => {
                        steps.push(Step::Any);
                        break;
                    }
                    text => steps.push(Step::Literal(text)),
                }
            }
        }
        Filter::Rembus(pattern) => {
            for level in pattern.split('/') {
                match level {
                    "**" => steps.push(Step::Any),
                    // Beside other text `**` crosses levels.
                    _ if level.contains("**") => {
                        steps.extend([Step::One, Step::Any]);
                        break;
                    }
                    _ if level.contains('*') => steps.push(Step::One),
                    text => steps.push(Step::Literal(text)),
                }
            }
        }
    }
    steps.dedup_by(|next, step| *next == Step::Any && *step == Step::Any);
    Some(steps)
}

/// The filter of a shared subscription (5.0 section 4.8.2), or the filter itself.
fn unshared(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/')).map_or(filter, |(_, filter)| filter)
}

#[cfg(test)]
mod tests;
