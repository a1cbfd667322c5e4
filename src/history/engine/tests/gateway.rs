//! History as the gateway uses it: a real log, records written by one appender, calls by many.

use super::*;
use crate::clock::{SharedClock, SystemClock};
use crate::history::model::Caller;
use crate::history::{CommandLog, History, Phase};
use crate::message::{self, Dialect, Message, Payload, Qos, kind};
use crate::router::Refusal;
use crate::wal::{self, Batch, LogHandle};
use bytes::Bytes;
use ciborium::{Value, cbor};
use tokio::sync::Mutex;

/// A log and the history that follows it, in one folder.
pub(super) struct Gateway {
    log: LogHandle,
    pub(super) history: History,
    pub(super) clock: SharedClock,
    pub(super) last: Mutex<u64>,
    running: tokio::task::JoinHandle<Result<(), wal::WalError>>,
}

pub(super) const SCHEMA: &str = r#"{"tables": [
    {"table": "readings", "topic": ":dn/readings", "delete_topic": "readings/delete", "columns": [
        {"col": "dn", "type": "TEXT"}, {"col": "n", "type": "BIGINT", "nullable": false}]},
    {"table": "stamped", "topic": ":dn/stamped", "columns": [{"col": "n", "type": "BIGINT"}], "extras": {"recv_ts": "ts"}},
    {"table": "state", "topic": ":dn/state", "keys": ["dn"], "columns": [
        {"col": "dn", "type": "TEXT"}, {"col": "mode", "type": "TEXT", "default": "new"}, {"col": "level", "type": "BIGINT"}]},
    {"table": "large", "topic": "large", "columns": [
        {"col": "h", "type": "HUGEINT"}, {"col": "s", "type": "TEXT"}, {"col": "d", "type": "DOUBLE"}]}]}"#;

impl Gateway {
    pub(super) fn start(dir: &Path, backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_on(wal::Options::new(dir.join("wal")), dir, backend, change)
    }

    pub(super) fn start_on(options: wal::Options, dir: &Path, backend: Backend, change: impl FnOnce(&mut Settings)) -> Self {
        let clock = SystemClock::shared();
        let (log, handle, recovery) = wal::open(SystemDisk::shared(), clock.clone(), options).unwrap();
        let running = tokio::spawn(log.run());
        let mut settings = settings(dir);
        settings.backend = backend;
        change(&mut settings);
        let schema = crate::history::schema::parse(SCHEMA).unwrap();
        let history = History::start(settings, schema, handle.clone(), clock.clone());
        Self { log: handle, history, clock, last: Mutex::new(recovery.last.0), running }
    }

    pub(super) async fn append(&self, kind: u8, bodies: impl IntoIterator<Item = Vec<u8>>) -> Seq {
        let mut last = self.last.lock().await;
        let mut batch = Batch::default();
        for body in bodies {
            *last += 1;
            batch.push(Seq(*last), kind, true, |out| out.extend_from_slice(&body));
        }
        self.log.append(batch).await.unwrap();
        Seq(*last)
    }

    /// Publishes JSON over MQTT, so to say.
    pub(super) async fn publish(&self, topic: &str, json: &str) -> Seq {
        self.publish_all(topic, [json.to_owned()]).await
    }

    pub(super) async fn publish_all(&self, topic: &str, payloads: impl IntoIterator<Item = String>) -> Seq {
        let bodies = payloads.into_iter().map(|json| {
            let payload = Payload::Mqtt(Bytes::from(json));
            let message = Message::new(
                topic.to_owned(),
                payload,
                Qos::AtLeastOnce,
                self.clock.wall(),
                Dialect::Mqtt,
                Arc::from("sensor"),
            );
            let mut body = Vec::new();
            message::encode(&message, &[], &mut body);
            body
        });
        self.append(kind::MESSAGE, bodies).await
    }

    /// Publishes data frames, each the argument of a message.
    pub(super) async fn publish_frames(&self, topic: &str, frames: impl IntoIterator<Item = Vec<u8>>) -> Seq {
        let bodies = frames.into_iter().map(|frame| {
            let mut data = Vec::new();
            ciborium::into_writer(&Value::Array(vec![Value::Tag(80, Box::new(Value::Bytes(frame)))]), &mut data).unwrap();
            let (payload, received) = (Payload::Rembus(data.into()), self.clock.wall());
            let message =
                Message::new(topic.to_owned(), payload, Qos::AtLeastOnce, received, Dialect::Rembus, Arc::from("component"));
            let mut body = Vec::new();
            message::encode(&message, &[], &mut body);
            body
        });
        self.append(kind::MESSAGE, bodies).await
    }

    /// Calls with what the log has now.
    pub(super) async fn call(&self, method: &str, arguments: Value) -> Result<Bytes, CallError> {
        let mut data = Vec::new();
        ciborium::into_writer(&arguments, &mut data).unwrap();
        let upto = Seq(*self.last.lock().await);
        is_send(self.history.call(Caller(1), method, Bytes::from(data), upto, self)).await
    }

    pub(super) async fn query(&self, method: &str, where_: &str, cols: &str) -> Result<Vec<RecordBatch>, CallError> {
        let arguments = cbor!([{ "where" => where_, "cols" => cols }]).unwrap();
        self.call(method, arguments).await.map(|bytes| frame(&bytes))
    }

    pub(super) async fn readings(&self) -> Vec<i64> {
        numbers(&self.query("query_readings", "1=1 ORDER BY n", "n").await.unwrap())
    }

    pub(super) async fn states(&self) -> Vec<String> {
        let cols = "dn || ' ' || coalesce(mode, '-') || ' ' || coalesce(CAST(level AS TEXT), '-') AS s";
        texts(&self.query("query_state", "1=1 ORDER BY dn", cols).await.unwrap())
    }

    pub(super) fn log(&self) -> &LogHandle {
        &self.log
    }

    pub(super) async fn close(self) {
        let last = Seq(*self.last.lock().await);
        self.log.flush(last).await.unwrap();
        self.history.close().await;
        assert_eq!(self.history.status().phase, Phase::Closed);
        self.log.close().await;
        self.running.await.unwrap().unwrap();
    }

    /// As `kill -9` would, except that the log's writer needs an end before the folder is opened again.
    pub(super) async fn abandon(self) {
        let status = self.history.shared_status();
        drop(self.history);
        // The lock on the catalog is the process's: the next opening must not be faster than the end of this one.
        while status.copy().phase != Phase::Closed {
            tokio::task::yield_now().await;
        }
        self.log.close().await;
        self.running.await.unwrap().unwrap();
    }
}

impl CommandLog for Gateway {
    async fn append_command(&self, body: Vec<u8>) -> Result<Seq, Refusal> {
        let seq = self.append(kind::TABLE_COMMAND, [body]).await;
        self.log.sync(seq).await.map_err(|_| Refusal::LogFailed)?;
        Ok(seq)
    }
}

/// The router runs calls as tasks.
fn is_send<T: Send>(value: T) -> T {
    value
}
