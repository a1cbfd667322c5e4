//! What SIGHUP makes the gateway read again, without dropping a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A file system that hangs must not keep the gateway from stopping.
const PATIENCE: Duration = Duration::from_secs(10);

type Take = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The parts that take new files while they work. Each keeps what it has if the new is no good.
#[derive(Default, Clone)]
pub(super) struct Reloads(Vec<(&'static str, Take)>);

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(part, _)| part)).finish()
    }
}

impl Reloads {
    /// `take` reads the files anew and may block for it; its error is for the operator.
    pub(super) fn add(&mut self, part: &'static str, take: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.push((part, Arc::new(take)));
    }

    /// Asks every part, whatever becomes of the others.
    pub(super) async fn run(&self) {
        if self.0.is_empty() {
            log::info!("asked to reload; nothing in this configuration comes from a file that can change");
        }
        for (part, take) in &self.0 {
            let take = Arc::clone(take);
            let taken = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(move || take())).await;
            match taken {
                Ok(Ok(Ok(()))) => log::info!(part = *part; "reloaded"),
                Ok(Ok(Err(reason))) => log::error!(part = *part, reason; "not reloaded; what was there before stays in use"),
                Ok(Err(error)) => log::error!(part = *part, error:%; "not reloaded; what was there before stays in use"),
                Err(_) => log::error!(part = *part; "not reloaded: its files cannot be read in time"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[tokio::test]
    async fn a_part_that_fails_does_not_keep_the_next_one_from_its_files() {
        let taken = Arc::new(AtomicUsize::new(0));
        let mut reloads = Reloads::default();
        reloads.add("tls", || Err("no such file".into()));
        let counted = Arc::clone(&taken);
        reloads.add("rules", move || {
            counted.fetch_add(1, Relaxed);
            Ok(())
        });
        reloads.run().await;
        assert_eq!(taken.load(Relaxed), 1);
    }
}
