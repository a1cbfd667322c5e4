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
    use super::super::{Arrival, Entrance, Entrances, Entry, Gate, Places, Stats, accept};
    use super::*;
    use crate::clock::SystemClock;
    use crate::net::{Listener, TcpListener};
    use std::future::ready;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    /// A door with two listeners on free ports, whose loop is not started yet.
    struct Door {
        entrances: Vec<Entrance<TcpListener>>,
        pulses: Vec<Pulse>,
        addr: SocketAddr,
    }

    impl Door {
        async fn build() -> Self {
            let mut entrances = Vec::new();
            for _ in 0..2 {
                entrances.push(Entrance::plain(TcpListener::bind("127.0.0.1:0").await.unwrap()));
            }
            let pulses = entrances.iter().map(Entrance::pulse).collect();
            let addr = entrances[0].listener.local_addr().unwrap();
            Self { entrances, pulses, addr }
        }

        fn open(&mut self) -> (watch::Sender<bool>, JoinHandle<()>) {
            let (stop, stopped) = watch::channel(false);
            let entrances = Entrances::new(std::mem::take(&mut self.entrances));
            let task = tokio::spawn(async move {
                let (gate, stats, clock) = (Gate::new(8), Stats::default(), SystemClock::shared());
                let attend = |_: Arrival<_>, _: Entry| ready(());
                accept(entrances, (8, &Places::default()), &gate, &stats, &*clock, stopped, attend).await.left().await;
            });
            (stop, task)
        }

        async fn has_pulse(&self, patience: Duration) -> bool {
            for pulse in &self.pulses {
                if !matches!(timeout(patience, pulse.feel()).await, Ok(Ok(()))) {
                    return false;
                }
            }
            true
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_open_door_has_a_pulse_whether_somebody_comes_or_not() {
        let mut door = Door::build().await;
        let _open = door.open();
        assert!(door.has_pulse(LONG).await);
        drop(tokio::net::TcpStream::connect(door.addr).await.unwrap());
        assert!(door.has_pulse(LONG).await);
    }

    #[tokio::test]
    async fn a_door_whose_loop_stands_still_has_none_although_the_kernel_still_connects() {
        let mut door = Door::build().await;
        tokio::net::TcpStream::connect(door.addr).await.unwrap();
        assert!(!door.has_pulse(Duration::from_millis(100)).await);

        let _open = door.open();
        assert!(door.has_pulse(LONG).await, "and it is there when the loop goes on");
    }

    #[tokio::test]
    async fn a_closed_door_says_so_at_once() {
        let mut door = Door::build().await;
        let (stop, task) = door.open();
        stop.send_replace(true);
        task.await.unwrap();
        assert!(door.pulses[0].feel().await.is_err());
    }
}
