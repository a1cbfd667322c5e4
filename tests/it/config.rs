//! What an operator meets before anything runs: exit codes, and messages that say what to do.

use crate::gateway::{Plan, command, until};
use crate::mqtt_peer::MqttPeer;
use crate::rembus_peer::RembusPeer;
use std::path::Path;
use std::process::Output;

fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    command().args(["check", "--config"]).arg(&file).output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run_briefly(arguments: &[&str], data: &Path) -> Output {
    command().arg("run").arg("--data").arg(data).args(arguments).output().unwrap()
}

#[test]
fn a_good_configuration_passes_the_check() {
    let output = check("[gateway]\nname = \"greenhouse\"\n[wal]\nack_delay_max = \"20ms\"\n");
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
}

#[test]
fn an_unknown_key_is_refused_with_place_and_hint() {
    let output = check("[mqtt]\nlisten = \"127.0.0.1:1883\"\nmax_pakcet = \"1MiB\"\n");
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let words = words(&output);
    for part in ["gateway.toml:3:1", "max_pakcet", "max_packet"] {
        assert!(words.contains(part), "no `{part}` in:\n{words}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    let output = check("[wal]\nack_delay_max = \"fifty\"\n");
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let words = words(&output);
    for part in ["gateway.toml:2:", "ack_delay_max", "fifty"] {
        assert!(words.contains(part), "no `{part}` in:\n{words}");
    }
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_place() {
    let output = check("[mqtt\n");
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("gateway.toml:1:"), "{}", words(&output));
}

#[test]
fn unknown_flags_and_commands_are_usage_errors() {
    for arguments in [&["run", "--nonsense"][..], &["nonsense"], &["run", "--mqtt", "not an address"]] {
        let output = command().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", words(&output));
    }
}

#[test]
fn help_and_version_are_there() {
    for flag in ["--help", "--version"] {
        let output = command().arg(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_door_for_everybody_needs_an_explicit_word() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let output = run_briefly(&[&["--mqtt", "0.0.0.0:0"], &others[..]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("anonymous"), "{}", words(&output));
}

#[test]
fn a_bad_schema_stops_the_start_and_names_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    std::fs::write(&schema, "{\"tables\": [\n  {\"topic\": \":dn/telemetry\"}\n]}\n").unwrap();
    let doors = ["--mqtt", "127.0.0.1:0", "--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0", "--schema"];
    let output = run_briefly(&[&doors[..], &[schema.to_str().unwrap()]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    let words = words(&output);
    assert!(words.contains("schema.json:2:") && words.contains("table"), "{words}");
}

#[test]
fn a_missing_schema_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let doors = ["--mqtt", "127.0.0.1:0", "--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let output = run_briefly(&[&doors[..], &["--schema", "/no/such/file.json"]].concat(), folder.path());
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("/no/such/file.json"), "{}", words(&output));
}

#[test]
fn a_port_in_use_is_a_failure_that_names_the_door() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let output = run_briefly(&["--mqtt", &addr, "--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains(&addr), "{}", words(&output));
}

#[test]
fn environment_twins_reach_the_gateway() {
    let gateway = crate::gateway::Plan::without_history().set("gateway.name", "greenhouse").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = crate::rembus_peer::RembusPeer::connect(gateway.doors.rembus).await;
        assert_eq!(client.rpc("rid", vec![]).await, Ok(crate::rembus_peer::text("greenhouse")));
    });
}

#[test]
fn a_schema_that_the_tables_cannot_follow_is_refused_by_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let (schema, file) = (dir.path().join("schema.json"), dir.path().join("gateway.toml"));
    let of = |kind: &str| {
        format!(r#"{{"tables": [{{"table": "t",\n "columns": [{{"col": "n", "type": "{kind}"}}]}}]}}"#).replace("\\n", "\n")
    };
    std::fs::write(&schema, of("INTEGER")).unwrap();
    let doors = "[mqtt]\nlisten = \"127.0.0.1:0\"\n[rembus]\nlisten = \"off\"\n[http]\nlisten = \"off\"\n";
    let text = format!("{doors}[gateway]\ndata = \"data\"\n[history]\nschema = \"schema.json\"\n");
    std::fs::write(&file, text).unwrap();
    let check = || {
        let done = command().arg("check").arg("--config").arg(&file).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(check().0, 0);
    let mut gateway = command().arg("run").arg("--config").arg(&file).spawn().unwrap();
    until("the lake remembers its tables", 30, || dir.path().join("data/lake/schema.json").exists().then_some(()));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    std::fs::write(&schema, of("BIGINT")).unwrap();
    assert_eq!(check().0, 0, "wider is fine");
    std::fs::write(&schema, of("TEXT")).unwrap();
    let (code, told) = check();
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("schema.json:2:") && told.contains("column `n` is kept as int32"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_comes_with_sighup_and_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("schema.json");
    let of = |tables: &[&str]| {
        let table = |name: &&str| {
            format!(r#"{{"table": "{name}", "topic": ":dn/{name}", "columns": [{{"col": "n", "type": "BIGINT"}}]}}"#)
        };
        format!(r#"{{"tables": [{}]}}"#, tables.iter().map(table).collect::<Vec<_>>().join(", "))
    };
    std::fs::write(&schema, of(&["first"])).unwrap();
    let gateway = Plan::default().schema(&schema).start();
    let mut sensor = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    sensor.publish("a/first", r#"{"n":1}"#).await;
    std::fs::write(&schema, of(&["first", "second"])).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("reloaded part=schema");
    sensor.publish("a/second", r#"{"n":2}"#).await;
    let mut client = RembusPeer::connect(gateway.doors.rembus).await;
    assert_eq!(client.query_integers("second", "n", "1=1").await, [2]);
    assert_eq!(client.query_integers("first", "n", "1=1").await, [1]);
    std::fs::write(&schema, "{").unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    gateway.wait_for_log("not reloaded");
    assert_eq!(client.query_integers("second", "n", "1=1").await, [2]);
}
