//! An MQTT 3.1.1 client that costs little, so that the broker is what is measured.

use crate::broker::Broker;
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use rumqttc::mqttbytes::{Error, QoS};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const PACKET_MAX: usize = 1 << 20;

/// TCP or TLS.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(crate) struct Client {
    stream: Box<dyn Wire>,
    unread: BytesMut,
    out: BytesMut,
    next: u16,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr, client_id: &str) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(Box::new(stream), client_id).await
    }

    /// At the broker's port for TLS, or at the plain one.
    pub(crate) async fn over(broker: &Broker, tls: bool, client_id: &str) -> Self {
        if !tls {
            return Self::connect(broker.mqtt, client_id).await;
        }
        let stream = TcpStream::connect(broker.tls).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(broker.pki.client()).connect(name, stream).await.unwrap();
        Self::on(Box::new(stream), client_id).await
    }

    async fn on(stream: Box<dyn Wire>, client_id: &str) -> Self {
        let mut client = Self { stream, unread: BytesMut::new(), out: BytesMut::new(), next: 0 };
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

    pub(crate) fn answer(&mut self, packet: &Packet) {
        packet.write(&mut self.out, PACKET_MAX).unwrap();
    }

    pub(crate) async fn flush(&mut self) {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.unwrap();
            self.stream.flush().await.unwrap();
            self.out.clear();
        }
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
        self.unread.reserve(1 << 14);
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

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 1;
        Packet::Subscribe(subscribe).write(&mut self.out, PACKET_MAX).unwrap();
        self.flush().await;
        assert!(matches!(self.receive().await, Packet::SubAck(_)));
    }
}
