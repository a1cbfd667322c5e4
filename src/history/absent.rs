//! Stands in for the engine where the gateway was built without DuckDB: calls get a clear answer, and nothing else happens.

use super::model::{CallError, Caller, Schema};
use super::settings::Settings;
use super::sql::Query;
use super::status::{Phase, SharedStatus};
use crate::clock::SharedClock;
use crate::message::Seq;
use crate::wal::LogHandle;
use bytes::Bytes;
use std::sync::Arc;

const WHY: &str = "history is not supported on this build";

#[derive(Debug)]
pub(super) struct Engine {}

impl Engine {
    pub(super) fn start(
        _settings: Settings,
        _schema: Arc<Schema>,
        _log: LogHandle,
        _clock: SharedClock,
        status: SharedStatus,
    ) -> Self {
        status.update(|status| status.phase = Phase::Unavailable(WHY.to_owned()));
        Self {}
    }

    pub(super) fn take_schema(&self, _schema: Arc<Schema>) -> Result<(), String> {
        Err(WHY.into())
    }

    pub(super) async fn query(&self, _caller: Caller, _table: &str, _query: Query, _upto: Seq) -> Result<Bytes, CallError> {
        Err(CallError::exception(WHY))
    }

    pub(super) fn bytes_on_disk(&self, _table: &str) -> Option<u64> {
        None
    }

    pub(super) async fn stream(
        &self,
        _caller: Caller,
        _table: &str,
        _query: Query,
        _upto: Seq,
        _to: tokio::sync::mpsc::Sender<Bytes>,
    ) -> Result<(), CallError> {
        Err(CallError::exception(WHY))
    }

    pub(super) fn place_for_command(&self) -> Result<(), CallError> {
        Err(CallError::exception(WHY))
    }

    pub(super) async fn applied(&self, _seq: Seq) -> Result<(), CallError> {
        Err(CallError::exception(WHY))
    }

    pub(super) async fn close(&self) {}
}
