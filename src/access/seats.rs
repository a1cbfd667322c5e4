//! How many clients are connected as one user.

use ahash::AHashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Clients by user. There are at most as many entries as connections.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<AHashMap<Arc<str>, Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// Connections by client id: one that comes again while the old one is not noticed to be dead takes no second seat.
    named: AHashMap<Arc<str>, u32>,
    nameless: u32,
}

impl Taken {
    fn len(&self) -> usize {
        self.named.len() + self.nameless as usize
    }
}

/// A connection's seat; dropping it leaves.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: Arc<str>,
    client: Option<Arc<str>>,
}

impl Seats {
    /// A seat for one more connection of `user`, unless `max` clients have one.
    pub(super) fn take(self: &Arc<Self>, user: &Arc<str>, client: Option<&str>, max: Option<u32>) -> Option<Seat> {
        let mut seats = self.seats();
        let taken = seats.entry(Arc::clone(user)).or_default();
        let known = client.is_some_and(|client| taken.named.contains_key(client));
        if !known && max.is_some_and(|max| taken.len() >= max as usize) {
            if taken.len() == 0 {
                seats.remove(user);
            }
            return None;
        }
        let client: Option<Arc<str>> = client.map(Arc::from);
        match &client {
            Some(client) => *taken.named.entry(Arc::clone(client)).or_default() += 1,
            None => taken.nameless += 1,
        }
        Some(Seat { seats: Arc::clone(self), user: Arc::clone(user), client })
    }

    /// Clients connected as `user`.
    pub(super) fn of(&self, user: &str) -> usize {
        self.seats().get(user).map_or(0, Taken::len)
    }

    fn seats(&self) -> MutexGuard<'_, AHashMap<Arc<str>, Taken>> {
        // Nothing in here can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.seats();
        let Some(taken) = seats.get_mut(&self.user) else { return };
        match &self.client {
            None => taken.nameless = taken.nameless.saturating_sub(1),
            Some(client) => {
                if let Some(count) = taken.named.get_mut(client) {
                    *count -= 1;
                    if *count == 0 {
                        taken.named.remove(client);
                    }
                }
            }
        }
        if taken.len() == 0 {
            seats.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_seats_and_a_client_that_comes_again_needs_no_second_one() {
        let (seats, user) = (Arc::new(Seats::default()), Arc::from("dev"));
        let first = seats.take(&user, Some("a"), Some(2)).unwrap();
        let nameless = seats.take(&user, None, Some(2)).unwrap();
        assert!(seats.take(&user, Some("b"), Some(2)).is_none());
        let again = seats.take(&user, Some("a"), Some(2)).unwrap();
        assert_eq!(seats.of("dev"), 2);

        drop(first);
        assert_eq!(seats.of("dev"), 2, "its newer connection is still there");
        drop(again);
        assert!(seats.take(&user, Some("b"), Some(2)).is_some());
        drop(nameless);
        assert!(seats.seats().is_empty());
    }

    #[test]
    fn no_seat_at_all_leaves_no_trace() {
        let (seats, user) = (Arc::new(Seats::default()), Arc::from("dev"));
        assert!(seats.take(&user, Some("a"), Some(0)).is_none());
        assert!(seats.seats().is_empty());
    }
}
