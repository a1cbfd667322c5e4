//! Makes one file of many.
//!
//! Batches become a file an hour, the files of a past day become one, unless they are large already. DuckLake does the work and
//! keeps looks into the past exact; it runs in a transaction of its own beside the history thread:
//!
//! ```text
//! worker:  BEGIN ─ ducklake_merge_adjacent_files ─ sync the new files, their folders ──┐
//! history: …batches, deletions, queries…                                               └─▶ COMMIT
//! ```
//! A deletion that came in between wins: the commit fails, the new files are leftovers, and the next pass tries again.

use super::Place;
use crate::clock::Wall;
use crate::disk::{Disk, SharedDisk};
use crate::history::engine::duck::batch;
use crate::history::engine::duck::names::{META, text};
use crate::history::engine::duck::running::Running;
use crate::history::engine::duck::store::LakeTable;
use crate::history::engine::error::EngineError;
use duckdb::{Connection, InterruptHandle, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Files of this size are not merged any further: even 24 of them a day are few, and rewriting them wears the card.
const LARGE: u64 = 16 << 20;
/// A file of a keyed table is rewritten when so much of it is deleted.
const DELETED_SHARE: &str = "0.25";

/// A merge under way.
pub(super) struct Merge {
    /// Present until it is committed. The worker leaves the transaction open.
    work: Option<JoinHandle<(Connection, Result<(), EngineError>)>>,
    table: String,
    stop: Arc<InterruptHandle>,
    lake: PathBuf,
    in_use: Arc<()>,
    running: Running,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

pub(super) enum Outcome {
    Merged,
    /// Somebody else changed the same table meanwhile.
    Conflict(String),
    /// Reading or writing failed; nothing has changed.
    Failed {
        table: String,
        why: String,
    },
}

/// Starts what is worth merging in `table`, if anything is.
pub(super) fn begin(place: &Place<'_>, table: &LakeTable, now: Wall) -> Result<Option<Merge>, EngineError> {
    let calls = worth(place.conn, table, now)?;
    if calls.is_empty() {
        return Ok(None);
    }
    let conn = place.conn.try_clone().map_err(EngineError::sql("connecting"))?;
    let stop = conn.interrupt_handle();
    let (disk, folder) = (place.disk.clone(), place.files.join(&table.stored.folder));
    let work = std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || {
            let done = work(&conn, &disk, &folder, &calls);
            (conn, done)
        })
        .map_err(EngineError::io("starting a thread for upkeep"))?;
    let (table, lake) = (table.table.name.clone(), place.settings.lake.clone());
    Ok(Some(Merge { work: Some(work), table, stop, lake, in_use: place.in_use.clone(), running: place.running.clone() }))
}

/// The statements that tidy the files of a table; none if they are few.
fn worth(conn: &Connection, table: &LakeTable, now: Wall) -> Result<Vec<String>, EngineError> {
    let doing = "looking for files to merge";
    let name = text(&table.table.name);
    if !table.table.keys.is_empty() {
        let (files, deletions): (u64, u64) = conn
            .query_row(
                &format!(
                    "SELECT (SELECT count(*) FROM {META}.ducklake_data_file WHERE table_id = ?1 AND end_snapshot IS NULL), \
                     (SELECT count(*) FROM {META}.ducklake_delete_file WHERE table_id = ?1 AND end_snapshot IS NULL)"
                ),
                params![table.stored.id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(EngineError::sql(doing))?;
        let mut calls = Vec::new();
        if deletions > 0 {
            calls.push(format!("CALL ducklake_rewrite_data_files('lake', {name}, delete_threshold => {DELETED_SHARE})"));
        }
        if files > 1 {
            calls.push(format!("CALL ducklake_merge_adjacent_files('lake', {name})"));
        }
        return Ok(calls);
    }
    // Days that are over, each with the number of its small files; and the largest of the batches.
    let today = today(now);
    let (scattered, batches, largest): (u64, u64, Option<u64>) = conn
        .query_row(
            &format!(
                "WITH live AS MATERIALIZED (SELECT f.path, f.file_size_bytes AS size, coalesce(p.partition_value, '') AS day \
                   FROM {META}.ducklake_data_file f LEFT JOIN {META}.ducklake_file_partition_value p USING (data_file_id) \
                   WHERE f.table_id = ?1 AND f.end_snapshot IS NULL) \
                 SELECT (SELECT count(*) FROM (SELECT day FROM live WHERE day < ?2 AND size < {LARGE} \
                   GROUP BY day HAVING count(*) > 1)), \
                 count(*) FILTER (path LIKE '%batch-%'), max(size) FILTER (path LIKE '%batch-%') FROM live"
            ),
            params![table.stored.id, today],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .map_err(EngineError::sql(doing))?;
    let below = match (scattered, batches, largest) {
        (1.., ..) => LARGE,
        (0, 2.., Some(largest)) => largest.min(LARGE) + 1,
        _ => return Ok(Vec::new()),
    };
    Ok(vec![format!("CALL ducklake_merge_adjacent_files('lake', {name}, max_file_size => {below})")])
}

fn work(conn: &Connection, disk: &SharedDisk, folder: &Path, calls: &[String]) -> Result<(), EngineError> {
    conn.execute_batch("BEGIN TRANSACTION").map_err(EngineError::sql("beginning a merge"))?;
    batch::synced(disk.as_ref(), folder, || {
        calls.iter().try_for_each(|call| conn.execute_batch(call).map_err(EngineError::sql("merging files")))
    })
}

impl Merge {
    pub(super) fn is_finished(&self) -> bool {
        self.work.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The merged files take the place of the others. What could not be merged stays as it was.
    pub(super) fn commit(mut self, disk: &dyn Disk) -> Result<Outcome, EngineError> {
        let work = self.work.take().expect("a merge is committed once");
        let Ok((conn, done)) = work.join() else {
            return Ok(Outcome::Conflict("its thread ended unexpectedly".to_owned()));
        };
        match done.and_then(|()| conn.execute_batch("COMMIT").map_err(EngineError::sql("committing a merge"))) {
            Ok(()) => {
                log::info!(table = self.table; "files were merged");
                disk.sync_dir(&self.lake).map_err(EngineError::io("syncing the lake's folder"))?;
                Ok(Outcome::Merged)
            }
            Err(error) => {
                self.running.end(conn, self.in_use.clone());
                // DuckLake's word for a change that came in between.
                let why = error.to_string();
                let conflict = why.to_lowercase().contains("conflict");
                let table = std::mem::take(&mut self.table);
                Ok(if conflict { Outcome::Conflict(why) } else { Outcome::Failed { table, why } })
            }
        }
    }
}

impl Drop for Merge {
    /// Nothing of it may run on when the lake is closed. The worker hands the connection back, so it is there to be interrupted.
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        while !work.is_finished() {
            self.stop.interrupt();
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Ok((conn, _)) = work.join() {
            self.running.end(conn, self.in_use.clone());
        }
    }
}

/// The day as the catalog writes it; days compare as texts.
pub(super) fn today(now: Wall) -> String {
    let seconds = i64::try_from(now.0 / 1_000_000_000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}
