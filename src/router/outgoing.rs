//! What a session is to be sent: a bounded queue, and behind it what is under way.
//!
//! ```text
//!  offer ─▶ queue ─▶ next ─▶ unwritten (until the door says it is in the socket) ─▶ in flight (QoS 1, 2: until acknowledged)
//! ```
//!
//! Order is kept over everything that passes: a message waits behind the ones before it, whatever their QoS. At the bound the
//! newcomer is refused; the caller counts it. Nothing here knows the other sessions, so a slow one costs only itself.

use super::event::{CallId, Delivery, DeliveryId, Stage};
use crate::message::Qos;
use ahash::AHashMap;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Deliveries and requests that may be on their way to a socket at once.
const UNWRITTEN_MAX: usize = 2_048;
/// And their bytes; one larger item may always go alone.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// Bounds of one session's queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    pub items: usize,
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { items: 20_000, bytes: 8 << 20 }
    }
}

/// Something to send that takes room.
#[derive(Debug)]
pub(super) enum Item {
    Delivery(Delivery),
    Request { call: CallId, method: Arc<str>, data: Bytes },
}

impl Item {
    fn weight(&self) -> usize {
        match self {
            Self::Delivery(delivery) => delivery.message.weight(),
            Self::Request { data, .. } => data.len() + size_of::<Self>(),
        }
    }
}

/// What became of an item that a door has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwritten {
    /// Delivered as far as anybody can know.
    AtMostOnce(usize),
    /// Its acknowledgement decides; or it is a call, whose answer does.
    Tracked(usize),
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) delivery: Delivery,
    /// The peer has a QoS 2 message and was told to forget its id; only the last step is missing.
    pub(super) released: bool,
    pub(super) resends: u32,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    limits: QueueLimits,
    queue: VecDeque<Item>,
    queue_bytes: usize,
    unwritten: VecDeque<Unwritten>,
    unwritten_bytes: usize,
    /// QoS 0 deliveries among the unwritten that the door cannot say to its peer.
    unsendable: u64,
    in_flight: AHashMap<DeliveryId, InFlight>,
    in_flight_max: usize,
    last_id: u32,
    id_max: u32,
}

/// What became of QoS 0 deliveries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) delivered: u64,
    pub(super) unsendable: u64,
}

/// Copies that ended with their session: waiting, and on their way without an acknowledgement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) queued: u64,
    pub(super) in_flight: u64,
}

impl Outgoing {
    pub(super) fn new(limits: QueueLimits, in_flight_max: usize, id_max: u32) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            queue_bytes: 0,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            unsendable: 0,
            in_flight: AHashMap::new(),
            in_flight_max,
            last_id: 0,
            id_max,
        }
    }

    /// Puts an item at the end of the queue, or hands it back when the queue is full.
    pub(super) fn offer(&mut self, item: Item) -> Result<(), Item> {
        let weight = item.weight();
        let full = self.queue.len() >= self.limits.items
            // A single message above the bound may still pass when nothing waits.
            || (self.queue_bytes + weight > self.limits.bytes && !self.queue.is_empty());
        if full {
            return Err(item);
        }
        self.queue_bytes += weight;
        self.queue.push_back(item);
        Ok(())
    }

    /// The next item that may be sent now, marked as under way. A delivery with QoS 1 or 2 has got its id.
    pub(super) fn next(&mut self) -> Option<Item> {
        if self.unwritten.len() >= UNWRITTEN_MAX {
            return None;
        }
        let tracked = match self.queue.front()? {
            Item::Delivery(delivery) => delivery.qos != Qos::AtMostOnce,
            Item::Request { .. } => false,
        };
        if tracked && self.in_flight.len() >= self.in_flight_max {
            return None;
        }
        let weight = self.queue.front()?.weight();
        if self.unwritten_bytes + weight > UNWRITTEN_BYTES_MAX && !self.unwritten.is_empty() {
            return None;
        }
        let mut item = self.queue.pop_front()?;
        self.queue_bytes -= weight;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            // A burst must not keep its memory.
            self.queue = VecDeque::new();
        }
        self.unwritten_bytes += weight;
        let kind = match &mut item {
            Item::Delivery(delivery) if tracked => {
                let id = self.free_id();
                delivery.id = Some(id);
                self.in_flight.insert(id, InFlight { delivery: delivery.clone(), released: false, resends: 0 });
                Unwritten::Tracked(weight)
            }
            Item::Delivery(_) => Unwritten::AtMostOnce(weight),
            Item::Request { .. } => Unwritten::Tracked(weight),
        };
        self.unwritten.push_back(kind);
        Some(item)
    }

    /// The door lets go of `count` QoS 0 deliveries; it counts them among those written as well.
    pub(super) fn unsendable(&mut self, count: u32) {
        self.unsendable += u64::from(count);
    }

    /// The door is done with `count` items. Returns the QoS 0 deliveries that ended with that.
    pub(super) fn written(&mut self, count: u32) -> Written {
        let mut done = 0;
        for _ in 0..count {
            let Some(kind) = self.unwritten.pop_front() else { break };
            let (Unwritten::AtMostOnce(weight) | Unwritten::Tracked(weight)) = kind;
            self.unwritten_bytes -= weight;
            done += u64::from(matches!(kind, Unwritten::AtMostOnce(_)));
        }
        if self.unwritten.is_empty() && self.unwritten.capacity() > 64 {
            self.unwritten = VecDeque::new();
        }
        let unsendable = self.unsendable.min(done);
        self.unsendable -= unsendable;
        Written { delivered: done - unsendable, unsendable }
    }

    /// The peer answered a delivery. `None` if there is no such delivery (a late or foreign answer): nothing changed.
    pub(super) fn acknowledged(&mut self, id: DeliveryId, stage: Stage) -> Option<Stage> {
        let flight = self.in_flight.get_mut(&id)?;
        match (stage, flight.delivery.qos) {
            (Stage::Received, Qos::ExactlyOnce) => {
                flight.released = true;
            }
            _ => {
                self.in_flight.remove(&id);
                if self.in_flight.is_empty() && self.in_flight.capacity() > 64 {
                    self.in_flight = AHashMap::new();
                }
            }
        }
        Some(stage)
    }

    pub(super) fn in_flight_mut(&mut self, id: DeliveryId) -> Option<&mut InFlight> {
        self.in_flight.get_mut(&id)
    }

    pub(super) fn give_up(&mut self, id: DeliveryId) -> bool {
        self.in_flight.remove(&id).is_some()
    }

    /// A resent delivery takes its place among the unwritten again.
    pub(super) fn resent(&mut self, weight: usize) {
        self.unwritten_bytes += weight;
        self.unwritten.push_back(Unwritten::Tracked(weight));
    }

    /// Empties everything because the link is gone and nobody will come back for it.
    pub(super) fn clear(&mut self) -> Leftover {
        let deliveries = self.queue.iter().filter(|item| matches!(item, Item::Delivery(_))).count();
        let unwritten = self.unwritten.iter().filter(|kind| matches!(kind, Unwritten::AtMostOnce(_))).count();
        let left = Leftover { queued: deliveries as u64, in_flight: (unwritten + self.in_flight.len()) as u64 };
        *self = Self { last_id: self.last_id, ..Self::new(self.limits, self.in_flight_max, self.id_max) };
        left
    }

    /// An id that is not in flight. Ids are not reused soon, so that a late answer misses.
    fn free_id(&mut self) -> DeliveryId {
        debug_assert!(self.in_flight.len() < self.id_max as usize, "the window is smaller than the id space");
        loop {
            self.last_id = if self.last_id >= self.id_max { 1 } else { self.last_id + 1 };
            let id = DeliveryId(self.last_id);
            if !self.in_flight.contains_key(&id) {
                return id;
            }
        }
    }
}
