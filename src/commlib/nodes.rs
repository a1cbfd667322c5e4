//! Which commlib nodes are there, by their heartbeats (`protocol/commlib.md` section 6).
//!
//! A beat is `{"ts": integer}` on `<node>/heartbeat`. A node is *alive*; *late* when 1.5 intervals have passed since its last
//! beat by the gateway's own clock; *gone* after 2.5. The interval is the one configured, or the node's own if that is longer.
//! Nodes beyond the limit are not followed until a gone one can be forgotten.

use crate::clock::{Mono, Wall};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Nodes followed at the same time.
const NODES_MAX: usize = 10_000;
/// A node with a longer interval than this is taken for one that was away.
const INTERVAL_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Late,
    Gone,
}

impl Life {
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Late => "late",
            Self::Gone => "gone",
        }
    }
}

#[derive(Debug)]
struct Node {
    life: Life,
    last: Mono,
    last_wall: Wall,
    /// The node's own clock, as it said.
    ts: i64,
    beats: u64,
    interval: Duration,
}

/// A node became something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) node: String,
    pub(super) life: Life,
    /// Since the last beat.
    pub(super) age: Duration,
}

#[derive(Debug)]
pub(super) struct Nodes {
    interval: Duration,
    nodes: BTreeMap<String, Node>,
    /// Nobody becomes late or gone before this.
    due: Option<Mono>,
    /// Beats of nodes that found no room.
    pub(super) ignored: u64,
}

impl Nodes {
    /// `interval` is how often a node beats.
    #[must_use]
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, nodes: BTreeMap::new(), due: None, ignored: 0 }
    }

    /// A beat has come. What a node says of its own time is shown, and decides nothing.
    pub(super) fn beat(&mut self, node: &str, ts: i64, now: Mono, wall: Wall) -> Option<Change> {
        if let Some(known) = self.nodes.get_mut(node) {
            let gap = now.since(known.last);
            if gap <= INTERVAL_MAX {
                known.interval = gap.max(self.interval);
            }
            (known.last, known.last_wall, known.ts) = (now, wall, ts);
            known.beats += 1;
            let was = std::mem::replace(&mut known.life, Life::Alive);
            self.due = sooner(self.due, known.due());
            return (was != Life::Alive).then(|| Change { node: node.into(), life: Life::Alive, age: Duration::ZERO });
        }
        if self.nodes.len() >= NODES_MAX && !self.forget_one() {
            self.ignored += 1;
            return None;
        }
        let fresh = Node { life: Life::Alive, last: now, last_wall: wall, ts, beats: 1, interval: self.interval };
        self.due = sooner(self.due, fresh.due());
        self.nodes.insert(node.into(), fresh);
        Some(Change { node: node.into(), life: Life::Alive, age: Duration::ZERO })
    }

    /// The one that is gone longest gives its place.
    fn forget_one(&mut self) -> bool {
        let gone = self.nodes.iter().filter(|(_, node)| node.life == Life::Gone).min_by_key(|(_, node)| node.last);
        let Some(name) = gone.map(|(name, _)| name.clone()) else { return false };
        self.nodes.remove(&name);
        true
    }

    /// When the next node may become late or gone.
    #[must_use]
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.due
    }

    /// Who has become late or gone.
    pub(super) fn tick(&mut self, now: Mono) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.due.is_none_or(|due| due > now) {
            return changes;
        }
        for (name, node) in &mut self.nodes {
            let age = now.since(node.last);
            let life = match age {
                _ if age >= node.interval.mul_f64(2.5) => Life::Gone,
                _ if age >= node.interval.mul_f64(1.5) => Life::Late,
                _ => Life::Alive,
            };
            // Only a beat makes a node alive.
            if life != node.life && life != Life::Alive {
                node.life = life;
                changes.push(Change { node: name.clone(), life, age });
            }
        }
        self.due = self.nodes.values().filter_map(Node::due).min();
        changes
    }

    /// How many there are of each kind: alive, late, gone.
    #[must_use]
    pub(super) fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for node in self.nodes.values() {
            counts[node.life as usize] += 1;
        }
        counts
    }

    /// The answer of `commlib/nodes`.
    #[must_use]
    pub(super) fn list(&self, now: Mono) -> Value {
        let node = |(name, node): (&String, &Node)| {
            let seconds = |span: Duration| (span.as_secs_f64() * 1000.0).round() / 1000.0;
            json!({"node": name, "state": node.life.name(), "age_s": seconds(now.since(node.last)), "beats": node.beats,
                   "interval_s": seconds(node.interval), "last_seen": node.last_wall.0 / 1_000_000, "ts": node.ts})
        };
        self.nodes.iter().map(node).collect()
    }
}

impl Node {
    /// When it becomes something worse without another beat.
    fn due(&self) -> Option<Mono> {
        let intervals = match self.life {
            Life::Alive => 1.5,
            Life::Late => 2.5,
            Life::Gone => return None,
        };
        Some(self.last.plus(self.interval.mul_f64(intervals)))
    }
}

fn sooner(one: Option<Mono>, other: Option<Mono>) -> Option<Mono> {
    one.into_iter().chain(other).min()
}

/// The time in a beat; `None` if it is none.
#[must_use]
pub(super) fn read_beat(payload: &[u8]) -> Option<i64> {
    let fields = super::wire::object(payload)?;
    match fields.get("ts") {
        Some(ts) if fields.len() == 1 => ts.as_i64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::default().plus(Duration::from_secs(seconds))
    }

    fn nodes() -> Nodes {
        Nodes::new(Duration::from_secs(10))
    }

    #[test]
    fn a_node_that_falls_silent_is_late_and_then_gone() {
        let mut nodes = nodes();
        assert_eq!(nodes.beat("arm", 1, at(0), Wall(1)).unwrap().life, Life::Alive);
        assert_eq!(nodes.beat("arm", 2, at(10), Wall(2)), None);
        assert_eq!(nodes.next_due(), Some(at(15)));
        assert_eq!(nodes.tick(at(24)), []);
        assert_eq!(nodes.next_due(), Some(at(25)));
        let late = Change { node: "arm".into(), life: Life::Late, age: Duration::from_secs(15) };
        assert_eq!(nodes.tick(at(25)), [late]);
        assert_eq!(nodes.tick(at(26)), []);
        assert_eq!(nodes.next_due(), Some(at(35)));
        assert_eq!(nodes.tick(at(35))[0].life, Life::Gone);
        assert_eq!(nodes.next_due(), None);
        assert_eq!(nodes.beat("arm", 3, at(700), Wall(3)).unwrap().life, Life::Alive);
        assert_eq!(nodes.counts(), [1, 0, 0]);
    }

    #[test]
    fn a_slow_node_has_its_own_interval() {
        let mut nodes = nodes();
        nodes.beat("slow", 1, at(0), Wall(1));
        assert_eq!(nodes.tick(at(25))[0].life, Life::Gone);
        nodes.beat("slow", 2, at(60), Wall(1));
        assert_eq!(nodes.tick(at(149)), []);
        assert_eq!(nodes.tick(at(150))[0].life, Life::Late);
    }

    #[test]
    fn a_node_beyond_the_limit_gets_the_place_of_one_that_is_gone() {
        let mut nodes = nodes();
        for n in 0..NODES_MAX {
            nodes.beat(&format!("n{n}"), 1, at(0), Wall(1));
        }
        assert_eq!(nodes.beat("more", 1, at(1), Wall(1)), None);
        assert_eq!(nodes.ignored, 1);
        assert_eq!(nodes.tick(at(100)).len(), NODES_MAX);
        assert_eq!(nodes.beat("more", 1, at(101), Wall(1)).unwrap().life, Life::Alive);
        assert_eq!(nodes.counts(), [1, 0, NODES_MAX as u64 - 1]);
    }

    #[test]
    fn a_beat_is_an_object_with_a_time_and_nothing_else() {
        assert_eq!(read_beat(br#"{"ts":1795207658682793858}"#), Some(1_795_207_658_682_793_858));
        for other in [&br#"{"ts":1.5}"#[..], br#"{"ts":1,"x":2}"#, br#"{}"#, b"1", b"on"] {
            assert_eq!(read_beat(other), None);
        }
    }
}
