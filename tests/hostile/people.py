"""What one user, or one address, takes from others; what pages of a browser and texts of peers may do."""

import contextlib
import socket
import struct
import subprocess
import threading
import time

import cbor2

import wire
from registry import attack, ignoring_hang_ups
from target import BINARY


@attack("6 sessions of one user", users=("dev1", "dev2"))
def one_password_for_all_sessions(target, scale):
    def fill(part):
        with ignoring_hang_ups():
            for number in range(int(52_000 * scale) // 64 + 1):
                sock, _ = wire.mqtt_client(target.mqtt, f"dev1-{part}-{number}", clean=False, properties=wire.session_expiry(86400), **target.login("dev1"))
                sock.close()

    parts = [threading.Thread(target=fill, args=(part,), daemon=True) for part in range(64)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    sock, code = wire.mqtt_client(target.mqtt, "dev2-only", clean=False, properties=wire.session_expiry(86400), **target.login("dev2"))
    assert code == 0, f"another user is refused with {code:#x}"
    target.restart()
    sock, code = wire.mqtt_client(target.mqtt, "dev2-again", clean=False, properties=wire.session_expiry(86400), **target.login("dev2"))
    assert code == 0, f"another user is refused with {code:#x} after a restart"
    target.command("admin", "user", "remove", "dev1")


@attack("7 shares", users=("dev1", "dev2"), mqtt__queues_size="4MiB", mqtt__queue_size="2MiB")
def one_user_fills_the_queues(target, scale):
    """The heavy user's sleeping sessions must not push out what waits for the light one."""
    sock, code = wire.mqtt_client(target.mqtt, "light", clean=False, properties=wire.session_expiry(3600), **target.login("dev2"))
    assert code == 0
    sock.sendall(wire.mqtt_subscribe(["dev2/#"], qos=1))
    wire.mqtt_read(sock)
    sock.close()
    for number in range(8):
        sock, _ = wire.mqtt_client(target.mqtt, f"heavy-{number}", clean=False, properties=wire.session_expiry(3600), **target.login("dev1"))
        sock.sendall(wire.mqtt_subscribe(["dev1/#"], qos=1))
        wire.mqtt_read(sock)
        sock.close()
    heavy, _ = wire.mqtt_client(target.mqtt, "heavy-publisher", **target.login("dev1"))
    light, _ = wire.mqtt_client(target.mqtt, "light-publisher", **target.login("dev2"))
    acknowledged = set()
    for number in range(int(200 * scale) or 100):
        with contextlib.suppress(ConnectionError):
            wire.mqtt_acknowledged(heavy, "dev1/x", bytes(60_000), packet_id=number + 1)
        if wire.mqtt_acknowledged(light, "dev2/x", b"%d" % number, packet_id=number + 1) in (0, 0x10):
            acknowledged.add(number)
    sock, _ = wire.mqtt_client(target.mqtt, "light", clean=False, properties=wire.session_expiry(3600), **target.login("dev2"))
    found = set()
    sock.settimeout(5)
    with contextlib.suppress(OSError):
        while found != acknowledged:
            first, body = wire.mqtt_read(sock)
            if first & 0xF0 == 0x30:
                at = 2 + struct.unpack(">H", body[:2])[0]
                sock.sendall(wire.packet(0x40, body[at : at + 2]))
                found.add(int(body.rsplit(b"\0", 1)[-1]))
    assert found == acknowledged, f"{len(acknowledged - found)} of {len(acknowledged)} acknowledged messages of the light user are lost"


@attack("8 passwords", users=("dev1", "dev2"))
def wrong_passwords(target, scale):
    """Three hundred at once from one address; the honest first login comes from another one of this machine."""
    slowest = 0.0
    for turn in range(3):
        guessing = []
        for number in range(300):
            with ignoring_hang_ups():
                sock = socket.create_connection(("127.0.0.1", target.mqtt), timeout=5, source_address=("127.0.0.66", 0))
                sock.sendall(wire.mqtt_connect(f"guess-{number}", user="dev1", password=f"wrong-{turn}-{number}"))
                guessing.append(sock)
        began = time.monotonic()
        sock = socket.create_connection(("127.0.0.1", target.mqtt), timeout=30, source_address=(f"127.7.{turn}.1", 0))
        sock.sendall(wire.mqtt_connect(f"first-{turn}", **target.login("dev2")))
        _, body = wire.mqtt_read(sock)
        assert body[1] == 0, f"an honest login is refused with {body[1]:#x}"
        slowest = max(slowest, time.monotonic() - began)
        for used in [sock, *guessing]:
            used.close()
    assert slowest < 3, f"an honest first login took {slowest:.1f} s"


@attack("8 places", users=("dev1",))
def connections_that_never_log_in(target, scale):
    silent = []
    for _ in range(400):
        for port in (target.rembus, target.mqtt):
            with ignoring_hang_ups():
                if port == target.rembus:
                    silent.append(wire.WebSocket(port).sock)
                else:
                    silent.append(wire.connect(port, timeout=2))
    component = wire.Component(target.rembus, login=target.basic("admin"))
    assert component.status == 101, f"a component with a login is turned away: {component.status}"
    sock, code = wire.mqtt_client(target.mqtt, "late", **target.login("dev1"))
    assert code == 0, f"a client with a login is turned away: {code:#x}"
    for sock in silent:
        sock.close()


@attack("9 origins", mqtt__ws_listen="127.0.0.1:0")
def pages_of_other_origins(target, scale):
    foreign = ["Origin: https://evil.example"]
    assert wire.WebSocket(target.rembus, headers=foreign).status == 403, "the Rembus port takes a page of another origin"
    assert wire.WebSocket(target.ports["mqtt-ws"], protocol="mqtt").status == 101, "a program without an origin is refused"
    assert wire.WebSocket(target.ports["mqtt-ws"], headers=foreign, protocol="mqtt").status == 403, "the MQTT WebSocket port takes a page of another origin"
    rebound = [f"Host: evil.example:{target.rembus}", f"Origin: http://evil.example:{target.rembus}"]
    assert wire.WebSocket(target.rembus, headers=rebound).status == 403, "the Rembus port takes a name that was rebound"
    for path in ("/metrics", "/readyz", "/version"):
        status, _ = wire.get(target.http, path, Host="evil.example")
        assert status in (400, 403, 421), f"{path} takes any Host: {status}"
    assert wire.WebSocket(target.rembus).status == 101, "a program without an origin is refused"


@attack("10 control characters")
def control_characters_in_texts(target, scale):
    evil = "\x1b[2J\x1b]0;owned\x07line\r\nnext\u202e\x9b31m"
    component = wire.Component(target.rembus, "evil-component")
    assert component.admin("evil/method", cmd="expose")[0] == 0
    stop = threading.Event()

    def refuse():
        component.sock.settimeout(20)
        with contextlib.suppress(OSError):
            while not stop.is_set() and (message := component.receive()) is not None:
                parts = cbor2.loads(message)
                if parts[0] & 0x0F == 2:
                    component.send_message([4, parts[1], 40, evil])

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    done = subprocess.run([BINARY, "rpc", "evil/method", "--data", str(target.data)], capture_output=True, timeout=30, env=target.environment)
    stop.set()
    component.close()
    said = (done.stdout + done.stderr).decode()
    assert done.returncode != 0 and "owned" in said, f"the error did not reach the operator: {said!r}"
    bad = [c for c in said if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"]
    assert not bad, f"control characters reach the terminal: {said!r}"
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "client\x1b[31m")
        sock.close()
    with ignoring_hang_ups():
        wire.Component(target.rembus, "name\x1b[31m\nready")
    assert not [line for line in target.lines if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line)], "control characters in the log"


@attack("10 two hosts")
def two_hosts_and_forwarded_addresses(target, scale):
    request = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{target.http}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    status, _ = wire.http(target.http, request)
    assert status == 400, f"two Host headers: {status}"


@attack("10 packet size")
def answers_beyond_the_clients_packet_size(target, scale):
    for size in (1, 2, 5, 20):
        with ignoring_hang_ups():
            sock = wire.connect(target.mqtt)
            sock.sendall(wire.mqtt_connect("small" + "x" * 200, properties=wire.maximum_packet_size(size)))
            sock.settimeout(5)
            first, body = wire.mqtt_read(sock)
            assert len(body) + 2 <= size, f"CONNACK of {len(body) + 2} bytes for a client that takes {size}"
            sock.sendall(wire.mqtt_subscribe([f"f/{n}" for n in range(50)]))
            first, body = wire.mqtt_read(sock)
            if len(body) + 2 > size:
                raise RuntimeError(f"{first:#x} of {len(body) + 2} bytes for a client that takes {size}")
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "leaver")
        sock.sendall(wire.packet(0xE0, b"\x7f\x00"))
        first, body = wire.mqtt_read(sock)
        if first != 0xE0 or body[0] not in (0x81, 0x82):
            raise RuntimeError(f"an unknown reason of DISCONNECT is taken: {first:#x} {body!r}")
