//! At work with an MQTT broker: publications both ways, calls both ways.

use super::super::backlog::Parcel;
use super::super::forward::{self, Happened, LinkError};
use super::super::marks;
use super::super::port::{Heard, Port};
use super::super::settings::{Direction, Remote, RpcBridge};
use super::super::stats::LinkStats;
use super::super::topic::{Rename, Rules};
use super::calls::{Calls, deadline};
use super::convert::{self, Expired};
use super::wire::Wire;
use crate::clock::SharedClock;
use crate::message::{Qos, Seq};
use crate::router::{Delivery, Filter, Refusal, Token};
use ahash::AHashMap;
use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::Event as WireEvent;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter as Wanted, Packet, PubAck, PubAckReason, Publish, PublishProperties, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Brokers acknowledge within milliseconds; a link by satellite takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often calls are looked at whether they have had their time.
const SWEEP: Duration = Duration::from_millis(500);
const GOODBYE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(in crate::bridge) struct Session {
    wire: Wire,
    port: Port,
    remote: Arc<Remote>,
    number: String,
    clock: SharedClock,
    stats: Arc<LinkStats>,
    /// What comes from there: topic here.
    rules: Rules<Rename>,
    /// Publications handed to rumqttc that have no packet id yet; `None` for those of calls.
    queued: VecDeque<Option<Seq>>,
    /// Publications with their packet id, not acknowledged.
    sent: AHashMap<u16, Option<Seq>>,
    /// What came in and is on its way to the disk.
    taken: AHashMap<Token, Publish>,
    /// Calls of callers there, by the topic of the answer here.
    calls_in: Calls,
    /// Calls of callers here, by the topic of the answer there.
    calls_out: Calls,
    sweep: tokio::time::Interval,
}

/// What a session waits for.
#[derive(Debug)]
pub(in crate::bridge) enum Event {
    Wire(Box<WireEvent>),
    Port(Heard),
    Sweep,
}

impl Session {
    /// Subscribes on both sides.
    pub(super) async fn begin(
        wire: Wire,
        port: Port,
        remote: Arc<Remote>,
        number: String,
        clock: SharedClock,
        stats: Arc<LinkStats>,
    ) -> Result<Self, LinkError> {
        let inward = remote.topics.iter().filter(|bridge| bridge.direction == Direction::In);
        let rules = inward.map(|bridge| (Filter::Mqtt(bridge.filter.clone()), bridge.rename.clone())).collect();
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut session = Self {
            wire,
            port,
            remote,
            number,
            clock,
            stats,
            rules: Rules::new(rules),
            queued: VecDeque::new(),
            sent: AHashMap::new(),
            taken: AHashMap::new(),
            calls_in: Calls::default(),
            calls_out: Calls::default(),
            sweep,
        };
        session.subscribe().await?;
        Ok(session)
    }

    async fn subscribe(&mut self) -> Result<(), LinkError> {
        let remote = Arc::clone(&self.remote);
        let wanted = |filter: &str, qos: Qos| Wanted {
            path: filter.to_owned(),
            qos: if qos == Qos::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            nolocal: true,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::OnNewSubscribe,
        };
        let topics = remote.topics.iter().filter(|bridge| bridge.direction == Direction::In);
        let mut filters: Vec<Wanted> = topics.map(|bridge| wanted(&bridge.filter, bridge.qos)).collect();
        for bridge in &remote.calls {
            match bridge.direction {
                Direction::In => filters.push(wanted(&bridge.service, Qos::AtLeastOnce)),
                Direction::Out => self.port.subscribe(bridge.service.clone()).await?,
            }
        }
        if !filters.is_empty() {
            self.wire.client.try_subscribe_many(filters).map_err(|error| LinkError::Broken(error.to_string()))?;
        }
        Ok(())
    }

    fn publish(
        &mut self,
        topic: String,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        properties: PublishProperties,
        seq: Option<Seq>,
    ) -> Result<(), LinkError> {
        let client = &self.wire.client;
        let handed = client.try_publish_with_properties(topic, qos, retain, payload, properties);
        handed.map_err(|error| LinkError::Broken(error.to_string()))?;
        self.queued.push_back(seq);
        Ok(())
    }

    async fn wire_says(&mut self, event: WireEvent) -> Result<Happened, LinkError> {
        match event {
            WireEvent::Outgoing(Outgoing::Publish(id)) => {
                let Some(seq) = self.queued.pop_front() else {
                    return Err(LinkError::Broken("the client sent what it was not given".to_owned()));
                };
                if id == 0 {
                    // QoS 0: nobody will say more about it.
                    return Ok(seq.map_or(Happened::Nothing, Happened::Acknowledged));
                }
                self.sent.insert(id, seq);
                Ok(Happened::Nothing)
            }
            WireEvent::Incoming(Packet::PubAck(ack)) => self.acknowledged(&ack),
            WireEvent::Incoming(Packet::Publish(publish)) => {
                self.arrived(publish).await?;
                Ok(Happened::Nothing)
            }
            WireEvent::Incoming(Packet::SubAck(ack)) => {
                self.subscribed(&ack);
                Ok(Happened::Nothing)
            }
            _ => Ok(Happened::Nothing),
        }
    }

    fn acknowledged(&mut self, ack: &PubAck) -> Result<Happened, LinkError> {
        let Some(Some(seq)) = self.sent.remove(&ack.pkid) else { return Ok(Happened::Nothing) };
        match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Happened::Acknowledged(seq)),
            // It will take them later.
            PubAckReason::QuotaExceeded | PubAckReason::UnspecifiedError | PubAckReason::ImplementationSpecificError => {
                Err(LinkError::Busy(format!("{:?}", ack.reason)))
            }
            reason => {
                log::warn!(link = self.remote.link.name.as_str(), reason:?; "the far end refuses a message; it is given up");
                Ok(Happened::Refused(seq, "refused"))
            }
        }
    }

    fn subscribed(&self, ack: &SubAck) {
        for code in ack.return_codes.iter().filter(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
            log::warn!(link = self.remote.link.name.as_str(), code:?; "the far end does not grant a subscription");
            self.stats.update(|report| report.trouble = Some(format!("a subscription is not granted: {code:?}")));
        }
    }

    fn ack(&self, publish: &Publish) -> Result<(), LinkError> {
        self.wire.client.try_ack(publish).map_err(|error| LinkError::Broken(error.to_string()))
    }

    /// A publication of the far end.
    async fn arrived(&mut self, publish: Publish) -> Result<(), LinkError> {
        let Ok(topic) = std::str::from_utf8(&publish.topic).map(str::to_owned) else { return self.ack(&publish) };
        if self.calls_out.is_reply(&topic) {
            self.ack(&publish)?;
            return self.answer_here(&topic, publish.payload).await;
        }
        if let Some((place, bridge)) = bridge_of(&self.remote, Direction::In, &topic) {
            self.ack(&publish)?;
            let until = deadline(self.clock.mono(), bridge.timeout);
            let Some(request) = self.calls_in.take(place, &publish.payload, bridge.in_flight_max, until) else {
                self.stats.dropped("no_call", 1);
                return Ok(());
            };
            self.stats.update(|report| report.calls += 1);
            let target = bridge.target.clone();
            self.port.subscribe(request.reply).await?;
            self.port.publish(target, request.payload.into(), Qos::AtLeastOnce, false, None).await?;
            return Ok(());
        }
        let Some(name) = self.rules.find(&topic).map(|rename| rename.apply(&topic)) else { return self.ack(&publish) };
        let properties = publish.properties.clone().map(convert::into_properties).unwrap_or_default();
        if marks::has(&properties, &self.number) {
            self.stats.dropped("loop", 1);
            return self.ack(&publish);
        }
        let qos = if publish.qos == QoS::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let properties = marks::stamped(properties, &self.number);
        let token = self.port.publish(name, publish.payload.clone(), qos, publish.retain, Some(properties)).await?;
        if qos == Qos::AtMostOnce {
            self.stats.update(|report| report.received += 1);
        } else {
            self.taken.insert(token, Publish { payload: Bytes::new(), properties: None, ..publish });
        }
        Ok(())
    }

    async fn port_says(&mut self, heard: Heard) -> Result<(), LinkError> {
        match heard {
            Heard::Accepted(token, outcome) => {
                let Some(publish) = self.taken.remove(&token) else { return Ok(()) };
                if outcome == Err(Refusal::TopicTooLong) {
                    // It would be too long in the next session too, and keep everything behind it from coming.
                    self.stats.dropped("topic_too_long", 1);
                    return self.ack(&publish);
                }
                // The far end keeps what is not acknowledged, and sends it in the next session.
                outcome.map_err(|refusal| LinkError::Local(refusal.name().to_owned()))?;
                self.stats.update(|report| report.received += 1);
                self.ack(&publish)
            }
            Heard::Delivery(delivery) => {
                self.port.written().await?;
                self.delivered(&delivery).await
            }
            Heard::Response(..) | Heard::Request(..) => Ok(()),
        }
    }

    /// A publication here, on the topic of a service or of an answer.
    async fn delivered(&mut self, delivery: &Delivery) -> Result<(), LinkError> {
        let message = &delivery.message;
        let payload = message.mqtt_body().0;
        if let Some(reply_to) = self.calls_in.answered(&message.topic) {
            self.port.unsubscribe(message.topic.clone()).await?;
            return self.publish(reply_to, payload.clone(), QoS::AtLeastOnce, false, PublishProperties::default(), None);
        }
        let Some((place, bridge)) = bridge_of(&self.remote, Direction::Out, &message.topic) else { return Ok(()) };
        if *message.publisher == *marks::origin("remote", &self.remote.link.name) {
            return Ok(());
        }
        let until = deadline(self.clock.mono(), bridge.timeout);
        let Some(request) = self.calls_out.take(place, payload, bridge.in_flight_max, until) else {
            self.stats.dropped("no_call", 1);
            return Ok(());
        };
        self.stats.update(|report| report.calls += 1);
        let target = bridge.target.clone();
        let subscribed = self.wire.client.try_subscribe(request.reply, QoS::AtLeastOnce);
        subscribed.map_err(|error| LinkError::Broken(error.to_string()))?;
        self.publish(target, request.payload.into(), QoS::AtLeastOnce, false, PublishProperties::default(), None)
    }

    /// An answer from there to a caller here.
    async fn answer_here(&mut self, reply: &str, payload: Bytes) -> Result<(), LinkError> {
        let Some(reply_to) = self.calls_out.answered(reply) else { return Ok(()) };
        self.port.publish(reply_to, payload, Qos::AtLeastOnce, false, None).await?;
        self.forget_there(reply)
    }

    fn forget_there(&self, reply: &str) -> Result<(), LinkError> {
        self.wire.client.try_unsubscribe(reply).map_err(|error| LinkError::Broken(error.to_string()))
    }

    async fn sweep(&mut self) -> Result<(), LinkError> {
        let now = self.clock.mono();
        for reply in self.calls_in.expired(now) {
            self.stats.dropped("no_answer", 1);
            self.port.unsubscribe(reply).await?;
        }
        for reply in self.calls_out.expired(now) {
            self.stats.dropped("no_answer", 1);
            self.forget_there(&reply)?;
        }
        Ok(())
    }
}

/// The RPC bridge of this service, and its place in the configuration.
fn bridge_of<'a>(remote: &'a Remote, direction: Direction, service: &str) -> Option<(usize, &'a RpcBridge)> {
    remote.calls.iter().enumerate().find(|(_, bridge)| bridge.direction == direction && bridge.service == service)
}

impl forward::Session for Session {
    type Event = Event;

    fn window(&self) -> usize {
        self.wire.window
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    async fn send(&mut self, parcel: Parcel) -> Result<Happened, LinkError> {
        let Parcel { seq, message, topic, qos } = parcel;
        let (body, properties) = match convert::out(&message, &self.number, self.clock.wall()) {
            Ok(converted) => converted,
            Err(Expired) => return Ok(Happened::Refused(seq, "expired")),
        };
        if convert::packet_bytes(&topic, &body, &properties) > self.wire.packet_max {
            return Ok(Happened::Refused(seq, "too_large"));
        }
        if topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.contains(['+', '#', '\0']) {
            return Ok(Happened::Refused(seq, "topic"));
        }
        let qos = if qos == Qos::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        self.publish(topic, body, qos, message.retain, properties, Some(seq))?;
        Ok(Happened::Nothing)
    }

    async fn hear(&mut self) -> Result<Event, LinkError> {
        tokio::select! {
            event = self.wire.events.recv() => match event {
                Some(event) => event.map(|event| Event::Wire(Box::new(event))),
                None => Err(LinkError::Broken("the client has ended".to_owned())),
            },
            heard = self.port.hear() => heard.map(Event::Port),
            _ = self.sweep.tick() => Ok(Event::Sweep),
        }
    }

    async fn act(&mut self, event: Event) -> Result<Happened, LinkError> {
        match event {
            Event::Wire(event) => self.wire_says(*event).await,
            Event::Port(heard) => self.port_says(heard).await.map(|()| Happened::Nothing),
            Event::Sweep => self.sweep().await.map(|()| Happened::Nothing),
        }
    }

    async fn close(mut self) {
        if self.wire.client.try_disconnect().is_ok() {
            // The end of the events is the end of the connection.
            let ended = async { while let Some(Ok(_)) = self.wire.events.recv().await {} };
            tokio::time::timeout(GOODBYE, ended).await.ok();
        }
    }
}
