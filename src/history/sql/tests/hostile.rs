//! What must not get through, and that nothing a caller wrote ever stands in the statement.

use super::*;

/// Conditions that are attacks, mistakes, or simply not offered.
const REFUSED: [&str; 74] = [
    "1=1; DROP TABLE alarm; --",
    "1=1 -- x",
    "1=1 /* x */",
    "1=1;",
    "1=1 UNION SELECT * FROM tenant",
    "1=1 UNION ALL SELECT secret FROM tenant",
    "1=1 EXCEPT SELECT 1",
    "name = (SELECT secret FROM tenant)",
    "name IN (SELECT secret FROM tenant)",
    "EXISTS (SELECT 1 FROM tenant)",
    "name = ANY (SELECT secret FROM tenant)",
    "name in (select 1",
    "1=1 FROM tenant",
    "tenant.secret = 'x'",
    "lake.main.telemetry.name = 'x'",
    "secret = 'x'",
    "_seq > 5",
    "rowid > 5",
    "name = \"x\"",
    "read_text('/etc/passwd') = 'x'",
    "getenv('HOME') = 'x'",
    "current_setting('x') = 'x'",
    "pg_sleep(10) is null",
    "query('SELECT 1') = 1",
    "main.abs(1) = 1",
    "nextval('x') = 1",
    "random() > 0.5",
    "repeat('x', 1000000000) = 'y'",
    "range(1000000000) = 1",
    "list_filter([1], x -> x > 1) = 1",
    "[1, 2] = name",
    "{'a': 1} = name",
    "(name, type) = ('x', 'y')",
    "name = ?",
    "name = $1",
    "name = :name",
    "name = $$x$$",
    "name ~ 'x'",
    "name similar to 'x'",
    "regexp_matches(name, 'x')",
    "name collate nocase = 'x'",
    "name->>'a' = 1",
    "name[1] = 'x'",
    "t at time zone 'utc' > now()",
    "count(*) > 1",
    "1=1 group by count(*)",
    "1=1 having sum(max(temperature)) > 1",
    "sum(temperature) over () > 1",
    "1=1 qualify row_number() over () = 1",
    "1=1 window w as (order by name)",
    "1=1 order by all",
    "1=1 limit name",
    "1=1 limit 1.5",
    "1=1 limit -1",
    "1=1 limit (select 1)",
    "1=1 order by 99",
    "1=1 order by 'x'",
    "1=1 fetch first 1 row only",
    "1=1 for update",
    "1=1 group by rollup (name)",
    "1=1 group by grouping sets ((name), ())",
    "WHERE name = 'x'",
    "ORDER BY name",
    "name = 'x' AND",
    "name =",
    "name = 'x",
    "(name = 'x'",
    "name = 'x')",
    "temperature > 'abc'",
    "t > 'yesterday'",
    "t > interval 'x'",
    "cast(name as json) = 'x'",
    "abs(1, 2) = 1",
    "absolute(temperature) > 1",
];

const REFUSED_COLS: [&str; 23] = [
    "* FROM message --",
    "* FROM message",
    "secret",
    "name, (SELECT secret FROM tenant)",
    "name FROM tenant UNION SELECT name",
    "name; DROP TABLE x",
    "name /* x */",
    "tenant.*",
    "* exclude (name)",
    "* replace (1 as name)",
    "columns('x')",
    "name INTO x",
    "name type ratio",
    "DISTINCT ON (name) *",
    "name AS \"a\"\"b\"",
    "top 5 name",
    "name where 1=1",
    "count(distinct *)",
    "sum(*)",
    "sum(distinct)",
    "sum(max(temperature))",
    "max(name order by t)",
    "struct_pack(a := name)",
];

#[test]
fn texts_cannot_be_made_large() {
    assert!(filtered("replace(replace(name, 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa') = 'x'").is_err());
    for whole in ["name".to_owned() + &" || name".repeat(17), format!("concat(name{})", ", name".repeat(17))] {
        let why = filtered(&format!("{whole} = 'x'")).expect_err(&whole);
        assert!(why.to_string().contains("joined"), "{why}");
    }
    assert!(filtered("name || '-' || type = 'a-b'").is_ok());
}

#[test]
fn what_is_not_on_the_list_is_refused_by_name() {
    let mut all = String::new();
    for text in REFUSED {
        let why = filtered(text).expect_err(text);
        writeln!(all, "{text}\n    {why}").unwrap();
    }
    for cols in REFUSED_COLS {
        let why = selected(cols).expect_err(cols);
        writeln!(all, "{cols}\n    {why}").unwrap();
    }
    insta::assert_snapshot!(all);
}

/// What `protocol/rembus.md` saw work against the reference (sections 14.6 and 21), in every key that takes a text.
#[test]
fn every_injection_of_the_reference_is_refused_in_every_key() {
    let drops = "1=1; DROP TABLE alarm; --";
    let reads_the_archive = "* FROM message --";
    let reads_secrets = "1=1 UNION SELECT tenant, secret FROM tenant";
    let reads_files = "1=1 UNION SELECT content FROM read_text('/etc/passwd')";
    let leaves_a_time = "2024-01-01 00:00:00'); DROP TABLE alarm; --";
    for attack in [drops, reads_the_archive, reads_secrets, reads_files, leaves_a_time] {
        for key in arguments::OF_QUERIES {
            let why = query(json!({key: attack})).expect_err(attack);
            assert!(why.starts_with(&format!("{key}: ")), "{key} {attack}: {why}");
            let why = query(json!({key: [attack]})).expect_err(attack);
            assert!(why.starts_with(&format!("{key}: ")), "{key} {attack}: {why}");
        }
        assert!(deletion(json!({"where": attack})).is_err(), "{attack}");
        assert!(query(json!({attack: 1})).unwrap_err().starts_with("invalid keys: "));
    }
    for order in
        ["name limit 1", "name) union select 1", "1 into x", "name for update", "random()", "(select secret from tenant)"]
    {
        assert!(query(json!({"order": order})).is_err(), "{order}");
    }
}

#[test]
fn texts_beyond_their_limits_are_refused() {
    let long = format!("name = '{}'", "x".repeat(20_000));
    insta::assert_snapshot!(filtered(&long).unwrap_err(), @"where: 20009 bytes are more than the 16384 that are possible");
    let many = format!("temperature > {}1", "1+".repeat(4_000));
    insta::assert_snapshot!(filtered(&many).unwrap_err(), @"where: more than 4096 words and signs");
    let deep = format!("{}1=1{}", "(".repeat(200), ")".repeat(200));
    insta::assert_snapshot!(filtered(&deep).unwrap_err(), @"where: nested too deeply");
}

/// The deepest trees that the limits on length let through are taken apart on the small stack of a test.
#[test]
fn chains_at_the_limit_do_not_exhaust_the_stack() {
    for (part, end) in
        [("1+", "1 > 0"), ("ok and ", "ok"), ("ok or ", "ok"), ("name || ", "name = 'x'"), ("- ", "1 = 1"), ("not ", "ok")]
    {
        let tokens = part.split_whitespace().count().max(2);
        let text = format!("{}{end}", part.repeat(4_080 / tokens));
        drop(filtered(&text));
    }
    let long: Vec<String> = (0..1_000).map(|n| format!("count={n}")).collect();
    let (sql, cells) = filtered(&long.join(" or ")).unwrap().render("x");
    assert_eq!((cells.len(), sql.matches(" OR ").count()), (1_000, 999));
    let casts = format!("name{} = 'x'", "::text".repeat(1_300));
    drop(filtered(&casts));
    let list: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    assert!(filtered(&format!("count in ({})", list.join(","))).is_ok());
}

/// Reads our own statement back: one SELECT over the one relation.
fn is_one_select(sql: &str) -> bool {
    use sqlparser::ast::{SetExpr, Statement};
    let statements = sqlparser::parser::Parser::new(&sqlparser::dialect::DuckDbDialect {})
        .with_recursion_limit(400)
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_statements());
    match statements.as_deref() {
        Ok([Statement::Query(query)]) => match query.body.as_ref() {
            SetExpr::Select(select) => {
                query.with.is_none() && select.from.len() == 1 && select.from[0].to_string() == "the_relation"
            }
            _ => false,
        },
        _ => false,
    }
}

/// Nothing in single quotes but what this program puts there.
fn only_our_texts(sql: &str) -> bool {
    let mut outside = String::new();
    let mut inside = false;
    for part in sql.split('"') {
        if !inside {
            outside.push_str(part);
        }
        inside = !inside;
    }
    let ours = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            // A pattern: no letter of the caller, only their numbers.
            [word] if word.starts_with("(?") => word.split("\\x{").skip(1).all(|letter| {
                letter.split_once('}').is_some_and(|(number, rest)| {
                    number.chars().all(|c| c.is_ascii_hexdigit()) && rest.chars().all(|c| c == '.' || c == '*')
                })
            }),
            [word] => functions::Part::named(word).is_some() || functions::Unit::named(word).is_some(),
            [count, unit] => ["1", "3", "7"].contains(count) && functions::Unit::named(unit).is_some(),
            _ => false,
        }
    };
    outside.split('\'').skip(1).step_by(2).all(ours) && !outside.contains("marker")
}

fn piece() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let words: Vec<&'static str> = vec![
        "name",
        "temperature",
        "t",
        "ok",
        "\"order\"",
        "count",
        "(",
        ")",
        ",",
        "'marker'",
        "'mar''ker'",
        "1",
        "2.5",
        "-",
        "+",
        "*",
        "/",
        "=",
        "<",
        ">",
        "<>",
        "and",
        "or",
        "not",
        "is null",
        "in",
        "between",
        "like",
        "case",
        "when",
        "then",
        "else",
        "end",
        "cast(",
        "as integer)",
        "::text",
        "||",
        "count(*)",
        "sum(",
        "avg(temperature)",
        "date_trunc('hour', t)",
        "interval '1 hour'",
        "now()",
        "group by",
        "order by",
        "limit",
        "offset",
        "having",
        "desc",
        "select",
        "from",
        "union",
        "where",
        ";",
        "--",
        "/*",
        "*/",
        "?",
        "$1",
        "'",
        "\"",
        "distinct",
        "filter (where",
        "over ()",
        "abs(",
        "lower(",
        "x'4d'",
        "null",
        "true",
        "telemetry.name",
        "tenant",
        "exists",
        "marker",
        "[",
        "]",
        "{",
        "}",
        "->",
        ":",
        ".",
        "timestamp '2024-01-01'",
        "as n",
        "all",
    ];
    prop_oneof![8 => proptest::sample::select(words).prop_map(str::to_owned), 1 => "[ -~]{1,4}", 1 => any::<String>()]
}

fn pieces() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    proptest::collection::vec(piece(), 0..14).prop_map(|pieces| pieces.join(" "))
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(1_500))]

    #[test]
    fn whatever_goes_in_what_comes_out_is_one_select_without_its_texts(condition in pieces(), cols in pieces()) {
        for argument in [json!({"where": condition}), json!({"cols": cols}), json!({"where": condition, "cols": cols})] {
            if let Ok(query) = query(argument) {
                let (sql, cells) = query.render("the_relation");
                proptest::prop_assert!(is_one_select(&sql), "{}", sql);
                proptest::prop_assert!(only_our_texts(&sql), "{}", sql);
                let unquoted: String = sql.split('"').step_by(2).collect();
                proptest::prop_assert_eq!(unquoted.matches('?').count(), cells.len(), "{}", sql);
            }
        }
        if let Ok(predicate) = deletion(json!({"where": condition})) {
            let (sql, _) = predicate.render();
            let whole = format!("SELECT 1 FROM the_relation WHERE {sql}");
            proptest::prop_assert!(is_one_select(&whole) && only_our_texts(&whole), "{}", sql);
        }
    }

    #[test]
    fn sensible_comparisons_are_always_understood(
        column in proptest::sample::select(vec!["temperature", "count", "ratio", "ts"]),
        op in proptest::sample::select(vec!["=", "<", ">", "<=", ">=", "<>"]),
        number in proptest::prelude::any::<i32>(), text in "[^\0]{0,12}",
    ) {
        let condition = format!("{column} {op} {number} AND name = '{}'", text.replace('\'', "''"));
        let (_, cells) = filtered(&condition).unwrap().render("x");
        proptest::prop_assert_eq!(&cells[1], &Cell::Text(text));
    }
}

/// The parser tries alternatives, and some nestings make it try all of their combinations. Were one of these let through to
/// it, this test would not end.
#[test]
fn no_nesting_makes_the_parser_try_for_ever() {
    let opens = [
        "(",
        "abs(",
        "case when ",
        "not ",
        "- ",
        "cast(",
        "interval ",
        "(name, ",
        "trim(",
        "position(",
        "substring(",
        "extract(hour from ",
        "name in (",
        "name between ",
        "count(*) filter (where ",
        "max(name order by ",
        "exists (",
        "(select ",
        "array[",
        "!!",
        "x -> ",
        "telemetry.position(",
        "telemetry.",
        "{'a': ",
        "map {",
        "name::",
        "floor(",
        "timestamp ",
        "struct(",
        "any(",
    ];
    for (one, two) in opens.iter().flat_map(|one| opens.map(|two| (*one, two))) {
        let open = format!("{one}{two}").repeat(45);
        for close in [String::new(), format!("1{}", ")".repeat(90)), format!("1 end{}", " as int)".repeat(45))] {
            drop(filtered(&format!("{open}{close}")));
        }
    }
}
