//! Random bytes and random almost-packets: never a panic, never unbounded, and the others are served.

use super::*;
use crate::message::Qos;
use crate::router::{Refusal, Token};
use proptest::prelude::*;
use tokio::time::timeout;

/// Something like a packet: a type, flags that may be wrong, a body that may be anything.
fn almost_packet() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        // A topic or filter, then whatever.
        ("[a-c/+#$]{0,6}", proptest::collection::vec(any::<u8>(), 0..12))
            .prop_map(|(topic, rest)| [&text(&topic)[..], &rest].concat()),
        // A packet id, perhaps properties, then a filter and options.
        (any::<u16>(), proptest::bool::ANY, "[a-c/+#]{1,6}", 0..4_u8).prop_map(|(id, five, filter, options)| {
            [&id.to_be_bytes()[..], if five { &[0] } else { &[] }, &text(&filter), &[options]].concat()
        }),
        any::<u16>().prop_map(|id| id.to_be_bytes().to_vec()),
        Just(vec![]),
    ];
    (1..=15_u8, prop_oneof![4 => Just(None), 1 => any::<u8>().prop_map(Some)], body).prop_map(|(kind, flags, body)| {
        let usual = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        packet(kind << 4 | flags.map_or(usual, |flags| flags & 0x0f), &body)
    })
}

/// Plays a router that answers everything, in an order and with outcomes that the bytes choose.
async fn answer_everything(mut link: Link, choices: Vec<u8>) {
    let mut at = 0;
    while let Some(inbound) = link.any().await {
        at += 1;
        let choice = choices.get(at % choices.len().max(1)).copied().unwrap_or_default();
        let outcome = if choice % 7 == 0 { Err(Refusal::DiskFull) } else { Ok(()) };
        let answer = match inbound {
            Inbound::Attach(attach) => attached(&attach.name),
            Inbound::Publish { message, token } if message.qos != Qos::AtMostOnce => {
                Outbound::Accepted { token, qos: message.qos, outcome }
            }
            Inbound::Release { token } => Outbound::Completed { token, known: choice % 2 == 0 },
            Inbound::Subscribe { token, filters } => {
                Outbound::Subscribed { token, outcomes: filters.iter().map(|filter| Ok(filter.qos)).collect() }
            }
            Inbound::Unsubscribe { token, filters } => Outbound::Unsubscribed { token, outcomes: vec![true; filters.len()] },
            _ => Outbound::Completed { token: Token(u64::from(choice)), known: true },
        };
        if link.outbound.send(vec![answer]).await.is_err() {
            break;
        }
    }
}

fn survives(bytes: Vec<u8>, chunks: Vec<usize>, five: bool, choices: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut stage = Stage::with(|settings| (settings.max_packet, settings.receive_max) = (1 << 16, 4));
        let (mut bystander, _link) = stage.client(&connect_311("bystander", 0)).await;
        let mut client = stage.dial().await;
        client.send(&if five { connect_5("c1", 5, &[]) } else { connect_311("c1", 5) }).await;
        let link = stage.link().await;
        let router = tokio::spawn(answer_everything(link, choices));
        let (mut from_door, mut to_door) = tokio::io::split(client.stream);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            from_door.read_to_end(&mut all).await.ok();
            all
        });
        let mut rest = &bytes[..];
        for chunk in chunks.into_iter().cycle() {
            let (now, later) = rest.split_at(chunk.clamp(1, rest.len().max(1)).min(rest.len()));
            if now.is_empty() || to_door.write_all(now).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
            rest = later;
        }
        // Whatever it was, the connection ends by itself: at the latest when the keep alive is over.
        let all = timeout(Duration::from_secs(60), reading).await.expect("the connection ends").unwrap();
        assert!(all.len() <= 256 + 16 * bytes.len(), "{} bytes in, {} out", bytes.len(), all.len());
        router.await.unwrap();
        bystander.is_served().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_end_only_their_own_connection(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        chunks in proptest::collection::vec(1..50_usize, 1..8),
        five: bool,
    ) {
        survives(bytes, chunks, five, vec![1]);
    }

    #[test]
    fn almost_valid_packets_end_only_their_own_connection(
        packets in proptest::collection::vec(almost_packet(), 0..40),
        chunks in proptest::collection::vec(1..200_usize, 1..8),
        five: bool,
        choices: Vec<u8>,
    ) {
        survives(packets.concat(), chunks, five, choices);
    }

    #[test]
    fn a_random_beginning_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), connect: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut stage = Stage::new();
            let mut client = stage.dial().await;
            let bytes = if connect { packet(0x10, &[&text("MQTT")[..], &bytes].concat()) } else { bytes };
            client.send(&bytes).await;
            let answering = tokio::spawn(async move {
                while let Some(link) = stage.links.recv().await {
                    answer_everything(link, vec![1]).await;
                }
            });
            let mut all = Vec::new();
            drop(timeout(Duration::from_secs(100_000), client.stream.read_to_end(&mut all)).await);
            answering.abort();
        });
    }
}
