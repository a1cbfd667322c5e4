//! Groups of shared subscriptions: `$share/{group}/{filter}`, one for each pair \[MQTT-4.8.2-1\].
//!
//! Each message goes to one member in turn. Members that are connected come first; when none is, one whose session stays keeps
//! it until it is back.

use super::event::Subscription;
use super::session::SessionKey;
use ahash::AHashMap;
use std::sync::Arc;

/// So many other members are asked for one message when one cannot take it. The turn goes on, so each is asked in time.
const OTHERS_MAX: usize = 256;

/// Where a group is kept; like a session's key, it misses when the slot has a new user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) filter: Arc<str>,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) session: SessionKey,
    pub(super) subscription: Subscription,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: slab::Slab<(u32, Group)>,
    generation: u32,
    names: AHashMap<(Arc<str>, Arc<str>), GroupKey>,
}

/// How fit a member is for a message; the highest in turn gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    Unfit,
    /// Its peer has said that it takes no packet as large as this one will be, about.
    Narrow,
    /// Not connected, and keeps a queue.
    Away,
    /// Connected, and its queue is filling.
    Busy,
    Ready,
}

impl Groups {
    /// Adds a member, or replaces its subscription. Returns the group, and whether it is new.
    pub(super) fn join(&mut self, name: &str, filter: &str, member: Member) -> (GroupKey, bool) {
        let id = (Arc::from(name), Arc::from(filter));
        if let Some(key) = self.names.get(&id).copied() {
            let group = self.get_mut(key).expect("a name leads to its group");
            match group.members.iter_mut().find(|known| known.session == member.session) {
                Some(known) => *known = member,
                None => group.members.push(member),
            }
            return (key, false);
        }
        self.generation = self.generation.wrapping_add(1);
        let group = Group { name: Arc::clone(&id.0), filter: Arc::clone(&id.1), members: vec![member], turn: 0 };
        let slot = u32::try_from(self.slots.insert((self.generation, group))).expect("groups are bounded by subscriptions");
        let key = GroupKey { slot, generation: self.generation };
        self.names.insert(id, key);
        (key, true)
    }

    /// Takes a member out. Returns the group, and whether it ended with that.
    pub(super) fn leave(&mut self, name: &str, filter: &str, session: SessionKey) -> Option<(GroupKey, bool)> {
        let id = (Arc::from(name), Arc::from(filter));
        let key = *self.names.get(&id)?;
        let group = self.get_mut(key)?;
        let at = group.members.iter().position(|member| member.session == session)?;
        group.members.remove(at);
        if group.turn > at {
            group.turn -= 1;
        }
        let ended = group.members.is_empty();
        if ended {
            self.names.remove(&id);
            self.slots.remove(key.slot as usize);
        }
        Some((key, ended))
    }

    pub(super) fn get_mut(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.slots.get_mut(key.slot as usize).filter(|(generation, _)| *generation == key.generation).map(|(_, group)| group)
    }

    pub(super) fn key(&self, name: &str, filter: &str) -> Option<GroupKey> {
        self.names.get(&(Arc::from(name), Arc::from(filter))).copied()
    }

    /// Group and filter, if the group is still there.
    pub(super) fn name(&self, key: GroupKey) -> Option<(String, String)> {
        let (generation, group) = self.slots.get(key.slot as usize)?;
        (*generation == key.generation).then(|| (group.name.to_string(), group.filter.to_string()))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Group {
    /// Whose turn it is among the fittest; nobody if all are unfit.
    pub(super) fn pick(&mut self, fitness: impl Fn(&Member) -> Fitness) -> Option<Member> {
        let count = self.members.len();
        let mut best = (Fitness::Unfit, 0);
        for offset in 0..count {
            let at = (self.turn + offset) % count;
            let found = self.members.get(at).map_or(Fitness::Unfit, &fitness);
            if found > best.0 {
                best = (found, at);
            }
            if found == Fitness::Ready {
                break;
            }
        }
        let (fitness, at) = best;
        if fitness == Fitness::Unfit {
            return None;
        }
        self.turn = (at + 1) % count;
        self.members.get(at).cloned()
    }

    /// Who else may get it if `passed` cannot take it: the fittest first, in turn.
    pub(super) fn others(&self, passed: SessionKey, fitness: impl Fn(&Member) -> Fitness) -> Vec<Member> {
        let in_turn = self.members.iter().cycle().skip(self.turn).take(self.members.len());
        let others = in_turn.filter(|member| member.session != passed).take(OTHERS_MAX);
        let mut others: Vec<_> = others.map(|member| (fitness(member), member)).collect();
        others.retain(|(fitness, _)| *fitness > Fitness::Unfit);
        others.sort_by_key(|(fitness, _)| std::cmp::Reverse(*fitness));
        others.into_iter().map(|(_, member)| member.clone()).collect()
    }
}
