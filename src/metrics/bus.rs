//! What passes between programs on the bus by name; their publications are messages like all others.

use super::exposition::{Kind, Page};
use crate::bus::Counts;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn render(page: &mut Page, counts: &Counts) {
    let sent = [("message", &counts.messages), ("broadcast", &counts.broadcasts)];
    let mut family = page.family("bus_frames_total", Kind::Counter, "Frames that programs sent to others by name.");
    for (kind, count) in sent {
        family.labelled(&[("kind", kind)], count.load(Relaxed));
    }
    let dropped = [("queue_full", &counts.queue_full), ("nobody", &counts.nobody), ("denied", &counts.denied)];
    let help = "Frames that did not get into a program's queue; the sender was told if it asked for an acknowledgement.";
    let mut family = page.family("bus_frames_dropped_total", Kind::Counter, help);
    for (reason, count) in dropped {
        family.labelled(&[("reason", reason)], count.load(Relaxed));
    }
}
