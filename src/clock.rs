//! The only way to the time. Tests and the simulation bring their own.
//!
//! Two times exist and are never mixed: [`Mono`] orders events and drives deadlines, [`Wall`] is what people read. Boards
//! without a battery clock boot in 1970 and jump by decades later, so nothing in the gateway may wait on [`Wall`].

mod board;

pub use board::{BoardClock, Correction, Linux, Machine};

use std::sync::Arc;
use std::time::Duration;

/// Nanoseconds since an arbitrary start; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub u64);

/// Earlier times mean that the board's clock was not set yet, and say nothing about age: 2024-01-01.
pub const CLOCK_IS_SET: Wall = Wall(1_704_067_200_000_000_000);

impl Wall {
    /// Whether somebody has set the clock: nothing of ours ran before 2024.
    #[must_use]
    pub fn is_set(self) -> bool {
        self >= CLOCK_IS_SET
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn mono(&self) -> Mono;
    fn wall(&self) -> Wall;
    /// Whether [`wall`](Self::wall) is good enough to throw something away because of its age.
    fn is_trusted(&self) -> bool {
        self.wall() >= CLOCK_IS_SET
    }
}

/// A shared clock; every part keeps its own handle.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
}

impl SystemClock {
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: tokio::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    // tokio's instant follows the paused clock of a test runtime; outside of one it is the machine's monotonic clock.
    fn mono(&self) -> Mono {
        Mono::default().plus(self.start.elapsed())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn wall(&self) -> Wall {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Wall(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
