//! Whose password is hashed next.
//!
//! A hash takes long, and only a few are computed at the same time. Who waits stands in the line of his block of addresses
//! ([`crate::net::block`]), and the lines take turns: somebody who comes alone waits for one hash, however many hundreds an attacker
//! has sent before him. Lines are bounded; when all of them together are too long, the newest of the longest goes. Who has gone away
//! meanwhile is passed over: nothing is computed for him.

use ahash::AHashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Logins of one block that may wait.
pub(super) const LINE_MAX: usize = 128;
/// Logins that may wait in all.
pub(super) const WAITING_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Turns(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    free: usize,
    by_block: AHashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    /// Every block that has a line, in the order in which they come next.
    round: VecDeque<IpAddr>,
}

/// The right to compute one hash; dropping it lets the next one have it.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Lines { free: at_once, ..Lines::default() })))
    }

    /// Waits in line; `None` if it is too long. May be dropped half way.
    pub(super) async fn take(self: &Arc<Self>, block: IpAddr) -> Option<Turn> {
        let waiting = {
            let mut lines = self.lines();
            if lines.free > 0 {
                lines.free -= 1;
                return Some(Turn(Some(Arc::clone(self))));
            }
            lines.join(block)?
        };
        waiting.await.ok()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Nothing in here can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lines().waiting()
    }
}

impl Lines {
    fn waiting(&self) -> usize {
        self.by_block.values().map(VecDeque::len).sum()
    }

    fn join(&mut self, block: IpAddr) -> Option<oneshot::Receiver<Turn>> {
        if self.by_block.get(&block).map_or(0, VecDeque::len) >= LINE_MAX || self.waiting() >= WAITING_MAX {
            self.forget_who_left();
        }
        let own = self.by_block.get(&block).map_or(0, VecDeque::len);
        if own >= LINE_MAX {
            return None;
        }
        if self.waiting() >= WAITING_MAX {
            let (longest, line) = self.by_block.iter_mut().max_by_key(|(_, line)| line.len())?;
            if line.len() <= own + 1 || *longest == block {
                return None;
            }
            // Who is dropped hears that the line is too long.
            line.pop_back();
        }
        let (go, waiting) = oneshot::channel();
        let line = self.by_block.entry(block).or_default();
        if line.is_empty() {
            self.round.push_back(block);
        }
        line.push_back(go);
        Some(waiting)
    }

    fn forget_who_left(&mut self) {
        self.by_block.retain(|_, line| {
            line.retain(|go| !go.is_closed());
            !line.is_empty()
        });
        let by_block = &self.by_block;
        self.round.retain(|block| by_block.contains_key(block));
    }

    /// The next one in the line that is due.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let block = self.round.pop_front()?;
        let line = self.by_block.get_mut(&block)?;
        let next = line.pop_front();
        if line.is_empty() {
            self.by_block.remove(&block);
        } else {
            self.round.push_back(block);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let mut lines = turns.lines();
        while let Some(next) = lines.next() {
            match next.send(Self(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // He has left. His turn must not end as one that was used, with the lines locked.
                Err(mut unused) => unused.0 = None,
            }
        }
        lines.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn block(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Stands in line until told, and says what he is called when his turn comes.
    fn queue(turns: &Arc<Turns>, from: u8, order: &Arc<Mutex<Vec<u8>>>) -> tokio::task::JoinHandle<Option<()>> {
        let (turns, order) = (Arc::clone(turns), Arc::clone(order));
        tokio::spawn(async move {
            let turn = turns.take(block(from)).await?;
            order.lock().unwrap().push(from);
            drop(turn);
            Some(())
        })
    }

    #[tokio::test]
    async fn who_comes_alone_waits_for_one_turn_however_many_others_sent() {
        let (turns, order) = (Turns::new(1), Arc::default());
        let first = turns.take(block(1)).await.unwrap();
        let mut all: Vec<_> = (0..100).map(|_| queue(&turns, 1, &order)).collect();
        while turns.waiting() < 100 {
            tokio::task::yield_now().await;
        }
        all.push(queue(&turns, 2, &order));
        while turns.waiting() < 101 {
            tokio::task::yield_now().await;
        }
        drop(first);
        for one in all {
            assert!(one.await.unwrap().is_some());
        }
        let order = order.lock().unwrap();
        assert_eq!(order.iter().position(|from| *from == 2), Some(1), "{order:?}");
        assert_eq!(turns.lines().free, 1);
    }

    #[tokio::test]
    async fn who_has_left_is_passed_over_and_leaves_nothing_behind() {
        let (turns, order) = (Turns::new(2), Arc::default());
        let held = (turns.take(block(1)).await.unwrap(), turns.take(block(1)).await.unwrap());
        let gone: Vec<_> = (0..50).map(|_| queue(&turns, 1, &order)).collect();
        let staying = queue(&turns, 3, &order);
        while turns.waiting() < 51 {
            tokio::task::yield_now().await;
        }
        for one in gone {
            one.abort();
            assert!(one.await.is_err());
        }
        drop(held);
        assert!(staying.await.unwrap().is_some());
        assert_eq!(*order.lock().unwrap(), [3]);
        let lines = turns.lines();
        assert!(lines.free == 2 && lines.by_block.is_empty() && lines.round.is_empty(), "{lines:?}");
    }

    #[tokio::test]
    async fn lines_are_bounded_and_a_newcomer_takes_the_place_of_the_newest_in_the_longest() {
        let turns = Turns::new(1);
        let _held = turns.take(block(0)).await.unwrap();
        let mut lines = Vec::new();
        let mut join = |from: u8, count: usize| {
            for _ in 0..count {
                let joined = turns.lines().join(block(from));
                lines.push((from, joined));
            }
        };
        join(1, LINE_MAX + 50);
        for from in 2..=8 {
            join(from, LINE_MAX);
        }
        join(9, 1);
        assert_eq!(turns.waiting(), WAITING_MAX);
        let refused = lines.iter().filter(|(_, joined)| joined.is_none()).count();
        assert_eq!(refused, 50, "one line has an end");
        let (_, ninth) = lines.pop().unwrap();
        assert!(ninth.is_some(), "and another one is always possible");
        assert!(timeout(Duration::from_millis(1), ninth.unwrap()).await.is_err(), "it waits");
        let told = lines.iter_mut().filter_map(|(_, joined)| joined.as_mut()?.try_recv().err());
        assert_eq!(told.filter(|why| *why == oneshot::error::TryRecvError::Closed).count(), 1);
    }
}
