//! An MQTT 3.1.1 client that costs little, so that the broker is what is measured.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use rumqttc::mqttbytes::{Error, QoS};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PACKET_MAX: usize = 1 << 20;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: BytesMut,
    out: BytesMut,
    next: u16,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr, client_id: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream, unread: BytesMut::with_capacity(1 << 16), out: BytesMut::new(), next: 0 };
        let mut connect = Connect::new(client_id);
        connect.keep_alive = 600;
        Packet::Connect(connect).write(&mut client.out, PACKET_MAX).unwrap();
        client.flush().await;
        assert!(matches!(client.receive().await, Packet::ConnAck(_)));
        client
    }

    pub(crate) fn queue(&mut self, topic: &str, qos: QoS, payload: Bytes) {
        let mut publish = Publish::from_bytes(topic, qos, payload);
        if qos != QoS::AtMostOnce {
            self.next = self.next.checked_add(1).unwrap_or(1);
            publish.pkid = self.next;
        }
        publish.write(&mut self.out).unwrap();
    }

    pub(crate) async fn flush(&mut self) {
        self.stream.write_all(&self.out).await.unwrap();
        self.out.clear();
    }

    /// The next packet that is already here.
    pub(crate) fn take(&mut self) -> Option<Packet> {
        match Packet::read(&mut self.unread, PACKET_MAX) {
            Ok(packet) => Some(packet),
            Err(Error::InsufficientBytes(_)) => None,
            Err(error) => panic!("no MQTT: {error}"),
        }
    }

    pub(crate) async fn read_more(&mut self) {
        assert!(self.stream.read_buf(&mut self.unread).await.unwrap() > 0, "the broker hung up");
    }

    pub(crate) async fn receive(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.take() {
                return packet;
            }
            self.read_more().await;
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 1;
        Packet::Subscribe(subscribe).write(&mut self.out, PACKET_MAX).unwrap();
        self.flush().await;
        assert!(matches!(self.receive().await, Packet::SubAck(_)));
    }
}
