//! What the doors count about their connections; messages are the router's business.

use super::exposition::{Kind, Page};
use crate::{mqtt, rembus};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The counters of the doors that are open.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    pub mqtt: Option<Arc<mqtt::Stats>>,
    pub rembus: Option<Arc<rembus::Stats>>,
}

/// One door's counters under the names that the doors share.
struct Door<'a> {
    name: &'static str,
    accepted: &'a AtomicU64,
    half_open: &'a AtomicU64,
    accept_errors: &'a AtomicU64,
    /// By reason.
    ended: Vec<(&'static str, &'a AtomicU64)>,
}

impl Doors {
    fn open(&self) -> Vec<Door<'_>> {
        let mqtt = self.mqtt.as_deref().map(|stats| Door {
            name: "mqtt",
            accepted: &stats.accepted,
            half_open: &stats.half_open,
            accept_errors: &stats.accept_errors,
            ended: vec![
                ("refused", &stats.refused),
                ("abandoned", &stats.abandoned),
                ("malformed", &stats.malformed),
                ("silent", &stats.keep_alive_timeouts),
                ("stalled", &stats.stalled),
            ],
        });
        let rembus = self.rembus.as_deref().map(|stats| Door {
            name: "rembus",
            accepted: &stats.accepted,
            half_open: &stats.half_open,
            accept_errors: &stats.accept_errors,
            ended: vec![
                ("abandoned", &stats.abandoned),
                ("malformed", &stats.malformed),
                ("silent", &stats.silent),
                ("stalled", &stats.stalled),
            ],
        });
        mqtt.into_iter().chain(rembus).collect()
    }
}

pub(super) fn render(page: &mut Page, doors: &Doors) {
    let open = doors.open();
    let mut each = |name: &str, kind, help: &str, value: for<'a> fn(&Door<'a>) -> &'a AtomicU64| {
        let mut family = page.family(name, kind, help);
        for door in &open {
            family.labelled(&[("door", door.name)], value(door).load(Relaxed));
        }
    };
    each("door_accepted_total", Kind::Counter, "Connections accepted.", |door| door.accepted);
    each("door_half_open", Kind::Gauge, "Connections that have not said who they are yet.", |door| door.half_open);
    each("door_accept_errors_total", Kind::Counter, "Connections that could not be accepted.", |door| door.accept_errors);
    let mut ended = page.family(
        "door_ended_total",
        Kind::Counter,
        "Connections ended by the gateway: refused, abandoned before they were complete, malformed, silent, or not reading.",
    );
    for door in &open {
        for (reason, count) in &door.ended {
            ended.labelled(&[("door", door.name), ("reason", reason)], count.load(Relaxed));
        }
    }
    if let Some(mqtt) = &doors.mqtt {
        page.family("door_undeliverable_total", Kind::Counter, "Deliveries that a client's protocol or limits cannot carry.")
            .labelled(&[("door", "mqtt")], mqtt.undeliverable.load(Relaxed));
    }
}
