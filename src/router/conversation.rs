//! Traffic of one conversation, which is nobody else's business: answers on one-shot reply topics, and what an action's client
//! and server say to each other (`protocol/commlib.md` sections 4 and 5).
//!
//! It travels like any other message between MQTT clients. It is in no table of history, and a Rembus pattern does not match
//! it. A component that subscribes to an action's topic by its full name gets it.

use super::core::Router;

/// Sub-topics of an action; whoever serves it subscribes to the first.
const ACTION: [&str; 6] = ["send_goal", "cancel_goal", "get_result", "status", "feedback", "notify"];
/// `rpc-` and 32 hexadecimal digits.
const REPLY: (&str, usize) = ("rpc-", 36);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversation {
    /// Not one: for everybody.
    None,
    /// Between a caller and a service.
    Reply,
    /// Of an action.
    Action,
}

impl Conversation {
    /// Whether a Rembus component with such a subscription hears it.
    pub(super) fn is_for_component(self, has_pattern: bool) -> bool {
        match self {
            Self::None => true,
            Self::Reply => false,
            Self::Action => !has_pattern,
        }
    }
}

/// Whether this is a one-shot reply topic, `^rpc-[0-9a-f]{32}$`.
#[must_use]
pub fn is_reply(topic: &str) -> bool {
    let (prefix, len) = REPLY;
    topic.len() == len
        && topic.strip_prefix(prefix).is_some_and(|id| id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

impl Router {
    /// What kind of traffic a topic carries. `robot/status` is an action's only while somebody serves `robot`: many a sensor
    /// has a topic of that name.
    pub(super) fn conversation(&self, topic: &str) -> Conversation {
        if is_reply(topic) {
            return Conversation::Reply;
        }
        if self.options.private_actions
            && let Some((action, last)) = topic.rsplit_once('/')
            && ACTION.contains(&last)
            && !self.tree.by_name(&format!("{action}/{}", ACTION[0])).is_empty()
        {
            return Conversation::Action;
        }
        Conversation::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_topic_is_rpc_and_a_uuid_on_one_level() {
        assert!(is_reply("rpc-9f02ef29a78470c48b2f4e1fe828e210"));
        for other in [
            "rpc-9f02ef29a78470c48b2f4e1fe828e21",
            "rpc-9F02EF29A78470C48B2F4E1FE828E210",
            "rpc-9f02ef29a78470c48b2f4e1fe828e2100",
            "xrpc-9f02ef29a78470c48b2f4e1fe828e21",
            "rpc/9f02ef29a78470c48b2f4e1fe828e210",
            "a/rpc-9f02ef29a78470c48b2f4e1fe828e2",
        ] {
            assert!(!is_reply(other), "{other}");
        }
    }
}
