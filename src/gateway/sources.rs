//! Where `/metrics` and `/readyz` get their numbers.

use crate::history::{History, Phase};
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
        let status = self.history.as_ref()?.status();
        let tables = status.tables.into_iter().map(|(name, table)| {
            let table = metrics::Table {
                rows_in_lake: table.rows_in_lake,
                rows_in_tail: table.rows_in_tail,
                rows_taken: table.rows_taken,
                rejected: table.rejected,
            };
            (name, table)
        });
        Some(metrics::History {
            trouble: match status.phase {
                Phase::Running => None,
                Phase::Opening => Some("opening the lake".into()),
                Phase::Unavailable(reason) => Some(reason),
                Phase::Closed => Some("closed".into()),
            },
            ingested: status.ingested,
            covered: status.covered,
            lag: status.lag,
            batches: status.batches,
            batch_failures: status.batch_failures,
            unreadable_records: status.unreadable_records,
            queries: status.queries,
            queries_failed: status.queries_failed,
            queries_busy: status.queries_busy,
            commands: status.commands,
            commands_failed: status.commands_failed,
            tables: tables.collect(),
        })
    }

    fn doors_closed(&self) -> Vec<String> {
        self.doors.iter().filter(|(_, task)| task.is_finished()).map(|(door, _)| (*door).to_owned()).collect()
    }
}
