//! The fault matrix: every kind of file, and what can go wrong with it. A part for each area; each is also a section of the page
//! `docs/faults.md`, which this writes with `UPDATE_DOCS=1` and compares otherwise.

mod log_and_state;

use std::path::Path;

/// What happened in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Everything that was acknowledged is there.
    Whole,
    /// What is missing is counted and told.
    Counted,
    /// It says that it cannot work now, and does when the cause is gone: nothing is lost.
    Waits,
    /// Nobody asked for it then, or not through the disk seam: such a cell proves nothing.
    NotMet,
}

impl Cell {
    fn sign(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Counted => "counted",
            Self::Waits => "waits",
            Self::NotMet => "·",
        }
    }
}

/// Puts a table into its section of the page, or compares it with what is there.
pub(crate) fn page(section: &str, intro: &str, columns: &[&str], rows: &[(String, Vec<Cell>)]) {
    let mut text = format!("{intro}\n\n| | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (name, cells) in rows {
        let cells: Vec<_> = cells.iter().map(|cell| cell.sign()).collect();
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let (begin, end) = (format!("<!-- generated: {section} -->\n"), format!("<!-- end: {section} -->\n"));
    let expected = match (page.split_once(&begin), page.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{begin}{text}{end}{after}"),
        _ => format!("{page}\n## {section}\n\n{begin}{text}{end}"),
    };
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(is == expected, "docs/faults.md is out of date: UPDATE_DOCS=1 cargo test --lib faults:: writes it");
}
