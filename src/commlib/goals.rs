//! The goals of one action that a Rembus component serves: a pure state machine, events in and [`Deed`]s out.
//!
//! ```text
//!            on_goal: yes                    done
//!  send ─▶ Asked ────────▶ Running(2) ──────────────▶ Succeeded(4)
//!            │ no             │ cancel, preempt   failed, gone, too long ▶ Aborted(5)
//!            ▼                ▼
//!         refused         Canceling(3) ── done, failed, grace over ▶ Canceled(6)
//! ```
//!
//! One goal runs at a time. One that arrives meanwhile is refused, unless the component says that it gives up the one it
//! has: then that one is canceled and the new one begins when it has ended. A third is refused.
//!
//! Limits: one goal runs, one waits; a goal that is not done within [`Limits::goal_max`] is aborted, one that does not end
//! within [`Limits::grace`] of its cancellation counts as canceled; of those that ended the newest [`ENDED_MAX`] are
//! remembered, with at most [`ENDED_BYTES_MAX`] of results, for [`ENDED_FOR`].

use super::wire::Data;
use crate::clock::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// Goals that ended and can still be asked for.
pub(super) const ENDED_MAX: usize = 64;
pub(super) const ENDED_BYTES_MAX: usize = 4 << 20;
pub(super) const ENDED_FOR: Duration = Duration::from_secs(600);

/// As on the wire (`protocol/commlib.md` section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Unknown = 0,
    Accepted = 1,
    Running = 2,
    Canceling = 3,
    Succeeded = 4,
    Aborted = 5,
    Canceled = 6,
}

impl Status {
    #[must_use]
    pub(super) fn is_final(self) -> bool {
        self >= Self::Succeeded
    }

    #[must_use]
    pub(super) fn number(self) -> u8 {
        self as u8
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) goal_max: Duration,
    pub(super) grace: Duration,
}

/// What is to be done about it; `asker` is the number that the caller gave with the request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deed {
    /// Call `on_goal(goal_id, goal)`; answer with [`Goals::goal_answered`].
    AskGoal {
        id: String,
        goal: Data,
    },
    /// Call `on_cancel(goal_id)`; answer with [`Goals::cancel_answered`].
    AskCancel {
        id: String,
    },
    /// Call `on_preempt(goal_id, goal)`; answer with [`Goals::preempt_answered`].
    AskPreempt {
        id: String,
        goal: Data,
    },
    /// Tell everybody.
    Tell {
        id: String,
        status: Status,
    },
    /// The goal is accepted.
    Accepted {
        asker: u64,
        id: String,
    },
    Refused {
        asker: u64,
        reason: String,
    },
    /// The answer to a cancellation.
    Cancelled {
        asker: u64,
        done: bool,
    },
}

/// What a component said to a goal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Yes,
    /// It is done already.
    Done(Data),
    No(String),
}

#[derive(Debug)]
struct Goal {
    id: String,
    data: Data,
    status: Status,
    /// When it has taken too long in this status.
    deadline: Mono,
    /// Who waits for the answer to a cancellation.
    cancellers: Vec<u64>,
}

#[derive(Debug)]
struct Ended {
    id: String,
    status: Status,
    result: Data,
    at: Mono,
    bytes: usize,
}

/// A goal that has not begun.
#[derive(Debug)]
struct Waiting {
    asker: u64,
    id: String,
    data: Data,
    /// The component has agreed to give up the one it has.
    agreed: bool,
}

#[derive(Debug)]
pub(super) struct Goals {
    limits: Limits,
    current: Option<Goal>,
    /// Asked and not answered: who asks.
    asked_by: Option<u64>,
    waiting: Option<Waiting>,
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

const BUSY: &str = "another goal is running";
const CANCELLERS_MAX: usize = 16;

impl Goals {
    #[must_use]
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, current: None, asked_by: None, waiting: None, ended: VecDeque::new(), ended_bytes: 0 }
    }

    /// A goal arrives; `id` is fresh.
    pub(super) fn send(&mut self, asker: u64, id: String, data: Data, now: Mono, deeds: &mut Vec<Deed>) {
        match &self.current {
            None => {
                self.asked_by = Some(asker);
                self.ask(id, data, now, deeds);
            }
            Some(current) if current.status == Status::Running && self.waiting.is_none() => {
                deeds.push(Deed::AskPreempt { id: current.id.clone(), goal: data.clone() });
                self.waiting = Some(Waiting { asker, id, data, agreed: false });
            }
            Some(_) => deeds.push(Deed::Refused { asker, reason: BUSY.into() }),
        }
    }

    fn ask(&mut self, id: String, data: Data, now: Mono, deeds: &mut Vec<Deed>) {
        deeds.push(Deed::AskGoal { id: id.clone(), goal: data.clone() });
        let deadline = now.plus(self.limits.goal_max);
        self.current = Some(Goal { id, data, status: Status::Accepted, deadline, cancellers: Vec::new() });
    }

    /// The component answered `on_goal`.
    pub(super) fn goal_answered(&mut self, id: &str, verdict: Verdict, now: Mono, deeds: &mut Vec<Deed>) {
        let Some(goal) = self.current.as_mut().filter(|goal| goal.id == id && goal.status == Status::Accepted) else { return };
        let asker = self.asked_by.take();
        let id = goal.id.clone();
        match verdict {
            Verdict::No(reason) => match asker {
                // Nobody knows the goal, so nobody needs to hear its end.
                Some(asker) => {
                    self.current = None;
                    deeds.push(Deed::Refused { asker, reason });
                    self.next(now, deeds);
                }
                // It was promised when the goal before it was given up.
                None => self.end(Status::Aborted, failure(reason), now, deeds),
            },
            Verdict::Yes | Verdict::Done(_) => {
                if let Some(asker) = asker {
                    deeds.push(Deed::Tell { id: id.clone(), status: Status::Accepted });
                    deeds.push(Deed::Accepted { asker, id: id.clone() });
                }
                goal.status = Status::Running;
                goal.data = Data::new();
                deeds.push(Deed::Tell { id, status: Status::Running });
                if let Verdict::Done(result) = verdict {
                    self.end(Status::Succeeded, result, now, deeds);
                }
            }
        }
    }

    /// The component answered `on_preempt` about the goal that runs.
    pub(super) fn preempt_answered(&mut self, id: &str, yes: bool, now: Mono, deeds: &mut Vec<Deed>) {
        let Some(waiting) = self.waiting.as_mut().filter(|waiting| !waiting.agreed) else { return };
        let runs = self.current.as_mut().filter(|goal| goal.id == id);
        if !yes {
            // It may have ended meanwhile; then there is room.
            if runs.is_some() {
                let waiting = self.waiting.take().expect("it was just looked at");
                deeds.push(Deed::Refused { asker: waiting.asker, reason: BUSY.into() });
            }
            return;
        }
        waiting.agreed = true;
        deeds.push(Deed::Tell { id: waiting.id.clone(), status: Status::Accepted });
        deeds.push(Deed::Accepted { asker: waiting.asker, id: waiting.id.clone() });
        if let Some(goal) = runs.filter(|goal| goal.status == Status::Running) {
            goal.status = Status::Canceling;
            goal.deadline = now.plus(self.limits.grace);
            deeds.push(Deed::Tell { id: goal.id.clone(), status: Status::Canceling });
        }
    }

    /// Somebody wants a goal to end.
    pub(super) fn cancel(&mut self, asker: u64, id: &str, now: Mono, deeds: &mut Vec<Deed>) {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.agreed && waiting.id == id) {
            self.waiting = None;
            deeds.push(Deed::Tell { id: id.into(), status: Status::Canceled });
            self.remember(id.into(), Status::Canceled, Data::new(), now);
            deeds.push(Deed::Cancelled { asker, done: true });
            return;
        }
        match self.current.as_mut().filter(|goal| goal.id == id && goal.cancellers.len() < CANCELLERS_MAX) {
            Some(goal) if goal.status == Status::Running => {
                goal.status = Status::Canceling;
                goal.deadline = now.plus(self.limits.grace);
                goal.cancellers.push(asker);
                deeds.push(Deed::Tell { id: id.into(), status: Status::Canceling });
                deeds.push(Deed::AskCancel { id: id.into() });
            }
            Some(goal) if goal.status == Status::Canceling => goal.cancellers.push(asker),
            _ => deeds.push(Deed::Cancelled { asker, done: false }),
        }
    }

    /// The component answered `on_cancel`. If it will not, the goal runs on.
    pub(super) fn cancel_answered(&mut self, id: &str, yes: bool, now: Mono, deeds: &mut Vec<Deed>) {
        let Some(goal) = self.current.as_mut().filter(|goal| goal.id == id && goal.status == Status::Canceling) else { return };
        deeds.extend(goal.cancellers.drain(..).map(|asker| Deed::Cancelled { asker, done: yes }));
        if !yes && self.waiting.is_none() {
            goal.status = Status::Running;
            goal.deadline = now.plus(self.limits.goal_max);
            deeds.push(Deed::Tell { id: id.into(), status: Status::Running });
        }
    }

    /// The component is done with a goal. False if it is not running.
    pub(super) fn done(&mut self, id: &str, result: Data, now: Mono, deeds: &mut Vec<Deed>) -> bool {
        let Some(status) = self.running(id) else { return false };
        let end = if status == Status::Canceling { Status::Canceled } else { Status::Succeeded };
        self.end(end, result, now, deeds);
        true
    }

    /// The component could not do it. False if it is not running.
    pub(super) fn failed(&mut self, id: &str, reason: String, now: Mono, deeds: &mut Vec<Deed>) -> bool {
        let Some(status) = self.running(id) else { return false };
        let end = if status == Status::Canceling { Status::Canceled } else { Status::Aborted };
        self.end(end, failure(reason), now, deeds);
        true
    }

    /// The status of a goal that a component works on.
    #[must_use]
    pub(super) fn running(&self, id: &str) -> Option<Status> {
        self.current.as_ref().filter(|goal| goal.id == id && goal.status > Status::Accepted).map(|goal| goal.status)
    }

    /// The component is gone.
    pub(super) fn gone(&mut self, now: Mono, deeds: &mut Vec<Deed>) {
        const REASON: &str = "the component is gone";
        if let Some(waiting) = self.waiting.take() {
            if waiting.agreed {
                deeds.push(Deed::Tell { id: waiting.id.clone(), status: Status::Aborted });
                self.remember(waiting.id, Status::Aborted, failure(REASON.into()), now);
            } else {
                deeds.push(Deed::Refused { asker: waiting.asker, reason: REASON.into() });
            }
        }
        if self.current.as_ref().is_some_and(|goal| goal.status > Status::Accepted) {
            self.end(Status::Aborted, failure(REASON.into()), now, deeds);
        }
    }

    /// Status and result of a goal; an empty id is the one that runs, or else the newest.
    #[must_use]
    pub(super) fn result(&self, id: &str) -> (Status, Data) {
        let is_it = |known: &str| id.is_empty() || known == id;
        if let Some(goal) = self.current.as_ref().filter(|goal| is_it(&goal.id)) {
            return (goal.status, Data::new());
        }
        if self.waiting.as_ref().is_some_and(|waiting| waiting.agreed && waiting.id == id) {
            return (Status::Accepted, Data::new());
        }
        let ended = self.ended.iter().rev().find(|ended| is_it(&ended.id));
        ended.map_or((Status::Unknown, Data::new()), |ended| (ended.status, ended.result.clone()))
    }

    #[must_use]
    pub(super) fn next_due(&self) -> Option<Mono> {
        let running = self.current.as_ref().map(|goal| goal.deadline);
        running.into_iter().chain(self.ended.front().map(|ended| ended.at.plus(ENDED_FOR))).min()
    }

    /// Nothing runs, nothing is remembered.
    #[must_use]
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.ended.is_empty()
    }

    /// Whether a goal is under way.
    #[must_use]
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn tick(&mut self, now: Mono, deeds: &mut Vec<Deed>) {
        while self.ended.front().is_some_and(|ended| ended.at.plus(ENDED_FOR) <= now) {
            self.forget_oldest();
        }
        let Some(goal) = self.current.as_ref().filter(|goal| goal.deadline <= now) else { return };
        match goal.status {
            Status::Canceling => self.end(Status::Canceled, failure("the component did not stop in time".into()), now, deeds),
            _ => {
                if let Some(asker) = self.asked_by.take() {
                    deeds.push(Deed::Refused { asker, reason: "the component did not answer".into() });
                }
                self.end(Status::Aborted, failure("the component was not done in time".into()), now, deeds);
            }
        }
    }

    fn end(&mut self, status: Status, result: Data, now: Mono, deeds: &mut Vec<Deed>) {
        let Some(goal) = self.current.take() else { return };
        deeds.extend(goal.cancellers.iter().map(|asker| Deed::Cancelled { asker: *asker, done: status == Status::Canceled }));
        deeds.push(Deed::Tell { id: goal.id.clone(), status });
        self.remember(goal.id, status, result, now);
        self.next(now, deeds);
    }

    /// The place is free.
    fn next(&mut self, now: Mono, deeds: &mut Vec<Deed>) {
        let Some(waiting) = self.waiting.take() else { return };
        if !waiting.agreed {
            self.asked_by = Some(waiting.asker);
        }
        self.ask(waiting.id, waiting.data, now, deeds);
    }

    fn remember(&mut self, id: String, status: Status, result: Data, now: Mono) {
        let bytes = serde_json::to_vec(&result).map_or(0, |text| text.len());
        self.ended.push_back(Ended { id, status, result, at: now, bytes });
        self.ended_bytes += bytes;
        // The newest stays, whatever its size.
        while self.ended.len() > ENDED_MAX || (self.ended_bytes > ENDED_BYTES_MAX && self.ended.len() > 1) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ended.pop_front() {
            self.ended_bytes -= oldest.bytes;
        }
    }
}

fn failure(reason: String) -> Data {
    Data::from_iter([("error".to_owned(), reason.into())])
}

#[cfg(test)]
mod tests;
