//! The table as a page.

use super::{FOLDERS, Unit};
use std::fmt::Write as _;

const HEAD: &str = "\
# Limits

Every map, queue and buffer that a peer can make grow, what bounds it, and what happens at the bound. This page is written from
`src/bounds/` (`UPDATE_DOCS=1 cargo test --lib bounds::`); a test fails when a collection in the code has no entry, and when this
page is not what the code says. Metrics begin with `rembus_gateway_`.

";

pub(super) fn page() -> String {
    let mut page = String::from(HEAD);
    for folder in FOLDERS.iter().filter(|folder| !folder.bounds.is_empty()) {
        write!(page, "## `src/{}`\n\n", folder.name).unwrap();
        page.push_str("| What | Counted in | Limit | At the limit | Metric | Test | Code |\n|---|---|---|---|---|---|---|\n");
        for bound in folder.bounds {
            let unit = match bound.unit {
                Unit::Bytes => "bytes".to_owned(),
                Unit::Entries(size) => format!("entries: {size}"),
            };
            let code: Vec<_> = bound.fields.iter().map(|field| format!("`{field}`")).collect();
            let name = |name: Option<&str>| name.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
            let cells =
                [bound.what, &unit, bound.limit, bound.at_limit, &name(bound.metric), &name(bound.test), &code.join(", ")];
            writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}
