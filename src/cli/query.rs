//! `query` and `lake export`: rows of a table from a running gateway.

use super::reach::{Asked, Reach};
use super::rows::{Format, Sink};
use super::{Refusal, Streams};
use arrow_ipc::reader::StreamReader;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  rembus-gateway query telemetry --since 1h
  rembus-gateway query telemetry --where \"dn = 'dev1' AND temperature > 20\" --order newest --limit 10
  rembus-gateway query telemetry --cols dn,temperature --every 5m --since 1d --format csv
  rembus-gateway query telemetry --since 2026-11-01 --output november.parquet

TIME is 1h (an hour ago), 2026-11-21, '2026-11-21 12:00:00' (UTC), 2026-11-21T13:00:00+01:00, or seconds since 1970.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Query {
    table: String,
    /// Condition, as after WHERE in SQL
    #[arg(long = "where", value_name = "COND")]
    condition: Option<String>,
    /// Columns or expressions, as after SELECT in SQL
    #[arg(long, value_name = "A,B")]
    cols: Option<String>,
    #[command(flatten)]
    times: Times,
    /// The table as it was then
    #[arg(long, value_name = "TIME")]
    when: Option<String>,
    /// Gather into buckets of time, such as 5m: average, least, greatest and last value
    #[arg(long, value_name = "SPAN")]
    every: Option<String>,
    /// newest, oldest, or as after ORDER BY in SQL
    #[arg(long, value_name = "COLS")]
    order: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How rows are written [default: as the output file is called, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write into a file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Times {
    /// Rows from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Rows before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  rembus-gateway lake export --since 30d --output month.parquet
  rembus-gateway lake export telemetry --output all.csv";

/// Rows of a table into a file, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(super) struct Export {
    /// May be left out if there is only one
    table: Option<String>,
    #[command(flatten)]
    times: Times,
    /// Where to; the ending (.parquet, .csv, .json) says how
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    pub(super) reach: Reach,
}

impl Times {
    fn add(&self, arguments: &mut Map<String, Value>) {
        let times = [("since", &self.since), ("until", &self.until)];
        arguments.extend(times.into_iter().filter_map(|(key, text)| Some((key.to_owned(), moment(text.as_deref()?)))));
    }
}

/// Seconds since 1970 are a number for the gateway.
fn moment(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(seconds) => seconds.into(),
        Err(_) => text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).map_or_else(|| text.into(), Value::from),
    }
}

impl Query {
    fn arguments(&self) -> Value {
        let mut arguments = Map::new();
        self.times.add(&mut arguments);
        arguments.extend(self.when.as_deref().map(|when| ("when".to_owned(), moment(when))));
        let texts = [("where", &self.condition), ("cols", &self.cols), ("every", &self.every), ("order", &self.order)];
        arguments.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text.as_deref()?)))));
        arguments.extend(self.limit.map(|limit| ("limit".to_owned(), limit.into())));
        Value::Object(arguments)
    }
}

pub(super) fn run(asked: &Asked, args: &Query, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let format = match (args.format, &args.output) {
        (Some(format), _) => format,
        (None, Some(file)) => Format::of(file)?,
        (None, None) => Format::Table,
    };
    if format == Format::Parquet && args.output.is_none() {
        return Err(Refusal::wrong_use("parquet needs a file: --output FILE"));
    }
    copy(asked, &args.table, args.arguments(), format, args.output.as_deref(), streams)
}

pub(super) fn export(asked: &Asked, args: &Export, streams: &mut Streams<'_>) -> Result<(), Refusal> {
    let format = Format::of(&args.output)?;
    let table = match &args.table {
        Some(table) => table.clone(),
        None => only_table(asked)?,
    };
    let mut arguments = Map::new();
    args.times.add(&mut arguments);
    copy(asked, &table, Value::Object(arguments), format, Some(&args.output), streams)
}

fn only_table(asked: &Asked) -> Result<String, Refusal> {
    let data = asked.rpc("tables", None, &[])?;
    let tables: Vec<Value> = serde_json::from_str(&crate::mapping::cbor_to_json(&data)).map_err(Refusal::failed)?;
    let names: Vec<&str> = tables.iter().filter_map(|table| table.get("table")?.as_str()).collect();
    match names.as_slice() {
        [name] => Ok((*name).to_owned()),
        [] => Err(Refusal::failed("this gateway keeps no tables")),
        _ => Err(Refusal::wrong_use(format!("which table? There are {}", names.join(", ")))),
    }
}

fn copy(
    asked: &Asked,
    table: &str,
    arguments: Value,
    format: Format,
    output: Option<&Path>,
    streams: &mut Streams<'_>,
) -> Result<(), Refusal> {
    let answer = asked.query(table, arguments)?;
    let reader = StreamReader::try_new(answer, None).map_err(told)?;
    let schema = reader.schema();
    let mut file = match output {
        Some(path) => Some(
            std::fs::File::create(path)
                .map_err(|error| Refusal::failed(format!("`{}` cannot be written: {error}", path.display())))?,
        ),
        None => None,
    };
    let terminal = streams.terminal && file.is_none();
    let written = {
        let out: &mut (dyn std::io::Write + Send) = match &mut file {
            Some(file) => file,
            None => streams.out,
        };
        let mut sink = Sink::new(format, out, &schema, terminal)?;
        let all = || {
            for batch in reader {
                sink.add(&batch.map_err(told)?)?;
            }
            Ok(())
        };
        let done: Result<(), Refusal> = all();
        done.and_then(|()| sink.finish())
    };
    match (written, output) {
        (Ok(rows), Some(path)) => {
            streams.note(format_args!("{rows} rows in {}", path.display()));
            Ok(())
        }
        (Ok(_), None) => Ok(()),
        (Err(refusal), Some(path)) => {
            // Half a file is worse than none.
            drop(std::fs::remove_file(path));
            Err(refusal)
        }
        (Err(refusal), None) => Err(refusal),
    }
}

/// The gateway's words if it broke off, without those of the library around them.
fn told(error: arrow_schema::ArrowError) -> Refusal {
    match error {
        arrow_schema::ArrowError::IoError(_, error) => Refusal::failed(error),
        other => Refusal::failed(other),
    }
}
