//! Calls of history beside each other and beside the work.

use super::gateway::Gateway;
use super::*;
use crate::history::model::Caller;
use ciborium::Value;

stories! {
    what_is_wrong_with_a_call_goes_to_its_caller,
    a_query_that_takes_too_long_is_ended,
    the_newest_row_of_each_key_and_the_figures_of_each_table_are_there_at_once,
    the_newest_rows_stay_right_through_new_ones_deletions_and_restarts,
    a_query_whose_caller_is_gone_makes_room,
    a_stream_is_as_long_as_the_table_and_waits_for_its_reader,
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
