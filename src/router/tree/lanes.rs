//! Sets of places in a topic, as bits: what makes the cost of a pattern a product of two small numbers.
//!
//! A pattern is matched token by token. What is kept is the set of places in the topic to which the tokens so far can lead:
//! place `n` stands behind `n` items (levels, or bytes). A lane says which items a token takes. So a token costs one walk over
//! `items / 64` words, whatever the pattern and the topic: no search, no recursion, no case that is worse than the others.

/// Lanes of one topic, all of the same length.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    bits: Vec<u64>,
    /// Words of one lane.
    width: usize,
    items: usize,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane(usize);

impl Lanes {
    /// For a topic of so many items.
    pub(super) fn new(items: usize) -> Self {
        Self { bits: Vec::new(), width: items / 64 + 1, items }
    }

    /// Words that one token costs.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// A lane that takes nothing yet.
    pub(super) fn lane(&mut self) -> Lane {
        let lane = Lane(self.bits.len());
        self.bits.resize(self.bits.len() + self.width, 0);
        lane
    }

    /// The lane takes this item too.
    pub(super) fn takes(&mut self, lane: Lane, item: usize) {
        if let Some(word) = self.bits.get_mut(lane.0 + item / 64) {
            *word |= 1 << (item % 64);
        }
    }

    fn words(&self, lane: Lane) -> &[u64] {
        self.bits.get(lane.0..lane.0 + self.width).unwrap_or_default()
    }
}

/// Places that the tokens so far can lead to.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<u64>);

impl Places {
    /// Only `place`, of a topic with these lanes.
    pub(super) fn start(&mut self, lanes: &Lanes, place: usize) {
        self.0.clear();
        self.0.resize(lanes.width, 0);
        self.add(place);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether the end of the topic is among them.
    pub(super) fn at_end(&self, lanes: &Lanes) -> bool {
        self.has(lanes.items)
    }

    /// One item that the lane takes.
    pub(super) fn take_one(&mut self, lanes: &Lanes, lane: Lane) {
        let mut carry = 0;
        for (word, takes) in self.0.iter_mut().zip(lanes.words(lane)) {
            let taken = *word & takes;
            *word = taken << 1 | carry;
            carry = taken >> 63;
        }
    }

    /// One or more items in a row, each of which the lane takes; with `none`, none as well.
    ///
    /// Adding the places to the lane carries through each run of items from the first place in it to its end: the bits that
    /// change are those that were walked over.
    pub(super) fn take_many(&mut self, lanes: &Lanes, lane: Lane, none: bool) {
        let (mut carry, mut shifted) = (false, 0);
        for (word, takes) in self.0.iter_mut().zip(lanes.words(lane)) {
            let from = *word & takes;
            let (sum, over) = takes.overflowing_add(from);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            carry = over | over_again;
            let walked = takes & (!sum | from);
            *word = walked << 1 | shifted | if none { *word } else { 0 };
            shifted = walked >> 63;
        }
    }

    /// The items behind these places.
    pub(super) fn items(&self, lanes: &Lanes) -> impl Iterator<Item = usize> {
        let items = lanes.items;
        let places = self.0.iter().enumerate().flat_map(|(at, word)| {
            let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            std::iter::successors(Some(*word).filter(|word| *word != 0), rest)
                .map(move |word| at * 64 + word.trailing_zeros() as usize)
        });
        places.filter(move |place| *place < items)
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(super) fn add(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_move_as_a_plain_list_of_them_does(
            takes in proptest::collection::vec(any::<bool>(), 0..200),
            from in proptest::collection::vec(any::<bool>(), 0..201),
            none: bool,
        ) {
            let items = takes.len();
            let mut lanes = Lanes::new(items);
            let lane = lanes.lane();
            takes.iter().enumerate().filter(|(_, takes)| **takes).for_each(|(item, _)| lanes.takes(lane, item));
            let from: Vec<usize> = (0..=items).filter(|place| from.get(*place) == Some(&true)).collect();
            let places = || {
                let mut places = Places::default();
                places.start(&lanes, 0);
                places.clear();
                from.iter().for_each(|place| places.add(*place));
                places
            };
            let listed = |places: &Places| (0..lanes.width * 64).filter(|place| places.has(*place)).collect::<Vec<_>>();

            let one: Vec<usize> = from.iter().filter(|place| takes.get(**place) == Some(&true)).map(|place| place + 1).collect();
            let mut taken = places();
            taken.take_one(&lanes, lane);
            prop_assert_eq!(listed(&taken), one.clone());
            prop_assert_eq!(taken.at_end(&lanes), one.contains(&items));
            let behind: Vec<usize> = from.iter().copied().filter(|place| *place < items).collect();
            prop_assert_eq!(places().items(&lanes).collect::<Vec<_>>(), behind);

            let reached = |end: usize| {
                from.iter().any(|start| (*start < end && takes[*start..end].iter().all(|takes| *takes)) || (none && *start == end))
            };
            let many: Vec<usize> = (0..=items).filter(|end| reached(*end)).collect();
            let mut taken = places();
            taken.take_many(&lanes, lane, none);
            prop_assert_eq!(taken.is_empty(), many.is_empty());
            prop_assert_eq!(listed(&taken), many);
        }
    }
}
