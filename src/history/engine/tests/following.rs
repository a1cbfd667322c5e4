//! The engine follows the log: whole, once, through crashes and whatever else goes wrong.

use super::gateway::{Gateway, SCHEMA};
use super::*;
use crate::message::kind;

stories! {
    a_query_sees_what_was_published_just_before,
    everything_is_there_after_an_orderly_end_and_after_a_crash,
    a_log_that_lost_its_end_is_still_followed,
    one_poisonous_row_is_counted_and_disturbs_no_other,
    changes_are_seen_when_they_are_answered_and_stay,
    no_row_is_missing_or_double_while_batches_and_queries_race,
    a_batch_that_cannot_be_written_is_tried_again_and_nothing_is_lost,
    a_deletion_behind_a_failing_batch_waits_for_its_next_try,
    integers_of_any_length_keep_their_digits,
    files_are_merged_beside_the_work,
    records_that_make_no_rows_are_not_read_again,
    another_schema_is_taken_at_work_unless_the_tables_cannot_follow,
    rows_from_before_the_time_was_known_are_stamped_again_once,
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
    gateway.log().flush(last).await.unwrap();
    gateway.close().await;

    let gateway = Gateway::start(dir.path(), backend, |_| {});
    assert_eq!(gateway.readings().await, (0..16).collect::<Vec<_>>());
    assert_eq!(gateway.history.status().tables["readings"].rows_in_lake, 16);
    gateway.close().await;
}

async fn a_deletion_behind_a_failing_batch_waits_for_its_next_try(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Arc::new(Gateway::start(dir.path(), backend, |_| {}));
    gateway.publish("a/readings", r#"{"n":1}"#).await;
    assert_eq!(gateway.readings().await, [1]);
    let folder = dir.path().join("lake/files/main/readings");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, b"in the way").unwrap();
    let deletion = {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.call("delete_readings", cbor!([{ "where" => "n = 1" }]).unwrap()).await })
    };
    let failures = || gateway.history.status().batch_failures;
    while failures() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // From one try to the next, a second at least, the engine has nothing to do but to look around.
    let (failed, before) = (failures(), gateway.history.status().turns);
    while failures() == failed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let turns = gateway.history.status().turns - before;
    assert!(turns < 100, "{turns} turns while nothing could be done");
    std::fs::remove_file(&folder).unwrap();
    deletion.await.unwrap().unwrap();
    assert!(gateway.readings().await.is_empty());
    let Ok(gateway) = Arc::try_unwrap(gateway) else { panic!("nobody else has it") };
    gateway.close().await;
}

async fn integers_of_any_length_keep_their_digits(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    let numbers = [
        "170141183460469231731687303715884105727",
        "-170141183460469231731687303715884105728",
        "18446744073709551617",
        "-9223372036854775809",
    ];
    for number in numbers {
        gateway.publish("large", &format!(r#"{{"h":{number},"s":{number},"d":{number}}}"#)).await;
    }
    // Beyond 128 bits a text is the only place for it.
    let longer = "9".repeat(60);
    gateway.publish("large", &format!(r#"{{"h":null,"s":{longer},"d":{longer}}}"#)).await;
    gateway.publish("large", &format!(r#"{{"h":1,"s":[{longer},1.5,{}],"d":-0}}"#, numbers[2])).await;
    for _ in 0..2 {
        let all = gateway.query("query_large", "1=1 ORDER BY s", "s").await.unwrap();
        let mut expected: Vec<String> = numbers.iter().map(|number| (*number).to_owned()).collect();
        expected.extend([longer.clone(), format!("[{longer},1.5,{}]", numbers[2])]);
        expected.sort();
        assert_eq!(texts(&all), expected);
        let same = "h IS NULL OR CAST(h AS TEXT) = s OR h = 1 ORDER BY 1";
        assert_eq!(texts(&gateway.query("query_large", same, "s").await.unwrap()).len(), 6);
        let floats = "d = TRY_CAST(s AS DOUBLE) OR h = 1";
        assert_eq!(texts(&gateway.query("query_large", floats, "s").await.unwrap()).len(), 6);
        gateway.call("delete_large", cbor!([{ "where" => "h = 5" }]).unwrap()).await.unwrap();
    }
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
