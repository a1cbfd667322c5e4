//! Where `/metrics`, `/readyz` and `/status` get their numbers.

use crate::access::{self, Access};
use crate::bridge::{LinkReport, LinkStats};
use crate::bus;
use crate::clock::{Mono, SharedClock};
use crate::commlib;
use crate::control::{self, Status};
use crate::door::Origins;
use crate::files::Files;
use crate::history::{History, HistoryStatus, TableStatus};
use crate::http::Sources;
use crate::metrics;
use crate::router::{HubHandle, Report};
use crate::wal::{Health, LogHandle};
use crate::wear::Wear;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long `/status` waits for the router's part.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(1);

/// The running parts, as the HTTP door and the control socket see them.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) data: PathBuf,
    pub(super) clock: SharedClock,
    pub(super) since: Mono,
    pub(super) hub: HubHandle,
    pub(super) log: LogHandle,
    pub(super) wear: Wear,
    pub(super) history: Option<Arc<History>>,
    pub(super) access: Arc<Access>,
    pub(super) commlib: commlib::Shared,
    pub(super) links: Vec<Arc<LinkStats>>,
    pub(super) files: Files,
    pub(super) readers_log_in: bool,
    /// The same for those for whom a proxy on this machine asks.
    pub(super) proxied_log_in: bool,
    /// Pages of others that may ask.
    pub(super) origins: Origins,
    pub(super) programs: Option<Arc<bus::Counts>>,
    pub(super) counts: metrics::Doors,
    /// Doors still at work; a door that ended although nobody asked it to is a reason not to be ready.
    pub(super) doors: Vec<(&'static str, tokio::task::AbortHandle)>,
    /// Where each door listens, and whether strangers may use it.
    pub(super) addresses: Vec<(&'static str, String, bool)>,
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
            wear: self.wear.figures(),
        }
    }

    fn history(&self) -> Option<metrics::History> {
        Some(self.history.as_ref()?.status().into())
    }

    fn bus(&self) -> Option<Arc<bus::Counts>> {
        self.programs.clone()
    }

    fn guard(&self) -> Option<Arc<Access>> {
        self.readers_log_in.then(|| Arc::clone(&self.access))
    }

    fn guard_behind_proxy(&self) -> Option<Arc<Access>> {
        self.proxied_log_in.then(|| Arc::clone(&self.access))
    }

    fn origins(&self) -> Origins {
        self.origins.clone()
    }

    fn access(&self) -> Option<access::Counts> {
        Some(self.access.counts())
    }

    fn commlib(&self) -> Option<commlib::Figures> {
        Some(self.commlib.read())
    }

    fn links(&self) -> Vec<LinkReport> {
        self.links.iter().map(|link| link.report()).collect()
    }

    fn doors_closed(&self) -> Vec<String> {
        self.doors.iter().filter(|(_, task)| task.is_finished()).map(|(door, _)| (*door).to_owned()).collect()
    }
}

impl control::StatusSource for Parts {
    async fn status(&self) -> Status {
        let report = tokio::time::timeout(ROUTER_TIMEOUT, self.report()).await.ok().flatten();
        let log = self.log();
        Status {
            files: self.files.now(),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            data: self.data.clone(),
            uptime_s: self.clock.mono().since(self.since).as_secs(),
            doors: self.addresses.iter().map(|known| self.door(known)).collect(),
            doors_closed: self.doors_closed(),
            router: report.map(router),
            log: control::Log {
                health: health(log.health).into(),
                written: log.written.0,
                durable: log.durable.0,
                bytes_on_disk: log.bytes_on_disk,
                written_last_day: log.wear.day_bytes,
                write_budget: log.wear.budget,
            },
            history: self.history.as_ref().map(|kept| history(&kept.status())),
            access: self.access_status(),
            commlib: self.commlib_status(),
            links: Sources::links(self),
        }
    }
}

impl Parts {
    fn commlib_status(&self) -> control::Commlib {
        let figures = self.commlib.read();
        let [alive, late, gone] = figures.nodes;
        let (calls, served) = (figures.calls.values().sum(), figures.served.values().sum());
        control::Commlib { alive, late, gone, calls, served, actions: figures.actions }
    }

    fn access_status(&self) -> control::Access {
        let counts = self.access.counts();
        control::Access {
            open: self.access.policy().1,
            damage: self.access.damage(),
            users: counts.users,
            rules: counts.rules,
            logins: counts.logins,
            refused: counts.refused.values().sum(),
            denied: counts.denied.values().sum(),
        }
    }

    fn door(&self, (name, address, anonymous): &(&'static str, String, bool)) -> control::Door {
        let stats = self.counts.get(name);
        control::Door {
            name: (*name).into(),
            address: address.clone(),
            anonymous: *anonymous,
            accepted: stats.map(|stats| stats.accepted.load(Relaxed)).unwrap_or_default(),
            refused: stats.map(|stats| stats.refused.load(Relaxed)).unwrap_or_default(),
        }
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Fine => "fine",
        Health::Full => "full",
        Health::Poisoned => "failed",
    }
}

fn router(report: Report) -> control::Router {
    control::Router {
        connections: report.connections.iter().map(|(door, count)| ((*door).into(), *count)).collect(),
        sessions: report.sessions,
        subscriptions: report.subscriptions,
        services: report.services,
        received: report.received.values().sum(),
        refused: report.refused.values().sum(),
        delivered: report.delivered,
        queued: report.queued,
        dropped: report.dropped.values().sum(),
        calls: report.calls,
    }
}

fn history(history: &HistoryStatus) -> control::History {
    let table = |table: &TableStatus| control::Table {
        in_lake: table.rows_in_lake,
        in_tail: table.rows_in_tail,
        rejected: table.rejected.values().sum(),
        refused: table.refused.clone(),
    };
    control::History {
        trouble: history.trouble(),
        lag: history.lag,
        tables: history.tables.iter().map(|(name, rows)| (name.clone(), table(rows))).collect(),
        damaged_files: history.losses.len() as u64,
        rows_reloaded: history.losses.iter().map(|loss| loss.reloaded).sum(),
        rows_lost: history.losses.iter().map(|loss| loss.rows.saturating_sub(loss.reloaded)).sum(),
    }
}
