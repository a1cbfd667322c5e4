//! The levels that filters have in common, each kept once and known by a number.

use ahash::AHashMap;

/// The number of a level; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WordId(u64);

#[derive(Debug, Default)]
pub(super) struct Words {
    /// With the number of its uses.
    known: AHashMap<Box<str>, (WordId, usize)>,
    last: u64,
}

impl Words {
    pub(super) fn find(&self, text: &str) -> Option<WordId> {
        self.known.get(text).map(|(id, _)| *id)
    }

    /// One use more of a level.
    pub(super) fn hold(&mut self, text: &str) -> WordId {
        if let Some((id, uses)) = self.known.get_mut(text) {
            *uses += 1;
            return *id;
        }
        self.last += 1;
        let id = WordId(self.last);
        self.known.insert(text.into(), (id, 1));
        id
    }

    /// One use less; a level without any is forgotten.
    pub(super) fn release(&mut self, text: &str) {
        let Some((_, uses)) = self.known.get_mut(text) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.known.remove(text);
            // A million short-lived topics must not keep their table.
            if self.known.len() * 4 < self.known.capacity() {
                self.known.shrink_to_fit();
            }
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.known.capacity()
    }
}
