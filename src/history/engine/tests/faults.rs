//! The fault matrix of the lake: what a file can suffer, when it is met, with both stores; `docs/faults-lake.md` has the results.
//!
//! The oracle: every row that was published is there once, or is counted as lost; other tables work; no row is made up. The log holds
//! every record, so that nothing needs to be lost here.

use super::damage::{files, filled, soon, until};
use super::faulty::{Faulty, Op};
use super::gateway::Gateway;
use super::*;
use rustix::io::Errno;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Cases that run at once: DuckDB opens its catalog on two threads each time.
const AT_ONCE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Appended,
    Keyed,
    Catalog,
    Sums,
    Losses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Missing,
    Empty,
    Cut,
    Doubled,
    Zeros,
    BitInHeader,
    BitInMiddle,
    BitInFooter,
    Refused(Op, Errno),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Start,
    Query,
    Batch,
    Maintenance,
}

const CONTENTS: [Fault; 8] = [
    Fault::Missing,
    Fault::Empty,
    Fault::Cut,
    Fault::Doubled,
    Fault::Zeros,
    Fault::BitInHeader,
    Fault::BitInMiddle,
    Fault::BitInFooter,
];
const REFUSALS: [Fault; 3] =
    [Fault::Refused(Op::Open, Errno::IO), Fault::Refused(Op::Read, Errno::IO), Fault::Refused(Op::Open, Errno::ACCESS)];

fn path(dir: &Path, file: File, backend: Backend) -> PathBuf {
    let batch = |table| files(dir, table).into_iter().find(|path| path.to_string_lossy().contains("batch-")).unwrap();
    match file {
        File::Appended => batch("readings"),
        File::Keyed => batch("state"),
        File::Catalog if backend == Backend::Lite => dir.join("lake/catalog.sqlite"),
        File::Catalog => dir.join("lake/catalog.ducklake"),
        File::Sums => dir.join("lake/sums"),
        File::Losses => dir.join("lake/damage.json"),
    }
}

fn harm(path: &Path, fault: Fault, disk: &Faulty) {
    let mut bytes = std::fs::read(path).unwrap_or_else(|_| b"[]".to_vec());
    let len = bytes.len();
    match fault {
        Fault::Missing => return drop(std::fs::remove_file(path)),
        Fault::Refused(op, errno) => return disk.refuse(op, &path.file_name().unwrap().to_string_lossy(), errno),
        Fault::Empty => bytes.clear(),
        Fault::Cut => bytes.truncate(len * 2 / 3),
        Fault::Doubled => bytes.extend_from_within(..),
        Fault::Zeros => bytes[len / 4..len * 3 / 4].fill(0),
        Fault::BitInHeader => bytes[0] ^= 1,
        Fault::BitInMiddle => bytes[len / 3] ^= 0x20,
        Fault::BitInFooter => bytes[len.saturating_sub(6)] ^= 0x20,
    }
    std::fs::write(path, bytes).unwrap();
}

/// What became of it, in words for the page.
async fn case(template: PathBuf, backend: Backend, file: File, fault: Fault, moment: Moment) -> String {
    let name = format!("{backend:?} {file:?} {fault:?} {moment:?}");
    let dir = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(template.join(".")).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    let disk = Faulty::shared();
    let start = || {
        Gateway::start(dir.path(), backend, |settings| {
            soon(settings);
            settings.disk = disk.clone();
            settings.scrub = Duration::from_secs(1);
        })
    };
    let at = path(dir.path(), file, backend);
    if moment == Moment::Start {
        harm(&at, fault, &disk);
    }
    let gateway = start();
    until(async || gateway.query("query_readings", "1=1", "n").await.is_ok()).await;
    match moment {
        Moment::Start => {}
        Moment::Query => {
            harm(&at, fault, &disk);
            drop(gateway.query("query_readings", "1=1", "n").await);
            drop(gateway.query("query_state", "1=1", "dn").await);
        }
        Moment::Batch => {
            harm(&at, fault, &disk);
            gateway.publish("a/state", r#"{"level":9}"#).await;
            let upto = gateway.publish("b/state", r#"{"level":9}"#).await;
            until(async || gateway.history.status().covered >= upto).await;
        }
        Moment::Maintenance => {
            harm(&at, fault, &disk);
            drop(gateway.history.compact().await);
        }
    }
    // The oracle, as soon as what was met is dealt with; the scrub comes round every second.
    let readings = async || {
        let rows = gateway.query("query_readings", "1=1 ORDER BY n", "n").await.ok().map(|rows| numbers(&rows));
        let states = gateway.query("query_state", "1=1 ORDER BY dn", "level").await.ok().map(|rows| numbers(&rows));
        rows == Some((0..20).collect()) && states == Some(vec![9, 9])
    };
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        while !readings().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(told.await.is_ok(), "{name}: {:?}", gateway.history.status());
    let status = gateway.history.status();
    let lost: u64 = status.losses.iter().map(|loss| loss.rows - loss.reloaded.min(loss.rows)).sum();
    assert_eq!(lost, 0, "{name}: {:?}", status.losses);
    gateway.close().await;
    let fresh = dir.path().join("lake/quarantine/lake").exists();
    let in_place = status.losses.iter().any(|loss| loss.in_place);
    match (fresh, in_place, status.losses.len()) {
        (true, ..) => "a fresh lake takes the rows from the log; the old one is in the quarantine".to_owned(),
        (_, true, _) => "set aside where it is, rows from the log; tried again".to_owned(),
        (_, _, 1..) => "in the quarantine, rows from the log".to_owned(),
        _ => "nothing is moved".to_owned(),
    }
}

fn cases() -> Vec<(File, Fault, Moment)> {
    let mut all = Vec::new();
    for file in [File::Appended, File::Keyed] {
        all.extend(CONTENTS.into_iter().chain(REFUSALS).map(|fault| (file, fault, Moment::Start)));
        for moment in [Moment::Query, Moment::Batch, Moment::Maintenance] {
            all.extend([Fault::Missing, Fault::Zeros, Fault::BitInMiddle].map(|fault| (file, fault, moment)));
        }
    }
    all.extend([Fault::Missing, Fault::Empty, Fault::Cut].map(|fault| (File::Catalog, fault, Moment::Start)));
    all.extend(CONTENTS.map(|fault| (File::Sums, fault, Moment::Start)));
    all.extend(CONTENTS.map(|fault| (File::Losses, fault, Moment::Start)));
    all
}

async fn matrix(backend: Backend) -> Vec<String> {
    let template = tempfile::tempdir().unwrap();
    filled(template.path(), backend).await;
    let all = cases();
    let mut results = Vec::new();
    for some in all.chunks(AT_ONCE) {
        let running: Vec<_> = some
            .iter()
            .copied()
            .map(|(file, fault, moment)| {
                let (template, runtime) = (template.path().to_path_buf(), tokio::runtime::Handle::current());
                tokio::task::spawn_blocking(move || runtime.block_on(case(template, backend, file, fault, moment)))
            })
            .collect();
        for run in running {
            results.push(run.await.unwrap());
        }
    }
    results
}

#[cfg(feature = "duckdb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_a_file_of_the_lake_suffers_no_row_is_lost_or_made_up() {
    let (duck, lite) = (matrix(Backend::Duckdb).await, matrix(Backend::Lite).await);
    let mut page = String::from(HEAD);
    for ((file, fault, moment), (duck, lite)) in cases().into_iter().zip(duck.iter().zip(&lite)) {
        let file = match file {
            File::Appended => "data file, appended table",
            File::Keyed => "data file, keyed table",
            File::Catalog => "catalog",
            File::Sums => "`sums`",
            File::Losses => "`damage.json`",
        };
        writeln!(page, "| {file} | {} | {} | {duck} | {lite} |", words(fault), format!("{moment:?}").to_lowercase()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults-lake.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    // Whether the scrub was there before the end of a case differs from run to run; the cases do not.
    assert!(
        is.lines().count() == page.lines().count() && is.starts_with(HEAD),
        "docs/faults-lake.md is out of date: UPDATE_DOCS=1 cargo test --lib faults writes it\n{page}"
    );
}

fn words(fault: Fault) -> String {
    match fault {
        Fault::Missing => "missing".to_owned(),
        Fault::Empty => "empty".to_owned(),
        Fault::Cut => "cut short".to_owned(),
        Fault::Doubled => "doubled".to_owned(),
        Fault::Zeros => "zeros in the middle".to_owned(),
        Fault::BitInHeader => "a bit in its first byte".to_owned(),
        Fault::BitInMiddle => "a bit in the middle".to_owned(),
        Fault::BitInFooter => "a bit in its footer".to_owned(),
        Fault::Refused(Op::Read, _) => "input/output error when read".to_owned(),
        Fault::Refused(_, Errno::ACCESS) => "no permission".to_owned(),
        Fault::Refused(..) => "input/output error when opened".to_owned(),
    }
}

const HEAD: &str = "\
# Faults

## Lake

What becomes of a lake when one of its files suffers, while the log holds every record. In each case every row that was published is
there once afterwards, and nothing is counted as lost. A test runs all of this and writes the table (`UPDATE_DOCS=1 cargo test --lib
faults`). Refusals of the system are injected where the gateway itself reads; what DuckDB and SQLite read of their catalogs by
themselves cannot be refused here. Where rows are not in the log any more they are counted: `lake/damage.json`, `doctor`, and the metric
`history_rows_lost`. Where nothing is moved, what was asked for did not need the damaged bytes; the scrub finds them in its time.

| File | Fault | Met at | DuckDB | lite |
|---|---|---|---|---|
";
