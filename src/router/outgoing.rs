//! What a session is to be sent: a bounded queue, and behind it what is under way.
//!
//! ```text
//!  offer ─▶ queue ─▶ next ─▶ unwritten (until the door says it is in the socket) ─▶ in flight (QoS 1, 2: until acknowledged)
//!             ▲                                                                          │
//!             └──────────────────── suspend: the link is gone, the session stays ────────┘
//! ```
//!
//! Order is kept over everything that passes: a message waits behind the ones before it, whatever their QoS. At the bound the
//! newcomer is refused; the caller counts it. Nothing here knows the other sessions, so a slow one costs only itself.

use super::event::{Author, CallId, Delivery, DeliveryId, Stage};
use super::groups::GroupKey;
use super::trail::Mark;
use crate::clock::Mono;
use crate::message::{Qos, Seq};
use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

mod kept;

pub(super) use kept::Waiting;

/// Deliveries and requests that may be on their way to a socket at once.
const UNWRITTEN_MAX: usize = 2_048;
/// And their bytes; one larger item may always go alone.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// Bounds of one session's queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    pub items: usize,
    /// Also for what is sent and not acknowledged.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { items: 20_000, bytes: 8 << 20 }
    }
}

/// A delivery, and what the router must know of it.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) delivery: Delivery,
    /// Worthless after this.
    pub(super) deadline: Option<Mono>,
    /// The record that queued it.
    pub(super) seq: Seq,
    /// Stays until everything up to here is durable.
    pub(super) after: Seq,
    /// The group in whose name the session gets it; another member may get it instead.
    pub(super) share: Option<GroupKey>,
    /// The number of the subscription whose progress it is part of.
    pub(super) line: Option<NonZeroU32>,
}

/// What a copy of a message takes in a queue, beside the message.
pub(super) const COPY_BYTES: usize = size_of::<Item>();

impl Parcel {
    /// Bytes that a queue accounts for: the message, and what the copy takes beside it.
    pub(super) fn weight(&self) -> usize {
        self.delivery.message.weight() + COPY_BYTES + self.delivery.identifiers.capacity() * size_of::<u32>()
    }

    /// The progress that it is part of.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.line.map(|number| Mark { number: number.get(), seq: self.seq })
    }
}

/// Something to send that takes room.
#[derive(Debug)]
pub(super) enum Item {
    Delivery(Parcel),
    /// The peer has the QoS 2 message and must be told again to forget its id.
    Release(DeliveryId),
    Request {
        call: CallId,
        method: Arc<str>,
        data: Bytes,
        caller: Option<Arc<Author>>,
    },
}

impl Item {
    fn weight(&self) -> usize {
        match self {
            Self::Delivery(parcel) => parcel.weight(),
            Self::Release(_) => size_of::<Self>(),
            Self::Request { data, .. } => data.len() + size_of::<Self>(),
        }
    }

    /// The id of something the peer will have to answer.
    fn id(&self) -> Option<DeliveryId> {
        match self {
            Self::Delivery(parcel) => parcel.delivery.id,
            Self::Release(id) => Some(*id),
            Self::Request { .. } => None,
        }
    }

    fn is_delivery(&self) -> bool {
        !matches!(self, Self::Request { .. })
    }
}

/// What the queue has at its front.
#[derive(Debug)]
pub(super) enum Next {
    /// To be sent now; it counts as under way.
    Send(Item),
    /// Its time is over; it is gone from the queue.
    Expired(Parcel),
}

/// What became of an item that a door has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwritten {
    /// Delivered as far as anybody can know.
    AtMostOnce(usize, Option<Mark>),
    /// Its acknowledgement decides; or it is a call, whose answer does.
    Tracked(usize),
}

#[derive(Debug)]
pub(super) struct InFlight {
    /// `None`: the peer has the QoS 2 message and was told to forget its id; only the last step is missing.
    pub(super) parcel: Option<Parcel>,
    pub(super) resends: u32,
    /// When it is to be sent again. A component may get a message again under the same number, and meet an older timer.
    pub(super) due: Mono,
    /// Position among all that was sent.
    order: u64,
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
    in_flight_bytes: usize,
    in_flight_max: usize,
    sent: u64,
    last_id: u32,
    id_max: u32,
    /// Ids of everything that is queued or in flight, if ids are given when a delivery is queued: they are then in the log
    /// before the peer sees them, and mean the same after a restart.
    taken: Option<AHashSet<DeliveryId>>,
}

/// What became of QoS 0 deliveries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) delivered: u64,
    pub(super) unsendable: u64,
    pub(super) marks: Vec<Mark>,
}

/// Copies that ended with their session: waiting, and on their way without an acknowledgement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    /// Were on their way and wait again.
    pub(super) back: u64,
    /// Of all these, those whose session finds them in the log.
    pub(super) stored: u64,
}

impl Outgoing {
    pub(super) fn new(limits: QueueLimits, in_flight_max: usize, id_max: u32, kept: bool) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            queue_bytes: 0,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            unsendable: 0,
            in_flight: AHashMap::new(),
            in_flight_bytes: 0,
            in_flight_max,
            sent: 0,
            last_id: 0,
            id_max,
            taken: kept.then(AHashSet::new),
        }
    }

    /// Bytes that wait.
    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Whether so much more may wait here.
    pub(super) fn fits(&self, weight: usize) -> bool {
        // A single message above the bound may still pass when nothing waits.
        self.queue.len() < self.limits.items && (self.queue_bytes + weight <= self.limits.bytes || self.queue.is_empty())
    }

    /// Puts an item at the end of the queue, or hands it back when the queue is full.
    #[expect(clippy::result_large_err, reason = "the caller gets back what it gave, and chooses")]
    pub(super) fn offer(&mut self, mut item: Item) -> Result<Option<DeliveryId>, Item> {
        let weight = item.weight();
        if !self.fits(weight) {
            return Err(item);
        }
        if let Item::Delivery(parcel) = &mut item
            && parcel.delivery.qos != Qos::AtMostOnce
            && let Some(taken) = &mut self.taken
        {
            // Half of the numbers free, so that looking for one is quick and none is used again soon.
            if taken.len() >= self.id_max as usize / 2 {
                return Err(item);
            }
            let id = free_id(&mut self.last_id, self.id_max, |id| taken.contains(&id));
            taken.insert(id);
            parcel.delivery.id = Some(id);
        }
        let id = item.id();
        self.queue_bytes += weight;
        self.queue.push_back(item);
        Ok(id)
    }

    /// The next item that may be sent now, marked as under way, or one that has expired. A delivery with QoS 1 or 2 has got
    /// its id.
    pub(super) fn next(&mut self, now: Mono, durable: Seq) -> Option<Next> {
        if self.unwritten.len() >= UNWRITTEN_MAX {
            return None;
        }
        let front = self.queue.front()?;
        let weight = front.weight();
        let tracked = match front {
            Item::Delivery(parcel) => {
                if parcel.after > durable {
                    return None;
                }
                // [MQTT-3.3.2-5]; what the peer may have seen already is brought to its end.
                if !parcel.delivery.dup && parcel.deadline.is_some_and(|deadline| deadline < now) {
                    return self.take_front(weight).and_then(|item| match item {
                        Item::Delivery(parcel) => Some(Next::Expired(parcel)),
                        Item::Release(_) | Item::Request { .. } => None,
                    });
                }
                parcel.delivery.qos != Qos::AtMostOnce
            }
            Item::Release(_) => true,
            Item::Request { .. } => false,
        };
        if tracked {
            // Numbers that follow from the record are not distinct for ever: the later one waits.
            let is_taken = self.taken.is_none() && front.id().is_some_and(|id| self.in_flight.contains_key(&id));
            let full = is_taken
                || self.in_flight.len() >= self.in_flight_max
                || (self.in_flight_bytes + weight > self.limits.bytes && !self.in_flight.is_empty());
            if full {
                return None;
            }
        }
        if self.unwritten_bytes + weight > UNWRITTEN_BYTES_MAX && !self.unwritten.is_empty() {
            return None;
        }
        let mut item = self.take_front(weight)?;
        if let Item::Release(id) = item {
            // A few bytes, like every other answer: the door does not report it.
            self.fly(id, None);
            return Some(Next::Send(item));
        }
        self.unwritten_bytes += weight;
        let kind = match &mut item {
            Item::Delivery(parcel) if tracked => {
                if let Some(deadline) = parcel.deadline {
                    parcel.delivery.expiry_s = Some(seconds_left(deadline, now));
                }
                let id = parcel.delivery.id.unwrap_or_else(|| {
                    let in_flight = &self.in_flight;
                    free_id(&mut self.last_id, self.id_max, |id| in_flight.contains_key(&id))
                });
                parcel.delivery.id = Some(id);
                self.fly(id, Some(parcel.clone()));
                Unwritten::Tracked(weight)
            }
            Item::Delivery(parcel) => {
                if let Some(deadline) = parcel.deadline {
                    parcel.delivery.expiry_s = Some(seconds_left(deadline, now));
                }
                Unwritten::AtMostOnce(weight, parcel.mark())
            }
            Item::Request { .. } | Item::Release(_) => Unwritten::Tracked(weight),
        };
        self.unwritten.push_back(kind);
        Some(Next::Send(item))
    }

    fn take_front(&mut self, weight: usize) -> Option<Item> {
        let item = self.queue.pop_front();
        self.queue_bytes -= weight;
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            // A burst must not keep its memory.
            self.queue = VecDeque::new();
        }
        if let (Some(Item::Delivery(parcel)), Some(taken)) = (&item, &mut self.taken)
            && let Some(id) = parcel.delivery.id
            && !self.in_flight.contains_key(&id)
        {
            // Put back by `fly` if it is sent.
            taken.remove(&id);
        }
        item
    }

    fn fly(&mut self, id: DeliveryId, parcel: Option<Parcel>) {
        self.in_flight_bytes += parcel.as_ref().map_or(0, |parcel| parcel.delivery.message.weight());
        if let Some(taken) = &mut self.taken {
            taken.insert(id);
        }
        self.sent += 1;
        self.in_flight.insert(id, InFlight { parcel, resends: 0, due: Mono::default(), order: self.sent });
    }

    /// The door lets go of `count` QoS 0 deliveries; it counts them among those written as well.
    pub(super) fn unsendable(&mut self, count: u32) {
        self.unsendable += u64::from(count);
    }

    /// The door is done with `count` items. Returns the QoS 0 deliveries that ended with that.
    pub(super) fn written(&mut self, count: u32) -> Written {
        let (mut done, mut marks) = (0, Vec::new());
        for _ in 0..count {
            let Some(kind) = self.unwritten.pop_front() else { break };
            self.unwritten_bytes -= match kind {
                Unwritten::AtMostOnce(weight, mark) => {
                    done += 1;
                    marks.extend(mark);
                    weight
                }
                Unwritten::Tracked(weight) => weight,
            };
        }
        if self.unwritten.is_empty() && self.unwritten.capacity() > 64 {
            self.unwritten = VecDeque::new();
        }
        let unsendable = self.unsendable.min(done);
        self.unsendable -= unsendable;
        Written { delivered: done - unsendable, unsendable, marks }
    }

    /// The peer answered a delivery. `None` if there is no such delivery (a late or foreign answer): nothing changed.
    pub(super) fn acknowledged(&mut self, id: DeliveryId, stage: Stage) -> Option<Stage> {
        let flight = self.in_flight.get_mut(&id)?;
        let exactly_once = flight.parcel.as_ref().is_none_or(|parcel| parcel.delivery.qos == Qos::ExactlyOnce);
        if stage == Stage::Received && exactly_once {
            let weight = flight.parcel.take().map_or(0, |parcel| parcel.delivery.message.weight());
            self.in_flight_bytes -= weight;
        } else {
            self.give_up(id);
        }
        Some(stage)
    }

    /// The progress that a delivery under way is part of.
    pub(super) fn mark_of(&self, id: DeliveryId) -> Option<Mark> {
        self.in_flight.get(&id)?.parcel.as_ref()?.mark()
    }

    pub(super) fn in_flight_mut(&mut self, id: DeliveryId) -> Option<&mut InFlight> {
        self.in_flight.get_mut(&id)
    }

    pub(super) fn give_up(&mut self, id: DeliveryId) -> bool {
        let Some(flight) = self.in_flight.remove(&id) else { return false };
        self.in_flight_bytes -= flight.parcel.map_or(0, |parcel| parcel.delivery.message.weight());
        if let Some(taken) = &mut self.taken {
            taken.remove(&id);
        }
        if self.in_flight.is_empty() && self.in_flight.capacity() > 64 {
            self.in_flight = AHashMap::new();
        }
        true
    }

    /// A resent delivery takes its place among the unwritten again.
    pub(super) fn resent(&mut self, weight: usize) {
        self.unwritten_bytes += weight;
        self.unwritten.push_back(Unwritten::Tracked(weight));
    }

    /// Empties everything because the link is gone and nobody will come back for it.
    pub(super) fn clear(&mut self) -> Leftover {
        let deliveries = self.queue.iter().filter(|item| item.is_delivery()).count();
        let stored = self.stored();
        let left = Leftover { queued: deliveries as u64, in_flight: self.unacknowledged(), back: 0, stored };
        let kept = self.taken.is_some();
        *self = Self { last_id: self.last_id, ..Self::new(self.limits, self.in_flight_max, self.id_max, kept) };
        left
    }

    /// Copies of what the session will find in the log.
    fn stored(&self) -> u64 {
        let queued = self.queue.iter().filter(|item| matches!(item, Item::Delivery(Parcel { line: Some(_), .. })));
        let unwritten = self.unwritten.iter().filter(|kind| matches!(kind, Unwritten::AtMostOnce(_, Some(_))));
        let flying = self.in_flight.values().filter_map(|flight| flight.parcel.as_ref()).filter(|parcel| parcel.line.is_some());
        (queued.count() + unwritten.count() + flying.count()) as u64
    }

    /// Under way: sent without an answer, or QoS 0 that the door has not written.
    fn unacknowledged(&self) -> u64 {
        let unwritten = self.unwritten.iter().filter(|kind| matches!(kind, Unwritten::AtMostOnce(..))).count();
        (unwritten + self.in_flight.len()) as u64
    }
}

/// An id that is not taken. Ids are not reused soon, so that a late answer misses.
fn free_id(last: &mut u32, max: u32, is_taken: impl Fn(DeliveryId) -> bool) -> DeliveryId {
    loop {
        *last = if *last >= max { 1 } else { *last + 1 };
        let id = DeliveryId(*last);
        if !is_taken(id) {
            return id;
        }
    }
}

/// Whole seconds, at least one: what is sent is not worthless yet.
fn seconds_left(deadline: Mono, now: Mono) -> u32 {
    u32::try_from(deadline.since(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}
