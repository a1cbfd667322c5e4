//! One tree for MQTT filters, Rembus patterns and busrt topics, each with its own exact rules.
//!
//! A filter is a path of levels; subscriptions hang where it ends. A topic is matched level by level with the set of nodes
//! that are still possible (an automaton, not a search), so the time is bounded by levels times nodes reached.
//!
//! ```text
//! MQTT:   literal, `+` (any level, even empty), `#` (the rest, parent included); neither matches a leading `$`  [MQTT-4.7.2-1]
//! Rembus: literal, `*` within a level (never empty), `**` (any number of levels, also none)                     rembus.md 7.1
//! busrt:  literal, `+` (any level), `#` (one level or more below; what follows it counts for nothing, except that      busrt.md 4
//!         `a/#/b` matches `a` as well); both match a leading `$` or `.`
//! ```
//!
//! The answers for recent topics are remembered until a subscription changes: sensors publish to the same few topics.

mod target;

pub(super) use target::{Dest, Target};

use super::event::Filter;
use super::pattern::{self, Segment};
use ahash::AHashMap;
use std::sync::Arc;
use target::{collect, put, take};

/// Most targets the memory of recent topics may hold, over all topics.
const REMEMBERED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Node,
    /// Patterns in which `**` touches other text; rare, tried one by one.
    irregular: Vec<(Arc<str>, Vec<Target>)>,
    count: usize,
    recent: AHashMap<Box<str>, Arc<[Target]>>,
    remembered: usize,
}

#[derive(Debug, Default)]
struct Node {
    literal: AHashMap<Box<str>, Self>,
    /// MQTT `+`.
    plus: Option<Box<Self>>,
    /// Rembus levels with `*`.
    globs: Vec<(Box<str>, Self)>,
    /// Rembus `**`: reached without taking a level, and stays while it takes any.
    any: Option<Box<Self>>,
    is_any: bool,
    /// Filters that end here.
    targets: Vec<Target>,
    /// MQTT filters that end here with `#`.
    hash: Vec<Target>,
    /// What busrt topics need; mostly there is none.
    bus: Option<Box<BusEdges>>,
}

#[derive(Debug, Default)]
struct BusEdges {
    plus: Option<Box<Node>>,
    /// Topics that end here with `#`: they want at least one level more.
    below: Vec<Target>,
    /// And those that have something behind `#`: they want this level as well.
    rest: Vec<Target>,
}

/// A level of a filter, as an edge of the tree.
#[derive(Debug, Clone, Copy)]
enum Edge<'a> {
    Literal(&'a str),
    Plus,
    Glob(&'a str),
    Any,
    Hash,
    BusPlus,
    BusBelow,
    BusRest,
}

fn edges(filter: &Filter) -> Option<Vec<Edge<'_>>> {
    match filter {
        Filter::Mqtt(filter) | Filter::Shared { filter, .. } => Some(
            filter
                .split('/')
                .map(|level| match level {
                    "+" => Edge::Plus,
                    "#" => Edge::Hash,
                    literal => Edge::Literal(literal),
                })
                .collect(),
        ),
        Filter::Rembus(pattern) => pattern::segments(pattern).map(|segments| {
            segments
                .into_iter()
                .map(|segment| match segment {
                    Segment::Literal(text) => Edge::Literal(text),
                    Segment::Glob(glob) => Edge::Glob(glob),
                    Segment::AnySegments => Edge::Any,
                })
                .collect()
        }),
        Filter::Bus(topic) => Some(bus_edges(topic)),
    }
}

fn bus_edges(topic: &str) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    let mut levels = topic.split('/');
    while let Some(level) = levels.next() {
        match level {
            "#" => {
                edges.push(if levels.next().is_some() { Edge::BusRest } else { Edge::BusBelow });
                break;
            }
            "+" => edges.push(Edge::BusPlus),
            literal => edges.push(Edge::Literal(literal)),
        }
    }
    edges
}

impl Tree {
    /// Adds a subscription, or replaces what the session had for the same filter. Returns whether it is new.
    pub(super) fn insert(&mut self, filter: &Filter, target: Target) -> bool {
        self.forget(filter);
        let new = match (edges(filter), filter) {
            (Some(edges), _) => put(self.root.ends_of(&edges), target),
            (None, filter) => {
                let pattern = filter.pattern();
                match self.irregular.iter_mut().find(|(known, _)| **known == *pattern) {
                    Some((_, targets)) => put(targets, target),
                    None => {
                        self.irregular.push((pattern.into(), vec![target]));
                        true
                    }
                }
            }
        };
        self.count += usize::from(new);
        new
    }

    /// Removes a subscription and every node that is not needed any more. Returns whether there was one.
    pub(super) fn remove(&mut self, filter: &Filter, dest: Dest) -> bool {
        self.forget(filter);
        let removed = match (edges(filter), filter) {
            (Some(edges), _) => self.root.remove(&edges, dest),
            (None, filter) => {
                let pattern = filter.pattern();
                let mut removed = false;
                self.irregular.retain_mut(|(known, targets)| {
                    if **known == *pattern {
                        removed = take(targets, dest);
                    }
                    !targets.is_empty()
                });
                removed
            }
        };
        self.count -= usize::from(removed);
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Everybody who subscribed to `topic`: an MQTT or busrt session once, a Rembus session once for each of its patterns.
    pub(super) fn matches(&mut self, topic: &str) -> Arc<[Target]> {
        if let Some(known) = self.recent.get(topic) {
            return Arc::clone(known);
        }
        let found: Arc<[Target]> = self.search(topic).into();
        // A topic nobody wants costs a slot as well, or a flood of such topics would be searched each time.
        if self.remembered + found.len() + 1 > REMEMBERED_MAX {
            self.forget_recent();
        }
        self.remembered += found.len() + 1;
        self.recent.insert(topic.into(), Arc::clone(&found));
        found
    }

    /// Likewise, and next to nothing where there are no subscriptions at all.
    pub(super) fn matches_any(&mut self, topic: &str) -> Arc<[Target]> {
        if self.count == 0 { Arc::default() } else { self.matches(topic) }
    }

    /// A filter changes: the answers it may be part of are void. One without a wildcard is about its own topic only; a caller of
    /// RPC subscribes to a reply topic for each call.
    fn forget(&mut self, filter: &Filter) {
        let is_literal = edges(filter).is_some_and(|edges| edges.iter().all(|edge| matches!(edge, Edge::Literal(_))));
        if !is_literal {
            self.forget_recent();
        } else if let Some(known) = self.recent.remove(filter.pattern()) {
            self.remembered -= known.len() + 1;
        }
    }

    fn forget_recent(&mut self) {
        self.recent = AHashMap::new();
        self.remembered = 0;
    }

    /// Those who subscribed to the very topic, without a wildcard.
    pub(super) fn by_name(&self, topic: &str) -> &[Target] {
        let end = topic.split('/').try_fold(&self.root, |node, level| node.literal.get(level));
        end.map(|node| node.targets.as_slice()).unwrap_or_default()
    }

    pub(super) fn search(&self, topic: &str) -> Vec<Target> {
        let mut found = Vec::new();
        let mut now = Vec::new();
        self.root.activate(&mut now);
        for (depth, level) in topic.split('/').enumerate() {
            let system = depth == 0 && level.starts_with('$');
            let mut next = Vec::with_capacity(now.len() + 2);
            for node in now {
                if !system {
                    collect(&node.hash, &mut found);
                }
                if let Some(bus) = &node.bus {
                    collect(&bus.below, &mut found);
                    collect(&bus.rest, &mut found);
                }
                node.step(level, system, &mut next);
            }
            now = next;
        }
        for node in now {
            // `a/#` matches `a` as well [MQTT 4.7.1.2].
            collect(&node.hash, &mut found);
            collect(&node.targets, &mut found);
            if let Some(bus) = &node.bus {
                collect(&bus.rest, &mut found);
            }
        }
        for (pattern, targets) in &self.irregular {
            if pattern::matches_irregular(pattern, topic) {
                collect(targets, &mut found);
            }
        }
        found
    }
}

impl Node {
    /// Puts this node among the possible ones, with all that is reached from it without taking a level.
    fn activate<'a>(&'a self, active: &mut Vec<&'a Self>) {
        // Only `**` can be reached on two ways.
        if self.is_any && active.iter().any(|known| std::ptr::eq(*known, self)) {
            return;
        }
        active.push(self);
        if let Some(any) = &self.any {
            any.activate(active);
        }
    }

    fn step<'a>(&'a self, level: &str, system: bool, next: &mut Vec<&'a Self>) {
        if let Some(child) = self.literal.get(level) {
            child.activate(next);
        }
        if let (Some(child), false) = (&self.plus, system) {
            child.activate(next);
        }
        if let Some(child) = self.bus.as_ref().and_then(|bus| bus.plus.as_ref()) {
            child.activate(next);
        }
        for (_, child) in self.globs.iter().filter(|(glob, _)| pattern::glob_matches(glob, level)) {
            child.activate(next);
        }
        if self.is_any && !level.contains('@') {
            self.activate(next);
        }
    }

    /// The list in which a filter with these edges ends; makes the nodes on the way.
    fn ends_of(&mut self, edges: &[Edge<'_>]) -> &mut Vec<Target> {
        match edges.split_first() {
            None => &mut self.targets,
            Some((Edge::Hash, _)) => &mut self.hash,
            Some((Edge::Literal(level), rest)) => self.literal.entry((*level).into()).or_default().ends_of(rest),
            Some((Edge::Plus, rest)) => self.plus.get_or_insert_default().ends_of(rest),
            Some((Edge::BusPlus, rest)) => self.bus.get_or_insert_default().plus.get_or_insert_default().ends_of(rest),
            Some((Edge::BusBelow, _)) => &mut self.bus.get_or_insert_default().below,
            Some((Edge::BusRest, _)) => &mut self.bus.get_or_insert_default().rest,
            Some((Edge::Any, rest)) => {
                self.any.get_or_insert_with(|| Box::new(Self { is_any: true, ..Self::default() })).ends_of(rest)
            }
            Some((Edge::Glob(glob), rest)) => {
                let at = self.globs.iter().position(|(known, _)| **known == **glob).unwrap_or_else(|| {
                    self.globs.push(((*glob).into(), Self::default()));
                    self.globs.len() - 1
                });
                self.globs.get_mut(at).expect("the position was just found or made").1.ends_of(rest)
            }
        }
    }

    fn remove(&mut self, edges: &[Edge<'_>], dest: Dest) -> bool {
        match edges.split_first() {
            None => take(&mut self.targets, dest),
            Some((Edge::Hash, _)) => take(&mut self.hash, dest),
            Some((Edge::Literal(level), rest)) => {
                let Some(child) = self.literal.get_mut(*level) else { return false };
                let removed = child.remove(rest, dest);
                if child.is_bare() {
                    self.literal.remove(*level);
                    // A folder of a million short-lived topics must not keep its table.
                    if self.literal.len() * 4 < self.literal.capacity() {
                        self.literal.shrink_to_fit();
                    }
                }
                removed
            }
            Some((Edge::Plus, rest)) => remove_boxed(&mut self.plus, rest, dest),
            Some((Edge::BusPlus | Edge::BusBelow | Edge::BusRest, _)) => self.remove_bus(edges, dest),
            Some((Edge::Any, rest)) => remove_boxed(&mut self.any, rest, dest),
            Some((Edge::Glob(glob), rest)) => {
                let Some(at) = self.globs.iter().position(|(known, _)| **known == **glob) else { return false };
                let Some((_, child)) = self.globs.get_mut(at) else { return false };
                let removed = child.remove(rest, dest);
                if child.is_bare() {
                    self.globs.swap_remove(at);
                }
                removed
            }
        }
    }

    fn remove_bus(&mut self, edges: &[Edge<'_>], dest: Dest) -> bool {
        let Some(bus) = &mut self.bus else { return false };
        let removed = match edges.split_first() {
            Some((Edge::BusPlus, rest)) => remove_boxed(&mut bus.plus, rest, dest),
            Some((Edge::BusBelow, _)) => take(&mut bus.below, dest),
            _ => take(&mut bus.rest, dest),
        };
        if bus.plus.is_none() && bus.below.is_empty() && bus.rest.is_empty() {
            self.bus = None;
        }
        removed
    }

    fn is_bare(&self) -> bool {
        self.literal.is_empty()
            && self.plus.is_none()
            && self.globs.is_empty()
            && self.any.is_none()
            && self.bus.is_none()
            && self.targets.is_empty()
            && self.hash.is_empty()
    }
}

fn remove_boxed(child: &mut Option<Box<Node>>, rest: &[Edge<'_>], dest: Dest) -> bool {
    let Some(node) = child else { return false };
    let removed = node.remove(rest, dest);
    if node.is_bare() {
        *child = None;
    }
    removed
}

#[cfg(test)]
pub(super) use tests::hits;

#[cfg(test)]
mod tests;
