//! The rules about one link, ready to be asked for each message.
//!
//! The rules are picked and filled in once and again after each change of the policy, which a number tells; what is asked for
//! a message is a comparison with a handful of patterns. Where somebody has many rules, the answers for recent topics are
//! remembered.

use super::login::Shared;
use super::pattern::{Effect, Levels, Who};
use super::policy::Policy;
use super::{Action, Hash, Rights};
use crate::router::Filter;
use ahash::AHashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// From so many rules on a look into a table is quicker than comparing.
const FEW: usize = 8;
/// Answers remembered for one link.
const REMEMBERED_MAX: usize = 128;
/// Topics longer than this are compared each time, so that the memory of a link stays small.
const REMEMBERED_BYTES_MAX: usize = 128;

/// The rights of a link.
pub(super) struct LinkRights {
    pub(super) shared: Arc<Shared>,
    pub(super) user: Option<Arc<str>>,
    /// What the user logged in with, if it was a password.
    pub(super) password: Option<Hash>,
    pub(super) client: Option<Arc<str>>,
    pub(super) compiled: Mutex<Compiled>,
}

impl fmt::Debug for LinkRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkRights").field("user", &self.user).field("client", &self.client).finish_non_exhaustive()
    }
}

/// The rules about one link.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// The policy they come from; 0 is none.
    generation: u64,
    /// Nothing was said about access: everything is allowed.
    open: bool,
    rules: [Vec<(Effect, Arc<Levels>)>; Action::ALL.len()],
    recent: AHashMap<(Action, Box<str>), bool>,
}

impl Compiled {
    fn of(policy: &Policy, who: Who<'_>, open: bool, generation: u64) -> Self {
        let mut compiled = Self { generation, open, ..Self::default() };
        for rule in policy.rules_for(who.user) {
            let Some(levels) = rule.pattern.resolve(rule.effect, who) else { continue };
            for action in &rule.actions {
                compiled.rules_mut(*action).push((rule.effect, Arc::clone(&levels)));
            }
        }
        for rules in &mut compiled.rules {
            // Denying first: then the first that matches decides.
            rules.sort_by_key(|(effect, _)| *effect == Effect::Allow);
            rules.shrink_to_fit();
        }
        compiled
    }

    fn rules(&self, action: Action) -> &[(Effect, Arc<Levels>)] {
        self.rules.get(action as usize).map(Vec::as_slice).unwrap_or_default()
    }

    fn rules_mut(&mut self, action: Action) -> &mut Vec<(Effect, Arc<Levels>)> {
        self.rules.get_mut(action as usize).expect("there is a list for each action")
    }

    fn decide(&mut self, action: Action, subject: &str) -> bool {
        let rules = self.rules(action);
        if rules.len() <= FEW || subject.len() > REMEMBERED_BYTES_MAX {
            return decide(rules, |effect, levels| levels.matches(effect, subject));
        }
        let key = (action, Box::from(subject));
        if let Some(known) = self.recent.get(&key) {
            return *known;
        }
        let allowed = decide(rules, |effect, levels| levels.matches(effect, subject));
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.clear();
        }
        self.recent.insert(key, allowed);
        allowed
    }
}

/// Denying rules come first.
fn decide(rules: &[(Effect, Arc<Levels>)], applies: impl Fn(Effect, &Levels) -> bool) -> bool {
    rules.iter().find(|(effect, levels)| applies(*effect, levels)).is_some_and(|(effect, _)| *effect == Effect::Allow)
}

impl LinkRights {
    fn who(&self) -> Who<'_> {
        Who { user: self.user.as_deref(), client: self.client.as_deref() }
    }

    /// The rules as they are now.
    fn compiled(&self) -> MutexGuard<'_, Compiled> {
        // Nothing that is done with it can panic half way.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.generation != self.shared.generation() {
            let (state, generation) = self.shared.state();
            *compiled = Compiled::of(&state.policy, self.who(), state.open, generation);
        }
        compiled
    }

    fn denied(&self, action: Action, subject: &str) {
        self.shared.ledger.deny(self.user.as_deref(), self.client.as_deref(), action.name(), subject, "no rule allows it");
    }
}

impl Rights for LinkRights {
    fn allow(&self, action: Action, subject: &str) -> bool {
        let mut compiled = self.compiled();
        let allowed = compiled.open || compiled.decide(action, subject);
        drop(compiled);
        if !allowed {
            self.denied(action, subject);
        }
        allowed
    }

    fn allow_filter(&self, filter: &Filter) -> bool {
        let compiled = self.compiled();
        let allowed =
            compiled.open || decide(compiled.rules(Action::Subscribe), |effect, levels| levels.covers(effect, filter));
        drop(compiled);
        if !allowed {
            self.denied(Action::Subscribe, filter.pattern());
        }
        allowed
    }

    fn allow_delivery(&self, topic: &str) -> bool {
        let mut compiled = self.compiled();
        let allowed = compiled.open || compiled.decide(Action::Subscribe, topic);
        drop(compiled);
        if !allowed {
            self.shared.ledger.withheld.fetch_add(1, Relaxed);
        }
        allowed
    }

    fn is_valid(&self) -> bool {
        let Some(name) = &self.user else { return true };
        let (state, _) = self.shared.state();
        state.policy.users().get(&**name).is_some_and(|user| {
            !user.disabled && self.password.as_ref().is_none_or(|password| user.password.as_ref() == Some(password))
        })
    }

    fn is_user(&self, name: &str) -> bool {
        self.shared.state().0.policy.users().contains_key(name)
    }

    fn named(&self, client: &str) -> Arc<dyn Rights> {
        Arc::new(Self {
            shared: Arc::clone(&self.shared),
            user: self.user.clone(),
            password: self.password.clone(),
            client: Some(client.into()),
            compiled: Mutex::default(),
        })
    }
}
