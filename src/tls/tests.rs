//! Handshakes in memory: the real server against rustls's own client.

use super::pki::Pki;
use super::*;
use crate::clock::SystemClock;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

struct Stage {
    dir: TempDir,
    pki: Pki,
    server: Arc<Server>,
}

/// What both sides made of a handshake.
struct Met {
    resumed: bool,
    shown: Option<CertificateDer<'static>>,
}

impl Stage {
    fn new(client_certificate: ClientCertificate) -> Self {
        let (dir, pki) = (tempfile::tempdir().unwrap(), Pki::new());
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("gateway.pem"), &pki.chain).unwrap();
        std::fs::write(path("gateway.key"), &pki.key).unwrap();
        std::fs::write(path("ca.pem"), &pki.ca).unwrap();
        let files = Files {
            certificate: path("gateway.pem"),
            key: path("gateway.key"),
            client_ca: (client_certificate != ClientCertificate::Off).then(|| path("ca.pem")),
            client_certificate,
        };
        let server = Server::open(files, SystemClock::shared()).unwrap();
        Self { dir, pki, server }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    async fn meet(&self, client: &Arc<ClientConfig>) -> Result<Met, TlsRefusal> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = async {
            let (mut stream, shown) = self.server.accept(near, None).await?;
            stream.write_all(b"welcome").await.unwrap();
            stream.flush().await.unwrap();
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            drop(stream.read(&mut [0; 1]).await);
            Ok(Met { resumed, shown })
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            if let Ok(mut stream) = TlsConnector::from(Arc::clone(client)).connect(name, far).await {
                // Reads the ticket as well.
                drop(stream.read_exact(&mut [0; 7]).await);
            }
        };
        tokio::join!(server, client).0
    }
}

fn client(ca: &str, own: Option<(String, String)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(4);
    Arc::new(config)
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_session() {
    let stage = Stage::new(ClientCertificate::Off);
    let client = client(&stage.pki.ca, None);
    assert!(!stage.meet(&client).await.unwrap().resumed);
    assert!(stage.meet(&client).await.unwrap().resumed);
}

#[tokio::test]
async fn the_login_gets_the_clients_certificate_also_of_a_resumed_session() {
    let stage = Stage::new(ClientCertificate::Optional);
    let own = stage.pki.issue("sensor-7");
    let expected = CertificateDer::from_pem_slice(own.0.as_bytes()).unwrap();
    let known = client(&stage.pki.ca, Some(own));
    assert_eq!(stage.meet(&known).await.unwrap().shown, Some(expected.clone()));
    let again = stage.meet(&known).await.unwrap();
    assert!(again.resumed);
    assert_eq!(again.shown, Some(expected));

    assert_eq!(stage.meet(&client(&stage.pki.ca, None)).await.unwrap().shown, None);
}

#[tokio::test]
async fn each_kind_of_wrong_certificate_has_its_own_words() {
    let stage = Stage::new(ClientCertificate::Required);
    for (own, wanted) in [
        (None, "shows no certificate"),
        (Some(Pki::new().issue("stranger")), "`[tls] client_ca` does not vouch for it"),
        (Some(stage.pki.expired()), "it has expired"),
    ] {
        let refusal = stage.meet(&client(&stage.pki.ca, own)).await.err().unwrap();
        assert!(refusal.to_string().contains(wanted), "{refusal}");
    }
    let refusal = stage.meet(&client(&Pki::new().ca, None)).await.err().unwrap();
    assert!(refusal.to_string().contains("does not accept the gateway's certificate"), "{refusal}");
}

#[tokio::test]
async fn a_plain_client_is_recognised() {
    let stage = Stage::new(ClientCertificate::Off);
    for hello in [&b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(hello).await.unwrap();
        let refusal = stage.server.accept(near, None).await.err().unwrap();
        assert!(matches!(refusal, TlsRefusal::NotTls), "{refusal:?}");
    }
    let (near, far) = tokio::io::duplex(1024);
    drop(far);
    assert!(matches!(stage.server.accept(near, None).await.err().unwrap(), TlsRefusal::Lost));
}

#[tokio::test]
async fn a_reload_takes_a_new_certificate_and_keeps_the_old_one_when_the_new_is_no_good() {
    let stage = Stage::new(ClientCertificate::Off);
    let (before, after) = (client(&stage.pki.ca, None), Pki::new());
    stage.write("gateway.pem", &after.chain);
    assert!(stage.server.reload().unwrap_err().to_string().contains("does not belong to the certificate"));
    assert!(stage.meet(&before).await.is_ok());

    stage.write("gateway.key", &after.key);
    stage.server.reload().unwrap();
    assert!(stage.meet(&client(&after.ca, None)).await.is_ok());
    assert!(stage.meet(&client(&stage.pki.ca, None)).await.is_err());
}

#[tokio::test]
async fn a_session_is_not_resumed_under_another_client_ca() {
    let stage = Stage::new(ClientCertificate::Required);
    let known = client(&stage.pki.ca, Some(stage.pki.issue("sensor-7")));
    stage.meet(&known).await.unwrap();
    stage.write("ca.pem", &Pki::new().ca);
    stage.server.reload().unwrap();
    let refusal = stage.meet(&known).await.err().unwrap();
    assert!(refusal.to_string().contains("does not vouch"), "{refusal}");
}
