//! What a new user does first: a reading comes in, a component is told, history answers, and a `kill -9` costs nothing.

use crate::gateway::Gateway;
use crate::programs;

#[test]
fn a_reading_is_heard_kept_and_found_again_after_kill_9() {
    programs::tool("mosquitto_pub");
    programs::run("first_light.py", &mut Gateway::start());
}
