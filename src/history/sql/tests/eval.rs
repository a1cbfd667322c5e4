//! Our own evaluation and DuckDB give the same answers.

use super::engine::{lake, value};
use super::*;
use crate::history::sql::eval::{Budget, Plan, Run};
use duckdb::params_from_iter;
use duckdb::types::Value;

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Float(value) if value.is_finite() => format!("{:.9e}", if *value == 0.0 { 0.0 } else { *value }),
        other => format!("{other:?}"),
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Boolean(value) => Cell::Boolean(value),
        Value::TinyInt(value) => Cell::Integer(value.into()),
        Value::SmallInt(value) => Cell::Integer(value.into()),
        Value::Int(value) => Cell::Integer(value.into()),
        Value::BigInt(value) => Cell::Integer(value.into()),
        Value::HugeInt(value) => Cell::Integer(value),
        Value::UTinyInt(value) => Cell::Integer(value.into()),
        Value::USmallInt(value) => Cell::Integer(value.into()),
        Value::UInt(value) => Cell::Integer(value.into()),
        Value::UBigInt(value) => Cell::Integer(value.into()),
        Value::Float(value) => Cell::Float(value.into()),
        Value::Double(value) => Cell::Float(value),
        Value::Text(value) => Cell::Text(value),
        Value::Blob(value) => Cell::Blob(value),
        Value::Date32(value) => Cell::Date(value),
        Value::Timestamp(_, value) => Cell::Timestamp(value),
        other => panic!("{other:?}"),
    }
}

fn rows_of(connection: &duckdb::Connection, sql: &str, cells: &[Cell]) -> Result<Vec<Vec<Cell>>, String> {
    let run = || {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params_from_iter(cells.iter().map(value)))?;
        let columns = rows.as_ref().map_or(0, |statement| statement.column_count());
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((0..columns).map(|i| row.get(i).map(cell)).collect::<Result<Vec<_>, _>>()?);
        }
        Ok::<_, duckdb::Error>(all)
    };
    run().map_err(|error| error.to_string())
}

fn ours(query: &Query, rows: &[Vec<Cell>]) -> Result<Vec<Vec<Cell>>, String> {
    let plan = Plan::new(query, &table())?;
    let mut run = Run::new(&plan, Budget::new(1 << 20));
    for row in rows {
        run.row(row.as_slice())?;
    }
    run.finish()
}

/// Compares both, without regard to the order where the query leaves it open.
fn differences(queries: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let connection = lake();
    let table = rows_of(&connection, "SELECT * FROM telemetry", &[]).unwrap();
    let mut differences = Vec::new();
    for (cols, tail) in queries {
        let query = query(json!({"cols": cols, "where": tail})).unwrap();
        let (sql, cells) = query.render("telemetry");
        let shown = |rows: Result<Vec<Vec<Cell>>, String>| {
            let mut rows = rows.map(|rows| rows.iter().map(|row| row.iter().map(text).collect()).collect::<Vec<Vec<_>>>());
            if let Ok(rows) = &mut rows
                && !tail.to_lowercase().contains("order by")
            {
                rows.sort();
            }
            rows
        };
        let (theirs, ours) = (shown(rows_of(&connection, &sql, &cells)), shown(ours(&query, &table)));
        match (&theirs, &ours) {
            (Ok(theirs), Ok(ours)) if theirs == ours => {}
            (Err(_), Err(_)) => {}
            _ => differences.push(format!("{cols} │ {tail}\n   DuckDB {theirs:?}\n   ours   {ours:?}")),
        }
    }
    differences
}

#[test]
fn every_condition_and_selection_gives_what_duckdb_gives() {
    let conditions = CONDITIONS.iter().map(|text| ("*".to_owned(), (*text).to_owned()));
    let selections = SELECTIONS.iter().map(|(cols, tail)| ((*cols).to_owned(), (*tail).to_owned()));
    let differences = differences(conditions.chain(selections));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn expressions_have_the_values_that_duckdb_gives_them() {
    let expressions = [
        "temperature / 0, count / 2, count // 2, -count // 2, count % 3, -count % 3, count // 0, count % 0, 7.5 // 2",
        "round(temperature), round(-2.5), round(2.567, 2), round(count, -1), round(25, -1), ceil(count), floor(ratio), trunc(-2.7)",
        "sign(temperature), sign(-count), sqrt(count), ln(count), log10(100), exp(1), pow(count, 2), abs(-ratio)",
        "substr(name, 2), substr(name, -2), substr(name, 0, 2), substr(name, 2, 1), left(name, 2), left(name, -1), right(name, 2)",
        "right(name, -1), strpos(name, 'v'), strpos(name, 'zz'), length(name), upper(name), trim('  x '), ltrim('xxa', 'x')",
        "concat(name, NULL, count, ok), name || count, name || NULL, coalesce(type, 'none'), nullif(count, 5), ifnull(type, name)",
        "greatest(temperature, NULL, 4), least(count, 3), greatest('a', name), isnan(temperature), isinf(temperature / 0)",
        "CAST(temperature AS TEXT), CAST(count AS TEXT), CAST(ratio AS TEXT), CAST(ok AS TEXT), CAST(raw AS TEXT), CAST(t AS TEXT)",
        "CAST(day AS TEXT), CAST(1e20 AS TEXT), CAST(1e-7 AS TEXT), CAST(123456789012345680.0 AS TEXT), CAST(1e16 AS TEXT)",
        "CAST(1e15 AS TEXT), CAST(0.0001 AS TEXT), CAST(0.00012 AS TEXT), CAST(temperature / 0 AS TEXT)",
        "CAST(temperature AS INTEGER), CAST(2.5 AS INTEGER), CAST(-2.5 AS BIGINT), CAST('2.5' AS INTEGER), CAST(ok AS INTEGER)",
        "TRY_CAST(name AS INTEGER), TRY_CAST('12' AS TINYINT), TRY_CAST('300' AS TINYINT), CAST('yes' AS BOOLEAN), CAST(t AS DATE)",
        "CAST(day AS TIMESTAMP), CAST('2024-02-03' AS DATE), t - interval 1 month, t + interval 31 days, day + interval 1 day",
        "day + count, day - DATE '2023-12-31', t + interval '1 year 2 months', t - interval 3 month",
        "date_trunc('year', t), date_trunc('quarter', t), date_trunc('month', t), date_trunc('week', t), date_trunc('day', t)",
        "date_trunc('minute', t), date_trunc('second', t), date_trunc('hour', day), date_trunc('millisecond', t)",
        "year(t), quarter(t), month(t), week(t), day(t), hour(t), minute(t), second(t), dayofweek(t), dayofyear(t)",
        "date_part('millisecond', t), date_part('microsecond', t), date_part('epoch', t), date_part('isodow', day)",
        "date_part('isoyear', day), date_diff('day', day, t), date_diff('hour', t, TIMESTAMP '2024-02-01 00:30:00')",
        "date_diff('month', t, TIMESTAMP '2025-01-01'), date_diff('year', t, TIMESTAMP '2025-01-01'), date_diff('week', t, day)",
        "date_diff('quarter', t, TIMESTAMP '2025-01-01'), date_diff('second', TIMESTAMP '2025-01-01', t)",
        "epoch(t), epoch_ms(t), epoch_us(t), epoch_ns(t), epoch_ms(1000), to_timestamp(1.5), make_timestamp(2024, 1, 2, 3, 4, 5.5)",
        "ok AND NULL, ok OR NULL, NOT ok, ok IS TRUE, type IS NULL, count IN (5, NULL), count NOT IN (2, NULL), count IN (2)",
        "temperature BETWEEN 3 AND NULL, temperature NOT BETWEEN 5 AND 30, temperature IS DISTINCT FROM NULL, ok = 1",
        "name LIKE '%e%', name LIKE '_e_1', name ILIKE 'DEV%', name LIKE 'a!%b' ESCAPE '!', name LIKE '%%1', name LIKE ''",
        "CASE WHEN count > 3 THEN 'many' WHEN count > 0 THEN 'few' END, CASE type WHEN 'a' THEN 1 ELSE 2.5 END",
        "count + 1, count - 10, count * 2, ratio + 1, ratio * 2, temperature + count, ts + 1, -temperature, ts // 1000",
        "count = 5.0, ratio = 0.1, ratio < 0.3, ts > 1e18, day = t, day < t, name < 'e', raw = x'00ff', count = '5', t = '2024-01-02'",
        "'' || count || '|' || temperature || '|' || coalesce(CAST(t AS TEXT), '-'), starts_with(name, 'de'), suffix(name, '1')",
    ];
    let rows = expressions.iter().map(|cols| ((*cols).to_owned(), String::new()));
    let aggregates = [
        ("sum(count), sum(temperature), sum(ratio), avg(count), avg(ratio), sum(ts), avg(temperature)", ""),
        ("min(name), max(name), min(t), max(day), min(ok), max(raw), min(ratio)", ""),
        ("count(type), count(distinct name), sum(distinct count), count(*) filter (where ok)", ""),
        ("stddev_pop(count), var_samp(count), var_pop(temperature), median(count), covar_samp(count, temperature)", ""),
        ("bool_or(ok), bool_and(ok), arg_max(name, ts), arg_min(type, ts), first(type), last(type), any_value(type)", ""),
        ("count(*), sum(count), min(name)", "false"),
        ("name, count(*)", "false group by name"),
        ("name, max(count) + 1 as m", "1=1 group by name order by m desc, name limit 1"),
        ("name, max(count)", "1=1 group by name order by max(count), 1 limit 1 offset 1"),
        ("name, max(count) as m", "1=1 group by name having m > 2 or m is null order by name"),
        ("type", "1=1 order by type"),
        ("type", "1=1 order by type desc"),
        ("type", "1=1 order by type nulls first"),
        ("distinct name", "1=1 order by name desc"),
        ("name, temperature", "1=1 group by name"),
        ("upper(name) as u, count(*)", "1=1 group by upper(name) order by u"),
        ("sum(name)", ""),
        ("name + 1", ""),
        ("CAST(name AS INTEGER)", ""),
        ("sqrt(-1)", ""),
        ("day + 1", ""),
        ("count * 99999999999999999999999999999999999999", ""),
        ("distinct count % 2", "1=1 order by 1"),
    ];
    let aggregates = aggregates.iter().map(|(cols, tail)| ((*cols).to_owned(), (*tail).to_owned()));
    let differences = differences(rows.chain(aggregates));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
