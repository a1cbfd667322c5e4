//! A thousand TLS clients come back at once, as after a power cut in the plant, and those who are there already notice nothing.

use crate::gateway::Gateway;
use crate::mqtt_peer::MqttPeer;
use crate::pki::Pki;
use crate::tls_peer::TlsPeer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

const CLIENTS: usize = 1000;

/// An established client with a keep alive of one second, on a thread of its own. It returns its longest wait for an answer.
fn keeps_alive(addr: SocketAddr, over: Arc<AtomicBool>) -> Result<Duration, String> {
    let mut stream = TcpStream::connect(addr).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x01\x00\x04here").unwrap();
    stream.read_exact(&mut [0; 4]).map_err(|e| e.to_string())?;
    let mut longest = Duration::ZERO;
    while !over.load(Relaxed) {
        let begin = Instant::now();
        stream.write_all(&[0xC0, 0]).map_err(|error| format!("the session is gone: {error}"))?;
        stream.read_exact(&mut [0; 2]).map_err(|error| format!("the session is gone: {error}"))?;
        longest = longest.max(begin.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(longest)
}

/// Connects until it is in, as clients do, and tells how often it was turned away.
async fn comes_back(peer: TlsPeer, addr: SocketAddr, name: String) -> (MqttPeer<impl tokio::io::AsyncRead>, usize) {
    let mut failed = 0;
    loop {
        if let Ok(stream) = peer.connect(addr).await
            && let Some(connected) = MqttPeer::over(stream, &name).await
        {
            return (connected, failed);
        }
        failed += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn storm(gateway: &Gateway, pki: &Pki) -> (Duration, usize, Duration) {
    let over = Arc::new(AtomicBool::new(false));
    let (addr, said) = (gateway.doors.mqtt, Arc::clone(&over));
    let established = std::thread::spawn(move || keeps_alive(addr, said));
    let tls = gateway.door("mqtt", "tls");
    let peer = TlsPeer::new(&pki.ca(), None);
    let begin = Instant::now();
    let storm: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(comes_back(peer.clone(), tls, format!("sensor-{number}")))).collect();
    let (mut inside, mut failed) = (Vec::new(), 0);
    for client in storm {
        let (connected, times) = client.await.unwrap();
        inside.push(connected);
        failed += times;
    }
    let settled = begin.elapsed();
    over.store(true, Relaxed);
    let longest = established.join().unwrap().unwrap();
    (settled, failed, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tls_clients_at_once_cost_nobody_the_keep_alive() {
    let pki = Pki::new();
    pki.slow("gateway");
    let gateway = pki.plan().start();
    let (settled, failed, longest) = storm(&gateway, &pki).await;
    eprintln!(
        "{CLIENTS} clients were in after {settled:?}, {failed} attempts failed; the longest wait for PINGRESP was {longest:?}"
    );
    assert!(longest < Duration::from_millis(750), "PINGRESP took {longest:?}");
    assert!(failed < CLIENTS / 10, "{failed} attempts failed");
    assert!(settled < Duration::from_secs(60), "{settled:?}");
}
