//! What every door with long-lived connections does alike: accept for ever, bound who is inside, count what happens.

mod accept;
mod gate;
mod stats;

pub(crate) use accept::accept;
pub(crate) use gate::{Entry, Gate};
pub(crate) use stats::Present;
pub use stats::Stats;
