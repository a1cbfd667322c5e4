//! Room for connections, shared by all doors: as many as there are file descriptors beside what the log, history, commands and
//! links need ([`crate::files`]).

use super::Gate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a newcomer that was shown out may take to leave.
const LEAVES_WITHIN: Duration = Duration::from_millis(100);

/// One connection's place.
pub(super) type Place = OwnedSemaphorePermit;

/// Places for connections: of one door, or of all doors together.
#[derive(Debug, Clone)]
pub struct Places(Arc<Semaphore>);

impl Places {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }

    /// Returns when all of the `max` are free.
    pub(super) async fn all_back(&self, max: usize) {
        let all = u32::try_from(max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        drop(self.0.acquire_many(all).await);
    }

    /// A place; if none is left, that of the one at the gate who has to give way.
    pub(super) async fn take(&self, gate: &Gate) -> Option<Place> {
        if let Ok(place) = Arc::clone(&self.0).try_acquire_owned() {
            return Some(place);
        }
        if !gate.show_one_out() {
            return None;
        }
        tokio::time::timeout(LEAVES_WITHIN, Arc::clone(&self.0).acquire_owned()).await.ok()?.ok()
    }
}

impl Default for Places {
    /// As many as one likes.
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn the_last_place_is_given_up_by_who_has_not_said_who_he_is() {
        let (places, gate) = (Places::new(2), Gate::new(8));
        let served = places.take(&gate).await.unwrap();
        let silent = places.take(&gate).await.unwrap();
        let mut entry = gate.enter(HERE);
        let leaving = tokio::spawn(async move {
            entry.displaced().await;
            drop((entry, silent));
        });
        let third = places.take(&gate).await;
        assert!(third.is_some() && leaving.await.is_ok());
        assert!(places.take(&gate).await.is_none(), "both are served");
        drop(served);
        assert!(places.take(&gate).await.is_some());
    }
}
