//! Figures, on request:
//! `cargo test --release --lib history::engine::tests::measure -- --ignored --nocapture`

use super::gateway::Gateway;
use crate::history::Phase;

const ROWS: usize = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let before = rss_mib();
    let gateway = Gateway::start(dir.path(), |_| {});
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

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
