//! The frames recorded between published clients and the vendor's broker (`tests/vectors/busrt.json`), replayed in the order in
//! which they make sense. Every one of them is met, or the test says which is not.

use super::*;
use std::collections::BTreeMap;

struct Vectors {
    left: BTreeMap<String, Vec<u8>>,
}

impl Vectors {
    fn load() -> Self {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/busrt.json")).unwrap();
        let bytes = |hex: &str| {
            let digit = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap();
            (0..hex.len()).step_by(2).map(digit).collect::<Vec<_>>()
        };
        let vectors = file["vectors"].as_array().unwrap();
        let left: BTreeMap<_, _> = vectors
            .iter()
            .map(|vector| (vector["id"].as_str().unwrap().to_owned(), bytes(vector["hex"].as_str().unwrap())))
            .collect();
        assert_eq!(left.len(), vectors.len());
        Self { left }
    }

    fn take(&mut self, id: &str) -> Vec<u8> {
        self.left.remove(id).unwrap_or_else(|| panic!("there is no vector {id}, or it was met already"))
    }
}

/// The keys of a reply's map, and of the first map in its list, if it has one.
fn shape(reply: &[u8]) -> Vec<String> {
    let payload = &reply[reply.iter().skip(6).position(|byte| *byte == 0).unwrap() + 7 + 5..];
    let json = crate::mapping::cbor_to_json(&crate::mapping::pack_to_cbor(payload).unwrap());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    if let Some(first) = value.get("clients").and_then(|list| list.get(0)) {
        keys.extend(first.as_object().unwrap().keys().cloned());
    }
    keys
}

#[tokio::test]
async fn every_recorded_frame_is_met() {
    let mut v = Vectors::load();
    let world = World::new(calm());

    // Registration.
    let mut alice = world.dial().await;
    alice.expect(&v.take("greeting")).await;
    alice.send(&v.take("greeting-echo")).await;
    alice.expect(&v.take("greeting-ok")).await;
    let register = v.take("register");
    alice.send(&register).await;
    alice.expect(&v.take("register-ok")).await;
    for (said, answer) in [("", "register-busy"), ("register-dot", "register-dot-refused")] {
        let mut other = world.dial().await;
        other.greet().await;
        other.send(&if said.is_empty() { register.clone() } else { v.take(said) }).await;
        other.expect(&v.take(answer)).await;
        assert!(other.is_closed_within(DEADLINE).await);
    }
    let mut other = world.dial().await;
    other.expect(&GREETING).await;
    other.send(&v.take("greeting-v2")).await;
    other.expect(&v.take("greeting-refused")).await;
    assert!(other.is_closed_within(DEADLINE).await);

    // Messages.
    let mut bob = world.program("demo.bob").await;
    let (delivered, realtime, ok) = (v.take("message-delivered"), v.take("message-delivered-realtime"), v.take("ack-ok"));
    alice.send(&v.take("message-qos0")).await;
    assert_eq!(bob.frame().await, delivered);
    alice.send(&v.take("message-qos1")).await;
    assert_eq!((alice.frame().await, bob.frame().await), (ok, delivered));
    alice.send(&v.take("message-qos2")).await;
    assert_eq!(bob.frame().await, realtime);
    alice.send(&v.take("message-qos3")).await;
    assert_eq!((alice.frame().await, bob.frame().await), (frame::ack(4, frame::Code::OK).to_vec(), realtime));
    alice.send(&v.take("message-unknown")).await;
    assert_eq!(alice.frame().await, v.take("ack-not-registered"));

    // Publications.
    bob.send(&v.take("subscribe")).await;
    assert_eq!(bob.frame().await, frame::ack(1, frame::Code::OK));
    bob.send(&v.take("subscribe-list")).await;
    assert_eq!(bob.frame().await, frame::ack(2, frame::Code::OK));
    bob.send(&v.take("subscribe-qos0")).await;
    alice.send(&v.take("publish-qos1")).await;
    assert_eq!(bob.frame().await, v.take("publish-delivered"));
    assert_eq!(alice.frame().await, frame::ack(6, frame::Code::OK));
    alice.send(&v.take("publish-empty")).await;
    assert_eq!(bob.frame().await, v.take("publish-empty-delivered"));
    assert_eq!(alice.frame().await, frame::ack(7, frame::Code::OK));
    alice.send(&op(8, 0x41, b"nobody/wants\0x")).await;
    assert_eq!(alice.frame().await, v.take("publish-no-subscriber-ack"));
    alice.send(&v.take("publish-qos2")).await;
    assert_eq!(bob.frame().await, v.take("publish-delivered-byte5"));
    assert_eq!(bob.asks(70, 0x02, b".broker/info").await, 1);
    bob.send(&v.take("unsubscribe-list")).await;
    assert_eq!(bob.frame().await, frame::ack(4, frame::Code::OK));

    // Broadcasts.
    let all = v.take("broadcast-delivered");
    alice.send(&v.take("broadcast-star")).await;
    assert_eq!((alice.frame().await, alice.frame().await), (all.clone(), frame::ack(10, frame::Code::OK).to_vec()));
    assert_eq!(bob.frame().await, all);
    alice.send(&v.take("broadcast-question")).await;
    assert_eq!(alice.frame().await, frame::ack(11, frame::Code::OK));
    let one = bob.frame().await;
    assert_eq!((one[0], one.ends_with(b"\0one")), (0x13, true));

    // Signs of life.
    let hasty = World::new(Settings { timeout: Duration::from_secs(1), ..Settings::default() });
    let mut alive = hasty.program("alive").await;
    alive.send(&v.take("ping")).await;
    alive.expect(&v.take("server-nop")).await;

    // Announcements.
    let mut svc = world.program("demo.svc").await;
    let mut cli = world.program("demo.cli").await;
    for who in ["demo.svc", "demo.cli"] {
        let seen = bob.frame().await;
        assert!(seen.windows(who.len()).any(|part| part == who.as_bytes()), "{who}");
    }
    let (reg, unreg) = (v.take("announce-reg"), v.take("announce-unreg"));
    let tmp = world.program("demo.tmp").await;
    // Without the eight bytes of the time.
    let seen = bob.frame().await;
    assert_eq!(seen[..seen.len() - 8], reg[..reg.len() - 8]);
    drop(tmp);
    bob.frame().await;
    let g2 = world.program("demo.g2").await;
    bob.frame().await;
    drop(g2);
    let seen = bob.frame().await;
    assert_eq!(seen[..seen.len() - 8], unreg[..unreg.len() - 8]);

    // RPC.
    cli.send(&v.take("rpc-request")).await;
    assert_eq!(cli.frame().await, frame::ack(1, frame::Code::OK));
    assert_eq!(svc.frame().await, v.take("rpc-request-delivered"));
    for (id, vector) in [(1u32, "rpc-reply"), (2, "rpc-reply-empty"), (3, "rpc-error"), (4, "rpc-error-method")] {
        let sent = v.take(vector);
        svc.send(&sent).await;
        assert_eq!(svc.frame().await, frame::ack(id, frame::Code::OK));
        let seen = cli.frame().await;
        let payload = &sent[9 + b"demo.cli\0".len()..];
        assert_eq!(seen, [&frame::prefix(frame::Kind::Message, "demo.svc", None, payload.len(), false)[..], payload].concat());
    }
    cli.send(&op(5, 0x52, b"demo.nobody\0\x01\x05\0\0\0x\0")).await;
    assert_eq!(cli.frame().await, v.take("rpc-ack-not-registered"));
    for (id, vector) in [(6u32, "rpc-notification"), (7, "rpc-call0")] {
        let sent = v.take(vector);
        cli.send(&sent).await;
        assert_eq!(cli.frame().await, frame::ack(id, frame::Code::OK));
        assert!(svc.frame().await.ends_with(&sent[9 + b"demo.svc\0".len()..]));
    }

    // The broker's own methods.
    cli.send(&v.take("broker-test")).await;
    assert_eq!(cli.frame().await, frame::ack(8, frame::Code::OK));
    assert_eq!(cli.frame().await, v.take("broker-test-reply"));
    let call = |id: u8, method: &str, parameters: &[u8]| {
        let body = [&b".broker\0\x01"[..], &[id, 0, 0, 0], method.as_bytes(), &[0], parameters].concat();
        op(id.into(), 0x12, &body)
    };
    for (id, method, reply) in [(7, "info", "broker-info-reply"), (8, "stats", "broker-stats-reply")] {
        cli.send(&call(id, method, &[])).await;
        assert_eq!(shape(&cli.frame().await), shape(&v.take(reply)), "{method}");
    }
    cli.send(&v.take("broker-client-list")).await;
    assert_eq!(cli.frame().await, frame::ack(12, frame::Code::OK));
    let (seen, recorded) = (cli.frame().await, v.take("broker-client-list-reply"));
    assert_eq!(shape(&seen), shape(&recorded));
    assert!(seen.windows(8).any(|part| part == b"demo.svc") && !seen.windows(8).any(|part| part == b"demo.bob"));
    cli.send(&v.take("broker-benchmark")).await;
    assert_eq!(cli.frame().await, frame::ack(13, frame::Code::OK));
    assert_eq!(cli.frame().await, v.take("broker-benchmark-reply"));
    cli.send(&call(12, "no.such", &[])).await;
    assert_eq!(cli.frame().await, v.take("broker-unknown-method"));
    cli.send(&call(13, "test", &[1])).await;
    assert_eq!(cli.frame().await, v.take("broker-bad-params"));

    // Secondaries.
    let mut second = world.dial().await;
    second.greet().await;
    second.send(&v.take("register-secondary")).await;
    second.expect(&[1]).await;
    let mut orphan = world.dial().await;
    orphan.greet().await;
    orphan.send(&naming("demo.gone%%0")).await;
    orphan.expect(&v.take("register-secondary-refused")).await;

    // What busrt has and elbus has not.
    let mut raw = world.program("demo.raw").await;
    assert_eq!(raw.asks(90, 0x02, b"n/#\0m/x").await, 1);
    raw.send(&v.take("exclude")).await;
    assert_eq!(raw.frame().await, frame::ack(1, frame::Code::OK));
    assert_eq!(alice.asks(91, 0x01, b"n/x\0hidden").await, 1);
    raw.send(&v.take("unexclude")).await;
    assert_eq!(raw.frame().await, frame::ack(5, frame::Code::OK));
    assert_eq!(alice.asks(92, 0x01, b"n/x\0seen").await, 1);
    assert!(raw.frame().await.ends_with(b"n/x\0seen"));
    alice.send(&v.take("publish-for")).await;
    assert_eq!(alice.frame().await, frame::ack(4, frame::Code::OK));
    assert!(raw.frame().await.ends_with(b"\0demo.alice\0m/x\0payload"[1..].as_ref()));
    raw.send(&v.take("bad-op")).await;
    assert!(raw.is_closed_within(DEADLINE).await);

    assert!(v.left.is_empty(), "not met: {:?}", v.left.keys());
}
