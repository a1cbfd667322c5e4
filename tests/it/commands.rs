//! The commands that ask a running gateway, as an operator types them.

use crate::gateway::{Gateway, command, until};
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

/// Runs a command against a gateway to its end: exit code, standard output, standard error.
fn ask(gateway: &Gateway, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = command().args(arguments).arg("--data").arg(gateway.data()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn fine(gateway: &Gateway, arguments: &[&str]) -> String {
    let (code, out, err) = ask(gateway, arguments);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    out
}

fn with_readings() -> Gateway {
    let gateway = Gateway::start();
    for (device, temperature) in [("dev1", "1.5"), ("dev2", "-3"), ("dev1", "2.5")] {
        let payload = format!(r#"{{"temperature":{temperature},"pressure":980}}"#);
        fine(&gateway, &["pub", &format!("{device}/telemetry"), &payload]);
    }
    gateway
}

#[test]
fn rows_are_asked_for_in_every_format() {
    let gateway = with_readings();
    let csv = ["query", "telemetry", "--cols", "dn,temperature", "--order", "dn, temperature", "--format", "csv"];
    assert_eq!(fine(&gateway, &csv), "dn,temperature\ndev1,1.5\ndev1,2.5\ndev2,-3.0\n");
    let cold = ["query", "telemetry", "--where", "temperature < 0", "--cols", "dn", "--since", "1h", "--format", "json"];
    assert_eq!(fine(&gateway, &cold), "[\n{\"dn\":\"dev2\"}\n]\n");
    assert!(fine(&gateway, &["query", "telemetry", "--until", "1h"]).ends_with("0 rows\n"));
    let buckets =
        ["query", "telemetry", "--every", "1d", "--cols", "dn,temperature", "--where", "dn = 'dev1'", "--format", "csv"];
    assert!(fine(&gateway, &buckets).ends_with("dev1,2,2.0,1.5,2.5,2.5\n"));

    let file = gateway.data().join("out.parquet");
    fine(&gateway, &["lake", "export", "telemetry", "--since", "1h", "--output", file.to_str().unwrap()]);
    let parquet = std::fs::read(&file).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[test]
fn a_component_elsewhere_asks_through_the_rembus_door() {
    let gateway = with_readings();
    let url = format!("{}/operator", gateway.rembus_url());
    let run = |arguments: &[&str]| command().args(arguments).args(["--url", &url]).output().unwrap();
    let output = run(&["query", "telemetry", "--cols", "count(*) AS n", "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n\n3\n");
    assert_eq!(String::from_utf8_lossy(&run(&["rpc", "rid"]).stdout), "\"broker\"\n");
    let output = run(&["rpc", "nothing"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "nobody offers a method `nothing`\n");
}

#[test]
fn what_cannot_be_is_said_with_the_right_exit_code() {
    let gateway = with_readings();
    let (code, out, err) = ask(&gateway, &["query", "telemetry", "--where", "x = 1"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("where: there is no column `x` in table `telemetry`"), "{err}");
    assert_eq!(ask(&gateway, &["query", "nothing"]).0, 1);
    assert_eq!(ask(&gateway, &["query", "telemetry", "--format", "parquet"]).0, 2);
    assert_eq!(ask(&gateway, &["query", "telemetry", "--output", "rows.xyz"]).0, 2);
    assert_eq!(ask(&gateway, &["query"]).0, 2);
    let nowhere = command().args(["query", "telemetry", "--data", "/nowhere"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nowhere.stderr).starts_with("no gateway is running on /nowhere"));
}

#[test]
fn a_pipe_that_is_closed_early_ends_a_command_quietly() {
    let gateway = with_readings();
    let mut child = command()
        .args(["sub", "**", "--data"])
        .arg(gateway.data())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(notes.next().unwrap().unwrap(), "listening");
    fine(&gateway, &["pub", "some/topic", "1", "text"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"topic":"some/topic","data":[1,"text"]}"#);
    drop(lines);
    let ended = until("the command ends", 20, || {
        fine(&gateway, &["pub", "some/topic"]);
        child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
    assert!(notes.next().is_none(), "without a word");
}
