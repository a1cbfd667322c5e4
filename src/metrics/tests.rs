use super::*;

use std::sync::Arc;
use std::sync::atomic::Ordering;

fn counts<const N: usize>(pairs: [(&'static str, u64); N]) -> std::collections::BTreeMap<&'static str, u64> {
    pairs.into_iter().collect()
}

fn doors() -> Doors {
    let doors = Doors::from([("mqtt", Arc::default()), ("rembus", Arc::default())]);
    let (mqtt, rembus) = (&doors["mqtt"], &doors["rembus"]);
    let counts = [
        (&mqtt.accepted, 40),
        (&mqtt.half_open, 1),
        (&mqtt.refused, 2),
        (&mqtt.abandoned, 3),
        (&mqtt.malformed, 4),
        (&mqtt.silent, 5),
        (&mqtt.stalled, 6),
        (&mqtt.undeliverable, 7),
        (&rembus.accepted, 9),
        (&rembus.abandoned, 8),
        (&rembus.silent, 1),
    ];
    for (counter, value) in counts {
        counter.store(value, Ordering::Relaxed);
    }
    doors
}

fn bus() -> Arc<crate::bus::Counts> {
    let bus = crate::bus::Counts::default();
    for (counter, value) in
        [(&bus.messages, 30), (&bus.broadcasts, 4), (&bus.queue_full, 2), (&bus.nobody, 1), (&bus.denied, 3)]
    {
        counter.store(value, Ordering::Relaxed);
    }
    Arc::new(bus)
}

fn snapshot() -> Snapshot {
    let rejected = [("column \"t\": not a number".to_owned(), 3)].into_iter().collect();
    let table = Table { rows_in_lake: 1000, rows_in_tail: 20, rows_taken: 1020, rejected, rows_evicted: 0, refused: None };
    Snapshot {
        router: Some(Report {
            received: counts([("mqtt", 90), ("rembus", 10)]),
            refused: counts([("disk_full", 2)]),
            logged: 95,
            not_logged: 5,
            unmatched: 40,
            copies: 60,
            delivered: 50,
            queued: 4,
            in_flight: 3,
            expired: 1,
            dropped: counts([("disconnected", 1), ("queue_full", 1)]),
            connections: counts([("mqtt", 12), ("rembus", 2)]),
            sessions: 14,
            subscriptions: 9,
            subscriptions_bytes: 9_000,
            recent_topics_bytes: 800,
            services: 2,
            calls: 77,
            calls_pending: 1,
            acks_waiting: 6,
            not_retained: 1,
            retained: 7,
            retained_bytes: 700,
            queued_bytes: 400,
            sessions_offline: 3,
            sessions_expired: 2,
            sessions_ended: [("user_limit", 4)].into(),
            retained_gave_way: 5,
            accounts: 6,
            heaviest: [("sessions", 7)].into(),
            calls_refused: 8,
            set_aside: 1,
            shared_groups: 1,
        }),
        doors: doors(),
        bus: Some(bus()),
        log: Log {
            written: Seq(95),
            durable: Seq(90),
            health: Health::Fine,
            segments: 2,
            bytes_on_disk: 16 << 20,
            commits: 30,
            syncs: 31,
            bytes_written: 123_456,
            oldest: Seq(1),
            wear: crate::wear::Figures {
                process_bytes: Some(1 << 20),
                device_bytes: Some(3 << 20),
                day_bytes: 1 << 19,
                budget: Some(1 << 30),
                stretch: 1.5,
            },
        },
        history: Some(History {
            ingested: Seq(94),
            covered: Seq(60),
            lag: 1,
            batches: 5,
            queries: 8,
            queries_failed: 1,
            tables: [("telemetry".to_owned(), table)].into_iter().collect(),
            ..History::default()
        }),
        commlib: Some(crate::commlib::Figures {
            calls: counts([("ok", 40), ("timeout", 2)]),
            calls_pending: 1,
            served: counts([("ok", 7)]),
            served_pending: 0,
            goals: counts([("succeeded", 3)]),
            goals_running: 1,
            actions: 2,
            nodes: [3, 1, 0],
            node_changes: 5,
        }),
        access: Some(Counts {
            logins: 31,
            refused: counts([("credentials", 4)]),
            denied: counts([("publish", 5), ("subscribe", 1)]),
            withheld: 6,
            throttled: 1,
            users: 3,
            keys: 2,
            rules: 9,
        }),
        links: vec![LinkReport {
            kind: "remote".into(),
            name: "cloud".into(),
            connected: true,
            connections: 3,
            forwarded: 1000,
            received: 50,
            calls: 7,
            waiting_records: 12,
            waiting_bytes: 3456,
            waiting_s: 9,
            dropped: [("refused".into(), 2), ("too_large".into(), 1)].into(),
            ..LinkReport::default()
        }],
        process: Process {
            cpu_seconds: 1.25,
            resident_bytes: 31_457_280,
            virtual_bytes: 1_073_741_824,
            open_fds: 21,
            max_fds: 1024,
            threads: 5,
            start_seconds: 1_795_250_000.5,
        },
    }
}

fn sample(page: &str, name: &str) -> f64 {
    let of_family = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines().filter(of_family).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[test]
fn prometheus_reads_every_number_with_help() {
    let page = snapshot().render().replace(&format!("arch=\"{}\"", std::env::consts::ARCH), "arch=\"ARCH\"");
    insta::assert_snapshot!(page);
}

#[test]
fn nothing_just_disappears() {
    let page = snapshot().render();
    let value = |name: &str| sample(&page, &format!("rembus_gateway_{name}"));
    assert_eq!(value("messages_received_total"), value("messages_logged_total") + value("messages_not_logged_total"));
    assert_eq!(
        value("copies_total"),
        value("copies_delivered_total")
            + value("copies_queued")
            + value("copies_in_flight")
            + value("copies_expired_total")
            + value("copies_dropped_total")
    );
}

#[test]
fn a_router_that_does_not_answer_is_visible() {
    let page = Snapshot { router: None, ..snapshot() }.render();
    assert_eq!(sample(&page, "rembus_gateway_router_up"), 0.0);
    assert_eq!(sample(&page, "rembus_gateway_log_durable_seq"), 90.0);
    assert!(!page.contains("copies"));
}

#[test]
fn without_a_schema_there_is_no_history_to_count() {
    let page = Snapshot { history: None, ..snapshot() }.render();
    assert!(!page.contains("history"), "{page}");
}
