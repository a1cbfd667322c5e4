//! Patterns that are tried one by one, each with its targets.

use super::Dest;
use super::target::{Target, put, take};
use ahash::AHashMap;
use std::hash::Hash;
use std::sync::Arc;

/// In the order in which they came, so that two runs do the same; and by what they say, so that a long list takes no longer.
#[derive(Debug)]
pub(super) struct Listed<K: ?Sized> {
    list: Vec<(Arc<K>, Vec<Target>)>,
    places: AHashMap<Arc<K>, usize>,
}

impl<K: ?Sized> Default for Listed<K> {
    fn default() -> Self {
        Self { list: Vec::new(), places: AHashMap::new() }
    }
}

impl<K: ?Sized + Hash + Eq> Listed<K>
where
    for<'a> Arc<K>: From<&'a K>,
{
    /// Adds a target, or replaces what it had for the pattern. Returns whether the target is new, and whether the pattern is.
    pub(super) fn put(&mut self, pattern: &K, target: Target) -> (bool, bool) {
        if let Some((_, targets)) = self.places.get(pattern).and_then(|at| self.list.get_mut(*at)) {
            return (put(targets, target), false);
        }
        let pattern: Arc<K> = pattern.into();
        self.places.insert(Arc::clone(&pattern), self.list.len());
        self.list.push((pattern, vec![target]));
        (true, true)
    }

    /// Returns whether there was such a target, and whether it was the pattern's last.
    pub(super) fn take(&mut self, pattern: &K, dest: Dest, text: &str) -> (bool, bool) {
        let Some(at) = self.places.get(pattern).copied() else { return (false, false) };
        let Some((_, targets)) = self.list.get_mut(at) else { return (false, false) };
        let taken = take(targets, dest, text);
        if !targets.is_empty() {
            return (taken, false);
        }
        self.places.remove(pattern);
        self.list.swap_remove(at);
        if let Some((moved, _)) = self.list.get(at)
            && let Some(place) = self.places.get_mut(moved)
        {
            *place = at;
        }
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to_fit();
            self.places.shrink_to_fit();
        }
        (taken, true)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[Target])> {
        self.list.iter().map(|(pattern, targets)| (&**pattern, targets.as_slice()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
