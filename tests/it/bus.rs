//! The bus as programs on this machine meet it: the published clients, files and rights, restarts and stops.

use crate::gateway::{Gateway, Plan, until};
use crate::mqtt_peer::MqttPeer;
use crate::programs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn socket(gateway: &Gateway) -> PathBuf {
    gateway.data().join("bus.sock")
}

/// A program under full control.
struct Program(UnixStream);

impl Program {
    fn dial(gateway: &Gateway) -> Self {
        let stream = UnixStream::connect(socket(gateway)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn register(gateway: &Gateway, name: &str) -> Result<Self, u8> {
        let mut program = Self::dial(gateway);
        assert_eq!(program.read::<3>(), [0xEB, 1, 0]);
        program.write(&[0xEB, 1, 0]);
        assert_eq!(program.read::<1>(), [1]);
        program.write(&[&u16::try_from(name.len()).unwrap().to_le_bytes()[..], name.as_bytes()].concat());
        match program.read::<1>() {
            [1] => Ok(program),
            [code] => Err(code),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a frame with QoS 1 and waits for its acknowledgement; other frames on the way are passed over.
    fn asks(&mut self, op: u8, body: &[u8]) -> u8 {
        let len = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.write(&[&[7, 0, 0, 0, op | 0x40][..], &len, body].concat());
        loop {
            let head = self.read::<6>();
            if head[0] == 0xFE {
                return head[5];
            }
            self.body(head);
        }
    }

    /// The next frame that is neither a NOP nor an acknowledgement.
    fn frame(&mut self) -> Vec<u8> {
        loop {
            let head = self.read::<6>();
            if head[0] != 0 && head[0] != 0xFE {
                return self.body(head);
            }
        }
    }

    fn body(&mut self, head: [u8; 6]) -> Vec<u8> {
        let mut body = vec![0; u32::from_le_bytes(head[1..5].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).unwrap();
        body
    }
}

#[test]
fn published_programs_work_among_each_other_and_with_everybody_else() {
    programs::run("bus_programs.py", &mut Gateway::start());
}

#[test]
fn the_socket_has_the_mode_that_was_asked_for_and_a_stop_removes_it() {
    let mut gateway = Plan::without_history().set("bus.mode", "0600").start();
    assert_eq!(std::fs::metadata(socket(&gateway)).unwrap().permissions().mode() & 0o777, 0o600);
    let mut idle = Program::register(&gateway, "idle").unwrap();
    assert!(gateway.stop().success());
    assert!(!gateway.log().contains("stop_timeout is over"), "programs do not hold up a stop");
    let warning = idle.frame();
    assert!(warning.starts_with(b".broker\0.broker/warn\0"), "{}", String::from_utf8_lossy(&warning));
    assert!(!socket(&gateway).exists());
}

#[test]
fn doctor_says_whether_the_socket_is_there_and_who_may_connect() {
    let gateway = Plan::without_history().set("bus.mode", "0600").start();
    let path = socket(&gateway);
    let shown = path.display();
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert!(code == 0 && page.contains(&format!("OK    bus: {shown} is alive; mode 0600, group ")), "{page}");
    std::fs::remove_file(&path).unwrap();
    let (code, page, _) = gateway.ask(&["doctor"]);
    assert!(code == 1 && page.contains(&format!("FAIL  bus: {shown} is gone")), "{page}");
    let quiet = Plan::without_history().set("bus.path", "off").start();
    let (code, page, _) = quiet.ask(&["doctor"]);
    assert!(code == 0 && !page.contains(" bus:"), "{page}");
}

#[test]
fn other_users_of_the_machine_can_be_kept_out() {
    let own = rustix::process::geteuid().as_raw();
    let allowed = Plan::without_history().set("bus.allow_uids", &format!("{own}, 4711")).start();
    assert!(Program::register(&allowed, "own").is_ok());
    let other = Plan::without_history().set("bus.allow_uids", "4711").start();
    let mut program = Program::dial(&other);
    let mut rest = Vec::new();
    program.0.read_to_end(&mut rest).ok();
    assert!(rest.is_empty(), "not even a greeting");
    until("it is said", 10, || (other.count_in_log("allow_uids") > 0).then_some(()));
}

#[test]
fn an_acknowledged_publication_survives_kill_9_and_programs_come_back_to_the_same_name() {
    let mut gateway = Gateway::start();
    let mut program = Program::register(&gateway, "poller").unwrap();
    for n in 0..50 {
        let reading = format!("killed/telemetry\0{{\"temperature\": {n}}}");
        assert_eq!(program.asks(0x01, reading.as_bytes()), 1);
    }
    gateway.kill();
    assert!(socket(&gateway).exists(), "nobody was there to remove it");
    gateway.start_again_on_the_same_doors();
    let mut program = Program::register(&gateway, "poller").unwrap();
    let query = b".gateway\0\x01\x01\0\0\0query_telemetry\0\x82\xa5where\xaddn = 'killed'\xa4cols\x91\xa8count(*)";
    assert_eq!(program.asks(0x12, query), 1);
    let answer = program.frame();
    assert!(answer.starts_with(b".gateway\0\x11\x01\0\0\0"), "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(&[50]), "{answer:x?}");
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_not_logged_and_what_is_not_to_leave_does_not() {
    let mut gateway = Plan::default()
        .set("bus.import", "plant/#, dev/telemetry, live/telemetry")
        .set("bus.history", "dev/#")
        .set("bus.export", "cmd/#")
        .start();
    let mut program = Program::register(&gateway, "poller").unwrap();
    let mut other = Program::register(&gateway, "other").unwrap();
    assert_eq!(other.asks(0x02, b"#"), 1);
    for topic in ["dev/telemetry", "live/telemetry", "stays/telemetry"] {
        let reading = format!("{topic}\0{{\"temperature\": 1}}");
        assert_eq!(program.asks(0x01, reading.as_bytes()), 1, "{topic}");
        assert!(other.frame().starts_with(format!("poller\0{topic}\0").as_bytes()), "on the bus all of them are heard");
    }
    let mut mqtt = MqttPeer::connect(gateway.doors.mqtt, "sensor").await;
    mqtt.publish("secret/x", "not for programs").await;
    mqtt.publish("cmd/x", "for programs").await;
    assert!(other.frame().ends_with(b"\0cmd/x\0for programs"));

    gateway.kill();
    gateway.start_again();
    let mut program = Program::register(&gateway, "poller").unwrap();
    let query = b".gateway\0\x01\x01\0\0\0query_telemetry\0\x81\xa4cols\x91\xa2dn";
    assert_eq!(program.asks(0x12, query), 1);
    let answer = program.frame();
    assert!(answer.ends_with(b"\x91\x81\xa2dn\xa3dev"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn messagepack_is_values_for_everybody_else() {
    let gateway = Plan::default().set("bus.messagepack", "+/telemetry").start();
    let mut program = Program::register(&gateway, "poller").unwrap();
    let mut other = Program::register(&gateway, "other").unwrap();
    assert_eq!(other.asks(0x02, b"+/telemetry"), 1);
    let packed = b"\x81\xabtemperature\xcb\x40\x35\x80\0\0\0\0\0";
    assert_eq!(program.asks(0x01, &[&b"packed/telemetry\0"[..], packed].concat()), 1);
    assert_eq!(other.frame(), [&b"poller\0packed/telemetry\0"[..], packed].concat(), "on the bus it stays what it was");
    let query = b".gateway\0\x01\x01\0\0\0query_telemetry\0\x81\xa4cols\x92\xa2dn\xabtemperature";
    assert_eq!(program.asks(0x12, query), 1);
    let answer = program.frame();
    assert!(answer.ends_with(b"\x91\x82\xa2dn\xa6packed\xabtemperature\xcb\x40\x35\x80\0\0\0\0\0"), "{answer:x?}");
}

#[test]
fn over_tcp_of_this_machine_it_is_the_same() {
    let gateway = Plan::without_history().set("bus.path", "off").set("bus.tcp", "127.0.0.1:0").start();
    assert!(!socket(&gateway).exists());
    let mut stream = std::net::TcpStream::connect(gateway.door("bus", "tcp")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = [0; 5];
    stream.write_all(b"\xEB\x01\0\x03\0tcp").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0xEB, 1, 0, 1, 1]);
}
