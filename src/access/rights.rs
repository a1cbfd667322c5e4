//! The rules about one link, ready to be asked for each message.
//!
//! The rules are picked and filled in once and again after each change of the policy, which a number tells; what is asked for
//! a message is a comparison with a handful of patterns. Where somebody has many rules, the answers for recent topics are
//! remembered.

use super::keys::Warrant;
use super::login::{Shared, State};
use super::pattern::{Effect, Levels, Who};
use super::policy::User;
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

/// How the one behind a link has shown who it is; whether that still counts is asked when the policy changes.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// Not at all, or in an earlier life.
    None,
    Password(Hash),
    Certificate,
    Key(Warrant),
}

/// The rights of a link.
pub(super) struct LinkRights {
    pub(super) shared: Arc<Shared>,
    pub(super) user: Option<Arc<str>>,
    pub(super) proof: Proof,
    pub(super) client: Option<Arc<str>>,
    /// `client` is the name of a Rembus component: private topics are granted to those. The client ids of others are nobody's
    /// names.
    pub(super) component: bool,
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
    /// Nothing was said about access: everything is allowed that is not private.
    open: bool,
    /// Where private topics are looked up, if there are any.
    state: Option<Arc<State>>,
    rules: [Vec<(Effect, Arc<Levels>)>; Action::ALL.len()],
    recent: AHashMap<(Action, Box<str>), bool>,
}

impl Compiled {
    fn of(state: &Arc<State>, who: Who<'_>, keyed: bool, generation: u64) -> Self {
        let private = (!state.policy.private().is_empty()).then(|| Arc::clone(state));
        let mut compiled = Self { generation, open: state.open, state: private, ..Self::default() };
        for rule in state.policy.rules_for(who.user, keyed) {
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
            let keyed = matches!(self.proof, Proof::Key(_)) || self.user.as_ref().is_some_and(|user| state.keys.contains(user));
            *compiled = Compiled::of(&state, self.who(), keyed, generation);
        }
        compiled
    }

    /// Whether a topic is not private, or granted to this link.
    fn is_granted(&self, compiled: &Compiled, subject: &str) -> bool {
        let name = self.client.as_deref().filter(|_| self.component);
        compiled.state.as_ref().is_none_or(|state| state.policy.grants(subject, [self.user.as_deref(), name]))
    }

    fn denied(&self, action: Action, subject: &str) {
        self.shared.ledger.deny(self.user.as_deref(), self.client.as_deref(), action.name(), subject, "no rule allows it");
    }
}

impl Rights for LinkRights {
    fn permits(&self, action: Action, subject: &str) -> bool {
        let mut compiled = self.compiled();
        self.is_granted(&compiled, subject) && (compiled.open || compiled.decide(action, subject))
    }

    fn allow(&self, action: Action, subject: &str) -> bool {
        let allowed = self.permits(action, subject);
        if !allowed {
            self.denied(action, subject);
        }
        allowed
    }

    fn allow_filter(&self, filter: &Filter) -> bool {
        let compiled = self.compiled();
        // Under a pattern private topics are holes, which the delivery sees to.
        let allowed = self.is_granted(&compiled, filter.pattern())
            && (compiled.open || decide(compiled.rules(Action::Subscribe), |effect, levels| levels.covers(effect, filter)));
        drop(compiled);
        if !allowed {
            self.denied(Action::Subscribe, filter.pattern());
        }
        allowed
    }

    fn allow_delivery(&self, topic: &str) -> bool {
        let allowed = self.permits(Action::Subscribe, topic);
        if !allowed {
            self.shared.ledger.withheld.fetch_add(1, Relaxed);
        }
        allowed
    }

    fn is_valid(&self) -> bool {
        let (state, _) = self.shared.state();
        let entry = self.client.as_ref().filter(|_| self.component).and_then(|name| state.keys.get(name));
        let account = self.user.as_ref().map(|name| state.policy.users().get(&**name));
        let enabled = |user: &User| !user.disabled;
        match (&self.proof, account) {
            // After UNREGISTER there is no key, and the connection stays; but the name may not get another one beside it.
            (Proof::Key(warrant), account) => {
                !warrant.is_revoked() && entry.is_none_or(|entry| warrant.is_of(entry)) && account.flatten().is_none_or(enabled)
            }
            // A name that has got a key is for its owner.
            _ if entry.is_some() => false,
            (_, None) => true,
            (Proof::Password(password), Some(user)) => {
                user.is_some_and(|user| enabled(user) && user.password.as_ref() == Some(password))
            }
            (Proof::None | Proof::Certificate, Some(user)) => user.is_some_and(enabled),
        }
    }

    fn is_user(&self, name: &str) -> bool {
        let (state, _) = self.shared.state();
        state.policy.users().contains_key(name) || state.keys.contains(name)
    }

    fn named(&self, client: &str) -> Arc<dyn Rights> {
        Arc::new(Self {
            shared: Arc::clone(&self.shared),
            user: self.user.clone(),
            proof: self.proof.clone(),
            client: Some(client.into()),
            component: self.component,
            compiled: Mutex::default(),
        })
    }
}
