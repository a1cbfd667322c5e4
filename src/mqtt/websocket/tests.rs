//! The real adapter against tungstenite's client, over a pipe.

use super::*;
use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

type Client = WebSocketStream<DuplexStream>;

async fn dial(offered: Option<&str>) -> (Result<Line<DuplexStream>, TransportError>, Result<(Client, String), Error>) {
    let (near, far) = tokio::io::duplex(256 << 10);
    let mut request = "ws://gateway/mqtt".into_client_request().unwrap();
    if let Some(offered) = offered {
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered.parse().unwrap());
    }
    let client = async {
        let (client, response) = tokio_tungstenite::client_async(request, far).await?;
        let chosen = response.headers()[header::SEC_WEBSOCKET_PROTOCOL].to_str().unwrap().to_owned();
        Ok((client, chosen))
    };
    let mut peer = peer();
    let origins = Origins::default();
    tokio::join!(upgrade(Line::Plain(near), &origins, &mut peer), client)
}

fn peer() -> Peer {
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 4711));
    Peer { addr, transport: crate::door::Transport::WebSocket, certificate: None, forwarded: false }
}

/// How a handshake with these headers ends: the status that the client hears, and whether a proxy asked.
async fn asked(origins: &Origins, headers: &[(&'static str, &str)]) -> (u16, bool) {
    let (near, far) = tokio::io::duplex(256 << 10);
    let mut request = "ws://localhost:8083/mqtt".into_client_request().unwrap();
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, "mqtt".parse().unwrap());
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let mut peer = peer();
    let (line, client) =
        tokio::join!(upgrade(Line::Plain(near), origins, &mut peer), tokio_tungstenite::client_async(request, far));
    let status = match client {
        Ok((_, response)) => response.status(),
        Err(Error::Http(response)) => response.status(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(line.is_ok(), status == StatusCode::SWITCHING_PROTOCOLS);
    (status.as_u16(), peer.forwarded)
}

#[tokio::test]
async fn a_strangers_page_gets_no_connection_and_a_named_one_does() {
    let (nobody, named) = (Origins::default(), Origins::new(&["https://dash.example".into()]));
    let named_page = [("origin", "https://dash.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(asked(&nobody, &[]).await.0, 101, "no browser");
    assert_eq!(asked(&nobody, &[("origin", "https://localhost:8083")]).await.0, 101, "paho");
    assert_eq!(asked(&nobody, &[("origin", "https://evil.example")]).await.0, 403);
    assert_eq!(asked(&nobody, &[("host", "evil.example:8083"), ("origin", "http://evil.example:8083")]).await.0, 403);
    assert_eq!((asked(&nobody, &named_page).await.0, asked(&named, &named_page).await.0), (403, 101));
    assert_eq!(asked(&nobody, &[("x-forwarded-for", "192.0.2.7")]).await, (101, true));
}

async fn connected() -> (Line<DuplexStream>, Client) {
    let (line, client) = dial(Some("mqtt")).await;
    (line.unwrap(), client.unwrap().0)
}

#[tokio::test]
async fn the_subprotocol_is_chosen_or_the_client_refused() {
    for (offered, chosen) in [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqtt")] {
        assert_eq!(dial(Some(offered)).await.1.unwrap().1, chosen);
    }
    for offered in [None, Some("wamp")] {
        let (line, client) = dial(offered).await;
        assert!(matches!(line, Err(TransportError::WebSocket(_))));
        assert!(matches!(client, Err(Error::Http(response)) if response.status() == 400));
    }
}

#[tokio::test]
async fn packets_may_straddle_frames() {
    let (mut line, mut client) = connected().await;
    client.send(Message::binary(b"CONN".to_vec())).await.unwrap();
    client.send(Message::Ping("are you there".into())).await.unwrap();
    client.send(Message::Frame(Frame::message("EC", OpCode::Data(Data::Binary), false))).await.unwrap();
    client.send(Message::Frame(Frame::message("TPUB", OpCode::Data(Data::Continue), true))).await.unwrap();
    client.send(Message::binary(vec![])).await.unwrap();
    client.send(Message::binary(b"LISH".to_vec())).await.unwrap();
    let mut heard = [0; 14];
    line.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"CONNECTPUBLISH");
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
}

#[tokio::test]
async fn what_is_written_comes_in_binary_frames_of_bounded_size() {
    let (mut line, mut client) = connected().await;
    let large: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let expected = [b"head", &large[..]].concat();
    let writing = async {
        let mut written = line.write_vectored(&[IoSlice::new(b"head"), IoSlice::new(&large)]).await.unwrap();
        while written < expected.len() {
            written += line.write(&expected[written..]).await.unwrap();
        }
        line.flush().await.unwrap();
        line.shutdown().await.unwrap();
    };
    let reading = async {
        let mut heard = Vec::new();
        while let Message::Binary(frame) = client.next().await.unwrap().unwrap() {
            assert!(frame.len() <= FRAME_MAX);
            heard.extend_from_slice(&frame);
        }
        heard
    };
    assert_eq!(tokio::join!(writing, reading).1, expected);
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_so() {
    let masked = |first: u8, payload: &[u8]| [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
    for (bytes, code) in [
        (masked(0x81, b"text"), CloseCode::Unsupported),
        (vec![0x82, 1, b'x'], CloseCode::Protocol),
        (masked(0xc2, b"x"), CloseCode::Protocol),
        (masked(0x80, b"x"), CloseCode::Protocol),
        (masked(0x09, b"x"), CloseCode::Protocol),
        (masked(0x83, b"x"), CloseCode::Protocol),
        (vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0], CloseCode::Protocol),
        (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], CloseCode::Protocol),
        (masked(0x88, b""), CloseCode::Normal),
    ] {
        let (mut line, mut client) = connected().await;
        client.get_mut().write_all(&bytes).await.unwrap();
        if code == CloseCode::Protocol && bytes.len() == 14 {
            // 2^64 bytes are not refused by themselves; they never come, and nothing is kept for them.
            client.get_mut().write_all(b"some").await.unwrap();
            let mut heard = [0; 4];
            line.read_exact(&mut heard).await.unwrap();
            continue;
        }
        assert_eq!(line.read(&mut [0; 16]).await.unwrap(), 0, "{bytes:x?}");
        let Message::Close(Some(frame)) = client.next().await.unwrap().unwrap() else { panic!("{bytes:x?}") };
        assert_eq!(frame.code, code, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_flood_of_pings_makes_no_pile_of_pongs() {
    let (near, mut far) = tokio::io::duplex(256);
    let mut frames = Frames::new(near);
    let ping = [&[0x89, 0x80 | 100, 0, 0, 0, 0][..], &[7; 100]].concat();
    let flood = async {
        for _ in 0..1000 {
            far.write_all(&ping).await.unwrap();
        }
    };
    let mut buffer = [0; 64];
    tokio::select! {
        _ = frames.read(&mut buffer) => panic!("pings are no payload"),
        () = flood => {}
    }
    assert!(frames.out.capacity() < 1024, "{}", frames.out.capacity());
}

proptest! {
    #[test]
    fn the_payload_is_the_same_however_it_is_cut(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>()), 1..8),
        cuts in prop::collection::vec(1..64_usize, 1..50),
    ) {
        let (mut wire, mut expected) = (Vec::new(), Vec::new());
        for (payload, mask, ping) in &messages {
            let opcode = if *ping { OpCode::Control(Control::Ping) } else { OpCode::Data(Data::Binary) };
            let payload = if *ping { &payload[..payload.len().min(125)] } else { &payload[..] };
            let header = FrameHeader { is_final: true, opcode, mask: Some(*mask), ..FrameHeader::default() };
            header.format(payload.len() as u64, &mut wire).unwrap();
            wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            if !ping {
                expected.extend_from_slice(payload);
            }
        }
        let mut frames = Frames::new(tokio::io::empty());
        let (mut heard, mut at, mut cuts) = (Vec::new(), 0, cuts.iter().cycle());
        while at < wire.len() {
            let end = wire.len().min(at + cuts.next().unwrap());
            let mut piece = wire[at..end].to_vec();
            let count = frames.unpack(&mut piece);
            heard.extend_from_slice(&piece[..count]);
            at = end;
        }
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn garbage_never_panics(mut bytes: Vec<u8>) {
        let count = Frames::new(tokio::io::empty()).unpack(&mut bytes);
        prop_assert!(count <= bytes.len());
    }
}
