use super::*;
use crate::history::schema;
use serde_json::json;
use std::fmt::Write as _;

#[cfg(feature = "duckdb")]
mod engine;
#[cfg(feature = "duckdb")]
mod eval;
mod hostile;

/// A table with a column of most kinds, and names that are words of SQL.
fn table() -> std::sync::Arc<Table> {
    let schema = schema::parse(
        r#"{"tables": [{"table": "telemetry", "topic": ":name/telemetry", "extras": {"recv_ts": "ts"}, "columns": [
          {"col": "name", "type": "TEXT"}, {"col": "type", "type": "TEXT"}, {"col": "temperature", "type": "DOUBLE"},
          {"col": "count", "type": "INTEGER"}, {"col": "ratio", "type": "FLOAT"}, {"col": "ok", "type": "BOOLEAN"},
          {"col": "t", "type": "TIMESTAMP"}, {"col": "day", "type": "DATE"}, {"col": "raw", "type": "BLOB"},
          {"col": "order", "type": "TEXT"}]}]}"#,
    );
    schema.unwrap().tables.remove(0)
}

fn cbor(value: impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).unwrap();
    bytes
}

fn query(argument: serde_json::Value) -> Result<Query, String> {
    Query::parse(&table(), &cbor([argument]), CALLED).map_err(|error| error.text)
}

fn filtered(condition: &str) -> Result<Query, String> {
    query(json!({"where": condition}))
}

fn selected(cols: &str) -> Result<Query, String> {
    query(json!({"cols": cols}))
}

/// What stands behind WHERE, with the values of its parameters.
fn condition(condition: &str) -> String {
    match filtered(condition) {
        Err(why) => why,
        Ok(query) => {
            let (sql, cells) = query.render("x");
            format!("{} {cells:?}", sql.split_once(" WHERE ").map_or("", |(_, tail)| tail))
        }
    }
}

/// Conditions that people write. All of them run on the engine too, see `engine`.
const CONDITIONS: [&str; 71] = [
    "temperature>4",
    "name='x' and type='y'",
    "1=1 ORDER BY t DESC LIMIT 2",
    "1=1 ORDER BY name",
    "name = 'it''s'",
    "NAME = 'x' OR Telemetry.Type = 'y' AND \"order\" = 'z'",
    "temperature between -1.5 and 20 and name not in ('a', 'b')",
    "not (temperature is null or count is not null)",
    "name like 'dev%' and name not ilike '%X_' escape '!'",
    "count = 5 and count <> 2.5 and count != '7' and count == 1",
    "ratio = 0.1",
    "ok and not ok is true",
    "ok = 1",
    "name = 5",
    "t > '2024-01-02'",
    "t >= '2024-01-02 03:04:05.5' and day = '2024-01-02'",
    "t > TIMESTAMP '2024-01-02 03:04:05' and day < DATE '2024-01-02'",
    "t between '2024-01-01' and now()",
    "t in ('2024-01-01', '2024-01-02')",
    "t > now() - interval 1 hour",
    "t > now() - interval '90 minutes'",
    "t > current_timestamp - interval '1 day 2 hours'",
    "t > now() - interval '1' week",
    "day = current_date",
    "'2024-01-01' < t",
    "ts > 1795208400000000000",
    "ts / 1000000000 > epoch(now()) - 3600",
    "to_timestamp(ts / 1e9) > '2024-01-01'",
    "make_timestamp(2024, 1, 2, 3, 4, 5.5) < t",
    "epoch_ms(t) > 5",
    "date_trunc('hour', t) = '2024-01-01 01:00:00'",
    "date_part('year', t) = 2024 and extract(hour from t) = 3 and month(t) = 1",
    "date_diff('minute', t, now()) < 5",
    "abs(round(temperature, 1) - floor(temperature)) > ceil(ratio) % 2",
    "lower(trim(name)) = 'x' and length(name) > 2",
    "substr(name, 1, 2) = 'ab' or substring(name from 2) = 'b' or left(name, 1) = 'a'",
    "name || '-' || type = 'a-b'",
    "concat(name, '/', type) = 'a/b'",
    "coalesce(temperature, 0) > 0 and nullif(name, '') is null",
    "case when temperature > 20 then 'hot' when temperature < 0 then 'cold' else name end = 'hot'",
    "case type when 'a' then 1 else 2 end = 1",
    "cast(temperature as integer) = 20 and count::double > 1.5 and try_cast(name as double) > 2",
    "temperature is distinct from 5",
    "-temperature < - -4 and +count > 0",
    "count // 2 * 3 + 1 - 4 / 2 > 0",
    "greatest(temperature, count, 1) > least(1, 2)",
    "raw = x'00ff'",
    "contains(name, 'e') and starts_with(name, 'd') and ends_with(name, 'v') and strpos(name, 'v') > 0",
    "position('e' in name) > 0",
    "trim(both 'x' from name) = 'y' and trim(leading 'x' from name) = 'z'",
    "name = '; DROP TABLE x; --'",
    "name = '/* not a comment */' and type = '?'",
    "1=1",
    "true",
    "temperature = NULL",
    "count > 99999999999999999999999999",
    "isnan(temperature) or isfinite(ratio)",
    "1=1 order by temperature desc nulls last, name asc nulls first limit 10 offset 5",
    "1=1 limit 10",
    "1=1 offset 3",
    "1=1 limit 0",
    "1=1 order by abs(temperature)",
    "1=1 order by 1",
    "1=1 order by lower(name) || 'x', case when count > 2 then 1 else 2 end",
    "ok is not false and ok is not unknown",
    "(((temperature)) > ((4)))",
    "temperature\n>\t4",
    "power(temperature, 2) > sqrt(4)",
    "name || 'b' = upper(type)",
    "day + interval 1 day > t - interval '1 month'",
    "t - interval 5 second > '2024-01-01'",
];

/// Column lists that people write, and what they append to the condition with them.
const SELECTIONS: [(&str, &str); 26] = [
    ("name, type", ""),
    ("*", ""),
    ("*, temperature * 1.8 + 32 AS fahrenheit", ""),
    ("count(*) AS n", ""),
    ("count(*)", ""),
    ("count(), min(temperature), max(temperature), avg(temperature)", ""),
    ("DISTINCT name", ""),
    ("distinct name, type", "1=1 order by type, name"),
    ("count(distinct name) devices", ""),
    ("name, count(*) AS n", "temperature > 4 GROUP BY name"),
    ("name, count(*) AS n", "1=1 GROUP BY name HAVING count(*) > 2 ORDER BY n DESC LIMIT 3"),
    ("name, avg(temperature) AS mean", "1=1 group by 1 having mean > 3 order by mean"),
    ("date_trunc('hour', t) AS hour, avg(temperature)", "1=1 GROUP BY hour ORDER BY hour"),
    ("date_trunc('hour', t), count(*)", "1=1 GROUP BY date_trunc('hour', t) ORDER BY 2 desc"),
    ("ts // 60000000000 AS minute, last(temperature)", "1=1 GROUP BY ts // 60000000000 ORDER BY ts // 60000000000"),
    ("name, sum(count) filter (where ok) AS s", "1=1 group by all"),
    ("arg_max(temperature, t) AS newest, arg_min(name, temperature) AS coldest", ""),
    ("first(name), any_value(name), mode(type), stddev(temperature), median(temperature), variance(temperature)", ""),
    ("round(avg(temperature), 1) AS \"mean of all\"", ""),
    ("temperature, Temperature, temperature as x", ""),
    ("'constant' AS c, 1 AS one, NULL AS nothing, true AS yes", ""),
    ("telemetry.*", ""),
    ("telemetry.name", ""),
    ("case when temperature > 20 then 'hot' else 'cold' end as feel, count(*)", "1=1 group by feel"),
    ("max(temperature) - min(temperature) as span, bool_and(ok), corr(temperature, count)", ""),
    ("name, t", "1=1 ORDER BY t DESC LIMIT 1"),
];

#[test]
fn conditions_are_written_anew_with_parameters() {
    let mut all = String::new();
    for text in CONDITIONS {
        let written = condition(text);
        assert!(filtered(text).is_ok(), "{text}: {written}");
        writeln!(all, "{}\n    {written}", text.escape_debug()).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn selections_are_written_anew_with_parameters() {
    let mut all = String::new();
    for (cols, tail) in SELECTIONS {
        let (sql, cells) =
            query(json!({"cols": cols, "where": tail})).unwrap_or_else(|why| panic!("{cols}: {why}")).render("x");
        writeln!(all, "{cols} │ {tail}\n    {sql} {cells:?}").unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn without_columns_the_schema_s_are_selected_and_never_all() {
    let (sql, cells) = query(json!(null)).unwrap().render("lake.telemetry");
    insta::assert_snapshot!(sql, @r#"SELECT "name", "type", "temperature", "count", "ratio", "ok", "t", "day", "raw", "order", "ts" FROM lake.telemetry"#);
    assert_eq!(cells, []);
    for argument in [json!({}), json!({"where": ""}), json!({"where": null, "cols": "", "when": null}), json!({"cols": []})] {
        assert_eq!(query(argument).unwrap(), query(json!(null)).unwrap());
    }
    let nothing = Query::parse(&table(), &cbor(json!([])), CALLED).unwrap();
    assert_eq!(nothing, query(json!(null)).unwrap());
    assert_eq!(Query::parse(&table(), &cbor(json!(null)), CALLED).unwrap(), nothing, "data that is no list is one argument");
}

#[test]
fn a_list_of_columns_is_taken_by_name_even_if_a_name_is_a_word_of_sql() {
    let (sql, _) = query(json!({"cols": ["name", " ORDER ", "count(*) AS n"]})).unwrap().render("x");
    insta::assert_snapshot!(sql, @r#"SELECT "name", "order", count(*) AS "n" FROM x"#);
    let (sql, _) = query(json!({"cols": "order"})).unwrap().render("x");
    insta::assert_snapshot!(sql, @r#"SELECT "order" FROM x"#);
}

#[test]
fn answers_have_names_that_differ() {
    let query = selected("name, name, count(*), count(*) AS name_1, avg(temperature), temperature + 1").unwrap();
    let names: Vec<_> = query.column_names().collect();
    assert_eq!(names, ["name", "name_1", "count_star()", "name_1_1", "avg(temperature)", "temperature + ?"]);
}

#[test]
fn times_to_look_back_to_are_utc() {
    let when = |when: serde_json::Value| query(json!({"when": when})).map(|query| query.when());
    assert_eq!(when(json!(1_795_208_929)), Ok(Some(Wall(1_795_208_929_000_000_000))));
    assert_eq!(when(json!(1_795_208_929.054_860_4)), Ok(Some(Wall(1_795_208_929_054_860_000))));
    assert_eq!(when(json!("2026-11-21 09:08:49")), Ok(Some(Wall(1_795_252_129_000_000_000))));
    assert_eq!(when(json!("2026-11-21 09:08:49.25")), Ok(Some(Wall(1_795_252_129_250_000_000))));
    assert_eq!(when(json!(0)), Ok(Some(Wall(0))));
    assert_eq!(when(json!(-5)), Ok(Some(Wall(0))));
    assert_eq!(when(json!(null)), Ok(None));
    insta::assert_snapshot!(when(json!(1_795_208_929_000_i64)).unwrap_err(), @"when: 1795208929000 is not a number of seconds since 1970");
    insta::assert_snapshot!(when(json!("yesterday")).unwrap_err(), @"when: expected a time like `2026-11-21 12:00:00`, or `1h` for an hour ago");
    insta::assert_snapshot!(when(json!([])).unwrap_err(), @"when: expected a number of seconds or a text, found a list");
}

#[test]
fn arguments_that_are_none_are_refused_in_the_reference_s_words_where_it_has_some() {
    let wrong = |argument| query(argument).unwrap_err();
    insta::assert_snapshot!(wrong(json!({"no": 1})), @"invalid keys: no");
    insta::assert_snapshot!(wrong(json!({"a": 1, "where": "x", "b": 2})), @"invalid keys: a, b");
    insta::assert_snapshot!(wrong(json!("name='x'")), @"the argument is a map with where, cols, when, since, until, order, limit, every, not a text of 8 bytes");
    insta::assert_snapshot!(wrong(json!({"where": 5})), @"where: expected a text, found an integer");
    insta::assert_snapshot!(wrong(json!({"cols": 5})), @"cols: expected a text or a list of texts, found an integer");
    insta::assert_snapshot!(wrong(json!({"cols": [5]})), @"cols: expected a text, found an integer");
    let two = Query::parse(&table(), &cbor(json!([null, null])), CALLED).unwrap_err();
    insta::assert_snapshot!(two, @"one argument is possible, 2 were given");
    assert_eq!(two.status.0, 40);
    assert!(Query::parse(&table(), b"\xff", CALLED).is_err());
}

#[test]
fn a_query_knows_whether_it_gathers_and_how_much_is_wanted() {
    assert!(!filtered("temperature > 4").unwrap().is_aggregate());
    assert!(selected("count(*)").unwrap().is_aggregate());
    assert!(query(json!({"cols": "name", "where": "1=1 group by name"})).unwrap().is_aggregate());
    assert_eq!(filtered("1=1 limit 7").unwrap().limit(), Some(7));
    assert_eq!(filtered("1=1").unwrap().limit(), None);
}

#[test]
fn what_is_beyond_the_reference_becomes_conditions_groups_and_orders() {
    let sql = |argument| {
        let (sql, cells) = query(argument).unwrap().render("x");
        format!("{} {cells:?}", sql.split_once(" FROM x").unwrap().1)
    };
    insta::assert_snapshot!(sql(json!({"since": "1h", "until": 1_704_164_645})), @r#" WHERE (("t" >= ?) AND ("t" < ?)) [Timestamp(1704161045000000), Timestamp(1704164645000000)]"#);
    insta::assert_snapshot!(sql(json!({"where": "name = 'a' or ok", "since": "2024-01-01"})), @r#" WHERE ((("name" = ?) OR "ok") AND ("t" >= ?)) [Text("a"), Timestamp(1704067200000000)]"#);
    insta::assert_snapshot!(sql(json!({"order": "newest", "limit": 5})), @r#" ORDER BY "t" DESC NULLS LAST LIMIT ? [Integer(5)]"#);
    insta::assert_snapshot!(sql(json!({"order": ["temperature desc nulls last", "name"], "cols": "name"})), @r#" ORDER BY "temperature" DESC NULLS LAST, "name" []"#);
    insta::assert_snapshot!(sql(json!({"cols": "name, count(*) as n", "where": "1=1 group by name", "order": "n"})), @r#" WHERE (? = ?) GROUP BY "name" ORDER BY 2 [Integer(1), Integer(1)]"#);
    insta::assert_snapshot!(sql(json!({"since": null, "until": null, "order": "", "limit": null, "every": null})), @" []");
    let every = query(json!({"every": "5m", "cols": ["name", "temperature", "ok"]})).unwrap();
    insta::assert_snapshot!(every.render("x").0, @r#"SELECT time_bucket(to_microseconds(?), "t") AS "time", "name", count(*) AS "rows", avg("temperature") AS "temperature_avg", min("temperature") AS "temperature_min", max("temperature") AS "temperature_max", arg_max("temperature", "t") AS "temperature_last", arg_max("ok", "t") AS "ok_last" FROM x WHERE ("t" IS NOT NULL) GROUP BY 1, "name" ORDER BY 1 ASC, "name" ASC"#);
    let names: Vec<_> = every.column_names().collect();
    insta::assert_snapshot!(names.join(" "), @"time name rows temperature_avg temperature_min temperature_max temperature_last ok_last");
    assert!(every.is_aggregate());
}

#[test]
fn a_table_without_a_timestamp_has_its_receive_time() {
    let time = |extras: &str| {
        let schema = format!(
            r#"{{"tables": [{{"table": "t", "topic": "t", {extras} "columns": [{{"col": "v", "type": "DOUBLE"}}]}}]}}"#
        );
        let table = schema::parse(&schema).unwrap().tables.remove(0);
        let query = Query::parse(&table, &cbor([json!({"since": 5, "every": "1s"})]), CALLED).unwrap();
        query.render("x").0
    };
    insta::assert_snapshot!(time(r#""extras": {"recv_ts": "ts"},"#), @r#"SELECT time_bucket(to_microseconds(?), make_timestamp(CAST(("ts" // ?) AS BIGINT))) AS "time", count(*) AS "rows", avg("v") AS "v_avg", min("v") AS "v_min", max("v") AS "v_max", arg_max("v", "ts") AS "v_last" FROM x WHERE (("ts" >= ?) AND ("ts" IS NOT NULL)) GROUP BY 1 ORDER BY 1 ASC"#);
    insta::assert_snapshot!(time(""), @r#"SELECT time_bucket(to_microseconds(?), "_recv") AS "time", count(*) AS "rows", avg("v") AS "v_avg", min("v") AS "v_min", max("v") AS "v_max", arg_max("v", "_recv") AS "v_last" FROM x WHERE (("_recv" >= ?) AND ("_recv" IS NOT NULL)) GROUP BY 1 ORDER BY 1 ASC"#);
}

#[test]
fn extensions_that_make_no_sense_are_refused_with_a_reason() {
    let wrong = |argument| query(argument).unwrap_err();
    insta::assert_snapshot!(wrong(json!({"since": "soon"})), @"since: expected a time like `2026-11-21 12:00:00`, or `1h` for an hour ago");
    insta::assert_snapshot!(wrong(json!({"until": []})), @"until: expected a number of seconds or a text, found a list");
    insta::assert_snapshot!(wrong(json!({"since": 1_795_208_929_000_i64})), @"since: 1795208929000 is not a number of seconds since 1970");
    insta::assert_snapshot!(wrong(json!({"limit": -1})), @"limit: expected a whole number of rows, found an integer");
    insta::assert_snapshot!(wrong(json!({"limit": "5"})), @"limit: expected a whole number of rows, found a text of 1 byte");
    insta::assert_snapshot!(wrong(json!({"limit": 5, "where": "1=1 limit 6"})), @"limit: `where` brings its own LIMIT");
    insta::assert_snapshot!(wrong(json!({"order": "name", "where": "1=1 order by type"})), @"order: `where` brings its own ORDER BY");
    insta::assert_snapshot!(wrong(json!({"order": "secret"})), @"order: there is no column `secret` in table `telemetry`; its columns are name, type, temperature, count, ratio, ok, t, day, raw, order, ts");
    insta::assert_snapshot!(wrong(json!({"every": "0s"})), @"every: a bucket is 1 ms to 28 days wide; for calendar months group by date_trunc in `where`");
    insta::assert_snapshot!(wrong(json!({"every": "1 month"})), @"every: a bucket is 1 ms to 28 days wide; for calendar months group by date_trunc in `where`");
    insta::assert_snapshot!(wrong(json!({"every": "often"})), @"every: expected a length of time like `5m` or `1h`");
    insta::assert_snapshot!(wrong(json!({"every": "1h", "cols": "avg(temperature)"})), @"every: `every` gathers by itself; name columns, without aggregates");
    insta::assert_snapshot!(wrong(json!({"every": "1h", "cols": "distinct name"})), @"every: DISTINCT is not possible with it");
    insta::assert_snapshot!(wrong(json!({"every": "1h", "where": "1=1 group by name"})), @"every: `where` brings its own GROUP BY");
    insta::assert_snapshot!(deletion(json!({"since": "1h"})).unwrap_err(), @"invalid keys: since");
}

const CALLED: Wall = Wall(1_704_164_645_000_000_000);

fn deletion(argument: serde_json::Value) -> Result<Predicate, String> {
    Predicate::parse(&table(), &cbor([argument]), CALLED).map_err(|error| error.text)
}

#[test]
fn a_deletion_without_condition_means_everything() {
    for argument in [json!(null), json!({}), json!({"where": ""}), json!({"where": "  "}), json!({"when": 5})] {
        let predicate = deletion(argument).unwrap();
        assert!(predicate.is_everything());
        assert_eq!(predicate.render(), ("TRUE".to_owned(), vec![]));
    }
    assert!(Predicate::parse(&table(), &cbor(json!([])), CALLED).unwrap().is_everything());
}

#[test]
fn a_deletion_repeated_from_the_log_means_the_same_rows() {
    let predicate = deletion(json!({"where": "t < now() - interval 1 day and name = 'x'"})).unwrap();
    let (sql, cells) = predicate.render();
    insta::assert_snapshot!(sql, @r#"(("t" < (? - (INTERVAL '1 day' * ?))) AND ("name" = ?))"#);
    assert_eq!(cells, [Cell::Timestamp(1_704_164_645_000_000), Cell::Integer(1), Cell::Text("x".into())]);
}

#[test]
fn a_deletion_takes_a_condition_and_nothing_more() {
    let wrong = |text| deletion(json!({"where": text})).unwrap_err();
    insta::assert_snapshot!(wrong("1=1 limit 1"), @"where: only a condition is possible here, without GROUP BY, ORDER BY or LIMIT");
    insta::assert_snapshot!(wrong("count(*) > 1"), @"where: `count` is an aggregate, not possible in a condition");
    insta::assert_snapshot!(deletion(json!({"cols": "name"})).unwrap_err(), @"invalid keys: cols");
}
