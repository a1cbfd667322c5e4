//! What the doors count about their connections; messages are the router's business.

use super::exposition::{Kind, Page};
use crate::door::Stats;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The counters of the doors that are open, by name.
pub type Doors = BTreeMap<&'static str, Arc<Stats>>;

pub(super) fn render(page: &mut Page, doors: &Doors) {
    let mut each = |name: &str, kind, help: &str, counter: fn(&Stats) -> &AtomicU64| {
        let mut family = page.family(name, kind, help);
        for (door, stats) in doors {
            family.labelled(&[("door", door)], counter(stats).load(Relaxed));
        }
    };
    each("door_accepted_total", Kind::Counter, "Connections accepted.", |stats| &stats.accepted);
    each("door_half_open", Kind::Gauge, "Connections that have not said who they are yet.", |stats| &stats.half_open);
    each("door_accept_errors_total", Kind::Counter, "Connections that could not be accepted.", |stats| &stats.accept_errors);
    each("door_undeliverable_total", Kind::Counter, "Deliveries that a client's protocol or limits cannot carry.", |stats| {
        &stats.undeliverable
    });
    let mut ended = page.family(
        "door_ended_total",
        Kind::Counter,
        "Connections ended by the gateway: refused, without a proper transport, abandoned before they were complete, malformed, \
         silent, or not reading.",
    );
    for (door, stats) in doors {
        let reasons = [
            ("refused", &stats.refused),
            ("transport", &stats.transport),
            ("abandoned", &stats.abandoned),
            ("malformed", &stats.malformed),
            ("silent", &stats.silent),
            ("stalled", &stats.stalled),
        ];
        for (reason, count) in reasons {
            ended.labelled(&[("door", door), ("reason", reason)], count.load(Relaxed));
        }
    }
}
