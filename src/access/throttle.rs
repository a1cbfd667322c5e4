//! Guessing passwords becomes slow.
//!
//! After a failed login the next failure from the same address is answered later: 250 ms, then twice as long each time, up to
//! [`DELAY_MAX`]. While an address is under suspicion only [`PENDING_MAX`] of its logins are looked at (or wait for their no) at
//! the same time; others are turned away unseen. Whoever is right is let in without delay, and who is known to be right (see
//! [`super::password`]) even past the suspicion: a wrong password in one device does not lock out the others behind the same
//! router.
//!
//! An address is a block of addresses as [`block`] has it.

use super::password::Verifier;
use super::turns::Turn;
use crate::clock::{Mono, SharedClock};
use crate::net::block;
use ahash::AHashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const DELAY_MIN: Duration = Duration::from_millis(250);
/// Far below the time that a door gives a newcomer, so that he hears the reason.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(4);
pub(super) const PENDING_MAX: u32 = 4;
/// Failures are forgotten after so long without another one.
const MEMORY: Duration = Duration::from_secs(600);
/// Addresses remembered. Beyond, the one with the oldest failure is forgotten.
const ADDRESSES_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Throttle {
    clock: SharedClock,
    addresses: Mutex<AHashMap<IpAddr, Suspect>>,
}

#[derive(Debug, Clone, Copy)]
struct Suspect {
    failures: u32,
    last: Mono,
    pending: u32,
}

/// A login that is being looked at.
#[derive(Debug)]
pub(super) struct Attempt {
    throttle: Arc<Throttle>,
    address: IpAddr,
    /// Counted in `pending`.
    suspected: bool,
}

impl Throttle {
    pub(super) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { clock, addresses: Mutex::default() })
    }

    /// Whether a login from `address` is looked at now.
    pub(super) fn attempt(self: &Arc<Self>, address: IpAddr) -> Option<Attempt> {
        let address = block(address);
        let now = self.clock.mono();
        let mut addresses = self.addresses();
        let mut suspected = false;
        if let Some(suspect) = addresses.get_mut(&address) {
            if now.since(suspect.last) > MEMORY && suspect.pending == 0 {
                addresses.remove(&address);
            } else if suspect.pending >= PENDING_MAX {
                return None;
            } else {
                suspect.pending += 1;
                suspected = true;
            }
        }
        Some(Attempt { throttle: Arc::clone(self), address, suspected })
    }

    /// Waits until a password from `address` may be hashed; `None` if it is not looked at.
    pub(super) async fn in_turn(self: &Arc<Self>, verifier: &Verifier, address: IpAddr) -> Option<(Turn, Attempt)> {
        let is_open = self.addresses().get(&block(address)).is_none_or(|suspect| suspect.pending < PENDING_MAX);
        let turn = if is_open { verifier.turn(address).await? } else { return None };
        // Others from there may have failed while this one waited.
        Some((turn, self.attempt(address)?))
    }

    /// Addresses under suspicion.
    pub(super) fn len(&self) -> usize {
        self.addresses().len()
    }

    fn addresses(&self) -> MutexGuard<'_, AHashMap<IpAddr, Suspect>> {
        // Nothing in here can panic half way.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The password was wrong: how long to wait before saying so.
    pub(super) fn failed(&mut self) -> Duration {
        let now = self.throttle.clock.mono();
        let mut addresses = self.throttle.addresses();
        if !addresses.contains_key(&self.address) && addresses.len() >= ADDRESSES_MAX {
            let oldest = addresses.iter().min_by_key(|(_, suspect)| suspect.last).map(|(address, _)| *address);
            oldest.map(|address| addresses.remove(&address));
        }
        let suspect = addresses.entry(self.address).or_insert(Suspect { failures: 0, last: now, pending: 0 });
        suspect.failures = suspect.failures.saturating_add(1);
        suspect.last = now;
        if !self.suspected {
            suspect.pending += 1;
            self.suspected = true;
        }
        DELAY_MIN.saturating_mul(1 << (suspect.failures - 1).min(16)).min(DELAY_MAX)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.suspected
            && let Some(suspect) = self.throttle.addresses().get_mut(&self.address)
        {
            suspect.pending = suspect.pending.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_is_answered_later_than_the_one_before_up_to_a_limit() {
        let throttle = Throttle::new(SystemClock::shared());
        let delays: Vec<_> = (0..8).map(|_| throttle.attempt(address(1)).unwrap().failed().as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
        assert_eq!(throttle.attempt(address(2)).unwrap().failed(), DELAY_MIN, "others are not slowed down");
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_has_few_attempts_at_the_same_time() {
        let throttle = Throttle::new(SystemClock::shared());
        let many: Vec<_> = (0..100).map(|_| throttle.attempt(address(1)).unwrap()).collect();
        drop(many);
        assert_eq!(throttle.len(), 0, "nobody is suspected before he fails");

        throttle.attempt(address(1)).unwrap().failed();
        let pending: Vec<_> = (0..PENDING_MAX).map(|_| throttle.attempt(address(1)).unwrap()).collect();
        assert!(throttle.attempt(address(1)).is_none());
        assert!(throttle.attempt(address(2)).is_some());
        drop(pending);
        assert!(throttle.attempt(address(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_after_a_while() {
        let throttle = Throttle::new(SystemClock::shared());
        for _ in 0..5 {
            throttle.attempt(address(1)).unwrap().failed();
        }
        tokio::time::advance(MEMORY + DELAY_MIN).await;
        assert_eq!(throttle.attempt(address(1)).unwrap().failed(), DELAY_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_addresses_does_not_fill_memory() {
        let throttle = Throttle::new(SystemClock::shared());
        for number in 0..2 * ADDRESSES_MAX as u32 {
            throttle.attempt(IpAddr::from(number.to_be_bytes())).unwrap().failed();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(throttle.len(), ADDRESSES_MAX);
    }
}
