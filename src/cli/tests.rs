use super::*;
use clap::CommandFactory;
use std::path::Path;

/// What a command printed and how it ended.
struct Outcome {
    code: u8,
    out: String,
    err: String,
}

fn gateway(args: &[&str]) -> Outcome {
    let args = std::iter::once("rembus-gateway").chain(args.iter().copied()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let never: Start = |_| Err("not in this test".into());
    let code = execute(args, [], Streams { out: &mut out, err: &mut err, terminal: false }, never);
    Outcome { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Help as an operator with 100 columns reads it, whatever terminal the test runs in.
fn help(subcommand: Option<&str>) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    match subcommand {
        Some(name) => command.find_subcommand_mut(name).unwrap().clone().term_width(100).render_help().to_string(),
        None => command.render_help().to_string(),
    }
}

fn write(dir: &Path, text: &str) -> String {
    let file = dir.join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_reads_well() {
    insta::assert_snapshot!("help", help(None));
    insta::assert_snapshot!("help_run", help(Some("run")));
    insta::assert_snapshot!("help_check", help(Some("check")));
}

#[test]
fn the_version_names_the_target() {
    let outcome = gateway(&["--version"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.starts_with(concat!("rembus-gateway ", env!("CARGO_PKG_VERSION"), " (")), "{}", outcome.out);
}

#[test]
fn wrong_usage_ends_with_2_and_says_why() {
    for args in [&["run", "--mqqt", "off"][..], &["start"], &["check", "--data", "x"], &[]] {
        let outcome = gateway(args);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(outcome.out.is_empty());
        assert!(outcome.err.contains("Usage:"), "{}", outcome.err);
    }
    assert!(gateway(&["run", "--mqqt", "off"]).err.contains("'--mqtt'"));
}

#[test]
fn a_wrong_configuration_ends_with_2_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "[mqtt]\nlistn = \"off\"\n");
    for command in ["run", "check"] {
        let outcome = gateway(&[command, "--config", &file]);
        assert_eq!(outcome.code, 2);
        assert!(outcome.out.is_empty());
        assert!(outcome.err.starts_with(&format!("{file}:2:1: unknown key `listn` in [mqtt]\n  hint:")), "{}", outcome.err);
    }
    let outcome = gateway(&["run", "--mqtt", "0.0.0.0:1883"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("can be reached from other machines"), "{}", outcome.err);
}

#[test]
fn check_says_what_the_configuration_means_and_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "[gateway]\nname = \"plant-7\"\ndata = \"state\"\n[http]\nlisten = \"off\"\n[bus]\npath = \"bus.sock\"\n[wal]\nkeep = \"2h\"\n[history]\nschema = \"telemetry.json\"\n",
    );
    std::fs::write(dir.path().join("telemetry.json"), include_str!("../../schemas/telemetry.json")).unwrap();
    let outcome = gateway(&["check", "--config", &file]);

    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    insta::assert_snapshot!(outcome.out.replace(dir.path().to_str().unwrap(), "DIR"));
}

#[test]
fn check_without_a_file_is_fine() {
    let outcome = gateway(&["check"]);
    assert_eq!(outcome.code, 0);
    assert!(outcome.out.contains("Every value is the default."), "{}", outcome.out);
}
