//! What a link counts, for `/metrics` and `status`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counters and gauges of one link.
#[derive(Debug)]
pub struct LinkStats {
    report: Mutex<LinkReport>,
}

/// One look at a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkReport {
    /// `parent`, `remote`, `tcp` or `rest`.
    pub kind: String,
    pub name: String,
    pub connected: bool,
    /// Why not, if it is not.
    pub trouble: Option<String>,
    /// Sessions with the far end since the start; of `tcp`, connections that came.
    pub connections: u64,
    /// Messages that the far end acknowledged.
    pub forwarded: u64,
    /// Messages given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Messages that came from the far end and were published here.
    pub received: u64,
    /// Calls that were passed on, in either direction.
    pub calls: u64,
    /// Records of the log that the link has not passed; those that it does not forward count as well.
    pub waiting_records: u64,
    /// And their bytes.
    pub waiting_bytes: u64,
    /// How long the oldest message waits, in seconds.
    pub waiting_s: u64,
}

impl LinkStats {
    #[must_use]
    pub fn new(kind: &str, name: &str) -> Self {
        let report = LinkReport { kind: kind.into(), name: name.into(), ..LinkReport::default() };
        Self { report: Mutex::new(report) }
    }

    #[must_use]
    pub fn report(&self) -> LinkReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut LinkReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn dropped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.update(|report| *report.dropped.entry(reason.into()).or_default() += count);
        }
    }
}
