"""What strangers, and sensors with a password, do to a gateway. Each attack is bounded in time and count, and ends by itself.

An attack is a function of the gateway under attack and of the scale: 1 for a whole run, less for a short one. It asserts what must
hold for the attack itself; run.py watches the honest clients, the memory and the process.
"""

import contextlib
import io
import json
import socket
import struct
import subprocess
import threading
import time

import cbor2
import polars

import wire
from target import BINARY

ATTACKS = []
MIB = 1 << 20


def attack(row, *, short=True, **options):
    """Registers an attack on a row of the issue list; the options are the gateway's."""

    def register(function):
        ATTACKS.append((function, row, short, options))
        return function

    return register


def ignoring_hang_ups():
    return contextlib.suppress(OSError, ConnectionError, AssertionError)


# --- names ------------------------------------------------------------------------------------------------------------


@attack("1 deep names")
def deep_filters_in_a_session_that_stays(target, scale):
    for number, name in enumerate(("/" * 6000, "a/" * 3000 + "#", "+/" * 3000, "$share/g/" + "/" * 6000)):
        with ignoring_hang_ups():
            sock, _ = wire.mqtt_client(target.mqtt, f"deep-{number}", clean=False, properties=wire.session_expiry(2))
            sock.sendall(wire.mqtt_subscribe([name]))
            wire.mqtt_read(sock)
            sock.close()
    time.sleep(3)  # the sessions expire: that is when nested nodes were dropped
    target.assert_alive()
    for number in range(2):
        target.restart()


@attack("1 deep names")
def deep_names_at_every_protocol(target, scale):
    deep = "/" * 6000
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "deep", will=(deep, b"x"))
        sock.close()
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "deep-publisher")
        sock.sendall(wire.mqtt_publish(deep, b"x", retain=True))
        wire.is_closed(sock, 2)
    for topic in ("dev1" + "/**" * 3000, "**/" * 3000 + "x", deep, "*" * 6000):
        with ignoring_hang_ups():
            component = wire.Component(target.rembus, "deep-component")
            component.subscribe(topic)
            component.admin(topic, cmd="expose")
            component.rpc(topic)
            component.publish(topic, 1)
            component.close()
        with ignoring_hang_ups():
            speaker = wire.WebSocket(target.rembus)
            request = {"jsonrpc": "2.0", "id": 7, "method": topic, "params": {"type": 3, "data": {"cmd": "subscribe"}}}
            speaker.send(json.dumps(request).encode(), opcode=1)
            speaker.receive()
            speaker.close()
        with ignoring_hang_ups():
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": topic, "params": []}).encode()
            head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{target.http}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            wire.http(target.http, head + "Connection: close\r\n\r\n", body)
    target.assert_alive()
    target.restart()


@attack("1 deep values")
def nested_values(target, scale):
    """Arrays in arrays, in each format."""
    depth = 200_000
    with ignoring_hang_ups():
        component = wire.Component(target.rembus)
        component.send(b"\x83\x01\x61t" + b"\x81" * depth + b"\x00")
        wire.is_closed(component.sock, 2)
    with ignoring_hang_ups():
        speaker = wire.WebSocket(target.rembus)
        speaker.send(b'{"jsonrpc":"2.0","method":"t","params":' + b"[" * depth + b"]" * depth + b"}", opcode=1)
        wire.is_closed(speaker.sock, 2)
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "nested")
        wire.mqtt_acknowledged(sock, "nested/counted", b'{"n":' + b"[" * depth + b"]" * depth + b"}")
    with ignoring_hang_ups():
        target.command("query", "counted", "--where", "(" * 20_000 + "1=1" + ")" * 20_000)
    with ignoring_hang_ups():
        component = wire.Component(target.rembus)
        component.rpc("query_counted", {"where": "n" + " + 1" * 50_000 + " > 0"})
    target.assert_alive()


# --- matching ---------------------------------------------------------------------------------------------------------


@attack("2 worst patterns")
def patterns_that_match_slowly(target, scale):
    """Patterns of many `**` and partial wildcards, and topics that nearly match them."""
    component = wire.Component(target.rembus, "patterns")
    accepted = 0
    for number in range(int(10_000 * scale) or 1):
        pattern = ("**/a" * 20 + f"/{number}", "**/*a*/" * 10 + f"b{number}", "*a" * 30 + f"*{number}")[number % 3]
        accepted += component.subscribe(pattern)[0] == 0
    component.reactive()
    sock, _ = wire.mqtt_client(target.mqtt, "matched")
    worst = 0.0
    for number in range(int(200 * scale) or 20):
        topic = ("a/" * 100 + "a", "a" * 250, "/".join(["aaaa"] * 60))[number % 3]
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            wire.mqtt_acknowledged(sock, topic, b"x", packet_id=number + 1)
        worst = max(worst, time.monotonic() - began)
    assert worst < 2, f"an acknowledgement took {worst:.1f} s beside {accepted} patterns"


# --- places -----------------------------------------------------------------------------------------------------------


@attack("3 open files", files=1024)
def a_thousand_silent_sockets(target, scale):
    sockets = []
    with contextlib.suppress(OSError):
        for number in range(1400):
            sockets.append(wire.connect((target.mqtt, target.rembus, target.http)[number % 3], timeout=2))
    sock = None
    # The log needs new segments meanwhile.
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "filler")
        for number in range(int(40 * scale) or 8):
            wire.mqtt_acknowledged(sock, "filler", bytes(MIB), packet_id=number + 1)
    time.sleep(5 * scale)
    for silent in sockets:
        silent.close()
    target.assert_alive()
    status, answer = wire.get(target.http, "/readyz")
    assert status == 200, answer[-200:]


# --- bytes ------------------------------------------------------------------------------------------------------------


def grown_mib(target, before_kb):
    return (target.peak_kb() - before_kb) / 1024


@attack("4 before login", users=("dev1",))
def large_messages_without_a_login(target, scale):
    before_kb = target.memory_kb()
    keep = []
    for number in range(12):
        with ignoring_hang_ups():
            socket_ = wire.WebSocket(target.rembus)
            keep.append(socket_)
            socket_.send(bytes(32 * MIB), announce=59 * MIB)
        with ignoring_hang_ups():
            socket_ = wire.WebSocket(target.rembus)
            keep.append(socket_)
            for _ in range(64):
                socket_.send(bytes(MIB // 2), opcode=0 if _ else 2, fin=False)
        with ignoring_hang_ups():
            sock = wire.connect(target.mqtt)
            keep.append(sock)
            sock.sendall(b"\x10" + wire.varint(2 * MIB - 16) + bytes(2 * MIB - 32))
        with ignoring_hang_ups():
            sock = wire.connect(target.http)
            keep.append(sock)
            sock.sendall(f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{target.http}\r\nContent-Length: {16 * MIB}\r\n\r\n".encode() + bytes(16 * MIB - 5))
        with ignoring_hang_ups():
            sock = wire.connect(target.http)
            keep.append(sock)
            sock.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * (4 * MIB))
    grown = grown_mib(target, before_kb)
    for sock in keep:
        sock.close()
    assert grown < 40, f"{grown:.0f} MiB for connections without a login"


@attack("4 before login", users=("dev1",))
def calls_without_a_login(target, scale):
    """Refused calls must be forgotten at once, not kept until the deadline of the login."""
    before_kb = target.memory_kb()
    for _ in range(4):
        with ignoring_hang_ups():
            component = wire.Component(target.rembus)
            for number in range(int(100 * scale) or 20):
                component.send_message([2, struct.pack("<Q", number + 1), "x", None, [bytes(MIB // 2)]])
            wire.is_closed(component.sock, 1)
    grown = grown_mib(target, before_kb)
    assert grown < 40, f"{grown:.0f} MiB for refused calls"


@attack("4 after login")
def large_json(target, scale):
    before_kb = target.memory_kb()
    values = b"[" + b"[],{}," * (4 * MIB) + b"0]"
    message = b'{"jsonrpc":"2.0","id":5,"method":"version","params":' + values + b"}"
    with ignoring_hang_ups():
        speaker = wire.WebSocket(target.rembus)
        speaker.send(message, opcode=1)
        speaker.receive()
    with ignoring_hang_ups():
        head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{target.http}\r\nContent-Type: application/json\r\nContent-Length: {len(message)}\r\n"
        wire.http(target.http, head + "Connection: close\r\n\r\n", message)
    grown = grown_mib(target, before_kb)
    assert grown < 3 * len(message) / MIB, f"{grown:.0f} MiB for {len(message) // MIB} MiB of JSON"


@attack("4 after login")
def large_messages_at_the_same_time(target, scale):
    """Each is allowed; all of them together are not."""
    sockets = []
    for number in range(12):
        with ignoring_hang_ups():
            component = wire.Component(target.rembus)
            sockets.append(component)
            component.sock.settimeout(2)
            component.send(cbor2.dumps([1, "bulk", [bytes(50 * MIB)]])[: 45 * MIB], announce=50 * MIB)
    time.sleep(1)
    for component in sockets:
        component.close()
    target.assert_alive()


@attack("5 properties")
def retained_messages_with_large_properties(target, scale):
    before_kb = target.memory_kb()
    sock, _ = wire.mqtt_client(target.mqtt, "retainer")
    properties = b"".join(wire.user_property("k" * 20, "v" * 60_000) for _ in range(16))
    with ignoring_hang_ups():
        for number in range(int(400 * scale) or 60):
            sock.sendall(wire.mqtt_publish(f"retained/{number}", b"x", retain=True, properties=properties))
        wire.mqtt_acknowledged(sock, "flushed", b"x", packet_id=1)
    target.restart()
    grown = (target.memory_kb() - before_kb) / 1024
    assert grown < 160, f"{grown:.0f} MiB after a restart with retained messages"


@attack("5 seen topics")
def many_topics(target, scale):
    """Long topics, each once, that nobody subscribes to; a client that is thrown out comes back."""
    before_kb = target.memory_kb()
    number = 0
    wanted = int(20_000 * scale)
    while number < wanted:
        with ignoring_hang_ups():
            sock, _ = wire.mqtt_client(target.mqtt, "wanderer")
            while number < wanted:
                number += 1
                length = 60_000 if number % 8 == 0 else 900
                sock.sendall(wire.mqtt_publish(f"{number}/" + "t" * length, b"x"))
                if number % 200 == 0:
                    wire.mqtt_acknowledged(sock, "flushed", b"x")
            sock.close()
    grown = grown_mib(target, before_kb)
    assert grown < 120, f"{grown:.0f} MiB for topics that were seen"


@attack("5 subscriptions")
def many_filters(target, scale):
    before_kb = target.memory_kb()
    for client in range(int(20 * scale) or 4):
        with ignoring_hang_ups():
            sock, _ = wire.mqtt_client(target.mqtt, f"collector-{client}", clean=False, properties=wire.session_expiry(3600))
            for number in range(40):
                sock.sendall(wire.mqtt_subscribe([f"{client}/{number}/{k}/" + "/".join("f" * 100) for k in range(200)], packet_id=number + 1))
                wire.mqtt_read(sock)
            sock.close()
    grown = grown_mib(target, before_kb)
    assert grown < 200, f"{grown:.0f} MiB for filters"


@attack("5 rows")
def a_frame_that_grows(target, scale):
    """One MQTT message and one Rembus message that want to become very many values."""
    before_kb = target.memory_kb()
    with ignoring_hang_ups():
        component = wire.Component(target.rembus)
        component.publish("frame/counted", [{"n": 1}] * 200_000)
        component.publish("frame/counted", {f"n{i}": i for i in range(60_000)})
    with ignoring_hang_ups():
        frame = polars.DataFrame({"source": ["x" * 200] * 5_000, "n": list(range(5_000))})
        for _ in range(3):
            out = io.BytesIO()
            frame.write_ipc_stream(out)
            wire.Component(target.rembus).publish("frame/counted", cbor2.CBORTag(80, out.getvalue()))
            frame = polars.concat([frame] * 4)
    time.sleep(2)
    grown = grown_mib(target, before_kb)
    assert grown < 300, f"{grown:.0f} MiB for frames"


# --- users ------------------------------------------------------------------------------------------------------------


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


# --- logins -----------------------------------------------------------------------------------------------------------


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


# --- browsers ---------------------------------------------------------------------------------------------------------


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


# --- small holes ------------------------------------------------------------------------------------------------------


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


# --- queries ----------------------------------------------------------------------------------------------------------


def texts(target, mib):
    """Rows with long texts that differ."""
    component = wire.Component(target.rembus)
    sent = 0
    rows = 200
    while sent < mib * MIB:
        for _ in range(rows):
            component.send_message([1, f"{'x' * 800}{sent}/counted", [{"n": sent}]])
            sent += 900
        component.publish("texts/counted", {"n": 0})


@attack("11 expensive queries", short=False)
def queries_that_want_all_memory(target, scale):
    texts(target, 40 * scale)
    stopping = threading.Event()
    answers = {"given": 0, "refused": 0}

    def ask(number):
        with ignoring_hang_ups():
            component = wire.Component(target.rembus, f"asker-{number}")
            component.sock.settimeout(60)
            while not stopping.is_set():
                what = ({"cols": "count(DISTINCT source)"}, {"cols": "source, count(*)", "where": "n >= 0 GROUP BY source ORDER BY source"})[number % 2]
                status, _ = component.rpc("query_counted", what)
                answers["refused" if status else "given"] += 1

    threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(60 * scale)
    small = wire.Component(target.rembus, "small-asker")
    small.sock.settimeout(30)
    began = time.monotonic()
    status, data = small.rpc("query_telemetry", {"limit": 1})
    took = time.monotonic() - began
    stopping.set()
    for thread in threads:
        thread.join(timeout=60)
    target.assert_alive()
    assert status == 0, f"a small query beside the storm fails: {data}"
    assert took < 10, f"a small query beside the storm took {took:.1f} s"
    assert sum(answers.values()) > 0, "no query was answered"


@attack("12 slow readers")
def slow_readers_of_large_answers(target, scale):
    texts(target, 20 + 100 * scale)
    slow = []
    for number in range(2):
        component = wire.Component(target.rembus, f"slow-{number}")
        component.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        component.send_message([2, struct.pack("<Q", number + 1), "query_counted", None, [{}]])
        slow.append(component)
    time.sleep(1)
    small = wire.Component(target.rembus, "quick")
    small.sock.settimeout(30)
    slowest = 0.0
    for _ in range(5):
        began = time.monotonic()
        status, data = small.rpc("query_telemetry", {"limit": 1})
        assert status == 0, data
        slowest = max(slowest, time.monotonic() - began)
        for component in slow:
            component.sock.recv(4096)
    for component in slow:
        component.close()
    assert slowest < 3, f"a small query took {slowest:.1f} s beside slow readers"
