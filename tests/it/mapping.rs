//! Between MQTT and Rembus, with published clients at both ends.

use crate::gateway::Gateway;
use crate::programs;

#[test]
fn messages_cross_between_mqtt_and_rembus() {
    programs::run("mapping.py", &mut Gateway::start());
}
