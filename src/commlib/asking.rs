//! Requests to commlib services, from the question to the answer or the end of patience.
//!
//! The gateway is the broker, so a call costs no socket and no subscription of its own: every reply topic of this process
//! begins with the same digits, and one subscription hears them all. A request goes to those who subscribed to the service's
//! very topic; if there is nobody, that is known at once.

use super::slots::{Caller, Slots};
use super::voice::Voice;
use super::wire::{self, Data};
use crate::clock::Mono;
use crate::router::{Filter, Token};
use ahash::AHashMap;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody serves it.
    Nobody,
    /// The service was silent; it is also its only way to say that something is wrong.
    Timeout,
    /// Not what an answer looks like.
    Malformed,
    /// Too many calls are under way.
    Busy,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "not_found",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
        }
    }
}

#[derive(Debug)]
struct Pending<T> {
    then: T,
    deadline: Mono,
    caller: Caller,
}

/// `T` says what an answer is for.
#[derive(Debug)]
pub(super) struct Asking<T> {
    /// What every reply topic of this process begins with.
    prefix: String,
    slots: Slots,
    /// By reply topic.
    pending: AHashMap<String, Pending<T>>,
    /// Requests whose takers are not known yet; the router answers in order, and before it does anything else.
    asked: AHashMap<Token, String>,
    deadlines: BTreeSet<(Mono, String)>,
}

impl<T> Asking<T> {
    pub(super) fn new(max: usize) -> Self {
        let prefix = format!("rpc-{}", hex().get(..8).expect("32 digits"));
        Self { prefix, slots: Slots::new(max), pending: AHashMap::new(), asked: AHashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Where the answers come.
    pub(super) fn filter(&self) -> Filter {
        Filter::Rembus(format!("{}*", self.prefix))
    }

    pub(super) fn is_mine(&self, topic: &str) -> bool {
        topic.starts_with(&self.prefix)
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Sends a request, or hands back what it was for.
    pub(super) fn ask(
        &mut self,
        voice: &mut Voice,
        caller: Caller,
        service: &str,
        data: &Data,
        timeout: Duration,
        then: T,
    ) -> Result<(), T> {
        if !self.slots.take(caller) {
            return Err(then);
        }
        let reply_to = format!("{}{}", self.prefix, hex().get(8..).expect("32 digits"));
        let token = voice.ask(service, wire::request(&reply_to, data, voice.now.wall));
        let deadline = voice.now.mono.plus(timeout);
        self.asked.insert(token, reply_to.clone());
        self.deadlines.insert((deadline, reply_to.clone()));
        self.pending.insert(reply_to, Pending { then, deadline, caller });
        Ok(())
    }

    /// So many got the request.
    pub(super) fn asked(&mut self, token: Token, takers: usize) -> Option<(T, Fault)> {
        let reply_to = self.asked.remove(&token)?;
        if takers > 0 {
            return None;
        }
        self.end(&reply_to).map(|then| (then, Fault::Nobody))
    }

    /// Something came on a reply topic. The first answer counts.
    pub(super) fn heard(&mut self, topic: &str, payload: &[u8]) -> Option<(T, Result<Data, Fault>)> {
        let then = self.end(topic)?;
        Some((then, wire::read_answer(payload).ok_or(Fault::Malformed)))
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One whose time is over.
    pub(super) fn overdue(&mut self, now: Mono) -> Option<T> {
        let (_, reply_to) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?.clone();
        self.end(&reply_to)
    }

    fn end(&mut self, reply_to: &str) -> Option<T> {
        let pending = self.pending.remove(reply_to)?;
        self.slots.leave(pending.caller);
        self.deadlines.remove(&(pending.deadline, reply_to.to_owned()));
        Some(pending.then)
    }
}

/// 32 hexadecimal digits nobody can guess.
pub(super) fn hex() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
