//! One rule, as a file and a command line have it.

use crate::access::Action;
use crate::access::pattern::{Effect, Pattern, PatternError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub effect: Effect,
    /// A user, or `@group`.
    pub who: String,
    pub actions: BTreeSet<Action>,
    pub pattern: Pattern,
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::stored(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// As it is written on the command line: `allow @sensors publish,subscribe plant/#`; `all` is every action.
impl std::str::FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut words = text.splitn(4, ' ');
        let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(RuleError::Words);
        let effect = match word()? {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            other => return Err(RuleError::Effect(other.into())),
        };
        let (who, actions) = (word()?.to_owned(), actions(word()?)?);
        Ok(Self { effect, who, actions, pattern: Pattern::parse(word()?)? })
    }
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("a rule is four words: allow or deny, a user or @group, actions, a pattern")]
    Words,
    #[error("a rule allows or denies, not `{0}`")]
    Effect(String),
    #[error("`{0}` is no action: publish, subscribe, call, expose, several of them with commas, or all")]
    Action(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// Actions as people write them.
pub fn actions(text: &str) -> Result<BTreeSet<Action>, RuleError> {
    if text == "all" {
        return Ok(Action::ALL.into());
    }
    let action = |word: &str| Action::ALL.into_iter().find(|action| action.name() == word);
    text.split(',').map(|word| action(word).ok_or_else(|| RuleError::Action(word.into()))).collect()
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let effect = if self.effect == Effect::Allow { "allow" } else { "deny" };
        let actions: Vec<_> = self.actions.iter().map(|action| action.name()).collect();
        let actions = if actions.len() == Action::ALL.len() { "all".to_owned() } else { actions.join(",") };
        write!(f, "{effect} {} {actions} {}", self.who, self.pattern)
    }
}
