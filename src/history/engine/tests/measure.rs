//! Figures, on request:
//! `cargo test --release --lib history::engine::tests::measure -- --ignored --nocapture`, or one of them by name:
//! `RATE=500 COMMIT_MS=50 … an_hour_of_writing`, `ROWS=10000000 … queries_on_many_rows`. `bench/lake` does it all.

use super::gateway::Gateway;
use crate::history::{Backend, Phase};
use crate::wal;
use std::time::Duration;

const ROWS: usize = 600_000;

#[cfg(feature = "duckdb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn duckdb() {
    figures(Backend::Duckdb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn lite() {
    figures(Backend::Lite).await;
}

async fn figures(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let before = rss_mib();
    let gateway = Gateway::start(dir.path(), backend, |_| {});
    let began = gateway.clock.mono();
    while gateway.history.status().phase != Phase::Running {
        tokio::task::yield_now().await;
    }
    let clock = gateway.clock.clone();
    println!("open          {:?}, RSS {before} MiB before, {} MiB after", clock.mono().since(began), rss_mib());

    let began = clock.mono();
    for chunk in 0..ROWS / 500 {
        let device = format!("device{}/readings", chunk % 20);
        gateway.publish_all(&device, (0..500).map(|n| format!(r#"{{"n":{}}}"#, chunk * 500 + n))).await;
    }
    let logged = clock.mono().since(began);
    while gateway.history.status().ingested.0 < ROWS as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = clock.mono().since(began);
    let rate = ROWS as f64 / took.as_secs_f64();
    println!("ingest        {ROWS} rows in {took:?} (logged after {logged:?}): {rate:.0} rows/s, RSS {} MiB", rss_mib());
    println!("status        {:?}", gateway.history.status());

    for (name, condition, cols) in [
        ("one device, last rows", "dn = 'device3' ORDER BY n DESC LIMIT 3", "dn, n"),
        ("count", "", "count(*) AS n"),
        ("aggregate", "1=1 GROUP BY dn", "dn, avg(n) AS a"),
    ] {
        let mut times = Vec::new();
        for _ in 0..30 {
            let began = clock.mono();
            gateway.query("query_readings", condition, cols).await.unwrap();
            times.push(clock.mono().since(began));
        }
        times.sort_unstable();
        println!("query         {name}: p50 {:?}, max {:?}", times[15], times[29]);
    }
    println!("after queries RSS {} MiB", rss_mib());
    gateway.close().await;
}

/// Rows a second in data frames of ten thousand, from the log's door until the last is in the lake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn frames_in_bulk() {
    const FRAME: i64 = 10_000;
    let frames: i64 = std::env::var("FRAMES").map_or(200, |text| text.parse().unwrap());
    let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let gateway = Gateway::start(dir.path(), Backend::of("auto"), |settings| settings.batch_rows = 100_000);
    while gateway.history.status().phase != Phase::Running {
        tokio::task::yield_now().await;
    }
    let frame = |first: i64| {
        let n: arrow_array::ArrayRef = std::sync::Arc::new(arrow_array::Int64Array::from_iter_values(first..first + FRAME));
        let name = format!("device{}", first / FRAME % 20);
        let dn: arrow_array::ArrayRef =
            std::sync::Arc::new(arrow_array::StringArray::from_iter_values((0..FRAME).map(|_| name.as_str())));
        let batch = arrow_array::RecordBatch::try_from_iter([("dn", dn), ("n", n)]).unwrap();
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let ready: Vec<Vec<u8>> = (0..frames).map(|at| frame(at * FRAME)).collect();
    let began = gateway.clock.mono();
    for (at, frame) in ready.into_iter().enumerate() {
        gateway.publish_frames(&format!("device{}/readings", at % 20), [frame]).await;
    }
    let rows = (frames * FRAME) as u64;
    let clock = gateway.clock.clone();
    gateway.close().await;
    let took = clock.mono().since(began);
    println!("frames of {FRAME} rows: {:.0} rows/s, RSS {} MiB", rows as f64 / took.as_secs_f64(), rss_mib());
    let gateway = Gateway::start(dir.path(), Backend::of("auto"), |_| {});
    let found = super::numbers(&gateway.query("query_readings", "", "count(*) AS n").await.unwrap());
    assert_eq!(found, [frames * FRAME]);
    gateway.close().await;
}

/// Bytes written for each payload byte, and files and catalog afterwards, over a simulated hour: `$RATE` messages a second of 100
/// bytes whose acknowledgements wait `$COMMIT_MS` at most. Time runs `$SPEED` times faster, for publishers and for waits alike, so
/// that the same bytes come in each commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn an_hour_of_writing() {
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rate, commit_ms) = (number("RATE", 500), number("COMMIT_MS", 50));
    let (seconds, speed) = (number("SECONDS", 3600), number("SPEED", 10));
    let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let delay = Duration::from_millis(commit_ms as u64) / u32::try_from(speed).unwrap();
    let options = wal::Options { ack_delay_max: delay, ..wal::Options::new(dir.path().join("wal")) };
    let gateway = Gateway::start_on(options, dir.path(), Backend::of("auto"), |settings| {
        settings.batch_rows = (rate * 60).min(20_000);
        settings.maintenance = Duration::from_secs(86_400);
    });
    let before = written();
    let (mut payload, mut sent) = (0, 0);
    let began = gateway.clock.mono();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while sent < rate * seconds {
        tick.tick().await;
        let due = (gateway.clock.mono().since(began).as_secs_f64() * (rate * speed) as f64) as usize;
        for n in sent..due.min(rate * seconds) {
            // A hundred bytes, as the figures ask for.
            let message = format!("{:<100}", format!(r#"{{"n":{n},"some":"thing","more":1.25}}"#));
            payload += message.len();
            gateway.publish(&format!("device{}/readings", n % 20), &message).await;
        }
        sent = sent.max(due);
    }
    while gateway.history.status().ingested.0 < (rate * seconds) as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let commits = gateway.log().stats().commits;
    gateway.close().await;
    let batches = written();
    let gateway = Gateway::start(dir.path(), Backend::of("auto"), |settings| settings.maintenance = Duration::from_millis(1));
    while gateway.history.status().tidied.passes < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.close().await;
    let merged = written();
    let size = |path: &str| folder_bytes(&dir.path().join(path));
    let times = |bytes: u64| bytes as f64 / payload as f64;
    println!("{rate}/s, acknowledged within {commit_ms} ms: {payload} bytes of payload, {commits} commits");
    println!(
        "written: log and batches {:.2} times the payload, with the merge {:.2}",
        times(batches - before),
        times(merged - before)
    );
    println!("files {} bytes, catalog {} bytes", size("lake/files"), size("lake/catalog.ducklake"));
}

/// Latencies on many rows under the memory limit: `ROWS`, ten million by default.
#[cfg(feature = "duckdb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn queries_on_many_rows() {
    let rows: u64 = std::env::var("ROWS").map_or(10_000_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    // Fifty rows a second from twenty devices, an hour a file, as maintenance leaves them: written by DuckDB itself.
    let settings = super::settings(dir.path());
    super::super::duck::fill(&settings, rows);
    let gateway = Gateway::start(dir.path(), Backend::of("auto"), |_| {});
    while gateway.history.status().phase != Phase::Running {
        tokio::task::yield_now().await;
    }
    println!("{rows} rows, {} bytes, RSS {} MiB", folder_bytes(&dir.path().join("lake/files")), rss_mib());
    let last = rows - 180_000;
    for (name, condition, cols) in [
        ("count(*)", String::new(), "count(*) AS n"),
        ("one device's last hour", format!("dn = 'device3' AND n >= {last}"), "dn, n"),
        ("last 3 rows of one device", format!("dn = 'device3' AND n >= {last} ORDER BY n DESC LIMIT 3"), "dn, n"),
        ("average of every device", "1=1 GROUP BY dn".to_owned(), "dn, avg(n) AS a"),
    ] {
        let (mut times, mut peak) = (Vec::new(), 0);
        for _ in 0..20 {
            let began = gateway.clock.mono();
            gateway.query("query_readings", &condition, cols).await.unwrap();
            times.push(gateway.clock.mono().since(began));
            peak = peak.max(rss_mib());
        }
        times.sort_unstable();
        println!("{name}: p50 {:?}, p95 {:?}, RSS {peak} MiB", times[10], times[18]);
    }
    gateway.close().await;
}

/// What this process has caused to be written to the disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

fn folder_bytes(path: &std::path::Path) -> u64 {
    let metadata = std::fs::metadata(path).unwrap();
    if metadata.is_file() {
        return metadata.len();
    }
    std::fs::read_dir(path).unwrap().map(|entry| folder_bytes(&entry.unwrap().path())).sum()
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
