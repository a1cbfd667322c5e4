//! What can be done to a lake while no gateway runs on its data. The caller keeps the data folder locked.

use super::engine;
use super::manifest::Manifest;
use super::model::Schema;
use super::settings::Settings;
use super::status::Tidied;
use crate::clock::SystemClock;
use crate::disk::SystemDisk;
use crate::wal::Identity;

/// The lake's files as its catalog names them; nothing is changed.
pub fn manifest_at_rest(settings: &Settings) -> Result<Manifest, String> {
    engine::at_rest(settings).map_err(|error| error.to_string())
}

/// A whole pass of upkeep. `log` is the one in the same data folder.
pub fn compact_at_rest(settings: &Settings, schema: &Schema, log: Identity) -> Result<Tidied, String> {
    let clock = SystemClock::shared();
    engine::compact_at_rest(settings, schema, SystemDisk::shared(), log, clock.wall()).map_err(|error| error.to_string())
}
