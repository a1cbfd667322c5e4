//! The published rembus package, as its users run it.

use crate::gateway::Gateway;
use crate::programs;

#[test]
fn asynchronous_components_work() {
    programs::run("rembus_component.py", &mut Gateway::start());
}

#[test]
fn synchronous_nodes_work() {
    programs::run("rembus_node.py", &mut Gateway::start());
}

#[test]
fn clients_reconnect_by_themselves_after_a_kill() {
    programs::run("reconnecting.py", &mut Gateway::start());
}

#[test]
fn components_get_what_they_missed() {
    programs::run("rembus_replay.py", &mut Gateway::start());
}
