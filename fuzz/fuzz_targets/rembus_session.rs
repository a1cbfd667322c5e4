//! Peers that say anything in any order to the real dialogue and router, in both encodings: nothing panics, what the gateway says
//! can be read, the router's books balance after every event, no acknowledgement comes before anything is on the disk, and
//! nothing is left of peers that are gone.
#![no_main]

use arbitrary::Arbitrary;
use rembus_gateway::rembus::codec::{self, Flags, MessageId};
use rembus_gateway::rembus::fuzzing::World;
use rembus_gateway::router::Status;
use std::time::Duration;

/// One thing that happens; peers are few, so that they meet.
#[derive(Debug, Arbitrary)]
enum Step {
    Connect { peer: Who },
    Say { peer: Who, message: Message },
    Json { peer: Who, message: Json },
    Garbage { peer: Who, bytes: Vec<u8>, is_text: bool },
    HangUp { peer: Who },
    Durable,
    DiskFull(bool),
    Pass { tenths: u8 },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Who {
    A,
    B,
    C,
    D,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Name {
    A,
    B,
    AB,
    Star,
    Stars,
    StarsB,
    Rid,
    Query,
    Config,
    Tenant,
    Empty,
    Odd,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::AB => "a/b",
            Self::Star => "*",
            Self::Stars => "**",
            Self::StarsB => "**/b",
            Self::Rid => "rid",
            Self::Query => "query_a",
            Self::Config => "__config__",
            Self::Tenant => "c.t",
            Self::Empty => "",
            Self::Odd => "a/\u{1f321}//*x",
        }
    }
}

/// The command of an admin message.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Command {
    Subscribe(Option<i8>),
    Unsubscribe,
    Expose,
    Unexpose,
    Reactive(bool),
    Other(u8),
}

impl Command {
    fn write(self) -> Vec<u8> {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.push(0x60 | text.len() as u8);
            out.extend(text.as_bytes());
        };
        let mut out = Vec::new();
        let (name, more) = match self {
            Self::Subscribe(from) => ("subscribe", from.map(|from| ("msg_from", if from < 0 { 0x20 | (!from as u8) % 24 } else { from as u8 % 24 }))),
            Self::Unsubscribe => ("unsubscribe", None),
            Self::Expose => ("expose", None),
            Self::Unexpose => ("unexpose", None),
            Self::Reactive(on) => ("reactive", Some(("status", 0xf4 | u8::from(on)))),
            Self::Other(n) => (["private_topic", "broker_config", "private_topics_config", "x"][usize::from(n % 4)], None),
        };
        out.push(0xa1 + u8::from(more.is_some()));
        text(&mut out, "cmd");
        text(&mut out, name);
        if let Some((key, value)) = more {
            text(&mut out, key);
            out.push(value);
        }
        out
    }
}

#[derive(Debug, Arbitrary)]
enum Message {
    Identity { id: u64, name: Name },
    Publish { id: u64, flags: u8, topic: Name, data: u8 },
    Rpc { id: u64, method: Name, target: Option<Name> },
    Admin { id: u64, topic: Name, command: Command },
    /// Ids that the gateway hands out are small.
    Response { id: u8, status: u8 },
    Ack { high: u8, low: u32, second: bool },
    Unregister { id: u64 },
    Register { id: u64, name: Name, key: Vec<u8>, key_type: u8 },
    Attestation { id: u64, name: Name, signature: Vec<u8> },
}

impl Message {
    fn write(&self) -> Vec<u8> {
        let id = |id: &u64| MessageId(*id);
        let bytes = match self {
            Self::Identity { id: i, name } => codec::identity(id(i), name.text(), &[0xa0]),
            Self::Publish { id: i, flags, topic, data } => codec::publish(Flags(flags & 0x70), id(i), topic.text(), &[0x81, data % 24]),
            Self::Rpc { id: i, method, target } => codec::rpc(id(i), method.text(), target.map(Name::text), &[0x80]),
            Self::Admin { id: i, topic, command } => codec::admin(id(i), topic.text(), &command.write()),
            Self::Response { id: i, status } => codec::response(MessageId(u64::from(*i)), Status(*status), &[0xf6]),
            Self::Ack { high, low, second } => {
                let id = MessageId(u64::from(*high) << 32 | u64::from(*low));
                if *second { codec::ack2(id) } else { codec::ack(id) }
            }
            Self::Unregister { id: i } => codec::unregister(id(i)),
            Self::Register { id: i, name, key, key_type } => codec::register(id(i), name.text(), "11223344", key, u64::from(*key_type)),
            Self::Attestation { id: i, name, signature } => codec::attestation(id(i), name.text(), signature, &[0xa0]),
        };
        bytes.to_vec()
    }
}

/// What the Python client writes with JSON-RPC, where a publication with QoS 0 looks like a call.
#[derive(Debug, Arbitrary)]
enum Json {
    Call { id: u8, method: Name },
    Batch { ids: Vec<u8>, method: Name },
}

impl Json {
    fn write(&self) -> String {
        let call = |id: u8, method: Name| {
            format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":{},"params":[{id}]}}"#, format_args!("{:?}", method.text()).to_string().replace("\\u{1f321}", "x"))
        };
        match self {
            Self::Call { id, method } => call(*id, *method),
            Self::Batch { ids, method } => {
                let calls: Vec<String> = ids.iter().take(8).map(|id| call(*id, *method)).collect();
                format!("[{}]", calls.join(","))
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let mut world = World::default();
    for step in steps.iter().take(64) {
        match step {
            Step::Connect { peer } => world.dial(*peer as u8),
            Step::Say { peer, message } => world.say(*peer as u8, &message.write(), false),
            Step::Json { peer, message } => world.say(*peer as u8, message.write().as_bytes(), true),
            Step::Garbage { peer, bytes, is_text } => world.say(*peer as u8, bytes, *is_text),
            Step::HangUp { peer } => world.hang_up(*peer as u8),
            Step::Durable => world.durable(),
            Step::DiskFull(full) => world.disk_full(*full),
            Step::Pass { tenths } => world.pass(Duration::from_millis(u64::from(*tenths) * 100)),
        }
    }
    world.end();
});
