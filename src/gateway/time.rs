//! What the gateway does about boards that do not know the time when they start; [`BoardClock`] has the story.

use crate::clock::{BoardClock, Wall};
use crate::disk::SystemDisk;
use crate::history;
use crate::message::{self, Seq, kind};
use crate::router::HubHandle;
use crate::wal::LogHandle;
use std::sync::Arc;
use std::time::Duration;

/// Records at the end of the log that are looked at for the newest time.
const LOOK_BACK: u64 = 256;

/// Number of the log's newest record, and when the newest of its last messages was received.
pub(super) fn newest(log: &LogHandle) -> (Seq, Wall) {
    let last = log.state().borrow().written;
    let records = log.reader(Seq(last.0.saturating_sub(LOOK_BACK))).read(1 << 20).unwrap_or_default();
    let received = records.iter().filter(|record| record.kind == kind::MESSAGE);
    // The last one, not the latest: a clock that was ahead came back.
    let received = received.filter_map(|record| message::decode(&record.body).ok()).map(|message| message.received).last();
    (last, received.unwrap_or_default())
}

/// Watches the clock for ever, and has what was stamped with a wrong time corrected.
pub(super) async fn learn(board: Arc<BoardClock>, hub: HubHandle, log: LogHandle, has_tables: bool) {
    loop {
        correct(&board, &hub, &log, has_tables).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Has corrected what is known to be stamped wrongly, if something is.
pub(super) async fn correct(board: &BoardClock, hub: &HubHandle, log: &LogHandle, has_tables: bool) {
    let last = log.state().borrow().written;
    let Some(correction) = board.watch(&SystemDisk, last) else { return };
    log::info!(seconds = correction.delta_ns / 1_000_000_000, from:% = correction.from; "the time is known");
    // Less than a second is no reason to write tables anew.
    if has_tables
        && correction.delta_ns.unsigned_abs() > 1_000_000_000
        && let Err(refusal) = hub.append_command(history::command::encode_correction(correction)).await
    {
        log::warn!(refusal:?; "rows that were received before keep their wrong times");
        return;
    }
    board.corrected(&SystemDisk, log.state().borrow().written);
}
