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
    last: Mutex<u64>,
    running: tokio::task::JoinHandle<Result<(), wal::WalError>>,
}

const SCHEMA: &str = r#"{"tables": [
    {"table": "readings", "topic": ":dn/readings", "delete_topic": "readings/delete", "columns": [
        {"col": "dn", "type": "TEXT"}, {"col": "n", "type": "BIGINT", "nullable": false}]},
    {"table": "stamped", "topic": ":dn/stamped", "columns": [{"col": "n", "type": "BIGINT"}], "extras": {"recv_ts": "ts"}},
    {"table": "state", "topic": ":dn/state", "keys": ["dn"], "columns": [
        {"col": "dn", "type": "TEXT"}, {"col": "mode", "type": "TEXT", "default": "new"}, {"col": "level", "type": "BIGINT"}]}]}"#;

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

    async fn append(&self, kind: u8, bodies: impl IntoIterator<Item = Vec<u8>>) -> Seq {
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
    async fn abandon(self) {
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

stories! {
    a_query_sees_what_was_published_just_before,
    everything_is_there_after_an_orderly_end_and_after_a_crash,
    a_log_that_lost_its_end_is_still_followed,
    one_poisonous_row_is_counted_and_disturbs_no_other,
    changes_are_seen_when_they_are_answered_and_stay,
    what_is_wrong_with_a_call_goes_to_its_caller,
    a_query_that_takes_too_long_is_ended,
    the_newest_row_of_each_key_and_the_figures_of_each_table_are_there_at_once,
    the_newest_rows_stay_right_through_new_ones_deletions_and_restarts,
    a_query_whose_caller_is_gone_makes_room,
    a_stream_is_as_long_as_the_table_and_waits_for_its_reader,
    no_row_is_missing_or_double_while_batches_and_queries_race,
    a_batch_that_cannot_be_written_is_tried_again_and_nothing_is_lost,
    files_are_merged_beside_the_work,
    records_that_make_no_rows_are_not_read_again,
    another_schema_is_taken_at_work_unless_the_tables_cannot_follow,
    rows_from_before_the_time_was_known_are_stamped_again_once,
}

/// The router runs calls as tasks.
fn is_send<T: Send>(value: T) -> T {
    value
}

async fn a_query_sees_what_was_published_just_before(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    for n in 1..=20 {
        gateway.publish("a/readings", &format!(r#"{{"n":{n}}}"#)).await;
        assert_eq!(gateway.readings().await, (1..=n).collect::<Vec<_>>());
    }
    gateway.close().await;
}

async fn everything_is_there_after_an_orderly_end_and_after_a_crash(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    gateway.close().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/readings", r#"{"n":2}"#).await;
    assert_eq!(gateway.readings().await, [1, 2]);
    let status = gateway.history.status();
    assert_eq!((status.tables["readings"].rows_in_lake, status.tables["readings"].rows_in_tail, status.lag), (1, 1, 0));
    gateway.abandon().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, [1, 2]);
    gateway.close().await;
}

async fn a_log_that_lost_its_end_is_still_followed(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    gateway.close().await;
    let (wal, kept) = (dir.path().join("wal"), dir.path().join("kept"));
    std::fs::create_dir(&kept).unwrap();
    let copy = |from: &Path, to: &Path| {
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&wal, &kept);
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/readings", r#"{"n":2}"#).await;
    gateway.publish("a/readings", r#"{"n":3}"#).await;
    assert_eq!(gateway.readings().await, [1, 2, 3]);
    gateway.close().await;

    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::create_dir(&wal).unwrap();
    copy(&kept, &wal);
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.publish("a/readings", r#"{"n":4}"#).await, Seq(2), "a number that the lake has seen");
    assert_eq!(gateway.readings().await, [1, 2, 3, 4]);
    gateway.abandon().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, [1, 2, 3, 4]);
    gateway.close().await;
}

async fn one_poisonous_row_is_counted_and_disturbs_no_other(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    gateway.publish("a/readings", r#"{"n":"abc"}"#).await;
    gateway.publish("a/readings", r#"{"n":null}"#).await;
    gateway.publish("a/readings", "not json").await;
    gateway.publish("elsewhere", "ignored").await;
    gateway.publish("a/readings", r#"{"n":2}"#).await;
    assert_eq!(gateway.readings().await, [1, 2]);
    let table = gateway.history.status().tables["readings"].clone();
    assert_eq!(table.rows_taken, 2);
    assert_eq!(table.rejected.values().sum::<u64>(), 3, "{:?}", table.rejected);
    gateway.close().await;
}

async fn changes_are_seen_when_they_are_answered_and_stay(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish("a/state", r#"{"level":5}"#).await;
    let null = gateway.call("upsert_state", cbor!([{ "dn" => "a", "mode" => "on" }]).unwrap()).await.unwrap();
    assert_eq!(null.as_ref(), [0xf6]);
    assert_eq!(gateway.states().await, ["a on 5"]);
    gateway.publish("b/state", r#"{"level":1}"#).await;
    gateway.call("delete_state", cbor!([{ "where" => "dn = 'a'" }]).unwrap()).await.unwrap();
    assert_eq!(gateway.states().await, ["b new 1"]);
    gateway.publish("a/state", r#"{"mode":"again"}"#).await;
    gateway.abandon().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.states().await, ["a again -", "b new 1"]);
    gateway.close().await;
}

async fn what_is_wrong_with_a_call_goes_to_its_caller(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.query_rows = 2);
    gateway.publish_all("a/readings", (0..3).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    gateway.publish("a/state", r#"{"mode":"x"}"#).await;
    let text = |answer: Result<Bytes, CallError>| answer.unwrap_err().text;
    assert_eq!(text(gateway.call("query_readings", cbor!([]).unwrap()).await), "the result has more than 2 rows; narrow it");
    let failed = gateway.call("delete_state", cbor!([{ "where" => "CAST(mode AS INTEGER) = 1" }]).unwrap()).await;
    assert!(text(failed).contains("Conversion Error"));
    assert_eq!(gateway.states().await, ["a x -"]);
    assert!(gateway.call("query_nothing", cbor!([]).unwrap()).await.is_err());
    let when = gateway.call("query_readings", cbor!([{ "when" => 1_577_836_800 }]).unwrap()).await;
    assert_eq!(text(when), "No snapshot found at timestamp 2020-01-01 00:00:00");
    let status = gateway.history.status();
    assert_eq!((status.queries_failed, status.commands_failed), (2, 2));
    gateway.close().await;
}

async fn a_query_that_takes_too_long_is_ended(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish_all("a/readings", (0..60_000).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    assert_eq!(gateway.readings().await.len(), 60_000);
    gateway.close().await;

    let gateway = Gateway::start(dir.path(), backend, |settings| settings.query_timeout = Duration::from_millis(100));
    let sums = hard_work();
    let answer = loop {
        match gateway.query("query_readings", "", &sums).await {
            Err(error) if error.text.contains("being opened") => {}
            other => break other,
        }
    };
    assert_eq!(answer.unwrap_err().text, "the query took longer than 100ms");
    // The next one finds everything in order, however slow this machine is at the moment.
    let mut answers = Vec::new();
    while !matches!(answers.last(), Some(Ok(_))) && answers.len() < 100 {
        answers.push(gateway.query("query_readings", "", "count(*) AS n").await);
    }
    assert_eq!(numbers(&answers.pop().unwrap().unwrap()), [60_000]);
    gateway.close().await;
}

async fn the_newest_row_of_each_key_and_the_figures_of_each_table_are_there_at_once(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    let latest = async |method: &str, argument: Value| {
        let answer = gateway.call(method, Value::Array(vec![argument])).await;
        answer.map(|data| crate::mapping::cbor_to_json(&data)).unwrap_or_else(|error| error.text)
    };
    assert_eq!(latest("latest_readings", Value::Null).await, "[]");
    for (dn, n) in [("a", 1), ("b", 2), ("a", 3)] {
        gateway.publish(&format!("{dn}/readings"), &format!(r#"{{"n":{n}}}"#)).await;
        // Receive times have microseconds, and these rows have no other time.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gateway.publish("x/state", r#"{"mode":"on"}"#).await;
    gateway.publish("x/state", r#"{"level":5}"#).await;
    assert_eq!(latest("latest_readings", Value::Null).await, r#"[{"dn":"a","n":3},{"dn":"b","n":2}]"#);
    assert_eq!(latest("latest_readings", cbor!({"dn" => "b"}).unwrap()).await, r#"[{"dn":"b","n":2}]"#);
    assert_eq!(latest("latest_readings", cbor!({"n" => 1}).unwrap()).await, "latest_readings takes nothing, or a map of dn");
    assert_eq!(latest("latest_state", Value::Null).await, r#"[{"dn":"x","mode":"on","level":5}]"#);

    let tables: serde_json::Value = serde_json::from_str(&latest("tables", Value::Null).await).unwrap();
    assert_eq!((tables[0]["table"].as_str(), tables[0]["rows"].as_i64()), (Some("readings"), Some(3)));
    assert!(tables[0]["first"].as_str() < tables[0]["last"].as_str(), "{tables}");
    let state = &tables.as_array().unwrap()[2];
    assert_eq!((&state["keys"][0], &state["columns"][2]["type"]), (&"dn".into(), &"BIGINT".into()), "{tables}");

    // Deletions find what no file holds yet.
    gateway.call("delete_readings", cbor!([{"where" => "n = 3"}]).unwrap()).await.unwrap();
    assert_eq!(latest("latest_readings", Value::Null).await, r#"[{"dn":"a","n":1},{"dn":"b","n":2}]"#);
    gateway.close().await;
}

/// Some five hundred powers of every row.
async fn the_newest_rows_stay_right_through_new_ones_deletions_and_restarts(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.batch_rows = 7);
    let latest = async |gateway: &Gateway, table: &str, cols: [&str; 2]| -> Vec<String> {
        let answer = gateway.call(&format!("latest_{table}"), cbor!([]).unwrap()).await.unwrap();
        let rows: serde_json::Value = serde_json::from_str(&crate::mapping::cbor_to_json(&answer)).unwrap();
        let mut rows: Vec<String> =
            rows.as_array().unwrap().iter().map(|row| format!("{} {}", row[cols[0]], row[cols[1]]).replace('"', "")).collect();
        rows.sort_unstable();
        rows
    };
    // Asked again and again, it is a query first and memory later; nobody can tell when.
    for n in 1..=30 {
        gateway.publish("a/readings", &format!(r#"{{"n":{n}}}"#)).await;
        gateway.publish("x/state", &format!(r#"{{"level":{n}}}"#)).await;
        assert_eq!(latest(&gateway, "readings", ["dn", "n"]).await, [format!("a {n}")]);
        assert_eq!(latest(&gateway, "state", ["mode", "level"]).await, [format!("new {n}")]);
    }
    gateway.publish("x/state", r#"{"mode":"off"}"#).await;
    assert_eq!(latest(&gateway, "state", ["mode", "level"]).await, ["off 30"]);
    gateway.call("delete_readings", cbor!([{ "where" => "n > 12" }]).unwrap()).await.unwrap();
    assert_eq!(latest(&gateway, "readings", ["dn", "n"]).await, ["a 12"], "an older row is the newest now");
    gateway.publish("b/readings", r#"{"n":5}"#).await;
    assert_eq!(latest(&gateway, "readings", ["dn", "n"]).await, ["a 12", "b 5"]);
    gateway.abandon().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(latest(&gateway, "readings", ["dn", "n"]).await, ["a 12", "b 5"]);
    assert_eq!(latest(&gateway, "state", ["mode", "level"]).await, ["off 30"]);
    gateway.call("delete_state", cbor!([{ "where" => "1=1" }]).unwrap()).await.unwrap();
    assert_eq!(latest(&gateway, "state", ["mode", "level"]).await, Vec::<String>::new());
    gateway.publish("b/readings", r#"{"n":6}"#).await;
    assert_eq!(latest(&gateway, "readings", ["dn", "n"]).await, ["a 12", "b 6"]);
    gateway.close().await;
}

fn hard_work() -> String {
    let powers = |of: usize| (0..20).map(|n| format!("pow(n, 1.{of:02}{n:02})")).collect::<Vec<_>>().join(" + ");
    (0..26).map(|n| format!("sum({}) AS s{n}", powers(n))).collect::<Vec<_>>().join(", ")
}

async fn a_query_whose_caller_is_gone_makes_room(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish_all("a/readings", (0..120_000).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    assert_eq!(gateway.readings().await.len(), 120_000);
    let positive = (0..450).map(|n| format!("pow(n, 2.{n:03}) >= 0")).collect::<Vec<_>>().join(" AND ");
    let sums = hard_work();
    let moment = Duration::from_millis(200);
    let mut hard = Box::pin(gateway.query("query_readings", &positive, &sums));
    let early = tokio::time::timeout(moment, &mut hard).await;
    assert!(early.is_err(), "the first one works hard: {early:?}");
    // One caller has one turn, so this one waits behind it.
    let mut next = Box::pin(gateway.query("query_readings", "", "count(*) AS n"));
    assert!(tokio::time::timeout(moment, &mut next).await.is_err(), "the second one waits");
    drop(hard);
    let began = gateway.clock.mono();
    assert_eq!(numbers(&next.await.unwrap()), [120_000]);
    let took = gateway.clock.mono().since(began);
    assert!(took < Duration::from_secs(1), "given up after {took:?}");
    gateway.close().await;
}

async fn a_stream_is_as_long_as_the_table_and_waits_for_its_reader(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.query_rows = 2);
    gateway.publish_all("a/readings", (0..60_000).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    assert_eq!(numbers(&gateway.query("query_readings", "", "count(*) AS n").await.unwrap()), [60_000]);
    let (to, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
    let data = Bytes::from_static(&[0x80]);
    let reading = async {
        let mut whole = Vec::new();
        while let Some(piece) = pieces.recv().await {
            whole.extend_from_slice(&piece);
        }
        whole
    };
    let (done, whole) = tokio::join!(gateway.history.stream(Caller::OPERATOR, "readings", data.clone(), to), reading);
    done.unwrap();
    let reader = arrow_ipc::reader::StreamReader::try_new(whole.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 60_000);

    let (to, pieces) = tokio::sync::mpsc::channel(1);
    drop(pieces);
    let error = gateway.history.stream(Caller::OPERATOR, "readings", data, to).await.unwrap_err();
    assert!(error.text.contains("the reader is gone"), "{error}");
    gateway.close().await;
}

async fn no_row_is_missing_or_double_while_batches_and_queries_race(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Arc::new(Gateway::start(dir.path(), backend, |settings| settings.batch_rows = 150));
    let writer = {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            for round in 0..60 {
                gateway.publish_all("a/readings", (0..50).map(|n| format!(r#"{{"n":{}}}"#, round * 50 + n))).await;
            }
        })
    };
    let mut seen = 0;
    while !writer.is_finished() || seen < 3000 {
        let upto = i64::try_from(*gateway.last.lock().await).unwrap();
        let count = numbers(&gateway.query("query_readings", "", "count(*) AS n").await.unwrap())[0];
        let distinct = numbers(&gateway.query("query_readings", "", "count(DISTINCT n) AS n").await.unwrap())[0];
        assert!(count >= upto && count >= seen, "{count} rows, {upto} acknowledged, {seen} seen before");
        assert!(distinct >= count, "{distinct} distinct after {count} rows");
        seen = distinct;
    }
    writer.await.unwrap();
    assert_eq!(gateway.readings().await, (0..3000).collect::<Vec<_>>());
    assert!(gateway.history.status().batches >= 5, "{:?}", gateway.history.status());
    let Ok(gateway) = Arc::try_unwrap(gateway) else { panic!("the writer is gone") };
    gateway.close().await;
}

#[cfg(feature = "duckdb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_library_history_says_so_and_the_log_goes_on() {
    let backend = Backend::Duckdb;
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.library_dirs.clear());
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    let error = gateway.call("query_readings", cbor!([]).unwrap()).await.unwrap_err();
    assert!(error.text.contains("ducklake.duckdb_extension"), "{error}");
    let error = gateway.call("delete_readings", cbor!([]).unwrap()).await.unwrap_err();
    assert!(error.text.contains("not available"), "{error}");
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, [1]);
    gateway.close().await;
}

async fn a_batch_that_cannot_be_written_is_tried_again_and_nothing_is_lost(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.batch_rows = 10);
    gateway.publish("a/readings", r#"{"n":0}"#).await;
    assert_eq!(gateway.readings().await, [0]);
    // A file where the table's folder should be.
    let folder = dir.path().join("lake/files/main/readings");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, b"in the way").unwrap();
    gateway.publish_all("a/readings", (1..15).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    assert_eq!(gateway.readings().await.len(), 15);
    assert!(gateway.history.status().batch_failures > 0);
    std::fs::remove_file(&folder).unwrap();
    let last = gateway.publish("a/readings", r#"{"n":15}"#).await;
    gateway.log.flush(last).await.unwrap();
    gateway.close().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..16).collect::<Vec<_>>());
    assert_eq!(gateway.history.status().tables["readings"].rows_in_lake, 16);
    gateway.close().await;
}

async fn files_are_merged_beside_the_work(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| {
        settings.batch_rows = 10;
        settings.maintenance = Duration::from_millis(200);
    });
    for round in 0..20 {
        gateway.publish_all("a/readings", (0..10).map(|n| format!(r#"{{"n":{}}}"#, round * 10 + n))).await;
        assert_eq!(gateway.readings().await.len(), (round + 1) * 10);
    }
    let began = gateway.clock.mono();
    while gateway.history.status().tidied.merges == 0 {
        assert!(gateway.clock.mono().since(began) < Duration::from_secs(30), "{:?}", gateway.history.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.readings().await, (0..200).collect::<Vec<_>>());
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..200).collect::<Vec<_>>());
    gateway.close().await;
}

async fn records_that_make_no_rows_are_not_read_again(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    gateway.publish_all("somewhere/else", (0..50).map(|n| n.to_string())).await;
    assert!(gateway.readings().await.is_empty());
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert!(gateway.readings().await.is_empty());
    assert_eq!(gateway.history.status().covered, Seq(50));
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    gateway.close().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, [1]);
    gateway.close().await;
}

async fn another_schema_is_taken_at_work_unless_the_tables_cannot_follow(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Arc::new(Gateway::start(dir.path(), backend, |_| {}));
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    assert_eq!(gateway.readings().await, [1]);
    let take = |text: String| {
        let gateway = Arc::clone(&gateway);
        tokio::task::spawn_blocking(move || gateway.history.take_schema(crate::history::schema::parse(&text).unwrap()))
    };
    let more =
        SCHEMA.replacen("[", r#"[{"table": "more", "topic": ":dn/more", "columns": [{"col": "n", "type": "BIGINT"}]},"#, 1);
    take(more).await.unwrap().unwrap();
    gateway.publish("a/more", r#"{"n":7}"#).await;
    gateway.publish("a/readings", r#"{"n":2}"#).await;
    assert_eq!(numbers(&gateway.query("query_more", "", "n").await.unwrap()), [7]);
    assert_eq!(gateway.readings().await, [1, 2], "what was above the lake is still there");
    let refused = take(SCHEMA.replace("BIGINT", "TEXT")).await.unwrap().unwrap_err();
    assert!(refused.contains("column `n` is kept as int64"), "{refused}");
    assert_eq!(gateway.readings().await, [1, 2]);
    let Ok(gateway) = Arc::try_unwrap(gateway) else { panic!("nobody else has it") };
    gateway.close().await;
}

async fn rows_from_before_the_time_was_known_are_stamped_again_once(backend: Backend) {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |settings| settings.batch_rows = 2);
    gateway.publish_all("a/stamped", (0..3).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    let times = async |gateway: &Gateway| {
        let seconds = "CAST(ts // 1000000000 AS BIGINT) AS s";
        numbers(&gateway.query("query_stamped", "1=1 ORDER BY n", seconds).await.unwrap())
    };
    let before = times(&gateway).await;
    let correction = crate::clock::Correction { from: Seq(2), delta_ns: 48 * HOUR_NS };
    gateway.append(kind::TABLE_COMMAND, [crate::history::command::encode_correction(correction)]).await;
    gateway.publish("a/stamped", r#"{"n":3}"#).await;
    let after = times(&gateway).await;
    let moved: Vec<i64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    assert_eq!(moved, [0, 48 * 3600, 48 * 3600]);
    gateway.abandon().await;
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(times(&gateway).await, after);
    gateway.close().await;
    // Lite has no folders of days.
    let folders = std::fs::read_dir(dir.path().join("lake/files/main/stamped")).unwrap().map(|entry| entry.unwrap().path());
    let days = folders.filter(|path| crate::history::engine::folders::is_day(path)).count();
    assert_eq!(days, if backend == Backend::Lite { 0 } else { 2 }, "corrected rows are in the folder of their day");
}
