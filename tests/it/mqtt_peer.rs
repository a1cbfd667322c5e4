//! An MQTT 3.1.1 peer under full control: what it sends, when it reads, how it leaves.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe};
use rumqttc::mqttbytes::{Error, QoS};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const PACKET_MAX: usize = 16 * 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct MqttPeer<S = TcpStream> {
    pub(crate) stream: S,
    unread: BytesMut,
    next_id: u16,
    /// The gateway knew its session.
    pub(crate) resumed: bool,
}

impl MqttPeer {
    /// Connects and is welcome.
    pub(crate) async fn connect(addr: SocketAddr, client_id: &str) -> Self {
        Self::over(dial(addr).await, client_id).await.unwrap()
    }

    /// Connects with a user and a password; what CONNACK says if it is no.
    pub(crate) async fn login(addr: SocketAddr, client_id: &str, credentials: (&str, &str)) -> Result<Self, ConnectReturnCode> {
        Self::login_over(dial(addr).await, client_id, Some(credentials), true).await.expect("CONNACK")
    }

    /// The same with a session that outlives the connection.
    pub(crate) async fn login_to_stay(
        addr: SocketAddr,
        client_id: &str,
        credentials: (&str, &str),
    ) -> Result<Self, ConnectReturnCode> {
        Self::login_over(dial(addr).await, client_id, Some(credentials), false).await.expect("CONNACK")
    }
}

async fn dial(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl<S: AsyncRead + AsyncWrite + Unpin> MqttPeer<S> {
    /// Connects over whatever there is; `None` if the connection ends instead.
    pub(crate) async fn over(stream: S, client_id: &str) -> Option<Self> {
        Some(Self::login_over(stream, client_id, None, true).await?.unwrap())
    }

    async fn login_over(
        stream: S,
        client_id: &str,
        credentials: Option<(&str, &str)>,
        clean: bool,
    ) -> Option<Result<Self, ConnectReturnCode>> {
        let mut peer = Self { stream, unread: BytesMut::new(), next_id: 0, resumed: false };
        let mut connect = Connect::new(client_id);
        connect.clean_session = clean;
        connect.keep_alive = 60;
        if let Some((user, password)) = credentials {
            connect.set_login(user, password);
        }
        peer.send(&[Packet::Connect(connect)]).await.ok()?;
        match peer.receive().await? {
            Packet::ConnAck(ConnAck { session_present, code: ConnectReturnCode::Success }) => {
                assert!(!(clean && session_present));
                peer.resumed = session_present;
                Some(Ok(peer))
            }
            Packet::ConnAck(ConnAck { code, .. }) => Some(Err(code)),
            other => panic!("CONNACK was due, not {other:?}"),
        }
    }

    /// Writes packets in one go.
    pub(crate) async fn send(&mut self, packets: &[Packet]) -> std::io::Result<()> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, PACKET_MAX).unwrap();
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// The next packet; `None` when the connection is over.
    pub(crate) async fn receive(&mut self) -> Option<Packet> {
        tokio::time::timeout(DEADLINE, self.receive_when_it_comes()).await.expect("a packet in time")
    }

    async fn receive_when_it_comes(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.unread, PACKET_MAX) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the gateway sent no MQTT: {error}"),
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = self.id();
        self.send(&[Packet::Subscribe(subscribe)]).await.unwrap();
        assert!(matches!(self.receive().await, Some(Packet::SubAck(_))));
    }

    /// A publication with the next packet id, not yet sent.
    pub(crate) fn publication(&mut self, topic: &str, qos: QoS, payload: impl Into<Bytes>) -> Publish {
        let mut publish = Publish::from_bytes(topic, qos, payload.into());
        if qos != QoS::AtMostOnce {
            publish.pkid = self.id();
        }
        publish
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) {
        let publish = self.publication(topic, QoS::AtLeastOnce, payload);
        let id = publish.pkid;
        self.send(&[Packet::Publish(publish)]).await.unwrap();
        assert_eq!(self.receive().await, Some(Packet::PubAck(PubAck { pkid: id })));
    }

    /// Publishes where it listens itself, and hears it.
    pub(crate) async fn publish_to_itself(&mut self, topic: &str) {
        let publish = self.publication(topic, QoS::AtLeastOnce, "round trip");
        self.send(&[Packet::Publish(publish)]).await.unwrap();
        let (mut acknowledged, mut heard) = (false, false);
        while !(acknowledged && heard) {
            match self.receive().await {
                Some(Packet::PubAck(_)) => acknowledged = true,
                Some(Packet::Publish(publish)) => {
                    assert_eq!(publish.payload, "round trip");
                    self.send(&[Packet::PubAck(PubAck { pkid: publish.pkid })]).await.unwrap();
                    heard = true;
                }
                other => panic!("an acknowledgement or a publication was due, not {other:?}"),
            }
        }
    }

    /// The next publication for this subscriber, acknowledged.
    pub(crate) async fn delivery(&mut self) -> Publish {
        match self.receive().await {
            Some(Packet::Publish(publish)) => {
                if publish.qos == QoS::AtLeastOnce {
                    self.send(&[Packet::PubAck(PubAck { pkid: publish.pkid })]).await.unwrap();
                }
                publish
            }
            other => panic!("a publication was due, not {other:?}"),
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}
