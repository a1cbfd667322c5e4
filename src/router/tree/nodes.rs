//! The levels that filters share, as nodes in one list: a node knows others by their places in it. Nothing here calls itself, so
//! no filter is too deep to be put in, found, taken out or dropped.

use super::listed::Listed;
use super::tail::Token;
use super::target::{Target, put, take};
use super::words::WordId;
use super::{Dest, Edge};
use ahash::AHashMap;
use slab::Slab;
use std::num::NonZeroU32;

/// Place of a node; the root has place 0, and is nobody's child.
pub(super) type NodeId = u32;
type Child = NonZeroU32;

pub(super) const ROOT: NodeId = 0;
/// A list with fewer places is left as it is.
const SMALL: usize = 64;

#[derive(Debug)]
pub(super) struct Nodes(Slab<Node>);

/// How a node is reached from the one above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Literal(WordId),
    /// MQTT `+`.
    Plus,
    /// Rembus `*`.
    Star,
    /// busrt `+`.
    BusPlus,
}

#[derive(Debug)]
pub(super) struct Node {
    above: Option<(NodeId, Step)>,
    literal: Literals,
    plus: Option<Child>,
    star: Option<Child>,
    bus_plus: Option<Child>,
    /// Filters that end here; most nodes have none.
    pub(super) ends: Option<Box<Ends>>,
}

#[derive(Debug, Default)]
enum Literals {
    #[default]
    None,
    One(WordId, Child),
    Many(Box<AHashMap<WordId, Child>>),
}

#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) here: Vec<Target>,
    /// MQTT filters that end here with `#`.
    pub(super) hash: Vec<Target>,
    /// busrt topics that end here with `#`: they want at least one level more.
    pub(super) below: Vec<Target>,
    /// And those that have something behind `#`: they want this level as well.
    pub(super) rest: Vec<Target>,
    /// Rembus patterns that go on with `**` or `a*`.
    pub(super) tails: Listed<[Token]>,
}

/// Where a filter ends.
#[derive(Debug)]
pub(super) enum End {
    Here,
    Hash,
    BusBelow,
    BusRest,
    Tail(Box<[Token]>),
}

impl Default for Nodes {
    fn default() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::below(None));
        Self(nodes)
    }
}

impl Nodes {
    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.0.get(id as usize)
    }

    fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.0.get_mut(id as usize)
    }

    pub(super) fn child(&self, id: NodeId, step: Step) -> Option<NodeId> {
        self.get(id)?.child(step).map(Child::get)
    }

    /// A new node below `id`.
    pub(super) fn add(&mut self, id: NodeId, step: Step) -> NodeId {
        let place = self.0.insert(Node::below(Some((id, step))));
        let child = u32::try_from(place).ok().and_then(Child::new).expect("the root has place 0, and memory ends before 2^32");
        if let Some(node) = self.get_mut(id) {
            node.set_child(step, Some(child));
        }
        child.get()
    }

    /// Adds a target to a node. Returns whether it is new there, and whether what it hangs on is.
    pub(super) fn put(&mut self, id: NodeId, end: &End, target: Target) -> (bool, bool) {
        let Some(node) = self.get_mut(id) else { return (false, false) };
        let ends = node.ends.get_or_insert_default();
        match end {
            End::Here => (put(&mut ends.here, target), false),
            End::Hash => (put(&mut ends.hash, target), false),
            End::BusBelow => (put(&mut ends.below, target), false),
            End::BusRest => (put(&mut ends.rest, target), false),
            End::Tail(tokens) => ends.tails.put(tokens, target),
        }
    }

    /// Takes a target out. Returns whether it was there, and whether what it hung on is gone.
    pub(super) fn take(&mut self, id: NodeId, end: &End, dest: Dest, text: &str) -> (bool, bool) {
        let Some(node) = self.get_mut(id) else { return (false, false) };
        let Some(ends) = &mut node.ends else { return (false, false) };
        let taken = match end {
            End::Here => (take(&mut ends.here, dest, text), false),
            End::Hash => (take(&mut ends.hash, dest, text), false),
            End::BusBelow => (take(&mut ends.below, dest, text), false),
            End::BusRest => (take(&mut ends.rest, dest, text), false),
            End::Tail(tokens) => ends.tails.take(tokens, dest, text),
        };
        if ends.is_empty() {
            node.ends = None;
        }
        taken
    }

    /// Removes a node that nothing hangs on; says which one was above.
    pub(super) fn prune(&mut self, id: NodeId) -> Option<NodeId> {
        let node = self.get(id).filter(|node| node.is_bare())?;
        let (above, step) = node.above?;
        self.0.remove(id as usize);
        if let Some(node) = self.get_mut(above) {
            node.set_child(step, None);
        }
        Some(above)
    }

    /// Makes the list shorter when most of it is empty.
    pub(super) fn shrink(&mut self) {
        if self.0.capacity() <= SMALL || self.0.len() * 4 > self.0.capacity() {
            return;
        }
        let shorter = Slab::with_capacity(self.len());
        let mut old = std::mem::replace(&mut self.0, shorter);
        let mut moving = vec![(ROOT, None)];
        while let Some((id, above)) = moving.pop() {
            let Some(mut node) = old.try_remove(id as usize) else { continue };
            let children = node.take_children();
            node.above = above;
            let place = self.0.insert(node);
            let id = u32::try_from(place).expect("there are fewer than before");
            if let (Some((above, step)), Some(child)) = (above, Child::new(id))
                && let Some(node) = self.get_mut(above)
            {
                node.set_child(step, Some(child));
            }
            moving.extend(children.into_iter().map(|(step, child)| (child.get(), Some((id, step)))));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl Node {
    fn below(above: Option<(NodeId, Step)>) -> Self {
        Self { above, literal: Literals::None, plus: None, star: None, bus_plus: None, ends: None }
    }

    fn child(&self, step: Step) -> Option<Child> {
        match step {
            Step::Literal(word) => match &self.literal {
                Literals::One(known, child) if *known == word => Some(*child),
                Literals::Many(children) => children.get(&word).copied(),
                Literals::None | Literals::One(..) => None,
            },
            Step::Plus => self.plus,
            Step::Star => self.star,
            Step::BusPlus => self.bus_plus,
        }
    }

    fn set_child(&mut self, step: Step, child: Option<Child>) {
        match step {
            Step::Literal(word) => self.literal.set(word, child),
            Step::Plus => self.plus = child,
            Step::Star => self.star = child,
            Step::BusPlus => self.bus_plus = child,
        }
    }

    /// Puts the nodes below that take `level` on the list.
    pub(super) fn reach(&self, level: &str, word: Option<WordId>, system: bool, mut add: impl FnMut(NodeId)) {
        let literal = word.and_then(|word| self.child(Step::Literal(word)));
        let plus = self.plus.filter(|_| !system);
        let star = self.star.filter(|_| !level.is_empty() && !level.contains('@'));
        [literal, plus, star, self.bus_plus].into_iter().flatten().for_each(|child| add(child.get()));
    }

    fn take_children(&mut self) -> Vec<(Step, Child)> {
        let mut children = match std::mem::take(&mut self.literal) {
            Literals::None => Vec::new(),
            Literals::One(word, child) => vec![(Step::Literal(word), child)],
            Literals::Many(children) => children.into_iter().map(|(word, child)| (Step::Literal(word), child)).collect(),
        };
        let others = [(Step::Plus, &mut self.plus), (Step::Star, &mut self.star), (Step::BusPlus, &mut self.bus_plus)];
        children.extend(others.into_iter().filter_map(|(step, child)| Some((step, child.take()?))));
        children
    }

    fn is_bare(&self) -> bool {
        let leads_nowhere = [self.plus, self.star, self.bus_plus].iter().all(Option::is_none);
        matches!(self.literal, Literals::None) && leads_nowhere && self.ends.is_none()
    }
}

impl Literals {
    fn set(&mut self, word: WordId, child: Option<Child>) {
        match (&mut *self, child) {
            (Self::None, Some(child)) => *self = Self::One(word, child),
            (Self::One(known, there), Some(child)) if *known == word => *there = child,
            (Self::One(known, there), Some(child)) => {
                *self = Self::Many(Box::new(AHashMap::from_iter([(*known, *there), (word, child)])));
            }
            (Self::One(known, _), None) if *known == word => *self = Self::None,
            (Self::None | Self::One(..), None) => {}
            (Self::Many(children), Some(child)) => {
                children.insert(word, child);
            }
            (Self::Many(children), None) => {
                children.remove(&word);
                if children.is_empty() {
                    *self = Self::None;
                } else if children.len() * 4 < children.capacity() {
                    // A folder of a million short-lived topics must not keep its table.
                    children.shrink_to_fit();
                }
            }
        }
    }
}

impl Ends {
    fn is_empty(&self) -> bool {
        [&self.here, &self.hash, &self.below, &self.rest].iter().all(|targets| targets.is_empty()) && self.tails.is_empty()
    }
}

/// Leads one level down.
pub(super) fn step(edge: &Edge<'_>, word: impl FnOnce(&str) -> Option<WordId>) -> Option<Step> {
    match edge {
        Edge::Literal(text) => word(text).map(Step::Literal),
        Edge::Plus => Some(Step::Plus),
        Edge::Star => Some(Step::Star),
        Edge::BusPlus => Some(Step::BusPlus),
    }
}
