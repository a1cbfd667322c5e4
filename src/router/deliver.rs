//! From a queued copy to the end of it: sent, sent again, acknowledged.

use super::core::{Held, Router};
use super::event::{Delivery, DeliveryId, Effect, LinkId, Outbound, Stage};
use super::outgoing::{Item, Next, Parcel};
use super::session::{SessionId, SessionKey};
use super::state::{Change, Copy};
use super::timers::Timer;
use crate::message::{Dialect, Qos};

/// Rembus: transmissions of one message before it is given up (`send_retries` + 1).
const RESENDS_MAX: u32 = 10;

/// What became of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// The session takes nothing now, or may not see it.
    NotWanted,
    /// There was no room, for this reason. It has not been counted.
    NoRoom(&'static str),
    /// There was no room, and the session finds it in the log.
    Full,
    /// With what must outlive the process, if it must.
    Yes(Option<(SessionId, Copy)>),
}

impl Queued {
    /// Whether the session gets it, now or later.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Yes(_) | Self::Full)
    }
}

impl Router {
    /// Puts an item into a session's queue, or hands it back.
    #[expect(clippy::result_large_err, reason = "the caller gets back what it gave, and chooses")]
    pub(super) fn offer(&mut self, key: SessionKey, item: Item) -> Result<Option<DeliveryId>, Item> {
        let Some(session) = self.sessions.get_mut(key) else { return Err(item) };
        let before = session.out.queue_bytes();
        let outcome = session.out.offer(item);
        self.accounts.queue_moved(session.account, key, before, session.out.queue_bytes());
        outcome
    }

    /// Puts a copy into a session's queue. What does not fit is counted as dropped, unless the session finds it in the log.
    pub(super) fn queue(&mut self, key: SessionKey, parcel: Parcel) -> Queued {
        let outcome = self.try_queue(key, parcel);
        if let Queued::NoRoom(reason) = outcome {
            self.count_dropped(reason);
        }
        outcome
    }

    /// A copy that nobody gets.
    pub(super) fn count_dropped(&mut self, reason: &'static str) {
        self.counters.copies += 1;
        *self.counters.dropped.entry(reason).or_default() += 1;
    }

    /// Puts a copy into a session's queue, if it fits.
    pub(super) fn try_queue(&mut self, key: SessionKey, mut parcel: Parcel) -> Queued {
        let Some(session) = self.sessions.get(key) else { return Queued::NotWanted };
        let qos = parcel.delivery.qos;
        let keeps = session.keeps_queue() && qos > Qos::AtMostOnce;
        if !(session.reactive && (session.link.is_some() || keeps)) {
            return Queued::NotWanted;
        }
        if !session.may_see(&parcel.delivery.message) {
            return Queued::NotWanted;
        }
        let mark = parcel.mark();
        if let Some(mark) = mark
            && qos > Qos::AtMostOnce
        {
            parcel.delivery.id = Some(mark.delivery_id());
        }
        if (keeps || mark.is_some()) && qos == Qos::ExactlyOnce {
            // Its id must mean this message after a crash as well.
            parcel.after = parcel.seq;
        }
        let (after, share, id) = (parcel.after, parcel.share, session.kept.filter(|_| keeps));
        let (sent, retain) = (session.link.is_some(), parcel.delivery.retain);
        let identifiers = if keeps { parcel.delivery.identifiers.clone() } else { Vec::new() };
        let weight = parcel.weight();
        let room = if session.out.fits(weight) { self.room_in_queues(key, weight) } else { Err("queue_full") };
        let outcome = room.and_then(|()| self.offer(key, Item::Delivery(parcel)).map_err(|_| "queue_full"));
        let is_stored = mark.is_some_and(|mark| self.is_stored_for(key, mark));
        let delivery = match outcome {
            Ok(delivery) => delivery,
            Err(_) if is_stored => return Queued::Full,
            Err(reason) => return Queued::NoRoom(reason),
        };
        self.counters.copies += 1;
        self.counters.queued += 1;
        if let (Some(mark), Some(follower)) = (mark, self.follower(key)) {
            follower.offered(mark);
        }
        if after > self.log.durable && sent {
            // Of a stored message, the gate may hold younger ones already.
            self.gate.hold(after.max(self.last), Held::Pump(key));
        }
        Queued::Yes(id.zip(delivery).map(|(id, delivery)| {
            let share = share.and_then(|group| self.groups.name(group));
            (id, Copy { delivery: delivery.0, qos, retain, sent, identifiers, share })
        }))
    }

    /// Sends what may be sent to a session now.
    pub(super) fn pump(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let durable = self.log.durable;
        self.backfill(key, effects);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(link) = session.link else { return };
        if session.waits_for_answer {
            return;
        }
        let before = session.out.queue_bytes();
        let (mut sent, mut over, mut marks) = (0, Vec::new(), Vec::new());
        while let Some(next) = session.out.next(now, durable) {
            let out = match next {
                Next::Expired(parcel) => {
                    over.extend(parcel.delivery.id.filter(|_| parcel.line.is_none()));
                    marks.extend(parcel.mark());
                    self.counters.queued -= 1;
                    self.counters.expired += 1;
                    continue;
                }
                Next::Send(Item::Delivery(parcel)) => {
                    sent += 1;
                    if let (Some(after), Some(id)) = (session.resend_after, parcel.delivery.id) {
                        let due = now.plus(after);
                        self.timers.set(due, Timer::Resend(key, id));
                        session.out.in_flight_mut(id).into_iter().for_each(|flight| flight.due = due);
                    }
                    Outbound::Deliver(parcel.delivery)
                }
                Next::Send(Item::Release(id)) => {
                    sent += 1;
                    Outbound::Release { id }
                }
                Next::Send(Item::Request { call, method, data, caller }) => Outbound::Request { call, method, data, caller },
            };
            effects.push(Effect::Send { link, out });
        }
        self.counters.queued -= sent;
        self.counters.in_flight += sent;
        self.accounts.queue_moved(session.account, key, before, session.out.queue_bytes());
        let (kept, more) = (session.kept, !session.backfill.is_empty() && session.out.queue_len() == 0);
        if let (Some(id), false) = (kept, over.is_empty()) {
            self.note(Change::Done { id, deliveries: over.into_iter().map(|id| id.0).collect() });
        }
        self.settled(key, marks);
        self.read_on(key, effects);
        if more && sent > 0 {
            self.pump(key, effects);
        }
    }

    pub(super) fn written(&mut self, key: SessionKey, count: u32, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let done = session.out.written(count);
        self.counters.in_flight -= done.delivered + done.unsendable;
        self.counters.delivered += done.delivered;
        self.settled(key, done.marks);
        if done.unsendable > 0 {
            *self.counters.dropped.entry("unsendable").or_default() += done.unsendable;
        }
        self.pump(key, effects);
    }

    pub(super) fn delivered(&mut self, link: LinkId, key: SessionKey, id: DeliveryId, stage: Stage, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let rembus = session.dialect == Dialect::Rembus;
        let kept = session.kept.filter(|_| session.keeps_queue());
        let mark = session.out.mark_of(id);
        match session.out.acknowledged(id, stage) {
            // A second answer, or one to a delivery of an earlier connection. PUBREC still wants its PUBREL [MQTT-4.3.3-1]. Rembus
            // does without an ACK2, and the message may still come again under this id, which the peer then must know.
            None => {
                if stage == Stage::Received && !rembus {
                    effects.push(Effect::Send { link, out: Outbound::Release { id } });
                }
                return;
            }
            Some(Stage::Received) => {
                let out = Outbound::Release { id };
                match kept {
                    // Then the peer may forget the id, and must never see the message again.
                    Some(kept) => {
                        let change = Change::Received { id: kept, deliveries: vec![id.0] };
                        self.note_then(change, Held::Say { link, out: Box::new(out) });
                    }
                    None => {
                        self.settled(key, mark);
                        self.note_progress_of(key);
                        self.after_changes(Held::Say { link, out: Box::new(out) }, effects);
                    }
                }
                if !rembus {
                    // PUBCOMP ends it.
                    return;
                }
                // Nothing answers an ACK2: the peer has the message and that was all.
                if let Some(session) = self.sessions.get_mut(key) {
                    session.out.give_up(id);
                }
                self.counters.delivered += 1;
            }
            Some(Stage::Done) => self.counters.delivered += 1,
            Some(Stage::Refused) => *self.counters.dropped.entry("refused_by_subscriber").or_default() += 1,
        }
        if let Some(kept) = kept {
            self.note(Change::Done { id: kept, deliveries: vec![id.0] });
        }
        self.settled(key, mark);
        self.counters.in_flight -= 1;
        self.pump(key, effects);
    }

    /// Rembus: no acknowledgement in time; the same message again, until the peer has had its chances.
    pub(super) fn resend(&mut self, key: SessionKey, id: DeliveryId, effects: &mut Vec<Effect>) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (Some(link), Some(after)) = (session.link, session.resend_after) else { return };
        let Some(flight) = session.out.in_flight_mut(id) else { return };
        if now < flight.due {
            return;
        }
        if flight.resends >= RESENDS_MAX {
            session.out.give_up(id);
            self.counters.in_flight -= 1;
            *self.counters.dropped.entry("unacknowledged").or_default() += 1;
            return self.pump(key, effects);
        }
        flight.resends += 1;
        flight.due = now.plus(after);
        let Some(delivery) = flight.parcel.as_ref().map(|parcel| Delivery { dup: true, ..parcel.delivery.clone() }) else {
            return;
        };
        session.out.resent(delivery.message.weight());
        self.timers.set(now.plus(after), Timer::Resend(key, id));
        effects.push(Effect::Send { link, out: Outbound::Deliver(delivery) });
    }
}
