//! Side by side: the gateway and the brokers people use today, in the same run, on the same machine, interleaved.
//!
//! `bench/run` builds and starts this. It is a table, not a test: nothing here passes or fails.
//!
//! | Peer | Stands for |
//! |---|---|
//! | `mosquitto` | Debian's MQTT broker as installed: nothing on the disk |
//! | `mosquitto+disk` | its strongest persistence: the database written after each change (`autosave_interval 1` counts changes, with `autosave_on_changes true`); it is written whole, in one thread with the traffic, and acknowledgements do not wait for it |
//! | `rembus 0.8.23` | the Python broker; the disk once a second, acknowledgements before |
//!
//! CPU is user and system time of the broker's process from `/proc/PID/stat` (10 ms steps), divided by operations.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails stops, and says where")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its table goes to standard output")]

mod backlog;
mod broker;
mod components;
mod flow;
mod measure;
mod mqtt;
mod pki;
mod rembus;
mod replay;
mod table;

use broker::{Broker, Kind};
use components::Work;
use flow::Flow;
use measure::Measure;
use rumqttc::mqttbytes::QoS;
use table::Table;

/// What the command line asked for.
struct Wish {
    rounds: usize,
    only: Vec<String>,
    seconds: u64,
    peers: Vec<String>,
}

impl Wish {
    fn wants(&self, kind: Kind) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|name| name == kind.name())
    }
}

const USAGE: &str = "bench/run [--rounds N] [--seconds N] [--peer NAME]… [FLOW]…, all flows without a name; there are:";

/// What can be asked for.
fn flows() -> Vec<String> {
    let fixed = [
        "start",
        "qos1",
        "qos1-rembus",
        "idle",
        "idle-tls",
        "held",
        "latency",
        "rows",
        "rpc",
        "replay",
        "replay-q0",
        "backlog",
    ];
    let groups: std::collections::BTreeSet<_> = Flow::all().map(|flow| flow.group().to_owned()).collect();
    let works = Work::ALL.iter().map(|(name, ..)| (*name).to_owned());
    fixed.map(str::to_owned).into_iter().chain(works).chain(groups).chain(Flow::all().map(|flow| flow.name())).collect()
}

fn wish() -> Wish {
    let mut wish = Wish { rounds: 3, only: Vec::new(), seconds: 5, peers: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number after the flag");
        match argument.as_str() {
            "--peer" => wish.peers.push(arguments.next().expect("a name after --peer")),
            "--rounds" => wish.rounds = number(),
            "--seconds" => wish.seconds = number() as u64,
            "--bench" => {}
            "--help" => {
                println!("{USAGE}\n{}", flows().join(" "));
                std::process::exit(0);
            }
            name if flows().iter().any(|flow| flow == name) => wish.only.push(name.to_owned()),
            other => panic!("what is `{other}`?\n{USAGE}\n{}", flows().join(" ")),
        }
    }
    wish
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wish = wish();
    println!("bench/run {}", std::env::args().skip(1).filter(|a| a != "--bench").collect::<Vec<_>>().join(" "));
    println!("{}", broker::machine());
    let chosen = |name: &str| wish.only.is_empty() || wish.only.iter().any(|n| n == name);
    let mut tables = Vec::new();
    if chosen("start") {
        tables.push(start(&wish).await);
    }
    if chosen("qos1") {
        tables.push(
            compare(
                &wish,
                "MQTT QoS 1, one publisher, window 64, 100 B",
                &[Kind::GatewayPlain, Kind::Gateway, Kind::Mosquitto, Kind::MosquittoDisk],
                Measure::Qos1,
            )
            .await,
        );
    }
    if chosen("qos1-rembus") {
        tables.push(
            compare(
                &wish,
                "Rembus QoS 1, one publisher, window 64, 100 B",
                &[Kind::GatewayPlain, Kind::Python],
                Measure::Qos1Rembus,
            )
            .await,
        );
    }
    for flow in Flow::all().filter(|flow| chosen(&flow.name()) || wish.only.iter().any(|n| n == flow.group())) {
        let mut kinds = vec![Kind::GatewayPlain, Kind::Mosquitto];
        if flow.qos != QoS::AtMostOnce && !flow.tls {
            kinds.push(Kind::MosquittoDisk);
        }
        tables.push(compare(&wish, &flow.title(), &kinds, Measure::Flow(flow)).await);
    }
    for (name, count, tls) in [("idle", 1000, false), ("idle-tls", 1000, true), ("held", 10_000, false)] {
        if chosen(name) {
            let title = format!("{count} idle MQTT connections{}", if tls { ", TLS" } else { "" });
            tables.push(compare(&wish, &title, &[Kind::GatewayPlain, Kind::Mosquitto], Measure::Idle { count, tls }).await);
        }
    }
    if chosen("latency") {
        tables.push(
            compare(
                &wish,
                "MQTT to Rembus, QoS 0, 1,000 msg/s (mosquitto: MQTT to MQTT)",
                &[Kind::Gateway, Kind::Mosquitto, Kind::PythonBridge],
                Measure::Latency,
            )
            .await,
        );
    }
    if chosen("rows") {
        tables.push(
            compare(
                &wish,
                "telemetry into tables (gateway: MQTT QoS 1; Python: Rembus QoS 0), until the rows are in the lake",
                &[Kind::Gateway, Kind::Python],
                Measure::Rows,
            )
            .await,
        );
    }
    if chosen("rpc") {
        tables.push(compare(&wish, "RPC to `version`, 32 in flight", &[Kind::GatewayPlain, Kind::Python], Measure::Rpc).await);
    }
    for (name, title, work) in Work::ALL {
        if chosen(name) {
            tables.push(compare(&wish, title, &[Kind::GatewayPlain, Kind::Python], Measure::Components(work)).await);
        }
    }
    for (name, qos) in [("replay", QoS::AtLeastOnce), ("replay-q0", QoS::AtMostOnce)] {
        if chosen(name) {
            let title = format!("100,000 messages that a component missed, QoS {}, beside 1,000 msg/s to another", qos as u8);
            tables.push(compare(&wish, &title, &[Kind::GatewayPlain], Measure::Replay(qos)).await);
        }
    }
    if chosen("backlog") && wish.wants(Kind::GatewayPlain) {
        let mut table =
            Table::new("a backlog of 150 MB to a mosquitto, 1 kB each, and live traffic meanwhile", backlog::COLUMNS);
        for round in 0..wish.rounds {
            eprintln!("backlog: {}/{}", round + 1, wish.rounds);
            table.add(Kind::GatewayPlain.name(), &backlog::run().await);
        }
        tables.push(table);
    }
    for table in tables.iter().filter(|table| !table.is_empty()) {
        println!("\n{table}");
    }
}

/// Start to listening, and memory at rest.
async fn start(wish: &Wish) -> Table {
    let kinds = [Kind::Gateway, Kind::GatewayPlain, Kind::Mosquitto, Kind::Python];
    let mut table = Table::new("start and memory at rest", &["start ms", "RSS MB", "PSS MB"]);
    for _ in 0..wish.rounds {
        for kind in kinds.into_iter().filter(|kind| wish.wants(*kind)) {
            let broker = Broker::start(kind).await;
            // At rest: after what it does in the background when it starts.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let (rss, pss) = broker.memory_mb();
            table.add(kind.name(), &[broker.start_ms, rss, pss]);
        }
    }
    table
}

/// One measurement, each round on a fresh broker of each kind in turn.
async fn compare(wish: &Wish, title: &str, kinds: &[Kind], measure: Measure) -> Table {
    let mut table = Table::new(title, measure.columns());
    for round in 0..wish.rounds {
        for kind in kinds.iter().filter(|kind| wish.wants(**kind)) {
            eprintln!("{title}: {} {}/{}", kind.name(), round + 1, wish.rounds);
            let broker = Broker::start(*kind).await;
            // What it does in the background when it starts is measured elsewhere.
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let figures = measure.run(&broker, wish.seconds).await;
            table.add(kind.name(), &figures);
        }
    }
    table
}
