//! Whose query runs next: few at once, each caller with one, and those who had their turn longest ago first.

use crate::history::model::CallError;
use crate::history::model::Caller;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Queries that run at once: DuckDB has two threads.
pub(super) const RUNNING: usize = 2;
/// Of one caller: never all of them.
const RUNNING_EACH: usize = 1;
/// Queries that may wait for their turn; one more is told that history is busy.
pub(super) const WAITING: usize = 16;
/// Of one caller.
const WAITING_EACH: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    callers: BTreeMap<Caller, Counts>,
    running: usize,
    tickets: u64,
    /// Whether the one that runs wants nobody beside it.
    alone: bool,
    /// When two last ran at once, as the ticket of the later one.
    together: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    caller: Caller,
    alone: bool,
    go: oneshot::Sender<Turn>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    running: usize,
    /// When the last turn began, as a ticket.
    served: u64,
}

/// A query may run as long as this lives.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    caller: Caller,
    /// When it began, as a ticket.
    began: u64,
    alone: bool,
}

/// A place in the queue; dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    turns: Turns,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Turns {
    /// Takes a place in the queue, unless it is full or the caller has its share of it.
    pub(super) fn enter(&self, caller: Caller) -> Result<Place, CallError> {
        self.enter_as(caller, false)
    }

    /// The same for a query that wants all the memory there is: nothing runs beside it, and it may wait longer for that.
    pub(super) fn enter_alone(&self, caller: Caller) -> Result<Place, CallError> {
        self.enter_as(caller, true)
    }

    fn enter_as(&self, caller: Caller, alone: bool) -> Result<Place, CallError> {
        let mut state = self.lock();
        let own = state.callers.get(&caller).map_or(0, |counts| counts.waiting);
        if own >= WAITING_EACH {
            return Err(CallError::exception(format!("history is busy: {WAITING_EACH} of your queries wait already")));
        }
        if state.waiting.len() >= WAITING {
            return Err(CallError::exception(format!("history is busy: {RUNNING} queries run and {WAITING} wait")));
        }
        state.tickets += 1;
        let ticket = state.tickets;
        let (go, turn) = oneshot::channel();
        state.callers.entry(caller).or_default().waiting += 1;
        state.waiting.push_back(Waiting { ticket, caller, alone, go });
        self.next(state);
        Ok(Place { turns: self.clone(), ticket, turn })
    }

    /// Lets as many run as may.
    fn next(&self, mut state: MutexGuard<'_, State>) {
        let mut unwanted = Vec::new();
        while state.running < RUNNING && !state.alone {
            let free =
                |waiting: &&Waiting| state.callers.get(&waiting.caller).is_none_or(|counts| counts.running < RUNNING_EACH);
            let served = |waiting: &&Waiting| state.callers.get(&waiting.caller).map_or(0, |counts| counts.served);
            let Some(chosen) = state.waiting.iter().filter(free).min_by_key(|waiting| (served(waiting), waiting.ticket)) else {
                break;
            };
            // Nobody overtakes one that waits for the others to end, or it would wait for ever.
            if chosen.alone && state.running > 0 {
                break;
            }
            let ticket = chosen.ticket;
            let Some(Waiting { caller, alone, go, .. }) = state.take(ticket) else { break };
            state.tickets += 1;
            let began = state.tickets;
            state.running += 1;
            state.alone = alone;
            if state.running > 1 {
                state.together = began;
            }
            let counts = state.callers.entry(caller).or_default();
            counts.running += 1;
            counts.served = began;
            // Whoever waited may have gone; its turn ends as soon as the lock is free.
            unwanted.extend(go.send(Turn { turns: self.clone(), caller, began, alone }).err());
        }
        drop(state);
        drop(unwanted);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, ticket: u64) -> Option<Waiting> {
        let place = self.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        let waiting = self.waiting.remove(place)?;
        if let Some(counts) = self.callers.get_mut(&waiting.caller) {
            counts.waiting -= 1;
        }
        Some(waiting)
    }

    /// Callers who want nothing any more are forgotten.
    fn forget_idle(&mut self) {
        self.callers.retain(|_, counts| counts.waiting + counts.running > 0);
    }
}

impl Place {
    /// Waits for the turn. Cancel safe.
    pub(super) async fn turn(&mut self) -> Option<Turn> {
        (&mut self.turn).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        drop(state.take(self.ticket));
        state.forget_idle();
    }
}

impl Turn {
    /// Whether another query ran at any moment of this turn.
    pub(super) fn was_shared(&self) -> bool {
        self.turns.lock().together >= self.began
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if self.alone {
            state.alone = false;
        }
        state.running -= 1;
        if let Some(counts) = state.callers.get_mut(&self.caller) {
            counts.running -= 1;
        }
        state.forget_idle();
        self.turns.next(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Caller = Caller(1);
    const B: Caller = Caller(2);
    const C: Caller = Caller(3);

    fn has_turn(place: &mut Place) -> Option<Turn> {
        place.turn.try_recv().ok()
    }

    #[test]
    fn one_caller_cannot_take_all_workers() {
        let turns = Turns::default();
        let mut own: Vec<Place> = (0..3).map(|_| turns.enter(A).unwrap()).collect();
        let first = has_turn(&mut own[0]).unwrap();
        assert!(has_turn(&mut own[1]).is_none());
        let other = has_turn(&mut turns.enter(B).unwrap());
        assert!(other.is_some());
        drop(first);
        assert!(has_turn(&mut own[1]).is_some());
    }

    #[test]
    fn whoever_had_a_turn_longest_ago_is_next() {
        let turns = Turns::default();
        let mut many: Vec<Place> = (0..4).map(|_| turns.enter(A).unwrap()).collect();
        let first = has_turn(&mut many[0]).unwrap();
        let mut b = turns.enter(B).unwrap();
        let second = has_turn(&mut b).unwrap();
        let mut c = turns.enter(C).unwrap();
        drop(first);
        assert!(has_turn(&mut many[1]).is_none(), "the newcomer is first");
        let third = has_turn(&mut c).unwrap();
        drop((second, third));
        assert!(has_turn(&mut many[1]).is_some());
    }

    #[test]
    fn a_place_given_up_is_free_for_others() {
        let turns = Turns::default();
        let _running = [turns.enter(A), turns.enter(B)].map(|place| has_turn(&mut place.unwrap()).unwrap());
        let places: Vec<Place> = (0..WAITING_EACH).map(|_| turns.enter(A).unwrap()).collect();
        assert!(turns.enter(A).unwrap_err().text.contains("your queries"));
        let others: Vec<Place> = (0..WAITING_EACH).map(|_| turns.enter(B).unwrap()).collect();
        assert!(turns.enter(C).unwrap_err().text.contains("16 wait"));
        drop(places);
        assert!(turns.enter(C).is_ok());
        drop(others);
    }

    #[test]
    fn nothing_is_kept_of_callers_who_want_nothing() {
        let turns = Turns::default();
        for caller in 0..100 {
            drop(turns.enter(Caller(caller)));
            drop(has_turn(&mut turns.enter(Caller(caller)).unwrap()));
        }
        let state = turns.lock();
        assert!(state.callers.is_empty() && state.waiting.is_empty() && state.running == 0);
    }

    #[test]
    fn a_query_that_wants_to_be_alone_waits_for_others_and_lets_nobody_beside_it() {
        let turns = Turns::default();
        let first = has_turn(&mut turns.enter(A).unwrap()).unwrap();
        assert!(!first.was_shared());
        let mut alone = turns.enter_alone(B).unwrap();
        let mut later = turns.enter(C).unwrap();
        assert!(has_turn(&mut alone).is_none() && has_turn(&mut later).is_none(), "nobody overtakes it");
        drop(first);
        let turn = has_turn(&mut alone).unwrap();
        assert!(has_turn(&mut later).is_none());
        assert!(!turn.was_shared());
        drop(turn);
        let second = has_turn(&mut later).unwrap();
        let third = has_turn(&mut turns.enter(A).unwrap()).unwrap();
        assert!(second.was_shared() && third.was_shared());
    }

    #[test]
    fn a_turn_that_nobody_takes_is_passed_on() {
        let turns = Turns::default();
        let running = [turns.enter(A), turns.enter(B)].map(|place| has_turn(&mut place.unwrap()).unwrap());
        drop(turns.enter(C).unwrap());
        let mut late = turns.enter(Caller(4)).unwrap();
        drop(running);
        assert!(has_turn(&mut late).is_some());
    }
}
