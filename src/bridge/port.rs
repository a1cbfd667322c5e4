//! A link's own way into the router: like any client it publishes, calls, subscribes.
//!
//! It is not bound by users and rules: what goes through it is what the configuration names.

use super::forward::LinkError;
use crate::access::Identity;
use crate::clock::SharedClock;
use crate::message::{Dialect, Message, Payload, Properties, Qos};
use crate::router::{
    CallId, Delivery, Filter, HubHandle, HubStopped, Inbound, Link, LinkInfo, LinkReceiver, LinkSender, Outbound, Past,
    Refusal, RetainHandling, Status, Subscription, Token,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Port {
    sender: LinkSender,
    receiver: LinkReceiver,
    waiting: VecDeque<Outbound>,
    clock: SharedClock,
    publisher: Arc<str>,
    last_token: u64,
}

/// What the router says to a port.
#[derive(Debug)]
pub(super) enum Heard {
    /// A publication with this token is on the disk, or was refused.
    Accepted(Token, Result<(), Refusal>),
    /// The answer to a call.
    Response(Token, Status, Bytes),
    Delivery(Box<Delivery>),
    /// A call of a method that was exposed; wants an [`answer`](Port::answer), and a [`written`](Port::written).
    Request(CallId, Bytes),
}

impl Port {
    /// `publisher` is in whose name it publishes.
    pub(super) async fn open(hub: &HubHandle, clock: &SharedClock, publisher: &str) -> Result<Self, LinkError> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // A part of the gateway: nothing of it is held back as private, unlike from a component.
        let info = LinkInfo { dialect: Dialect::Internal, peer, identity: Identity::default() };
        let Link { sender, receiver } = hub.open(info).await.map_err(stopping)?;
        let (waiting, publisher) = (VecDeque::new(), publisher.into());
        Ok(Self { sender, receiver, waiting, clock: Arc::clone(clock), publisher, last_token: 0 })
    }

    fn token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    async fn say(&mut self, inbound: Inbound) -> Result<(), LinkError> {
        self.sender.send(vec![inbound]).await.map_err(stopping)
    }

    /// Publishes a message of MQTT. With QoS 1 [`Heard::Accepted`] follows.
    pub(super) async fn publish(
        &mut self,
        topic: String,
        payload: Bytes,
        qos: Qos,
        retain: bool,
        properties: Option<Properties>,
    ) -> Result<Token, LinkError> {
        let (received, publisher) = (self.clock.wall(), Arc::clone(&self.publisher));
        let mut message = Message::new(topic, Payload::Mqtt(payload), qos, received, Dialect::Mqtt, publisher);
        message.retain = retain;
        message.properties = properties.map(Box::new);
        let token = self.token();
        self.say(Inbound::Publish { message, token }).await?;
        Ok(token)
    }

    /// Calls a method; [`Heard::Response`] follows.
    pub(super) async fn call(&mut self, method: String, data: Bytes) -> Result<Token, LinkError> {
        let token = self.token();
        self.say(Inbound::Call { token, method, target: None, data }).await?;
        Ok(token)
    }

    /// Wants what is published on a topic, its own included, from now on.
    pub(super) async fn subscribe(&mut self, filter: String) -> Result<(), LinkError> {
        let subscription = Subscription {
            filter: Filter::Mqtt(filter),
            qos: Qos::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::DoNotSend,
            identifier: None,
            number: 0,
            past: Past::Nothing,
        };
        let token = self.token();
        self.say(Inbound::Subscribe { token, filters: vec![subscription] }).await
    }

    pub(super) async fn unsubscribe(&mut self, filter: String) -> Result<(), LinkError> {
        let token = self.token();
        self.say(Inbound::Unsubscribe { token, filters: vec![Filter::Mqtt(filter)] }).await
    }

    /// Offers a method from now on.
    pub(super) async fn expose(&mut self, method: String) -> Result<(), LinkError> {
        let token = self.token();
        self.say(Inbound::Expose { token, method }).await
    }

    /// Answers a [`Heard::Request`].
    pub(super) async fn answer(&mut self, call: CallId, status: Status, data: Bytes) -> Result<(), LinkError> {
        self.say(Inbound::Return { call, status, data }).await
    }

    /// Lets a delivery go, so that there is room for another.
    pub(super) async fn written(&mut self) -> Result<(), LinkError> {
        self.say(Inbound::Written { count: 1 }).await
    }

    /// The next thing that the router says. Cancel safe. Each [`Heard::Delivery`] wants a [`written`](Self::written).
    pub(super) async fn hear(&mut self) -> Result<Heard, LinkError> {
        loop {
            while let Some(outbound) = self.waiting.pop_front() {
                match outbound {
                    Outbound::Accepted { token, outcome, .. } => return Ok(Heard::Accepted(token, outcome)),
                    Outbound::Response { token, status, data } => return Ok(Heard::Response(token, status, data)),
                    Outbound::Request { call, data, .. } => return Ok(Heard::Request(call, data)),
                    Outbound::Deliver(delivery) => return Ok(Heard::Delivery(Box::new(delivery))),
                    Outbound::Subscribed { outcomes, .. } => {
                        if let Some(why) = outcomes.into_iter().find_map(Result::err) {
                            return Err(LinkError::Local(format!("a subscription was refused: {}", why.name())));
                        }
                    }
                    Outbound::Close(reason) => return Err(LinkError::Local(reason.name().to_owned())),
                    _ => {}
                }
            }
            self.waiting.extend(self.receiver.recv().await.ok_or_else(|| stopping(HubStopped))?);
        }
    }
}

fn stopping(_stopped: HubStopped) -> LinkError {
    LinkError::Stopping
}
