//! Who has most, kept in order cheaply.

use std::collections::{BTreeMap, BTreeSet};

/// Steps between a number and twice that number. Entries within one step are not told apart, so that most changes move nothing.
const STEPS: u128 = 8;

/// Entries by about how much they have. Everything below `floor` is left out.
#[derive(Debug)]
pub(in crate::router) struct Ranking<K> {
    floor: usize,
    classes: BTreeMap<u32, BTreeSet<K>>,
}

impl<K: Ord + Copy> Ranking<K> {
    pub(super) fn new(floor: usize) -> Self {
        Self { floor: floor.max(1), classes: BTreeMap::new() }
    }

    pub(super) fn moved(&mut self, key: K, before: usize, after: usize) {
        let (before, after) = (self.class(before), self.class(after));
        if before == after {
            return;
        }
        if let Some(class) = before
            && let Some(entries) = self.classes.get_mut(&class)
        {
            entries.remove(&key);
            if entries.is_empty() {
                self.classes.remove(&class);
            }
        }
        if let Some(class) = after {
            self.classes.entry(class).or_default().insert(key);
        }
    }

    fn class(&self, amount: usize) -> Option<u32> {
        if amount < self.floor {
            return None;
        }
        let octave = amount.ilog2();
        // The first digits behind the highest one.
        let step = ((amount as u128 * STEPS) >> octave) % STEPS;
        Some(octave * STEPS as u32 + step as u32)
    }

    /// Those of the highest class. Who has most is among them.
    pub(super) fn top(&self) -> impl Iterator<Item = K> + '_ {
        self.classes.values().next_back().into_iter().flatten().copied()
    }

    /// All classes, the highest first.
    pub(super) fn classes(&self) -> impl Iterator<Item = &BTreeSet<K>> {
        self.classes.values().rev()
    }
}
