//! The connections that have not said who they are: before MQTT CONNECT, before the WebSocket handshake, and before the login
//! where one is needed.

use crate::net::block;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Places without a login of one door, unless its settings say otherwise.
pub(crate) const NEWCOMERS_MAX: usize = 256;
/// Bytes that one connection may send before it has said who it is: a login with all that belongs to it takes a few of them.
pub(crate) const NEWCOMER_BYTES_MAX: usize = 64 << 10;
/// And what all newcomers of one door may have sent together; with the doors that have a gate that is 8 MiB for the gateway.
const NEWCOMERS_BYTES_MAX: usize = 3 << 20;
/// What a first packet takes that is as short as most are is not counted: those who are honest always find that much.
const NEWCOMER_BYTES_FREE: usize = 4 << 10;
/// How long everybody may stay, however many come after. A reconnect storm over slow links needs it; silent peers cost the
/// honest ones behind them no more than this for each gateful.
const GRACE: Duration = Duration::from_millis(500);
/// The same for a block of addresses that has more than half of the places while others are there, too.
const GRACE_OF_A_CROWD: Duration = Duration::from_millis(100);

/// The newcomers, oldest first.
///
/// When there are too many the oldest is shown out, not the newest turned away: an honest peer is through in milliseconds, so
/// those who stay longest are the ones that mean to stay silent. It is the oldest of the block of addresses that has most places
/// ([`block`]): a flood from one address displaces itself, and nobody else.
#[derive(Debug)]
pub(crate) struct Gate {
    max: usize,
    waiting: Mutex<Waiting>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    since: Instant,
    block: IpAddr,
    /// What it has sent.
    bytes: usize,
    show_out: oneshot::Sender<()>,
}

/// Why a newcomer is heard no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuch {
    #[error("more than 64 KiB before a login")]
    Own,
    #[error("too many bytes of connections without a login; try again")]
    All,
}

/// Who would have to go for the next one.
#[derive(Debug, Clone, Copy)]
struct Victim {
    number: u64,
    since: Instant,
    /// Its block has more than half of the places, and others are there.
    crowd: bool,
}

/// Where a newcomer comes from, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    gate: Arc<Gate>,
    number: u64,
}

impl Origin {
    /// So many bytes have come from it in all. When that is too much for all newcomers together, the one who has sent most is shown
    /// out.
    pub(crate) fn has_sent(&self, bytes: usize) -> Result<(), TooMuch> {
        if bytes > NEWCOMER_BYTES_MAX {
            return Err(TooMuch::Own);
        }
        let mut waiting = self.gate.waiting();
        if let Some(newcomer) = waiting.by_age.get_mut(&self.number) {
            newcomer.bytes = bytes;
        }
        let counted = |newcomer: &Newcomer| newcomer.bytes.saturating_sub(NEWCOMER_BYTES_FREE);
        if bytes <= NEWCOMER_BYTES_FREE || waiting.by_age.values().map(counted).sum::<usize>() <= NEWCOMERS_BYTES_MAX {
            return Ok(());
        }
        let largest = waiting.by_age.iter().max_by_key(|(_, newcomer)| newcomer.bytes).map(|(number, _)| *number);
        match largest.filter(|number| *number != self.number).and_then(|number| waiting.by_age.remove(&number)) {
            Some(largest) => {
                // It may have left just now.
                largest.show_out.send(()).ok();
                Ok(())
            }
            None => Err(TooMuch::All),
        }
    }

    /// The address behind a proxy, once its header has said so.
    pub(crate) fn is(&self, address: IpAddr) {
        if let Some(newcomer) = self.gate.waiting().by_age.get_mut(&self.number) {
            newcomer.block = block(address);
        }
    }
}

/// One connection's place at the gate; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Entry {
    gate: Arc<Gate>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl Waiting {
    /// The oldest of the largest block; of several that are equally large, the one that came first.
    fn victim(&self) -> Option<Victim> {
        let mut blocks: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (number, newcomer) in &self.by_age {
            blocks.entry(newcomer.block).or_insert((0, *number)).0 += 1;
        }
        let (size, number) =
            blocks.values().copied().max_by(|(a, oldest_a), (b, oldest_b)| a.cmp(b).then(oldest_b.cmp(oldest_a)))?;
        let since = self.by_age.get(&number)?.since;
        Some(Victim { number, since, crowd: blocks.len() > 1 && size > self.by_age.len() / 2 })
    }
}

impl Gate {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), waiting: Mutex::default(), left: Notify::new() })
    }

    /// Returns when one more may enter: there is room, or whoever would have to go has had its time.
    pub(crate) async fn room(&self) {
        loop {
            let victim = {
                let waiting = self.waiting();
                if waiting.by_age.len() < self.max {
                    return;
                }
                waiting.victim()
            };
            let until = victim.map(|victim| victim.since + if victim.crowd { GRACE_OF_A_CROWD } else { GRACE });
            match until.filter(|until| *until > Instant::now()) {
                None => return,
                Some(until) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = self.left.notified() => {}
                },
            }
        }
    }

    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Entry {
        let (show_out, displaced) = oneshot::channel();
        let mut waiting = self.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, Newcomer { since: Instant::now(), block: block(address), bytes: 0, show_out });
        if waiting.by_age.len() > self.max {
            waiting.show_out();
        }
        drop(waiting);
        Entry { gate: self.clone(), number, displaced }
    }

    /// Shows out who would have to go for the next one. False if nobody is there.
    pub(crate) fn show_one_out(&self) -> bool {
        self.waiting().show_out()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn show_out(&mut self) -> bool {
        let Some(newcomer) = self.victim().and_then(|victim| self.by_age.remove(&victim.number)) else { return false };
        // It may have left just now.
        newcomer.show_out.send(()).ok();
        true
    }
}

impl Entry {
    /// For whoever reads the header of a proxy.
    pub(crate) fn origin(&self) -> Origin {
        Origin { gate: Arc::clone(&self.gate), number: self.number }
    }

    /// Returns when a newer connection needs the place.
    pub(crate) async fn displaced(&mut self) {
        // The sender lives in the gate until it is used or this entry is dropped.
        if (&mut self.displaced).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.gate.waiting().by_age.remove(&self.number);
        self.gate.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_for_the_newest() {
        let gate = Gate::new(2);
        let (mut first, mut second) = (gate.enter(HERE), gate.enter(HERE));
        let mut third = gate.enter(HERE);

        first.displaced().await;
        for staying in [&mut second, &mut third] {
            assert!(timeout(Duration::from_secs(60), staying.displaced()).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_shown_out_before_there_was_time_to_speak() {
        let gate = Gate::new(2);
        let (_first, second) = (gate.enter(HERE), gate.enter(HERE));
        let start = Instant::now();
        gate.room().await;
        assert_eq!(start.elapsed(), GRACE);

        let third = gate.enter(HERE);
        let start = Instant::now();
        drop(second);
        gate.room().await;
        assert_eq!(start.elapsed(), Duration::ZERO, "who leaves makes room at once");
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_left_needs_no_room() {
        let gate = Gate::new(1);
        drop(gate.enter(HERE));
        let mut second = gate.enter(HERE);
        assert!(timeout(Duration::from_secs(60), second.displaced()).await.is_err());
        drop(second);
        assert!(gate.waiting().by_age.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_one_block_displaces_itself_and_nobody_else() {
        let gate = Gate::new(8);
        let honest: IpAddr = "192.0.2.7".parse().unwrap();
        let mut early = gate.enter(honest);
        // All from one household, by as many addresses.
        let mut flood: Vec<_> =
            (0..300u128).map(|n| gate.enter(std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + n).into())).collect();
        let mut late = gate.enter(honest);
        for entry in [&mut early, &mut late] {
            assert!(timeout(Duration::from_secs(60), entry.displaced()).await.is_err());
        }
        for entry in flood.iter_mut().take(294) {
            entry.displaced().await;
        }
        assert_eq!(gate.waiting().by_age.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_crowd_others_wait_less() {
        let gate = Gate::new(4);
        let _crowd: Vec<_> = (0..3).map(|_| gate.enter(HERE)).collect();
        let _other = gate.enter("192.0.2.7".parse().unwrap());
        let start = Instant::now();
        gate.room().await;
        assert_eq!(start.elapsed(), GRACE_OF_A_CROWD);
    }

    #[tokio::test(start_paused = true)]
    async fn behind_a_proxy_the_address_in_its_header_counts() {
        let gate = Gate::new(3);
        let (mut first, mut second, mut third) = (gate.enter(HERE), gate.enter(HERE), gate.enter(HERE));
        for (entry, address) in [(&first, "192.0.2.1"), (&second, "192.0.2.2"), (&third, "192.0.2.2")] {
            entry.origin().is(address.parse().unwrap());
        }
        let _fourth = gate.enter("192.0.2.3".parse().unwrap());
        second.displaced().await;
        for entry in [&mut first, &mut third] {
            assert!(timeout(Duration::from_secs(60), entry.displaced()).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_sent_most_goes_when_all_have_sent_too_much() {
        let gate = Gate::new(256);
        let first = gate.enter(HERE);
        assert_eq!(first.origin().has_sent(NEWCOMER_BYTES_MAX + 1), Err(TooMuch::Own));
        assert_eq!(first.origin().has_sent(100), Ok(()));
        let mut many: Vec<_> = (0..100).map(|_| gate.enter(HERE)).collect();
        let outcomes: Vec<_> = many.iter().map(|entry| entry.origin().has_sent(NEWCOMER_BYTES_MAX)).collect();
        assert!(outcomes.contains(&Ok(())) && outcomes.contains(&Err(TooMuch::All)));
        let late = gate.enter(HERE);
        assert_eq!(late.origin().has_sent(NEWCOMER_BYTES_FREE), Ok(()), "a short packet always finds room");
        assert_eq!(late.origin().has_sent(NEWCOMER_BYTES_MAX / 2), Ok(()), "one of the large ones goes for it");
        let shown_out = many.iter_mut().map(|entry| entry.displaced.try_recv()).filter(Result::is_ok).count();
        assert_eq!(shown_out, 1);
    }
}
