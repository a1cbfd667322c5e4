//! Figures, on request:
//! `cargo test --release --lib history::engine::tests::measure -- --ignored --nocapture`, or one of them by name:
//! `RATE=500 COMMIT_MS=50 … an_hour_of_writing`, `ROWS=10000000 … queries_on_many_rows`. `bench/lake` does it all.

use super::gateway::Gateway;
use crate::history::{Backend, Phase};

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
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
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

/// Bytes written for each payload byte, and files and catalog afterwards, over a simulated hour. `$RATE` messages a second with a
/// commit every `$COMMIT_MS`; the clock is the machine's, so what takes an hour in the field takes as long as the disk needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn an_hour_of_writing() {
    let number = |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rate, commit_ms) = (number("RATE", 500), number("COMMIT_MS", 50));
    let seconds = number("SECONDS", 3600);
    let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let gateway = Gateway::start(dir.path(), Backend::of("auto"), |settings| {
        settings.batch_rows = (rate * 60).min(20_000);
        settings.maintenance = std::time::Duration::from_secs(86_400);
    });
    let before = written();
    let per_commit = (rate * commit_ms / 1000).max(1);
    let (mut payload, mut sent) = (0, 0);
    while sent < rate * seconds {
        let device = format!("device{}/readings", sent % 20);
        // A hundred bytes, as the figures ask for.
        let messages: Vec<String> = (0..per_commit)
            .map(|n| format!("{:<100}", format!(r#"{{"n":{},"some":"thing","more":1.25}}"#, sent + n)))
            .collect();
        payload += messages.iter().map(String::len).sum::<usize>();
        sent += messages.len();
        let last = gateway.publish_all(&device, messages).await;
        gateway.log().sync(last).await.unwrap();
    }
    while gateway.history.status().ingested.0 < sent as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    gateway.close().await;
    let batches = written();
    let gateway =
        Gateway::start(dir.path(), Backend::of("auto"), |settings| settings.maintenance = std::time::Duration::from_millis(1));
    while gateway.history.status().tidied.passes < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    gateway.close().await;
    let merged = written();
    let size = |path: &str| folder_bytes(&dir.path().join(path));
    let times = |bytes: u64| bytes as f64 / payload as f64;
    println!("{rate}/s, a commit every {commit_ms} ms: {sent} messages, {payload} bytes of payload");
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
