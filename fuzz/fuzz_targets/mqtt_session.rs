//! Clients that say anything in any order to the real door, dialogue and router: nothing panics, the router's books balance after
//! every event, no acknowledgement comes before anything is on the disk, and nothing is left of clients that are gone.
#![no_main]

use arbitrary::Arbitrary;
use rembus_gateway::mqtt::fuzzing::World;
use std::time::Duration;

/// One thing that happens; clients are few, so that they meet.
#[derive(Debug, Arbitrary)]
enum Step {
    Connect { client: Who, as_whom: Who, connect: Connect },
    Say { client: Who, packets: Vec<Packet> },
    Garbage { client: Who, bytes: Vec<u8> },
    Read { client: Who },
    HangUp { client: Who },
    Durable,
    DiskFull(bool),
    LogBehind(bool),
    Pass { tenths: u8 },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Who {
    A,
    B,
    C,
    D,
}

#[derive(Debug, Arbitrary)]
struct Connect {
    five: bool,
    clean: bool,
    keep_alive: u8,
    nameless: bool,
    will: Option<(Topic, u8, bool)>,
    expiry: Option<u8>,
    receive_max: Option<u8>,
    max_packet: Option<u8>,
    alias_max: Option<u8>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Topic {
    A,
    AB,
    ABC,
    Plus,
    Hash,
    APlus,
    AHash,
    Shared,
    SharedHash,
    System,
    Empty,
    Odd,
}

impl Topic {
    fn text(self) -> &'static [u8] {
        match self {
            Self::A => b"a",
            Self::AB => b"a/b",
            Self::ABC => b"a/b/c",
            Self::Plus => b"+",
            Self::Hash => b"#",
            Self::APlus => b"a/+",
            Self::AHash => b"a/#",
            Self::Shared => b"$share/g/a",
            Self::SharedHash => b"$share/g/#",
            Self::System => b"$SYS/a",
            Self::Empty => b"",
            Self::Odd => b"a/\xf0\x9f\x8c\xa1//",
        }
    }
}

#[derive(Debug, Arbitrary)]
enum Packet {
    Publish { topic: Topic, flags: u8, id: u8, payload: u8, alias: Option<u8>, expiry: Option<u8> },
    Subscribe { id: u8, filters: Vec<(Topic, u8)>, identifier: Option<u8> },
    Unsubscribe { id: u8, filters: Vec<Topic> },
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack { kind: u8, id: u8, reason: Option<u8> },
    Ping,
    Disconnect { reason: Option<u8>, expiry: Option<u8> },
    Auth,
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

fn framed(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut left = body.len();
    loop {
        let more = left > 127;
        out.push((left % 128) as u8 | if more { 0x80 } else { 0 });
        left /= 128;
        if !more {
            break;
        }
    }
    out.extend(body);
}

impl Connect {
    fn write(&self, who: Who) -> Vec<u8> {
        let mut body = Vec::new();
        text(b"MQTT", &mut body);
        body.push(if self.five { 5 } else { 4 });
        let will = self.will.map_or(0, |(_, qos, retain)| 4 | (qos % 4) << 3 | u8::from(retain) << 5);
        body.push(u8::from(self.clean) << 1 | will);
        body.extend([0, self.keep_alive]);
        if self.five {
            let mut properties = Vec::new();
            if let Some(expiry) = self.expiry {
                properties.extend([17, 0, 0, 0, expiry]);
            }
            if let Some(max) = self.receive_max {
                properties.extend([33, 0, max]);
            }
            if let Some(max) = self.max_packet {
                properties.extend([39, 0, 0, 0, max]);
            }
            if let Some(max) = self.alias_max {
                properties.extend([34, 0, max]);
            }
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        let name = [b'a' + who as u8];
        text(if self.nameless { b"" } else { &name }, &mut body);
        if let Some((topic, ..)) = self.will {
            if self.five {
                body.push(0);
            }
            text(topic.text(), &mut body);
            text(b"gone", &mut body);
        }
        let mut out = Vec::new();
        framed(0x10, &body, &mut out);
        out
    }
}

impl Packet {
    fn write(&self, five: bool, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        match self {
            Self::Publish { topic, flags, id, payload, alias, expiry } => {
                let flags = flags & 0x0f;
                text(topic.text(), &mut body);
                if flags & 6 != 0 {
                    body.extend([0, *id]);
                }
                if five {
                    let mut properties = Vec::new();
                    if let Some(alias) = alias {
                        properties.extend([35, 0, *alias]);
                    }
                    if let Some(expiry) = expiry {
                        properties.extend([2, 0, 0, 0, *expiry]);
                    }
                    body.push(properties.len() as u8);
                    body.extend(properties);
                }
                body.extend(std::iter::repeat_n(b'x', usize::from(*payload) * 8));
                framed(0x30 | flags, &body, out);
            }
            Self::Subscribe { id, filters, identifier } => {
                body.extend([0, *id]);
                if five {
                    match identifier {
                        Some(identifier) => body.extend([2, 11, identifier & 0x7f]),
                        None => body.push(0),
                    }
                }
                for (filter, options) in filters {
                    text(filter.text(), &mut body);
                    body.push(if five { options & 0x3f } else { options & 3 });
                }
                framed(0x82, &body, out);
            }
            Self::Unsubscribe { id, filters } => {
                body.extend([0, *id]);
                if five {
                    body.push(0);
                }
                for filter in filters {
                    text(filter.text(), &mut body);
                }
                framed(0xa2, &body, out);
            }
            Self::Ack { kind, id, reason } => {
                body.extend([0, *id]);
                if let Some(reason) = reason.filter(|_| five) {
                    body.push(reason);
                }
                framed([0x40, 0x50, 0x62, 0x70][usize::from(kind % 4)], &body, out);
            }
            Self::Ping => framed(0xc0, &[], out),
            Self::Disconnect { reason, expiry } => {
                if let Some(reason) = reason.filter(|_| five) {
                    body.push(reason);
                    if let Some(expiry) = expiry {
                        body.extend([5, 17, 0, 0, 0, *expiry]);
                    }
                }
                framed(0xe0, &body, out);
            }
            Self::Auth => framed(0xf0, &[], out),
        }
    }
}

/// The kinds of the whole packets in what a client has read, and whether each refuses something (5.0 acknowledgements).
fn kinds(mut bytes: &[u8]) -> Vec<(u8, bool)> {
    let mut kinds = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let (mut length, mut shift, mut at) = (0_usize, 0, 0);
        loop {
            let Some(byte) = rest.get(at) else { return kinds };
            length |= usize::from(byte & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            assert!(at <= 4, "a remaining length has at most four bytes");
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(behind) = rest.get(at + length..) else { return kinds };
        let body = rest.get(at..at + length).unwrap_or_default();
        kinds.push((first >> 4, body.get(2).is_some_and(|reason| *reason >= 0x80)));
        bytes = behind;
    }
    kinds
}

libfuzzer_sys::fuzz_target!(|story: (bool, Vec<Step>)| {
    let (stopped, steps) = story;
    let mut world = World::default();
    let mut five = [false; 4];
    // What a client has read on its present connection; the gateway never sends half a packet and goes on with another.
    let mut read: [Vec<u8>; 4] = Default::default();
    for step in steps.iter().take(64) {
        match step {
            Step::Connect { client, as_whom, connect } => {
                let who = *client as usize;
                five[who] = connect.five;
                read[who].clear();
                world.dial(*client as u8);
                world.send(*client as u8, &connect.write(*as_whom));
            }
            Step::Say { client, packets } => {
                let mut bytes = Vec::new();
                for packet in packets.iter().take(32) {
                    packet.write(five[*client as usize], &mut bytes);
                }
                world.send(*client as u8, &bytes);
            }
            Step::Garbage { client, bytes } => world.send(*client as u8, bytes),
            Step::Read { client } => {
                let who = *client as usize;
                read[who].extend(world.read(*client as u8));
                let kinds = kinds(&read[who]);
                if let Some((first, _)) = kinds.first() {
                    assert_eq!(*first, 2, "CONNACK comes first: {kinds:?}");
                }
                assert!(kinds.iter().all(|(kind, _)| (2..=14).contains(kind) && ![8, 10, 12].contains(kind)), "{kinds:?}");
                // PUBACK and PUBREC wait for the disk, unless they refuse.
                let accepted = kinds.iter().any(|(kind, refused)| [4, 5].contains(kind) && !refused);
                assert!(!(accepted && world.nothing_is_durable()), "{kinds:?}");
            }
            Step::HangUp { client } => world.hang_up(*client as u8),
            Step::Durable => world.durable(),
            Step::DiskFull(full) => world.disk_full(*full),
            Step::LogBehind(behind) => world.log_behind(*behind),
            Step::Pass { tenths } => world.pass(Duration::from_millis(u64::from(*tenths) * 100)),
        }
    }
    world.end(stopped);
});
