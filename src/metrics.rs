//! What the gateway counts, as Prometheus reads it.
//!
//! Nothing is counted here: the router, the log and history keep their own numbers, and a scrape takes one look at each and
//! writes it down. (That is why no metrics library is used: their value lies in cells that count.) The form is the Prometheus
//! text format 0.0.4. Names begin with `rembus_gateway_`, except the standard `process_…`.
//!
//! Two sums hold in every answer, so that a dashboard can prove that nothing just disappears:
//!
//! ```text
//! messages_received = messages_logged + messages_not_logged
//! copies = copies_delivered + copies_queued + copies_in_flight + copies_expired + Σ copies_dropped{reason}
//! ```

mod access;
mod bus;
mod commlib;
mod doors;
mod exposition;
mod history;
mod links;
mod process;

use crate::access::Counts;
use crate::bridge::LinkReport;
use crate::message::Seq;
use crate::router::Report;
use crate::wal::Health;
use crate::wear;
use exposition::{Kind, Page};
use std::sync::Arc;

pub use doors::Doors;
pub use history::{History, Table};
pub use process::Process;

/// The media type of [`Snapshot::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One look at everything.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// `None` if the router did not answer in time.
    pub router: Option<Report>,
    pub doors: Doors,
    pub log: Log,
    /// `None` without a schema.
    pub history: Option<History>,
    /// `None` if there is no login at all.
    pub access: Option<Counts>,
    pub commlib: Option<crate::commlib::Figures>,
    /// Links to other brokers.
    pub links: Vec<LinkReport>,
    /// `None` without a bus.
    pub bus: Option<Arc<crate::bus::Counts>>,
    pub process: Process,
}

/// The durable log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Log {
    pub written: Seq,
    pub durable: Seq,
    pub health: Health,
    pub segments: u64,
    pub bytes_on_disk: u64,
    pub commits: u64,
    pub syncs: u64,
    pub bytes_written: u64,
    pub oldest: Seq,
    /// What is written to the card, by the log and everybody else.
    pub wear: wear::Figures,
}

impl Snapshot {
    /// The page that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::new("rembus_gateway_");
        page.family("build_info", Kind::Gauge, "Version that runs; always 1.")
            .labelled(&[("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)], 1);
        page.one("router_up", Kind::Gauge, "1 if the router answered this scrape.", u64::from(self.router.is_some()));
        if let Some(report) = &self.router {
            messages(&mut page, report);
            copies(&mut page, report);
            tables(&mut page, report);
        }
        doors::render(&mut page, &self.doors);
        if let Some(counts) = &self.bus {
            bus::render(&mut page, counts);
        }
        if let Some(counts) = &self.access {
            access::render(&mut page, counts);
        }
        log(&mut page, &self.log);
        if let Some(figures) = &self.commlib {
            commlib::render(&mut page, figures);
        }
        if let Some(history) = &self.history {
            history::render(&mut page, history, self.log.written);
        }
        links::render(&mut page, &self.links);
        process::render(&mut page, &self.process);
        page.finish()
    }
}

fn messages(page: &mut Page, report: &Report) {
    // Doors show up with their first message or connection; from then on a rate can be computed.
    page.family("messages_received_total", Kind::Counter, "Messages accepted from publishers.").each("door", &report.received);
    page.family("messages_refused_total", Kind::Counter, "Publications refused with an error to the sender.")
        .each("reason", &report.refused);
    page.one("messages_logged_total", Kind::Counter, "Messages handed to the durable log.", report.logged);
    page.one(
        "messages_not_logged_total",
        Kind::Counter,
        "QoS 0 messages that were routed without being logged, because the log was behind or full.",
        report.not_logged,
    );
    page.one("messages_unmatched_total", Kind::Counter, "Messages that nobody had subscribed to.", report.unmatched);
}

fn copies(page: &mut Page, report: &Report) {
    page.one("copies_total", Kind::Counter, "Copies of messages made for subscribers.", report.copies);
    page.one(
        "copies_delivered_total",
        Kind::Counter,
        "Copies that arrived: QoS 0 written to the socket, QoS 1 and 2 acknowledged by the subscriber.",
        report.delivered,
    );
    page.one("copies_queued", Kind::Gauge, "Copies waiting for their subscriber.", report.queued);
    page.one("copies_in_flight", Kind::Gauge, "Copies sent and not yet written or acknowledged.", report.in_flight);
    page.one("copies_expired_total", Kind::Counter, "Copies that became too old to deliver.", report.expired);
    page.family("copies_dropped_total", Kind::Counter, "Copies given up, by reason.").each("reason", &report.dropped);
}

fn tables(page: &mut Page, report: &Report) {
    page.family("connections", Kind::Gauge, "Open connections.").each("door", &report.connections);
    page.one("sessions", Kind::Gauge, "Sessions of clients and components.", report.sessions);
    page.one("sessions_offline", Kind::Gauge, "Sessions whose client is away.", report.sessions_offline);
    page.one(
        "state_set_aside_total",
        Kind::Counter,
        "Stored sessions, subscriptions and methods with names beyond the limits, not taken back at the start.",
        report.set_aside,
    );
    page.one("sessions_expired_total", Kind::Counter, "Sessions that nobody came back to in time.", report.sessions_expired);
    page.family("sessions_ended_total", Kind::Counter, "Sessions that ended before their time, by reason.")
        .each("reason", &report.sessions_ended);
    page.one(
        "accounts",
        Kind::Gauge,
        "Users, and addresses of clients that did not log in, that use anything.",
        report.accounts,
    );
    page.family("account_heaviest", Kind::Gauge, "The most that one user or address has of what is shared.")
        .each("resource", &report.heaviest);
    page.one("queued_bytes", Kind::Gauge, "Size of what waits in the queues of all sessions.", report.queued_bytes);
    page.one("retained_messages", Kind::Gauge, "Topics with a retained message.", report.retained);
    page.one("retained_bytes", Kind::Gauge, "Size of the retained messages.", report.retained_bytes);
    page.one(
        "messages_not_retained_total",
        Kind::Counter,
        "Messages that found no room among the retained ones; they were delivered.",
        report.not_retained,
    );
    page.one(
        "retained_gave_way_total",
        Kind::Counter,
        "Retained messages that gave way to those of users who had fewer.",
        report.retained_gave_way,
    );
    page.one("shared_groups", Kind::Gauge, "Groups of shared subscriptions.", report.shared_groups);
    page.one("subscriptions", Kind::Gauge, "Filters subscribed to.", report.subscriptions);
    page.one("subscriptions_bytes", Kind::Gauge, "Memory that these filters take.", report.subscriptions_bytes);
    page.one(
        "recent_topics_bytes",
        Kind::Gauge,
        "Memory of the answers for topics that were published lately.",
        report.recent_topics_bytes,
    );
    page.one("services", Kind::Gauge, "Methods exposed by components.", report.services);
    page.one("calls_total", Kind::Counter, "Remote procedure calls received.", report.calls);
    page.one(
        "calls_refused_total",
        Kind::Counter,
        "Calls refused because their caller had too many under way.",
        report.calls_refused,
    );
    page.one("calls_pending", Kind::Gauge, "Calls waiting for their answer.", report.calls_pending);
    page.one("acks_waiting", Kind::Gauge, "Acknowledgements waiting for the disk.", report.acks_waiting);
}

fn log(page: &mut Page, log: &Log) {
    let mut health = page.family("log_health", Kind::Gauge, "State of the durable log; exactly one is 1.");
    for (name, state) in [("fine", Health::Fine), ("full", Health::Full), ("poisoned", Health::Poisoned)] {
        health.labelled(&[("state", name)], u64::from(log.health == state));
    }
    page.one("log_written_seq", Kind::Gauge, "Newest record (message or command) in the log.", log.written.0);
    page.one("log_durable_seq", Kind::Gauge, "Newest record that survives a power cut.", log.durable.0);
    page.one("log_oldest_seq", Kind::Gauge, "Oldest record still in the log; 0 if it is empty.", log.oldest.0);
    page.one(
        "log_unsynced_records",
        Kind::Gauge,
        "Records in the log that a power cut would lose; none of them was acknowledged.",
        log.written.0.saturating_sub(log.durable.0),
    );
    page.one("log_segments", Kind::Gauge, "Files of the log.", log.segments);
    page.one("log_disk_bytes", Kind::Gauge, "Room that the log takes on the disk.", log.bytes_on_disk);
    page.one("log_commits_total", Kind::Counter, "Group commits, each of which made records durable.", log.commits);
    page.one("log_syncs_total", Kind::Counter, "Times the disk was asked to sync.", log.syncs);
    page.one("log_written_bytes_total", Kind::Counter, "Bytes written to the log.", log.bytes_written);
    if let Some(bytes) = log.wear.process_bytes {
        page.one("written_bytes_total", Kind::Counter, "Bytes that the gateway has caused to be written to the disk.", bytes);
    }
    if let Some(bytes) = log.wear.device_bytes {
        page.one(
            "device_written_bytes_total",
            Kind::Counter,
            "Bytes written to the disk of the data folder, by anybody.",
            bytes,
        );
    }
    page.one(
        "written_bytes_last_day",
        Kind::Gauge,
        "Bytes that the gateway has caused to be written in the last 24 hours.",
        log.wear.day_bytes,
    );
    if let Some(bytes) = log.wear.budget {
        page.one("write_budget_bytes", Kind::Gauge, "Bytes that may be written in a day.", bytes);
    }
    page.family(
        "commit_stretch",
        Kind::Gauge,
        "So many times rarer than configured are commits and batches, because the write budget is short.",
    )
    .labelled(&[], log.wear.stretch);
}

#[cfg(test)]
mod tests;
