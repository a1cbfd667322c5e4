//! Who may use the processor for a handshake.
//!
//! A TLS handshake costs a board a millisecond or more, a hundred times the work of a message. A thousand clients that come
//! back at once after a power cut would keep everybody else from their turn for seconds. So only half of the processors do
//! handshakes, one after the other: a step of a handshake, not the whole of it, takes a turn, so whoever stays silent half way
//! holds nobody up. New sockets are not accepted while [`QUEUE_MAX`] steps wait; the kernel keeps those clients in line.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::sync::{Notify, Semaphore};

/// Steps that may wait before no more newcomers are accepted: some tenths of a second of work on a slow board.
const QUEUE_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Turns {
    processors: Semaphore,
    queue: AtomicUsize,
    calmer: Notify,
}

/// A place in the queue, from its making to its end.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Turns>);

impl Turns {
    /// Half of the machine's processors, at least one.
    pub(crate) fn of_this_machine() -> Arc<Self> {
        Self::new(std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2).min(4)))
    }

    fn new(processors: usize) -> Arc<Self> {
        Arc::new(Self { processors: Semaphore::new(processors), queue: AtomicUsize::new(0), calmer: Notify::new() })
    }

    /// A newcomer takes its ticket when it is accepted, so that the queue knows of it before its task first runs.
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        self.queue.fetch_add(1, Ordering::AcqRel);
        Ticket(Arc::clone(self))
    }

    /// Returns when the queue is short.
    pub(crate) async fn calm(&self) {
        loop {
            let mut calmer = pin!(self.calmer.notified());
            calmer.as_mut().enable();
            if self.queue.load(Ordering::Acquire) < QUEUE_MAX {
                return;
            }
            calmer.await;
        }
    }

    /// Runs `work` to its end, each of its steps in its turn.
    pub(crate) async fn take<F: Future>(self: &Arc<Self>, mut ticket: Option<Ticket>, work: F) -> F::Output {
        let mut work = pin!(work);
        loop {
            let in_queue = ticket.take().unwrap_or_else(|| self.ticket());
            let turn = self.processors.acquire().await.expect("the semaphore is never closed");
            let step = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop((turn, in_queue));
            match step {
                Poll::Ready(output) => return output,
                Poll::Pending => woken().await,
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.queue.fetch_sub(1, Ordering::AcqRel) <= QUEUE_MAX {
            self.0.calmer.notify_waiters();
        }
    }
}

/// Returns when the task is woken up by what it waits for already.
async fn woken() {
    let mut asleep = false;
    std::future::poll_fn(|_| if std::mem::replace(&mut asleep, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{Instant, sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn who_stays_silent_half_way_holds_nobody_up() {
        let turns = Turns::new(1);
        let silent: Vec<_> = (0..100)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.take(Some(turns.ticket()), std::future::pending::<()>()).await })
            })
            .collect();
        let start = Instant::now();
        turns.take(None, sleep(Duration::from_millis(5))).await;
        assert!(start.elapsed() < Duration::from_millis(10));
        turns.calm().await;
        silent.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_wait_until_those_before_them_had_their_turn() {
        let turns = Turns::new(1);
        let mut tickets: Vec<_> = (0..QUEUE_MAX).map(|_| turns.ticket()).collect();
        assert!(timeout(Duration::from_secs(60), turns.calm()).await.is_err());

        let waiting = Arc::clone(&turns);
        let waiting = tokio::spawn(async move { waiting.calm().await });
        tokio::task::yield_now().await;
        turns.take(tickets.pop(), std::future::ready(())).await;
        timeout(Duration::from_secs(1), waiting).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn steps_never_overlap_beyond_the_processors() {
        let turns = Turns::new(2);
        let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..50)
            .map(|_| {
                let (turns, busy, most) = (Arc::clone(&turns), Arc::clone(&busy), Arc::clone(&most));
                tokio::spawn(async move {
                    let work = async {
                        for _ in 0..3 {
                            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            busy.fetch_sub(1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                        }
                    };
                    turns.take(None, work).await;
                })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!((turns.queue.load(Ordering::SeqCst), turns.processors.available_permits()), (0, 2));
    }
}
