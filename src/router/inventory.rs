//! What components offer and subscribe to, for an admin (`broker_config`, `protocol/rembus.md` section 6).

use super::calls::text;
use super::core::{Router, respond};
use super::event::{Effect, Filter, LinkId, Status, Token};
use crate::message::Dialect;
use crate::rembus::cbor::Writer;
use std::collections::BTreeMap;

/// Names in one answer; beyond, the answer says that there are too many.
const NAMES_MAX: usize = 200_000;

type Table<'a> = BTreeMap<&'a str, Vec<&'a str>>;

impl Router {
    pub(super) fn inventory(&self, link: LinkId, token: Token, effects: &mut Vec<Effect>) {
        let (mut exposers, mut subscribers) = (Table::new(), Table::new());
        let mut count = 0;
        for (_, session) in self.sessions.iter().filter(|(_, session)| session.named && session.dialect == Dialect::Rembus) {
            for method in &session.exposed {
                exposers.entry(method).or_default().push(&session.name);
            }
            for filter in session.filters.keys() {
                if let Filter::Rembus(topic) = filter {
                    subscribers.entry(topic).or_default().push(&session.name);
                }
            }
            count += session.exposed.len() + session.filters.len();
            if count > NAMES_MAX {
                let data = text("there are more registrations than one answer can hold");
                return respond(link, token, Status::GENERIC_ERROR, data, effects);
            }
        }
        let mut writer = Writer::default();
        writer.map(2);
        for (name, table) in [("exposers", exposers), ("subscribers", subscribers)] {
            writer.text(name).map(table.len());
            for (topic, mut names) in table {
                names.sort_unstable();
                writer.text(topic).array(names.len());
                for name in names {
                    writer.text(name);
                }
            }
        }
        respond(link, token, Status::OK, writer.finish().into(), effects);
    }
}
