//! Places for calls under way, shared by those who call.
//!
//! One caller takes up to three quarters of what the others leave: alone it has three quarters of all places, and whoever comes
//! later still finds some. So no caller can keep all others from calling by never ending its calls.

use ahash::AHashMap;

/// A caller takes no more than so many times what stays free.
const FREE_TIMES: usize = 3;

/// Who calls: the router's number of an account; `None` is the gateway itself.
pub(super) type Caller = Option<usize>;

#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    taken: usize,
    /// Callers that have any.
    by_caller: AHashMap<Caller, usize>,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: 0, by_caller: AHashMap::new() }
    }

    /// Takes a place, if there is one for this caller.
    pub(super) fn take(&mut self, caller: Caller) -> bool {
        let mine = self.by_caller.get(&caller).copied().unwrap_or(0);
        let free = self.max - self.taken;
        if free == 0 || mine >= free.saturating_mul(FREE_TIMES) {
            return false;
        }
        self.by_caller.insert(caller, mine + 1);
        self.taken += 1;
        true
    }

    pub(super) fn leave(&mut self, caller: Caller) {
        let Some(mine) = self.by_caller.get_mut(&caller) else { return };
        *mine -= 1;
        if *mine == 0 {
            self.by_caller.remove(&caller);
        }
        self.taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_leaves_places_for_others_and_gets_them_back() {
        let mut slots = Slots::new(256);
        let fill = |slots: &mut Slots, caller| (0..1_000).filter(|_| slots.take(Some(caller))).count();
        assert_eq!([fill(&mut slots, 1), fill(&mut slots, 2), fill(&mut slots, 3)], [192, 48, 12]);
        (0..192).for_each(|_| slots.leave(Some(1)));
        assert!(fill(&mut slots, 3) > 100);
        for caller in 1..=3 {
            (0..256).for_each(|_| slots.leave(Some(caller)));
        }
        assert_eq!((slots.taken, slots.by_caller.len()), (0, 0));
    }

    #[test]
    fn two_places_are_for_whoever_comes_first() {
        let mut slots = Slots::new(2);
        assert_eq!([slots.take(None), slots.take(None), slots.take(Some(1))], [true, true, false]);
    }
}
