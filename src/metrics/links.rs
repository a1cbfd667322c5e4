//! What links to other brokers count.

use super::exposition::{Kind, Page};
use crate::bridge::LinkReport;

pub(super) fn render(page: &mut Page, links: &[LinkReport]) {
    if links.is_empty() {
        return;
    }
    let mut family = |name: &str, kind: Kind, help: &str, value: fn(&LinkReport) -> u64| {
        let mut samples = page.family(name, kind, help);
        for link in links {
            samples.labelled(&[("kind", &link.kind), ("name", &link.name)], value(link));
        }
    };
    family("link_up", Kind::Gauge, "1 if the link to another broker works.", |link| u64::from(link.connected));
    family("link_connections_total", Kind::Counter, "Sessions with the far end.", |link| link.connections);
    family("link_forwarded_total", Kind::Counter, "Messages that the far end acknowledged.", |link| link.forwarded);
    family("link_received_total", Kind::Counter, "Messages of the far end that were published here.", |link| link.received);
    family("link_calls_total", Kind::Counter, "Calls passed on, in either direction.", |link| link.calls);
    family("link_waiting_records", Kind::Gauge, "Records of the log that the link has not passed.", |link| {
        link.waiting_records
    });
    family("link_waiting_bytes", Kind::Gauge, "Bytes of the log that the link has not passed.", |link| link.waiting_bytes);
    family("link_waiting_seconds", Kind::Gauge, "How long the oldest message waits for the far end.", |link| link.waiting_s);
    let mut dropped = page.family("link_dropped_total", Kind::Counter, "Messages and calls given up, by reason.");
    for link in links {
        for (reason, count) in &link.dropped {
            dropped.labelled(&[("kind", &link.kind), ("name", &link.name), ("reason", reason)], count);
        }
    }
}
