//! Shared subscriptions at work: who of a group gets a message, and who gets it instead when that one leaves.

use super::core::Router;
use super::deliver::Queued;
use super::event::{Delivery, Effect, Entry, Filter};
use super::groups::{Fitness, GroupKey};
use super::outgoing::Parcel;
use super::session::SessionKey;
use super::state::{Change, Route};
use super::tree::{Dest, Target};
use crate::message::{Qos, Seq};
use std::sync::Arc;

/// A member with more than this in its queue gets new messages only if all others have.
const BUSY: usize = 100;

impl Router {
    /// The member whose turn it is, as a target of its own.
    pub(super) fn pick(&mut self, group: GroupKey) -> Option<Target> {
        let sessions = &self.sessions;
        let fitness = |key| match sessions.get(key) {
            Some(session) if session.link.is_some() && session.out.queue_len() < BUSY => Fitness::Ready,
            Some(session) if session.link.is_some() => Fitness::Busy,
            Some(session) if session.keeps_queue() => Fitness::Away,
            _ => Fitness::Unfit,
        };
        let member = self.groups.get_mut(group)?.pick(|member| fitness(member.session))?;
        Some(Target::of(member.session, &member.subscription, None))
    }

    /// Takes back what a session got in the name of a group and has not finished.
    pub(super) fn take_back(&mut self, key: SessionKey, group: GroupKey) -> Vec<Parcel> {
        let Some(session) = self.sessions.get_mut(key) else { return Vec::new() };
        let before = session.out.queue_bytes();
        let parcels = session.out.take_shared(group);
        let after = session.out.queue_bytes();
        let kept = session.kept;
        self.queued_bytes = self.queued_bytes - before + after;
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
            let others = self.pick(group).and_then(|target| match target.dest {
                Dest::Session(other) => self.sessions.get(other),
                Dest::Group(_) => None,
            });
            if others.is_some_and(|other| other.link.is_some()) {
                let parcels = self.take_back(key, group);
                self.adopt(parcels, effects);
            }
        }
    }

    /// Finds other members for what one had.
    pub(super) fn adopt(&mut self, parcels: Vec<Parcel>, effects: &mut Vec<Effect>) {
        for parcel in parcels {
            let target = parcel.share.and_then(|group| self.pick(group));
            let Some((target, Dest::Session(key))) = target.map(|target| (target.clone(), target.dest)) else {
                self.counters.copies += 1;
                *self.counters.dropped.entry("group_left").or_default() += 1;
                continue;
            };
            let message = Arc::clone(&parcel.delivery.message);
            let delivery = Delivery {
                qos: message.qos.min(target.qos),
                id: None,
                dup: false,
                identifiers: target.identifiers,
                ..parcel.delivery
            };
            self.commit_what_comes_before_messages(effects);
            let can_keep = self.can_keep();
            let seq = self.last.next();
            let adopted = self.queue(key, Parcel { delivery, seq, after: Seq(0), ..parcel });
            if let Queued::Yes(Some(copy)) = adopted
                && can_keep
            {
                let waits = copy.1.qos == Qos::ExactlyOnce;
                let route = Route { from: None, to: vec![copy] }.encode();
                self.last = seq;
                effects.push(Effect::Append { seq, entry: Entry::Copy { message, route }, ack_waits: waits });
            }
            self.pump(key, effects);
        }
    }
}
