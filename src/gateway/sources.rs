//! Where `/metrics` and `/readyz` get their numbers.

use crate::history::History;
use crate::http::Sources;
use crate::metrics;
use crate::router::{HubHandle, Report};
use crate::wal::LogHandle;
use std::sync::Arc;

/// The running parts, as the HTTP door sees them.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) hub: HubHandle,
    pub(super) log: LogHandle,
    pub(super) history: Option<Arc<History>>,
    pub(super) counts: metrics::Doors,
    /// Doors still at work; a door that ended although nobody asked it to is a reason not to be ready.
    pub(super) doors: Vec<(&'static str, tokio::task::AbortHandle)>,
}

impl Sources for Parts {
    async fn report(&self) -> Option<Report> {
        self.hub.report().await.ok()
    }

    fn doors(&self) -> metrics::Doors {
        self.counts.clone()
    }

    fn log(&self) -> metrics::Log {
        let (state, stats) = (*self.log.state().borrow(), self.log.stats());
        metrics::Log {
            written: state.written,
            durable: state.durable,
            health: state.health,
            segments: stats.segments,
            bytes_on_disk: stats.bytes_on_disk,
            commits: stats.commits,
            syncs: stats.syncs,
            bytes_written: stats.bytes_written,
            oldest: stats.oldest,
        }
    }

    fn history(&self) -> Option<metrics::History> {
        Some(self.history.as_ref()?.status().into())
    }

    fn doors_closed(&self) -> Vec<String> {
        self.doors.iter().filter(|(_, task)| task.is_finished()).map(|(door, _)| (*door).to_owned()).collect()
    }
}
