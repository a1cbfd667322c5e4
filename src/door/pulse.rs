//! Proof for the watchdog that an accept loop still turns.
//!
//! A listener whose loop hangs looks well from outside: the kernel goes on completing connections until its queue is full.
//! So the loop is asked, and answers between two accepts. Nobody connects for it: a probe through the network would fail when
//! descriptors or places run out, and a restart for that would throw out everybody who is served.

use tokio::sync::{mpsc, oneshot};

/// Feels whether the loop at the other end turns. Made with its [`Beat`] by [`pulse`].
#[derive(Debug, Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The loop's end.
#[derive(Debug)]
pub(super) struct Beat(mpsc::Receiver<oneshot::Sender<()>>);

/// Nobody listens there any more.
#[derive(Debug, thiserror::Error)]
#[error("its accept loop has ended")]
pub struct NoPulse;

pub(super) fn pulse() -> (Pulse, Beat) {
    // One question at a time: whoever finds one waiting waits with it.
    let (ask, asked) = mpsc::channel(1);
    (Pulse(ask), Beat(asked))
}

impl Pulse {
    /// Returns when the loop has answered, which may be never: the caller has a deadline.
    pub async fn feel(&self) -> Result<(), NoPulse> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| NoPulse)?;
        answered.await.map_err(|_| NoPulse)
    }
}

impl Beat {
    /// Answers whoever asks, for as long as it is polled.
    pub(super) async fn answer(&mut self) -> std::convert::Infallible {
        while let Some(question) = self.0.recv().await {
            // Who asked may have given up.
            question.send(()).ok();
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrival, Entrance, Entrances, Entry, Gate, Stats, accept};
    use super::*;
    use crate::clock::SystemClock;
    use crate::net::{Listener, TcpListener};
    use std::future::ready;
    use std::net::SocketAddr;
    use std::sync::mpsc as blocking;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_millis(500);

    /// A door with two listeners on free ports, whose sockets go to `attend`.
    struct Door {
        pulses: Vec<Pulse>,
        addr: SocketAddr,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    impl Door {
        async fn open(attend: impl Fn() + Send + Sync + 'static) -> Self {
            let mut entrances = Vec::new();
            for _ in 0..2 {
                entrances.push(Entrance::plain(TcpListener::bind("127.0.0.1:0").await.unwrap()));
            }
            let pulses = entrances.iter().map(Entrance::pulse).collect();
            let addr = entrances[0].listener.local_addr().unwrap();
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(async move {
                let (gate, stats, clock) = (Gate::new(8), Stats::default(), SystemClock::shared());
                let attend = move |_: Arrival<_>, _: Entry| {
                    attend();
                    ready(())
                };
                accept(Entrances::new(entrances), 1_000_000, &gate, &stats, &*clock, stopped, attend).await.left().await;
            });
            Self { pulses, addr, stop, task }
        }

        async fn connect(&self) -> std::net::TcpStream {
            let addr = self.addr;
            tokio::task::spawn_blocking(move || std::net::TcpStream::connect(addr)).await.unwrap().unwrap()
        }

        async fn has_pulse(&self) -> bool {
            for pulse in &self.pulses {
                if !matches!(timeout(PATIENCE, pulse.feel()).await, Ok(Ok(()))) {
                    return false;
                }
            }
            true
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_open_door_has_a_pulse_whether_somebody_comes_or_not() {
        let door = Door::open(|| {}).await;
        assert!(door.has_pulse().await);
        drop(door.connect().await);
        assert!(door.has_pulse().await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_door_that_hangs_has_none_although_the_kernel_still_connects() {
        let (go_on, held) = blocking::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let door = Door::open(move || {
            // An error is the end of the wait.
            held.lock().unwrap().recv().ok();
        })
        .await;
        assert!(door.has_pulse().await);

        drop(door.connect().await);
        // Until the connection has reached the loop it still answers.
        while door.has_pulse().await {}
        drop(door.connect().await);

        drop(go_on);
        assert!(door.has_pulse().await, "and it is there again when the loop goes on");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_closed_door_says_so_at_once() {
        let door = Door::open(|| {}).await;
        door.stop.send_replace(true);
        door.task.await.unwrap();
        assert!(door.pulses[0].feel().await.is_err());
    }
}
