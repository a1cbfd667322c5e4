//! The queue of a session that outlives its links, and the process.

use super::{Item, Leftover, Outgoing, Parcel, Unwritten};
use crate::message::Qos;
use crate::router::event::DeliveryId;
use crate::router::groups::GroupKey;
use crate::router::trail::Mark;
use std::collections::VecDeque;

/// One delivery that waits or is under way, for a snapshot.
#[derive(Debug)]
pub(in crate::router) enum Waiting<'a> {
    /// `sent`: the peer may have seen it.
    Delivery {
        parcel: &'a Parcel,
        sent: bool,
    },
    Release(DeliveryId),
}

impl Outgoing {
    /// The link is gone and the session stays: what was sent and not acknowledged waits again, in its old order and before
    /// everything younger \[MQTT-4.4.0-1\], \[MQTT-4.6.0-1\]. QoS 0 ends here.
    pub(in crate::router) fn suspend(&mut self) -> Leftover {
        let unwritten = self.unwritten.iter().filter(|kind| matches!(kind, Unwritten::AtMostOnce(..))).count();
        let mut left = Leftover { in_flight: unwritten as u64, ..Leftover::default() };
        self.unwritten = VecDeque::new();
        self.unwritten_bytes = 0;
        self.unsendable = 0;
        let mut flying: Vec<_> = std::mem::take(&mut self.in_flight).into_iter().collect();
        flying.sort_unstable_by_key(|(_, flight)| flight.order);
        self.in_flight_bytes = 0;
        left.back = flying.len() as u64;
        let back = flying.into_iter().map(|(id, flight)| match flight.parcel {
            None => Item::Release(id),
            Some(mut parcel) => {
                // [MQTT-3.3.1-1]
                parcel.delivery.dup = true;
                Item::Delivery(parcel)
            }
        });
        let mut queue: VecDeque<Item> = back.collect();
        for item in std::mem::take(&mut self.queue) {
            match &item {
                Item::Delivery(parcel) if parcel.delivery.qos == Qos::AtMostOnce => left.queued += 1,
                // Whoever called has been told.
                Item::Request { .. } => {}
                Item::Delivery(_) | Item::Release(_) => queue.push_back(item),
            }
        }
        self.queue = queue;
        self.queue_bytes = self.queue.iter().map(Item::weight).sum();
        left
    }

    /// A new link has other limits.
    pub(in crate::router) fn set_window(&mut self, in_flight_max: usize) {
        self.in_flight_max = in_flight_max;
    }

    /// Takes away what a group gave, unless it is of QoS 2 and the peer may have seen it \[MQTT-4.8.2-5\].
    pub(in crate::router) fn take_shared(&mut self, group: GroupKey) -> Vec<Parcel> {
        let is_free =
            |parcel: &Parcel| parcel.share == Some(group) && !(parcel.delivery.qos == Qos::ExactlyOnce && parcel.delivery.dup);
        let mut taken = Vec::new();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        for item in std::mem::take(&mut self.queue) {
            match item {
                Item::Delivery(parcel) if is_free(&parcel) => taken.push(parcel),
                item => kept.push_back(item),
            }
        }
        self.queue = kept;
        self.queue_bytes = self.queue.iter().map(Item::weight).sum();
        if let Some(ids) = &mut self.taken {
            for id in taken.iter().filter_map(|parcel| parcel.delivery.id) {
                ids.remove(&id);
            }
        }
        taken
    }

    /// Takes out the newest delivery or request.
    pub(in crate::router) fn pop_newest(&mut self) -> Option<Item> {
        let at = self.queue.iter().rposition(|item| !matches!(item, Item::Release(_)))?;
        let item = self.queue.remove(at)?;
        self.queue_bytes -= item.weight();
        if let (Some(taken), Some(id)) = (&mut self.taken, item.id()) {
            taken.remove(&id);
        }
        Some(item)
    }

    /// The progress that the newest of the queue is part of.
    pub(in crate::router) fn newest_mark(&self) -> Option<Mark> {
        match self.queue.iter().rfind(|item| !matches!(item, Item::Release(_)))? {
            Item::Delivery(parcel) => parcel.mark(),
            Item::Request { .. } | Item::Release(_) => None,
        }
    }

    /// Puts back what the log or a snapshot says. Limits do not count: it fitted before.
    pub(in crate::router) fn restore(&mut self, parcel: Parcel) {
        if let Some(id) = parcel.delivery.id {
            self.last_id = id.0;
            self.taken.get_or_insert_default().insert(id);
        }
        let item = Item::Delivery(parcel);
        self.queue_bytes += item.weight();
        self.queue.push_back(item);
    }

    /// Only the release of this id is missing. It stands where the delivery stood. Returns whether there was one.
    pub(in crate::router) fn restore_received(&mut self, id: DeliveryId) -> bool {
        let Some(at) = self.position(id) else { return false };
        let before = self.queue[at].weight();
        self.queue[at] = Item::Release(id);
        self.queue_bytes = self.queue_bytes - before + self.queue[at].weight();
        true
    }

    /// Restores a release whose delivery is not known any more.
    pub(in crate::router) fn restore_release(&mut self, id: DeliveryId) {
        self.taken.get_or_insert_default().insert(id);
        let item = Item::Release(id);
        self.queue_bytes += item.weight();
        self.queue.push_back(item);
    }

    pub(in crate::router) fn restore_done(&mut self, id: DeliveryId) -> bool {
        let Some(at) = self.position(id) else { return false };
        if let Some(item) = self.queue.remove(at) {
            self.queue_bytes -= item.weight();
        }
        if let Some(taken) = &mut self.taken {
            taken.remove(&id);
        }
        true
    }

    /// The peer had a link: it may have seen everything that waits.
    pub(in crate::router) fn restore_sent(&mut self) {
        for item in &mut self.queue {
            if let Item::Delivery(parcel) = item {
                parcel.delivery.dup = true;
            }
        }
    }

    fn position(&self, id: DeliveryId) -> Option<usize> {
        // Mostly the oldest.
        self.queue.iter().position(|item| item.id() == Some(id))
    }

    /// Ids go on after this one.
    pub(in crate::router) fn last_id(&self) -> u32 {
        self.last_id
    }

    pub(in crate::router) fn set_last_id(&mut self, last: u32) {
        self.last_id = last.min(self.id_max);
    }

    /// Everything with QoS 1 or 2, oldest first.
    pub(in crate::router) fn waiting(&self) -> Vec<Waiting<'_>> {
        let mut flying: Vec<_> = self.in_flight.iter().collect();
        flying.sort_unstable_by_key(|(_, flight)| flight.order);
        let flying = flying.into_iter().map(|(id, flight)| match &flight.parcel {
            Some(parcel) => Waiting::Delivery { parcel, sent: true },
            None => Waiting::Release(*id),
        });
        let queued = self.queue.iter().filter_map(|item| match item {
            Item::Delivery(parcel) if parcel.delivery.qos != Qos::AtMostOnce => {
                Some(Waiting::Delivery { parcel, sent: parcel.delivery.dup })
            }
            Item::Release(id) => Some(Waiting::Release(*id)),
            Item::Delivery(_) | Item::Request { .. } => None,
        });
        flying.chain(queued).collect()
    }
}
