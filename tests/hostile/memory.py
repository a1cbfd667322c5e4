"""What takes places and memory: sockets, messages, properties, topics, filters, rows."""

import contextlib
import io
import struct
import time

import cbor2
import polars

import wire
from registry import MIB, attack, grown_mib, ignoring_hang_ups


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
