//! Rows of an answer as a table for people, as CSV, JSON or Parquet.

mod spark;

use super::Refusal;
use crate::mapping;
use crate::visible;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};
use spark::Spark;
use std::io::{self, Write};
use std::path::Path;

/// Rows that a table shows; nobody reads more, and it must be laid out as a whole.
const SHOWN_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Csv,
    Json,
    Parquet,
}

impl Format {
    /// As the ending of a file's name says.
    pub(super) fn of(file: &Path) -> Result<Self, Refusal> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("txt") => Ok(Self::Table),
            _ => Err(Refusal::wrong_use(format!(
                "how should `{}` be written? Its name ends with .parquet, .csv, .json or .txt, or say --format",
                file.display()
            ))),
        }
    }
}

/// Takes rows as they come.
pub(super) struct Sink<'a> {
    kind: Kind<'a>,
    names: Vec<String>,
    rows: usize,
}

enum Kind<'a> {
    Table {
        out: &'a mut (dyn Write + Send),
        shown: Vec<Map<String, Value>>,
        sparks: Option<Vec<Spark>>,
    },
    /// `shown`: somebody looks at it. In a file or a pipe it is data, which stays as it is.
    Csv {
        writer: Box<csv::Writer<&'a mut (dyn Write + Send)>>,
        shown: bool,
    },
    Json(&'a mut (dyn Write + Send)),
    Parquet(Box<ArrowWriter<&'a mut (dyn Write + Send)>>),
}

impl<'a> Sink<'a> {
    /// `terminal`: somebody is looking, so numbers get a line that shows their course.
    pub(super) fn new(
        format: Format,
        out: &'a mut (dyn Write + Send),
        schema: &SchemaRef,
        terminal: bool,
    ) -> Result<Self, Refusal> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let kind = match format {
            Format::Table => {
                let sparks = terminal.then(|| names.iter().map(|_| Spark::default()).collect());
                Kind::Table { out, shown: Vec::new(), sparks }
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(&names).map_err(csv_failed)?;
                Kind::Csv { writer: Box::new(writer), shown: terminal }
            }
            Format::Json => {
                out.write_all(b"[").map_err(Refusal::from)?;
                Kind::Json(out)
            }
            Format::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(Refusal::failed)?;
                Kind::Parquet(Box::new(writer))
            }
        };
        Ok(Self { kind, names, rows: 0 })
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<(), Refusal> {
        let before = self.rows;
        self.rows += batch.num_rows();
        match &mut self.kind {
            Kind::Parquet(writer) => writer.write(batch).map_err(Refusal::failed)?,
            Kind::Json(out) => {
                for (index, row) in rows(batch)?.into_iter().enumerate() {
                    let line = Value::Object(row).to_string();
                    let line = visible::json(&line);
                    write!(out, "{}{line}", if before + index == 0 { "\n" } else { ",\n" })?;
                }
            }
            Kind::Csv { writer, shown } => {
                let cell = |text: String| if *shown { visible::one_line(text) } else { text };
                for row in rows(batch)? {
                    writer.write_record(self.names.iter().map(|name| cell(text(row.get(name))))).map_err(csv_failed)?;
                }
            }
            Kind::Table { shown, sparks, .. } => {
                for row in rows(batch)? {
                    for (spark, name) in sparks.iter_mut().flatten().zip(&self.names) {
                        spark.add(row.get(name).and_then(Value::as_f64));
                    }
                    if shown.len() < SHOWN_MAX {
                        shown.push(row);
                    }
                }
            }
        }
        Ok(())
    }

    /// How many rows there were.
    pub(super) fn finish(self) -> Result<usize, Refusal> {
        match self.kind {
            Kind::Parquet(writer) => drop(writer.close().map_err(Refusal::failed)?),
            Kind::Json(out) => out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?,
            Kind::Csv { mut writer, .. } => writer.flush()?,
            Kind::Table { out, shown, sparks } => {
                let page = table(&self.names, &shown, sparks.as_deref());
                writeln!(out, "{page}")?;
                let rows = self.rows;
                match rows - shown.len() {
                    0 => writeln!(out, "{rows} row{}", if rows == 1 { "" } else { "s" })?,
                    more => writeln!(out, "{rows} rows; {more} are not shown, narrow the query or write them with --output")?,
                }
            }
        }
        Ok(self.rows)
    }
}

fn rows(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, Refusal> {
    let mut all = Vec::with_capacity(batch.num_rows());
    // In pieces, because JSON repeats the names for each row.
    for offset in (0..batch.num_rows()).step_by(256) {
        let piece = batch.slice(offset, 256.min(batch.num_rows() - offset));
        let json = mapping::batch_to_json(&piece).map_err(Refusal::failed)?;
        all.extend(serde_json::from_slice::<Vec<Map<String, Value>>>(&json).map_err(Refusal::failed)?);
    }
    Ok(all)
}

/// A value without the quotes of JSON; nothing for null.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn table(names: &[String], rows: &[Map<String, Value>], sparks: Option<&[Spark]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    for line in [TableComponent::HeaderLines, TableComponent::MiddleHeaderIntersections] {
        table.set_style(line, '─');
    }
    table.set_header(names);
    for row in rows {
        table.add_row(names.iter().map(|name| visible::one_line(text(row.get(name)))));
    }
    if let Some(sparks) = sparks.filter(|sparks| sparks.iter().any(|spark| !spark.line().is_empty())) {
        table.add_row(sparks.iter().map(Spark::line));
    }
    for (index, name) in names.iter().enumerate() {
        let number = rows.iter().filter_map(|row| row.get(name)).all(|value| value.is_number() || value.is_null());
        if let Some(column) = table.column_mut(index).filter(|_| number && !rows.is_empty()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn csv_failed(error: csv::Error) -> Refusal {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Refusal::failed(format!("{other:?}")),
    }
}

impl From<io::Error> for Refusal {
    /// Whoever closed the pipe has seen enough: a quiet and orderly end.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 0, text: String::new() };
        }
        Self::failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn written(format: Format, terminal: bool) -> String {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("dev1"), None, Some("a,\u{1b}[2J")]));
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(3.0), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("dn", names, true), ("temperature", numbers, true)]).unwrap();
        let mut out = Vec::new();
        let mut sink = Sink::new(format, &mut out, &batch.schema(), terminal).unwrap();
        sink.add(&batch).unwrap();
        assert_eq!(sink.finish().unwrap(), 3);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_can_be_read_by_other_programs() {
        assert_eq!(written(Format::Csv, false), "dn,temperature\ndev1,1.5\n,3.0\n\"a,\u{1b}[2J\",\n");
        let json: Vec<Value> = serde_json::from_str(&written(Format::Json, false)).unwrap();
        assert_eq!(json.len(), 3);
        assert_eq!(json[1].to_string(), r#"{"dn":null,"temperature":3.0}"#);
    }

    #[test]
    fn people_get_a_table_with_the_course_of_numbers_and_no_control_characters() {
        let page = written(Format::Table, true);
        assert!(page.contains("dev1") && page.contains("▁█") && page.ends_with("3 rows\n"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page:?}");
        assert!(!written(Format::Csv, true).contains('\u{1b}'), "a terminal is a terminal");
        assert!(!written(Format::Table, false).contains('█'));
    }

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let refusal = Refusal::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((refusal.code, refusal.text.as_str()), (0, ""));
    }
}
