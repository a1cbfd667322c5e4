//! Every publisher with every subscriber, every caller with every service.

use crate::gateway::Plan;
use crate::programs;

#[test]
fn every_publisher_reaches_every_subscriber_and_every_caller_every_service() {
    let expose = r#"[{ service = "matrix.rembus.double", rembus = "matrix_rembus_double", args = ["x"] },
                     { service = "matrix.bus.double", rembus = "bus/matrix.bus/double", args = ["x"] }]"#;
    let plan = Plan::without_history().set("commlib.topics", "matrix_commlib.*").set("commlib.expose", expose);
    programs::run("matrix.py", &mut plan.start());
}
