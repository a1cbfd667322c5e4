//! The same door without a WebSocket: CBOR behind lengths (section 17).

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

impl World {
    fn of_streams(settings: Settings) -> Self {
        Self::behind(settings, Way::default())
    }
}

#[tokio::test]
async fn a_component_over_tcp_calls_and_is_called() {
    let mut world = World::of_streams(Settings::default());
    let mut stream = world.dial(64 << 10).await;
    let (link, _) = world.router.opened().await;
    let request = codec::rpc(MessageId(7), "add", None, &[0x82, 1, 2]);
    stream.write_all(&[&[0x81, request.len() as u8][..], &request].concat()).await.unwrap();
    let Inbound::Call { token, method, .. } = world.hear().await else { panic!("a call") };
    assert_eq!((token, method.as_str()), (Token(7), "add"));
    world.say(link, Outbound::Response { token, status: Status::OK, data: vec![3].into() }).await;
    let expected = codec::response(MessageId(7), Status::OK, &[3]);
    let mut answer = vec![0; expected.len() + 2];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [&[0x81, expected.len() as u8][..], &expected].concat());
}

#[tokio::test(start_paused = true)]
async fn a_silent_component_over_tcp_stays_and_is_alive_when_asked() {
    let mut world = World::of_streams(Settings::default());
    let _stream = world.dial(64 << 10).await;
    let (link, _) = world.router.opened().await;
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    world.say(link, Outbound::Probe).await;
    assert!(matches!(world.hear().await, Inbound::Alive));
}

#[tokio::test]
async fn whoever_speaks_http_at_the_door_for_streams_is_shown_out() {
    let mut world = World::of_streams(Settings::default());
    let mut stream = world.dial(64 << 10).await;
    world.router.opened().await;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(world.hear().await, Inbound::Closed { .. }));
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}
