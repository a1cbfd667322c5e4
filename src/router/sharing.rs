//! Shared subscriptions at work: who of a group gets a message, and who gets it instead when that one leaves.

use super::core::Router;
use super::deliver::Queued;
use super::event::{Delivery, Effect, Entry, Filter};
use super::groups::{Fitness, GroupKey, Member};
use super::outgoing::Parcel;
use super::session::{SessionKey, Sessions};
use super::state::{Change, Route};
use super::tree::{Dest, Target};
use crate::message::{Message, Qos, Seq};
use std::sync::Arc;

/// A member with more than this in its queue gets new messages only if all others have.
const BUSY: usize = 100;

impl Router {
    /// The member whose turn it is for a packet of about this size.
    fn pick(&mut self, group: GroupKey, size: usize) -> Option<Member> {
        let sessions = &self.sessions;
        self.groups.get_mut(group)?.pick(|member| fitness(sessions, member, size))
    }

    /// Offers a message to the members of a group until one takes it: `give` says what became of the copy. Nobody is asked twice.
    /// Says what became of it in the end: who has room and may not see it is passed over like who may and has none.
    pub(super) fn give_to_one_of(
        &mut self,
        group: GroupKey,
        message: &Message,
        mut give: impl FnMut(&mut Self, Target) -> Queued,
    ) -> Queued {
        let size = packet_size(message);
        let Some(first) = self.pick(group, size) else { return Queued::NotWanted };
        let mut outcome = give(self, Target::of(first.session, &first.subscription, None));
        if outcome.is_taken() {
            return outcome;
        }
        let sessions = &self.sessions;
        let others =
            self.groups.get_mut(group).map(|group| group.others(first.session, |member| fitness(sessions, member, size)));
        for member in others.unwrap_or_default() {
            let next = give(self, Target::of(member.session, &member.subscription, None));
            if next.is_taken() {
                return next;
            }
            if outcome == Queued::NotWanted {
                outcome = next;
            }
        }
        outcome
    }

    /// Takes back what a session got in the name of a group and has not finished.
    pub(super) fn take_back(&mut self, key: SessionKey, group: GroupKey) -> Vec<Parcel> {
        let Some(session) = self.sessions.get_mut(key) else { return Vec::new() };
        let before = session.out.queue_bytes();
        let parcels = session.out.take_shared(group);
        let after = session.out.queue_bytes();
        let kept = session.kept;
        self.accounts.queue_moved(session.account, key, before, after);
        self.counters.queued -= parcels.len() as u64;
        self.counters.copies -= parcels.len() as u64;
        let deliveries: Vec<_> = parcels.iter().filter_map(|parcel| parcel.delivery.id).map(|id| id.0).collect();
        if let (Some(id), false) = (kept, deliveries.is_empty()) {
            self.note(Change::Done { id, deliveries });
        }
        parcels
    }

    /// The link of a member is gone: others who are there get what it did not finish. Alone, it keeps it.
    pub(super) fn hand_on(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(key) else { return };
        let shared = |filter: &Filter| match filter {
            Filter::Shared { group, filter } => self.groups.key(group, filter),
            Filter::Mqtt(_) | Filter::Rembus(_) | Filter::Bus(_) => None,
        };
        let groups: Vec<_> = session.filters.keys().filter_map(shared).collect();
        for group in groups {
            let others = self.pick(group, 0).and_then(|member| self.sessions.get(member.session));
            if others.is_some_and(|other| other.link.is_some()) {
                let parcels = self.take_back(key, group);
                self.adopt(parcels, effects);
            }
        }
    }

    /// Finds other members for what one had.
    pub(super) fn adopt(&mut self, parcels: Vec<Parcel>, effects: &mut Vec<Effect>) {
        for parcel in parcels {
            self.commit_what_comes_before_messages(effects);
            let message = Arc::clone(&parcel.delivery.message);
            let seq = self.last.next();
            let mut taker = None;
            let give = |router: &mut Self, target: Target| {
                let Dest::Session(key) = target.dest else { return Queued::NotWanted };
                let delivery = Delivery {
                    qos: message.qos.min(target.qos),
                    id: None,
                    dup: false,
                    identifiers: target.identifiers,
                    ..parcel.delivery.clone()
                };
                taker = Some(key);
                router.try_queue(key, Parcel { delivery, seq, after: Seq(0), ..parcel.clone() })
            };
            let adopted = match parcel.share {
                Some(group) => self.give_to_one_of(group, &message, give),
                None => Queued::NotWanted,
            };
            match (adopted, taker) {
                (Queued::Yes(copy), Some(key)) => {
                    if let Some(copy) = copy.filter(|_| self.can_keep()) {
                        let waits = copy.1.qos == Qos::ExactlyOnce;
                        let route = Route { to: vec![copy], ..Route::default() }.encode();
                        self.last = seq;
                        effects.push(Effect::Append { seq, entry: Entry::Copy { message, route }, ack_waits: waits });
                    }
                    self.pump(key, effects);
                }
                (Queued::NoRoom(reason), _) => self.count_dropped(reason),
                (Queued::Yes(_) | Queued::Full | Queued::NotWanted, _) => self.count_dropped("group_left"),
            }
        }
    }
}

/// Rights and room are looked at when it gets something.
fn fitness(sessions: &Sessions, member: &Member, size: usize) -> Fitness {
    match sessions.get(member.session) {
        Some(session) if session.link.is_some() && (session.packet_max as usize) < size => Fitness::Narrow,
        Some(session) if session.link.is_some() && session.out.queue_len() < BUSY => Fitness::Ready,
        Some(session) if session.link.is_some() => Fitness::Busy,
        Some(session) if session.keeps_queue() && member.subscription.qos > Qos::AtMostOnce => Fitness::Away,
        _ => Fitness::Unfit,
    }
}

/// About what a message takes as a packet, as far as that is known before it is encoded.
fn packet_size(message: &Message) -> usize {
    let properties = message.properties.as_ref().map_or(0, |properties| {
        let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 3);
        let user: usize = properties.user.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
        let data = properties.correlation_data.as_ref().map_or(0, |data| data.len() + 3);
        text(&properties.content_type) + text(&properties.response_topic) + data + user + 7
    });
    // Kind, length, the length of the topic, a packet id, the length of the properties.
    message.topic.len() + message.payload.len() + properties + 8
}
