//! A request's link to the router: it asks, hears all the answers, and is gone.

use super::{Api, Failure};
use crate::access::Identity;
use crate::message::{Dialect, Message, Payload, Qos};
use crate::router::{HubStopped, Inbound, Link, LinkInfo, LinkReceiver, LinkSender, Outbound, Refusal, Status, Token};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// What can be asked.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Call { method: String, target: Option<String>, data: Bytes },
    Publish { topic: String, data: Bytes },
}

/// What became of a wish.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Answer(Status, Bytes),
    /// Durable, or refused.
    Published(Result<(), Refusal>),
}

#[derive(Debug)]
pub(super) struct Guest {
    sender: LinkSender,
    receiver: LinkReceiver,
    clock: crate::clock::SharedClock,
    publisher: Arc<str>,
}

impl From<HubStopped> for Failure {
    fn from(_: HubStopped) -> Self {
        Self::stopping()
    }
}

impl Guest {
    pub(super) async fn enter(api: &Api, peer: SocketAddr, identity: Identity) -> Result<Self, Failure> {
        let user = identity.user.clone();
        let Link { sender, receiver } = api.hub.open(LinkInfo { dialect: Dialect::Rembus, peer, identity }).await?;
        let publisher = user.unwrap_or_else(|| format!("~{}", sender.id().0).into());
        Ok(Self { sender, receiver, clock: Arc::clone(&api.clock), publisher })
    }

    /// Asks everything at once; the outcomes come in the order of the wishes.
    pub(super) async fn ask(&mut self, wishes: Vec<Wish>) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; wishes.len()];
        let asked = wishes.into_iter().zip(1..).map(|(wish, number)| self.inbound(wish, Token(number))).collect();
        self.sender.send(asked).await?;
        let mut open = outcomes.len();
        while open > 0 {
            for outbound in self.receiver.recv().await.ok_or(HubStopped)? {
                let (token, outcome) = match outbound {
                    Outbound::Response { token, status, data } => (token, Outcome::Answer(status, data)),
                    Outbound::Accepted { token, outcome, .. } => (token, Outcome::Published(outcome)),
                    Outbound::Close(_) => return Err(Failure::stopping()),
                    _ => continue,
                };
                let place = usize::try_from(token.0).ok().and_then(|number| outcomes.get_mut(number.checked_sub(1)?));
                if let Some(place @ None) = place {
                    *place = Some(outcome);
                    open -= 1;
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    pub(super) async fn ask_one(&mut self, wish: Wish) -> Result<Outcome, Failure> {
        Ok(self.ask(vec![wish]).await?.remove(0))
    }

    fn inbound(&self, wish: Wish, token: Token) -> Inbound {
        match wish {
            Wish::Call { method, target, data } => Inbound::Call { token, method, target, data },
            Wish::Publish { topic, data } => {
                let (received, publisher) = (self.clock.wall(), Arc::clone(&self.publisher));
                let qos = Qos::AtLeastOnce;
                let message = Message::new(topic, Payload::Rembus(data), qos, received, Dialect::Rembus, publisher);
                Inbound::Publish { message, token }
            }
        }
    }

    /// Sends one command and returns the first answer that `pick` takes.
    pub(super) async fn command<T>(
        &mut self,
        inbound: Inbound,
        mut pick: impl FnMut(Outbound) -> Option<T>,
    ) -> Result<T, Failure> {
        self.sender.send(vec![inbound]).await?;
        loop {
            for outbound in self.receiver.recv().await.ok_or(HubStopped)? {
                if let Some(answer) = pick(outbound) {
                    return Ok(answer);
                }
            }
        }
    }
}

/// What an HTTP client hears of an answer that is none.
pub(super) fn failed(status: Status, data: &[u8]) -> Failure {
    use axum::http::StatusCode as Http;
    let text: String = ciborium::from_reader(data).unwrap_or_default();
    let (code, text) = match status {
        Status::METHOD_NOT_FOUND => (Http::NOT_FOUND, format!("nobody offers a method `{text}`")),
        Status::TARGET_NOT_FOUND => (Http::NOT_FOUND, format!("there is no component `{text}`")),
        Status::METHOD_UNAVAILABLE => {
            (Http::SERVICE_UNAVAILABLE, format!("whoever offers `{text}` is not there or does not answer"))
        }
        Status::GENERIC_ERROR if text == Refusal::TooManyCalls.text() => (Http::TOO_MANY_REQUESTS, text),
        _ => (Http::INTERNAL_SERVER_ERROR, text),
    };
    Failure::new(code, text)
}

/// What an HTTP client hears when a publication is refused.
pub(super) fn refused(refusal: Refusal) -> Failure {
    use axum::http::StatusCode as Http;
    match refusal {
        Refusal::NotAuthorized => Failure::new(Http::FORBIDDEN, "not allowed"),
        Refusal::TopicTooLong => Failure::new(Http::BAD_REQUEST, refusal.text()),
        Refusal::DiskFull => Failure::new(Http::INSUFFICIENT_STORAGE, "the disk has no room beyond the reserve"),
        other => Failure::new(Http::SERVICE_UNAVAILABLE, other.text()),
    }
}
