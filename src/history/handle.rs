//! How the rest of the gateway uses history.

use super::command::Command;
use super::manifest::Manifest;
use super::model::{CallError, Caller, Schema};
use super::schema;
use super::settings::Settings;
use super::sql::Query;
use super::status::{HistoryStatus, SharedStatus, Tidied};
use super::tables;
use crate::clock::SharedClock;
use crate::mapping;
use crate::message::Seq;
use crate::router::{HubHandle, Refusal, Status};
use crate::wal::LogHandle;
use bytes::Bytes;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::engine::{Engine, HeldLake};

/// CBOR null: the answer of `delete_T` and `upsert_T`.
const NULL: &[u8] = &[0xf6];

/// Where commands become records of the log, in order with everything else.
pub trait CommandLog: Sync {
    /// Returns once the record is durable.
    fn append_command(&self, body: Vec<u8>) -> impl Future<Output = Result<Seq, Refusal>> + Send;
}

impl CommandLog for HubHandle {
    async fn append_command(&self, body: Vec<u8>) -> Result<Seq, Refusal> {
        Self::append_command(self, body).await
    }
}

/// The lake held still. One command at a time may hold it.
#[derive(Debug)]
pub struct Held {
    lake: HeldLake,
    _place: OwnedSemaphorePermit,
}

impl Held {
    /// Its catalog and files.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.lake.manifest()
    }
}

/// History at work. Dropping it ends the engine as a crash would: what is not in the lake comes from the log at the next start.
#[derive(Debug)]
pub struct History {
    schema: RwLock<Arc<Schema>>,
    clock: SharedClock,
    log: LogHandle,
    status: SharedStatus,
    engine: Engine,
}

impl History {
    /// Returns at once; the lake is opened on a thread of its own, and calls wait for it.
    #[must_use]
    pub fn start(settings: Settings, schema: Schema, log: LogHandle, clock: SharedClock) -> Self {
        let schema = Arc::new(schema);
        let status = SharedStatus::default();
        let engine = Engine::start(settings, schema.clone(), log.clone(), clock.clone(), status.clone());
        Self { schema: RwLock::new(schema), clock, log, status, engine }
    }

    /// What [`call`](Self::call) answers: `query_T`, `latest_T`, `delete_T` and `upsert_T` of every table, and `tables`.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        schema::methods(&self.schema())
    }

    /// The schema in use.
    fn schema(&self) -> Arc<Schema> {
        // A panic while it is held leaves one whole schema or the other.
        Arc::clone(&self.schema.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes another schema while at work: the lake is opened anew with it, and queries wait for that. Blocks. What the tables
    /// cannot follow is refused as a whole, and the schema in use stays.
    pub fn take_schema(&self, schema: Schema) -> Result<(), String> {
        let schema = Arc::new(schema);
        self.engine.take_schema(Arc::clone(&schema))?;
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = schema;
        Ok(())
    }

    /// Serves a call; the answer is CBOR. A query sees every record up to `upto`; a change is durable and seen by every later
    /// query when it is answered. Dropped, it gives up a query.
    pub async fn call(
        &self,
        caller: Caller,
        method: &str,
        data: Bytes,
        upto: Seq,
        commands: &impl CommandLog,
    ) -> Result<Bytes, CallError> {
        let schema = self.schema();
        if let Some(table) = method.strip_prefix("query_").and_then(|name| schema.table(name)) {
            let answer = match Query::parse(table, &data, self.clock.wall()) {
                Ok(query) => self.engine.query(caller, &table.name, query, upto).await,
                Err(error) => Err(error),
            };
            self.count_query(answer.is_ok());
            return answer;
        }
        if let Some(table) = method.strip_prefix("latest_").and_then(|name| schema.table(name)) {
            let answer = match Query::newest(table, &data) {
                Ok(query) => self.engine.newest(caller, table, query, upto).await,
                Err(error) => Err(error),
            };
            self.count_query(answer.is_ok());
            return answer;
        }
        if method == "tables" {
            return self.tables(caller, upto).await;
        }
        let done = self.change(method, &data, commands).await;
        self.status.update(|status| {
            status.commands += 1;
            status.commands_failed += u64::from(done.is_err());
        });
        done.map(|()| Bytes::from_static(NULL))
    }

    /// The rows of a `query_T` as an Arrow stream in pieces, without a limit of rows or bytes, up to the newest record.
    pub async fn stream(&self, caller: Caller, table: &str, data: Bytes, to: mpsc::Sender<Bytes>) -> Result<(), CallError> {
        let schema = self.schema();
        let Some(table) = schema.table(table) else {
            return Err(CallError::exception(format!("there is no table `{table}`")));
        };
        let upto = self.log.state().borrow().written;
        let answer = match Query::parse(table, &data, self.clock.wall()) {
            Ok(query) => self.engine.stream(caller, &table.name, query, upto, to).await,
            Err(error) => Err(error),
        };
        self.count_query(answer.is_ok());
        answer
    }

    /// The lake held still with everything that the log has, for a backup or a check: no file of it goes while that lives.
    pub async fn hold(&self) -> Result<Held, CallError> {
        let upto = self.log.state().borrow().written;
        let (lake, place) = self.engine.hold(upto).await?;
        Ok(Held { lake, _place: place })
    }

    /// Merges and removes now what upkeep would in its time; returns when that is done.
    pub async fn compact(&self) -> Result<Tidied, CallError> {
        let upto = self.log.state().borrow().written;
        self.engine.compact(upto).await
    }

    /// What tables there are, and what is in them, as a list of maps.
    async fn tables(&self, caller: Caller, upto: Seq) -> Result<Bytes, CallError> {
        let mut all = Vec::new();
        for table in &self.schema().tables {
            let figures = self.engine.query(caller, &table.name, Query::figures(table), upto).await;
            self.count_query(figures.is_ok());
            all.push(tables::describe(table, figures, self.engine.bytes_on_disk(&table.name)));
        }
        Ok(mapping::json_to_cbor(&serde_json::Value::Array(all)))
    }

    fn count_query(&self, well: bool) {
        self.status.update(|status| {
            status.queries += 1;
            status.queries_failed += u64::from(!well);
        });
    }

    async fn change(&self, method: &str, data: &Bytes, commands: &impl CommandLog) -> Result<(), CallError> {
        let command = Command::prepare(&self.schema(), method, data, self.clock.wall())?;
        // Held until the change is applied: bounds how many wait.
        let _place = self.engine.place_for_command()?;
        let seq = commands.append_command(command.encode()).await.map_err(|refusal| CallError {
            status: Status::GENERIC_ERROR,
            text: match refusal {
                Refusal::DiskFull => "the disk is full".to_owned(),
                _ => "the log takes no more records".to_owned(),
            },
        })?;
        self.engine.applied(seq).await
    }

    /// A consistent copy of what history tells about itself.
    #[must_use]
    pub fn status(&self) -> HistoryStatus {
        let mut status = self.status.copy();
        status.lag = self.log.state().borrow().written.0.saturating_sub(status.ingested.0);
        status
    }

    #[cfg(test)]
    pub(super) fn shared_status(&self) -> SharedStatus {
        self.status.clone()
    }

    /// Takes what is in the log, writes the last batch and ends. The caller bounds how long it waits.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
