//! What the gateway proves before the watchdog is petted: the router answers, the log takes writes, and every door lets in.

use super::listen::Opened;
use crate::door::Pulse;
use crate::router::HubHandle;
use crate::systemd::{Notifier, Watchdog};
use crate::wal::LogHandle;
use futures_util::future::{join_all, try_join3};
use std::fmt::Display;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) struct VitalSigns {
    hub: HubHandle,
    log: LogHandle,
    doors: Vec<(&'static str, Pulse)>,
}

impl VitalSigns {
    pub(super) fn new(hub: HubHandle, log: LogHandle) -> Self {
        Self { hub, log, doors: Vec::new() }
    }

    /// From now on these doors must let in, too.
    pub(super) fn watch<'a>(&mut self, doors: impl IntoIterator<Item = (&'static str, &'a Opened)>) {
        for (door, opened) in doors {
            self.doors.extend(opened.entrances.iter().map(|entrance| (door, entrance.pulse())));
        }
    }

    /// systemd restarts us when one of the signs is missing.
    pub(super) fn watch_over(&self, notifier: &Notifier) -> Watchdog {
        // Shorter than the watchdog's own patience, so that the log says what is silent.
        let patience = notifier.watchdog().unwrap_or_default() / 4;
        let signs = self.clone();
        Watchdog::start(notifier, move || {
            let signs = signs.clone();
            async move { signs.check(patience).await }
        })
    }

    async fn check(&self, patience: Duration) -> Result<(), String> {
        let router = sign("the router", patience, self.hub.report());
        let log = sign("the log", patience, self.log.ping());
        let doors = join_all(self.doors.iter().map(async |(door, pulse)| {
            let door = format!("the {door} door");
            sign(&door, patience, pulse.feel()).await
        }));
        try_join3(router, log, async { doors.await.into_iter().collect() }).await.map(|_: ((), (), ())| ())
    }
}

async fn sign<T, E: Display>(part: &str, patience: Duration, proof: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    match tokio::time::timeout(patience, proof).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{part}: {error}")),
        Err(_) => Err(format!("{part} does not answer within {}", humantime::format_duration(patience))),
    }
}
