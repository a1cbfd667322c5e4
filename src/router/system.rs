//! `$SYS`: figures about the gateway as retained messages, under the names that mosquitto made usual (`mosquitto(8)`, "Broker
//! status"). They are not logged and not kept over a restart: nobody acknowledges them, and the disk is for others.

use super::core::Router;
use super::event::Effect;
use super::timers::Timer;
use crate::message::{Dialect, Message, Payload, Qos};
use std::time::Duration;

/// Load averages: exponential, like those of Unix, over so many minutes.
const LOADS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

#[derive(Debug, Default)]
pub(super) struct System {
    /// Messages received and copies delivered at the last round.
    last: [u64; 2],
    loads: [[f64; 3]; 2],
    /// What was said last, so that only news is told.
    told: std::collections::BTreeMap<&'static str, String>,
}

impl Router {
    /// Starts the figures, if they are wanted.
    pub fn start_system(&mut self) {
        if !self.options.system_interval.is_zero() {
            self.timers.set(self.now.mono, Timer::System);
        }
    }

    pub(super) fn tell_system(&mut self, effects: &mut Vec<Effect>) {
        let interval = self.options.system_interval;
        self.timers.set(self.now.mono.plus(interval), Timer::System);
        for (name, value) in self.figures(interval) {
            if self.system.told.get(name).is_some_and(|told| *told == value) {
                continue;
            }
            self.system.told.insert(name, value.clone());
            let payload = Payload::Mqtt(value.into_bytes().into());
            let topic = format!("$SYS/broker/{name}");
            let publisher = self.options.name.as_str().into();
            let mut message = Message::new(topic, payload, Qos::AtMostOnce, self.now.wall, Dialect::Internal, publisher);
            message.retain = true;
            self.publish_own(None, message, effects);
        }
    }

    fn figures(&mut self, interval: Duration) -> Vec<(&'static str, String)> {
        let report = self.report();
        let connected: u64 = report.connections.values().sum();
        let dialects = [Dialect::Mqtt.name(), Dialect::Rembus.name(), Dialect::Bus.name()];
        let received: u64 = dialects.iter().filter_map(|name| report.received.get(name)).sum();
        let dropped: u64 = report.dropped.values().sum();
        let stored = report.retained + report.queued;
        let mut figures = vec![
            ("version", format!("rembus-gateway version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{} seconds", self.now.mono.since(crate::clock::Mono::default()).as_secs())),
            ("clients/total", (connected + report.sessions_offline).to_string()),
            ("clients/connected", connected.to_string()),
            ("clients/active", connected.to_string()),
            ("clients/disconnected", report.sessions_offline.to_string()),
            ("clients/inactive", report.sessions_offline.to_string()),
            ("clients/maximum", self.counters.connections_max.to_string()),
            ("clients/expired", report.sessions_expired.to_string()),
            ("messages/received", received.to_string()),
            ("messages/sent", report.delivered.to_string()),
            ("messages/stored", stored.to_string()),
            ("store/messages/count", stored.to_string()),
            ("store/messages/bytes", (report.retained_bytes + report.queued_bytes).to_string()),
            ("publish/messages/received", received.to_string()),
            ("publish/messages/sent", report.delivered.to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("retained messages/count", report.retained.to_string()),
            ("subscriptions/count", report.subscriptions.to_string()),
            ("shared_subscriptions/count", report.shared_groups.to_string()),
        ];
        let names = [
            ["load/publish/received/1min", "load/publish/received/5min", "load/publish/received/15min"],
            ["load/publish/sent/1min", "load/publish/sent/5min", "load/publish/sent/15min"],
        ];
        let minutes = interval.as_secs_f64() / 60.0;
        for (kind, total) in [received, report.delivered].into_iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "an average of messages in a minute")]
            let rate = (total - self.system.last[kind]) as f64 / minutes;
            self.system.last[kind] = total;
            for (span, (_, over)) in LOADS.iter().enumerate() {
                let load = &mut self.system.loads[kind][span];
                *load = rate + (*load - rate) * (-minutes / over).exp();
                figures.push((names[kind][span], format!("{load:.2}")));
            }
        }
        figures
    }
}
