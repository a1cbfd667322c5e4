//! One tree for MQTT filters, Rembus patterns and busrt topics, each with its own exact rules.
//!
//! A filter is a path of levels; subscriptions hang where it ends. A topic is matched from the root with the list of nodes that
//! are still possible (an automaton, not a search).
//!
//! ```text
//! MQTT:   literal, `+` (any level, even empty), `#` (the rest, parent included); neither matches a leading `$`  [MQTT-4.7.2-1]
//! Rembus: literal, `*` within a level (never empty), `**` (any number of levels, also none)                     rembus.md 7.1
//! busrt:  literal, `+` (any level), `#` (one level or more below; what follows it counts for nothing, except that      busrt.md 4
//!         `a/#/b` matches `a` as well); both match a leading `$` or `.`
//! ```
//!
//! What a topic costs, whoever subscribed to what: a node has one depth, so it is visited once at most; from its first `**` or
//! `a*` on a Rembus pattern is a *tail* of the node, and costs as many steps as it has levels, for globs also as they have bytes
//! ([`lanes`]). Names have at most [`LEVELS_MAX`](crate::names::LEVELS_MAX) levels and
//! [`WILDCARDS_MAX`](crate::names::WILDCARDS_MAX) such wildcards, so a pattern can cost so many steps and no more: some
//! microseconds. Nothing here calls itself.
//!
//! The answers for recent topics are remembered until a subscription changes: sensors publish to the same few topics.

mod lanes;
mod listed;
mod nodes;
mod tail;
mod target;
mod words;

pub(super) use target::{Dest, Target};

use super::event::Filter;
use super::pattern::{self, Segment};
#[cfg(any(test, feature = "fuzzing"))]
use crate::names;
use ahash::AHashMap;
use listed::Listed;
use nodes::{End, NodeId, Nodes, ROOT, step};
use std::collections::VecDeque;
use std::sync::Arc;
use tail::{Bytes, Levels, tokens};
use target::Found;
use words::Words;

/// Most bytes that the memory of recent topics takes, over all topics.
const REMEMBERED_MAX: usize = 4 << 20;
/// Subscriptions that are taken out in one turn.
pub(super) const AT_ONCE: usize = 128;
/// What a topic costs there beside its text and its targets.
const REMEMBERED_SLOT: usize = 96;

/// What a subscription takes in the tree, in its session and in the state that is saved, beside its text and its levels.
const SUBSCRIPTION_BYTES: usize = 4 * size_of::<Target>() + 256;
/// What a level takes that no other filter shares: its node and its word, in tables that may be half empty.
const LEVEL_BYTES: usize = 192;
/// How often the text of a filter is held.
const TEXTS: usize = 3;

/// What one filter can add to a topic of 1 KiB at most: its nodes, or the tokens of its tail (a lane of 128 levels has three
/// words), and for each glob the levels it may be, and as many comparisons as are no dearer than its bytes (22 of 32 words).
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const STEPS_MAX: usize = names::LEVELS_MAX * 3 + names::WILDCARDS_MAX * (names::LEVELS_MAX + 22 * 32);
/// What an irregular pattern can: its bytes, times the words of the topic.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) const BYTE_STEPS_MAX: usize = names::IRREGULAR_MAX * 17;

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Nodes,
    words: Words,
    /// Patterns in which `**` touches other text; rare, tried one by one.
    irregular: Listed<str>,
    count: usize,
    /// Of sessions that are gone, to be taken out some at a time. Until then they lead to nobody.
    leaving: VecDeque<(Filter, Dest)>,
    recent: AHashMap<Box<str>, Arc<[Target]>>,
    remembered: usize,
    /// Bytes that all subscriptions take, as if they shared no level.
    bytes: usize,
}

/// A level of a filter that leads to one node.
#[derive(Debug, Clone, Copy)]
enum Edge<'a> {
    Literal(&'a str),
    Plus,
    Star,
    BusPlus,
}

/// A filter as the tree has it.
#[derive(Debug)]
struct Path<'a> {
    edges: Vec<Edge<'a>>,
    end: Way<'a>,
}

/// How a path ends.
#[derive(Debug)]
enum Way<'a> {
    Here,
    Hash,
    BusBelow,
    BusRest,
    Tail(Vec<Segment<'a>>),
}

/// `None` for an irregular pattern.
fn path(filter: &Filter) -> Option<Path<'_>> {
    match filter {
        Filter::Mqtt(filter) | Filter::Shared { filter, .. } => Some(mqtt_path(filter)),
        Filter::Rembus(pattern) => pattern::segments(pattern).map(rembus_path),
        Filter::Bus(topic) => Some(bus_path(topic)),
    }
}

fn mqtt_path(filter: &str) -> Path<'_> {
    let mut edges = Vec::new();
    for level in filter.split('/') {
        match level {
            "+" => edges.push(Edge::Plus),
            "#" => return Path { edges, end: Way::Hash },
            literal => edges.push(Edge::Literal(literal)),
        }
    }
    Path { edges, end: Way::Here }
}

fn rembus_path(mut segments: Vec<Segment<'_>>) -> Path<'_> {
    let begins = |segment: &Segment<'_>| {
        matches!(segment, Segment::AnySegments) || matches!(segment, Segment::Glob(glob) if *glob != "*")
    };
    let tail = segments.iter().position(begins).map(|at| segments.split_off(at));
    let edge = |segment| match segment {
        Segment::Literal(text) => Edge::Literal(text),
        // Any other glob begins the tail.
        Segment::Glob(_) | Segment::AnySegments => Edge::Star,
    };
    Path { edges: segments.into_iter().map(edge).collect(), end: tail.map_or(Way::Here, Way::Tail) }
}

fn bus_path(topic: &str) -> Path<'_> {
    let mut edges = Vec::new();
    let mut levels = topic.split('/');
    while let Some(level) = levels.next() {
        match level {
            "#" => {
                let end = if levels.next().is_some() { Way::BusRest } else { Way::BusBelow };
                return Path { edges, end };
            }
            "+" => edges.push(Edge::BusPlus),
            literal => edges.push(Edge::Literal(literal)),
        }
    }
    Path { edges, end: Way::Here }
}

/// Whether a filter is about its own topic only; one of those that could be taken for more may be.
fn is_literal(filter: &Filter) -> bool {
    match filter {
        Filter::Mqtt(filter) | Filter::Shared { filter, .. } | Filter::Bus(filter) => !filter.contains(['+', '#']),
        Filter::Rembus(pattern) => !pattern.contains('*'),
    }
}

impl Tree {
    /// Adds a subscription, or replaces what the session had for the same filter. Returns whether it is new.
    pub(super) fn insert(&mut self, filter: &Filter, target: Target) -> bool {
        self.forget(filter);
        let new = match path(filter) {
            Some(path) => self.put(&path, target),
            None => self.irregular.put(filter.pattern(), target).0,
        };
        if new {
            self.count += 1;
            self.bytes += Self::cost(filter);
        }
        new
    }

    fn put(&mut self, path: &Path<'_>, target: Target) -> bool {
        let Self { nodes, words, .. } = self;
        let mut node = ROOT;
        for edge in &path.edges {
            let known = step(edge, |text| words.find(text)).and_then(|step| nodes.child(node, step));
            node = known.unwrap_or_else(|| {
                let step = step(edge, |text| Some(words.hold(text))).expect("a level that is held has a number");
                nodes.add(node, step)
            });
        }
        let Some(end) = path.end(|text| Some(words.hold(text))) else { return false };
        let (new, holds) = nodes.put(node, &end, target);
        if !holds {
            path.end.release(words);
        }
        new
    }

    /// Removes a subscription and every node that is not needed any more. Returns whether there was one.
    pub(super) fn remove(&mut self, filter: &Filter, dest: Dest) -> bool {
        self.forget(filter);
        let removed = match path(filter) {
            Some(path) => self.take(&path, dest, filter.pattern()),
            None => self.irregular.take(filter.pattern(), dest, filter.pattern()).0,
        };
        if removed {
            self.count -= 1;
            self.bytes -= Self::cost(filter);
        }
        removed
    }

    fn take(&mut self, path: &Path<'_>, dest: Dest, text: &str) -> bool {
        let Self { nodes, words, .. } = self;
        let down = |node, edge: &Edge<'_>| nodes.child(node, step(edge, |text| words.find(text))?);
        let Some(mut node) = path.edges.iter().try_fold(ROOT, down) else { return false };
        let Some(end) = path.end(|text| words.find(text)) else { return false };
        let (removed, lets_go) = nodes.take(node, &end, dest, text);
        if lets_go {
            path.end.release(words);
        }
        for edge in path.edges.iter().rev() {
            let Some(above) = nodes.prune(node) else { break };
            if let Edge::Literal(text) = edge {
                words.release(text);
            }
            node = above;
        }
        nodes.shrink();
        removed
    }

    /// What is not leaving.
    pub(super) fn len(&self) -> usize {
        self.count - self.leaving.len()
    }

    /// Removes a subscription of a session that is gone, some time. Returns whether it is the first one that waits for
    /// [`let_some_go`](Self::let_some_go).
    pub(super) fn remove_later(&mut self, filter: Filter, dest: Dest) -> bool {
        self.leaving.push_back((filter, dest));
        self.leaving.len() == 1
    }

    /// Returns whether there are more.
    pub(super) fn let_some_go(&mut self) -> bool {
        for _ in 0..AT_ONCE {
            let Some((filter, dest)) = self.leaving.pop_front() else { break };
            self.remove(&filter, dest);
        }
        if self.leaving.is_empty() {
            self.leaving = VecDeque::new();
        }
        !self.leaving.is_empty()
    }

    /// Bytes that a subscription takes, with its levels as if no other shared them.
    pub(super) fn cost(filter: &Filter) -> usize {
        let text = filter.pattern();
        let levels = text.bytes().filter(|byte| *byte == b'/').count() + 1;
        levels * LEVEL_BYTES + SUBSCRIPTION_BYTES + text.len() * TEXTS
    }

    /// Bytes that all subscriptions take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that the answers for recent topics take.
    pub(super) fn remembered_bytes(&self) -> usize {
        self.remembered
    }

    /// Everybody who subscribed to `topic`: an MQTT or busrt session once, a Rembus session once for each of its patterns.
    pub(super) fn matches(&mut self, topic: &str) -> Arc<[Target]> {
        if let Some(known) = self.recent.get(topic) {
            return Arc::clone(known);
        }
        let found: Arc<[Target]> = self.search(topic).into();
        // A topic nobody wants costs a slot as well, or a flood of such topics would be searched each time.
        let weight = remembered(topic, &found);
        if self.remembered + weight > REMEMBERED_MAX {
            self.forget_recent();
        }
        if weight <= REMEMBERED_MAX {
            self.remembered += weight;
            self.recent.insert(topic.into(), Arc::clone(&found));
        }
        found
    }

    /// Likewise, and next to nothing where there are no subscriptions at all.
    pub(super) fn matches_any(&mut self, topic: &str) -> Arc<[Target]> {
        if self.count == 0 { Arc::default() } else { self.matches(topic) }
    }

    /// A filter changes: the answers it may be part of are void. One without a wildcard is about its own topic only; a caller of
    /// RPC subscribes to a reply topic for each call.
    fn forget(&mut self, filter: &Filter) {
        if !is_literal(filter) {
            self.forget_recent();
        } else if let Some(known) = self.recent.remove(filter.pattern()) {
            self.remembered -= remembered(filter.pattern(), &known);
        }
    }

    fn forget_recent(&mut self) {
        self.recent = AHashMap::new();
        self.remembered = 0;
    }

    /// Those who subscribed to the very topic, without a wildcard.
    pub(super) fn by_name(&self, topic: &str) -> &[Target] {
        let down = |node, level| self.nodes.child(node, step(&Edge::Literal(level), |text| self.words.find(text))?);
        let end = topic.split('/').try_fold(ROOT, down).and_then(|node| self.nodes.get(node)?.ends.as_ref());
        end.map(|ends| ends.here.as_slice()).unwrap_or_default()
    }

    pub(super) fn search(&self, topic: &str) -> Vec<Target> {
        self.counted(topic).0
    }

    /// With the steps that it took: nodes, and what tails and irregular patterns cost, in words of lanes.
    pub(super) fn counted(&self, topic: &str) -> (Vec<Target>, usize) {
        let mut levels = Levels::new(topic, |level| self.words.find(level));
        let mut found = Found::default();
        let mut steps = 0;
        let mut open: Vec<(NodeId, usize)> = vec![(ROOT, 0)];
        while let Some((id, depth)) = open.pop() {
            steps += 1;
            let Some(node) = self.nodes.get(id) else { continue };
            let level = levels.get(depth);
            let system = depth == 0 && topic.starts_with('$');
            if let Some(ends) = &node.ends {
                if !system {
                    // `a/#` matches `a` as well [MQTT 4.7.1.2].
                    found.add(&ends.hash);
                }
                found.add(&ends.rest);
                found.add(if level.is_some() { &ends.below } else { &ends.here });
                for (tail, targets) in ends.tails.iter() {
                    let (hits, cost) = levels.matches(depth, tail);
                    steps += cost;
                    if hits {
                        found.add(targets);
                    }
                }
            }
            if let Some(level) = level {
                node.reach(level.text, level.word, system, |child| open.push((child, depth + 1)));
            }
        }
        if !self.irregular.is_empty() {
            let mut bytes = Bytes::of(topic);
            for (pattern, targets) in self.irregular.iter() {
                let (hits, cost) = bytes.matches(pattern);
                steps += cost;
                if hits {
                    found.add(targets);
                }
            }
        }
        (found.targets(), steps)
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Tree {
    /// Whether nothing is left of what was put in.
    pub(super) fn is_bare(&self) -> bool {
        self.nodes.len() == 1 && self.words.is_empty() && self.irregular.is_empty()
    }
}

impl<'a> Path<'a> {
    fn end(&self, word: impl FnMut(&str) -> Option<words::WordId>) -> Option<End> {
        Some(match &self.end {
            Way::Here => End::Here,
            Way::Hash => End::Hash,
            Way::BusBelow => End::BusBelow,
            Way::BusRest => End::BusRest,
            Way::Tail(segments) => End::Tail(tokens(segments, word)?),
        })
    }
}

impl Way<'_> {
    /// A tail does not need its levels any more.
    fn release(&self, words: &mut Words) {
        let Self::Tail(segments) = self else { return };
        for segment in segments {
            if let Segment::Literal(text) = segment {
                words.release(text);
            }
        }
    }
}

/// Bytes that an answer takes in the memory of recent topics.
fn remembered(topic: &str, found: &[Target]) -> usize {
    let targets: usize = found.iter().map(|target| size_of::<Target>() + size_of_val(target.identifiers.as_slice())).sum();
    REMEMBERED_SLOT + topic.len() + targets
}

#[cfg(test)]
pub(super) use tests::hits;

#[cfg(test)]
mod tests;
