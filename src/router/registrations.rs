//! What a session asked to be told and offers to do: filters in the tree, methods in the service table. Both are bounded.

use super::core::Router;
use super::event::{Filter, LinkId, Refusal, Subscription};
use super::session::SessionKey;
use super::tree::Target;
use crate::access::Action;
use crate::message::Qos;
use std::sync::Arc;

impl Router {
    pub(super) fn subscribe(&mut self, link: LinkId, key: SessionKey, wanted: Subscription) -> Result<Qos, Refusal> {
        let (Filter::Mqtt(text) | Filter::Rembus(text)) = &wanted.filter;
        if !self.may(link, Action::Subscribe, text) {
            return Err(Refusal::NotAuthorized);
        }
        let Some(session) = self.sessions.get_mut(key) else { return Err(Refusal::LimitReached) };
        if session.filters.len() >= self.options.registrations_max && !session.filters.contains(&wanted.filter) {
            return Err(Refusal::LimitReached);
        }
        let pattern = match &wanted.filter {
            Filter::Rembus(pattern) if pattern.contains('*') => Some(Arc::from(pattern.as_str())),
            Filter::Rembus(_) | Filter::Mqtt(_) => None,
        };
        let target = Target {
            session: key,
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifiers: wanted.identifier.into_iter().collect(),
            pattern,
        };
        self.tree.insert(&wanted.filter, target);
        session.filters.insert(wanted.filter);
        Ok(wanted.qos)
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, filter: &Filter) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        session.filters.remove(filter) && self.tree.remove(filter, key)
    }

    pub(super) fn expose(&mut self, link: LinkId, key: SessionKey, method: String) -> bool {
        if !self.may(link, Action::Expose, &method) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if session.exposed.len() >= self.options.registrations_max && !session.exposed.contains(&method) {
            return false;
        }
        self.services.expose(&method, key);
        session.exposed.insert(method);
        true
    }
}

impl Subscription {
    /// What a Rembus component asks for: as published, never its own.
    #[must_use]
    pub fn rembus(topic: String) -> Self {
        Self {
            filter: Filter::Rembus(topic),
            qos: Qos::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            identifier: None,
        }
    }
}
