//! Published MQTT clients, as their users run them.

use crate::gateway::Gateway;
use crate::programs;

#[test]
fn paho_works_in_both_versions() {
    programs::run("mqtt_paho.py", &mut Gateway::start());
}

#[test]
fn gmqtt_works() {
    programs::run("mqtt_gmqtt.py", &mut Gateway::start());
}

#[test]
fn the_clients_of_mosquitto_work() {
    programs::tool("mosquitto_pub");
    programs::tool("mosquitto_sub");
    programs::run("mosquitto_clients.py", &mut Gateway::start());
}

#[test]
fn what_a_client_leaves_at_the_gateway_is_there_when_it_is_back_whatever_happened_to_the_gateway() {
    programs::run("mqtt_sessions.py", &mut Gateway::start());
}
