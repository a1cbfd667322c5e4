//! What the gateway does for commlib nodes.

use super::exposition::{Kind, Page};
use crate::commlib::Figures;

pub(super) fn render(page: &mut Page, figures: &Figures) {
    let Figures { calls, calls_pending, served, served_pending, goals, goals_running, actions, nodes, node_changes } = figures;
    page.family("commlib_calls_total", Kind::Counter, "Calls of commlib services for Rembus components, by outcome.")
        .each("outcome", calls);
    page.one("commlib_calls_pending", Kind::Gauge, "Calls of commlib services under way.", *calls_pending);
    page.family("commlib_served_total", Kind::Counter, "Requests of commlib callers for Rembus methods, by outcome.")
        .each("outcome", served);
    page.one("commlib_served_pending", Kind::Gauge, "Requests of commlib callers under way.", *served_pending);
    page.one("actions", Kind::Gauge, "Actions that components serve.", *actions);
    page.one("action_goals_running", Kind::Gauge, "Goals that components work on.", *goals_running);
    page.family("action_goals_total", Kind::Counter, "Goals of actions that components serve, by their end.")
        .each("end", goals);
    let mut states = page.family("commlib_nodes", Kind::Gauge, "commlib nodes by what their heartbeats say.");
    for (state, count) in ["alive", "late", "gone"].into_iter().zip(nodes) {
        states.labelled(&[("state", state)], *count);
    }
    page.one("commlib_node_changes_total", Kind::Counter, "Times a commlib node came, was late or went.", *node_changes);
}
