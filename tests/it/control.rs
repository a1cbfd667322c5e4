//! Commands that ask the running gateway.

use crate::gateway::Plan;
use crate::mqtt_peer::MqttPeer;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn status_shows_the_running_gateway() {
    let gateway = Plan::without_history().start();
    let _peer = MqttPeer::connect(gateway.doors.mqtt, "dev1").await;

    let (code, page, complaints) = gateway.ask(&["status"]);
    assert_eq!((code, complaints.as_str()), (0, ""), "{page}");
    assert!(page.contains(&format!("mqtt      {}, 1 connected", gateway.doors.mqtt)), "{page}");
    assert!(page.contains("log       fine") && page.contains("history   off"), "{page}");

    let (code, json, _) = gateway.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, 0);
    assert_eq!(status["pid"], gateway.pid());
    assert_eq!(status["router"]["connections"]["mqtt"], 1);
}

#[test]
fn commands_find_the_gateway_again_after_a_kill_and_nobody_after_a_stop() {
    let mut gateway = Plan::without_history().start();
    let socket = gateway.data().join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    gateway.kill();
    assert!(socket.exists(), "a kill leaves it behind");
    let (code, _, complaint) = gateway.ask(&["status"]);
    assert_eq!(code, 1);
    assert!(complaint.starts_with(&format!("no gateway is running on {}", gateway.data().display())), "{complaint}");

    gateway.start_again();
    assert_eq!(gateway.ask(&["status"]).0, 0);

    assert!(gateway.stop().success());
    assert!(!socket.exists());
    let (code, _, complaint) = gateway.ask(&["status"]);
    assert_eq!(code, 1);
    assert!(complaint.starts_with("no gateway is running"), "{complaint}");
}
