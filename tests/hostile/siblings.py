"""The same attacks where they are easily forgotten: MQTT over WebSocket, Rembus over TCP, programs on the bus, commlib nodes, and far
ends of links that are not what they were."""

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
import time

import cbor2

import wire
from registry import MIB, attack, grown_mib, ignoring_hang_ups

DEEP = "a/" * 3000 + "b"


# --- MQTT over WebSocket ------------------------------------------------------------------------------------------------


@attack("4 before login", users=("dev1",), mqtt__ws_listen="127.0.0.1:0")
def websockets_of_mqtt_without_a_login(target, scale):
    before_kb = target.memory_kb()
    keep = []
    for number in range(int(40 * scale) or 6):
        for fragments in (1, 64):
            with ignoring_hang_ups():
                ws = wire.WebSocket(target.ports["mqtt-ws"], protocol="mqtt")
                keep.append(ws)
                assert ws.status == 101, ws.status
                # A CONNECT that announces much and never ends, in one frame or in many.
                ws.send(b"\x10" + wire.varint(2 * MIB - 16) + bytes(MIB // 64), fin=fragments == 1)
                for _ in range(fragments):
                    ws.send(bytes(MIB // 64), opcode=0 if fragments > 1 else 2, fin=fragments == 1)
                ws.send(bytes(MIB), announce=200 * MIB)
    grown = grown_mib(target, before_kb)
    for ws in keep:
        ws.close()
    assert grown < 40, f"{grown:.0f} MiB for WebSockets without a login"


@attack("1 deep names", mqtt__ws_listen="127.0.0.1:0")
def deep_names_over_websocket(target, scale):
    for name in (DEEP, "+/" * 3000, "$share/g/" + DEEP):
        with ignoring_hang_ups():
            ws = wire.WebSocket(target.ports["mqtt-ws"], protocol="mqtt")
            ws.send(wire.mqtt_connect("deep-ws", clean=False, properties=wire.session_expiry(1)))
            ws.receive()
            ws.send(wire.mqtt_subscribe([name]))
            ws.send(wire.mqtt_publish(name, b"{}", qos=1, retain=True))
            ws.receive()
            ws.close()
    time.sleep(2)
    target.assert_alive()
    target.restart()


# --- Rembus over TCP ----------------------------------------------------------------------------------------------------


@attack("4 before login", users=("dev1",), rembus__tcp_listen="127.0.0.1:0")
def plain_streams_without_a_login(target, scale):
    """Lengths that announce everything, of every width, and what follows never ends."""
    before_kb = target.memory_kb()
    keep = []
    for number in range(int(40 * scale) or 6):
        for head in (b"\x81\xff", b"\x8d\xff\xff", b"\x8f\x03\xbf\xff\xff", b"\x8f\xff\xff\xff\xff", b"{" * 64):
            with ignoring_hang_ups():
                sock = wire.connect(target.ports["rembus-tcp"])
                keep.append(sock)
                sock.settimeout(2)
                sock.sendall(head + bytes(4 * MIB))
    grown = grown_mib(target, before_kb)
    for sock in keep:
        sock.close()
    assert grown < 40, f"{grown:.0f} MiB for streams without a login"


# --- bus ----------------------------------------------------------------------------------------------------------------


class Program:
    """A program on the bus whose frames are the caller's."""

    def __init__(self, target, name, *, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(5)
        self.sock.connect(("127.0.0.1", target.ports["bus-tcp"] if "bus-tcp" in target.ports else target.ports["bus"]))
        wire.read_exactly(self.sock, 3)
        self.sock.sendall(b"\xeb\x01\x00")
        assert wire.read_exactly(self.sock, 1) == b"\x01"
        self.sock.sendall(struct.pack("<H", len(name)) + name.encode())
        self.taken = wire.read_exactly(self.sock, 1) == b"\x01"

    def send(self, op, body, *, qos=1, number=1, announce=None):
        length = len(body) if announce is None else announce
        self.sock.sendall(struct.pack("<IBI", number, op | (qos << 6), length) + body)


@attack("4 bus", bus__tcp="127.0.0.1:0")
def frames_of_programs(target, scale):
    """Each program announces the largest frame that is taken and sends all of it but its end; others take a place and are silent."""
    before_kb = target.memory_kb()
    programs = []
    for number in range(int(24 * scale) or 4):
        with ignoring_hang_ups():
            programs.append(Program(target, f"large-{number}"))
            programs[-1].send(0x01, b"t\0" + bytes(8 * MIB - 64), announce=8 * MIB - 1)
    for number in range(64):
        with ignoring_hang_ups():
            sock = wire.connect(target.ports.get("bus-tcp", target.ports.get("bus")))
            programs.append(sock)
    time.sleep(1)
    grown = grown_mib(target, before_kb)
    for program in programs:
        (program.sock if isinstance(program, Program) else program).close()
    assert grown < 300, f"{grown:.0f} MiB for frames of programs"


@attack("1 bus", bus__tcp="127.0.0.1:0")
def deep_and_many_topics_of_programs(target, scale):
    with ignoring_hang_ups():
        program = Program(target, "deep")
        for op in (0x02, 0x04, 0x01):
            for name in (DEEP, "+/" * 3000 + "#", "#/" * 3000):
                program.send(op, name.encode() + (b"\0{}" if op == 0x01 else b""))
        many = b"\0".join(b"many/%d/" % number + b"x" * 900 for number in range(2000))
        program.send(0x02, many)
        program.send(0x04, many)
        wire.is_closed(program.sock, 1)
    with ignoring_hang_ups():
        program = Program(target, "shouter")
        for number in range(int(2000 * scale)):
            program.send(0x01, f"{'y' * 900}/{number}".encode() + b"\0" + b"z" * 4000, qos=0)
    target.assert_alive()


@attack("7 bus", bus__tcp="127.0.0.1:0")
def a_program_that_does_not_read(target, scale):
    before_kb = target.memory_kb()
    deaf = []
    for number in range(16):
        with ignoring_hang_ups():
            deaf.append(Program(target, f"deaf-{number}", receive_buffer=4096))
            deaf[-1].send(0x02, b"#", qos=0)
    with ignoring_hang_ups():
        loud = Program(target, "loud")
        for number in range(int(2000 * scale)):
            loud.send(0x13, b"deaf-*\0" + bytes(64 << 10), qos=0)
    grown = grown_mib(target, before_kb)
    for program in deaf:
        program.sock.close()
    assert grown < 250, f"{grown:.0f} MiB for programs that do not read"


# --- commlib ------------------------------------------------------------------------------------------------------------


@attack("5 commlib")
def nodes_that_are_not_there(target, scale):
    """Heartbeats of nodes without end, with long names, and calls of services whose answers go to deep topics."""
    before_kb = target.memory_kb()
    with ignoring_hang_ups():
        sock, _ = wire.mqtt_client(target.mqtt, "heartbeats")
        for number in range(int(20_000 * scale)):
            name = f"node_{number}_" + "n" * (number % 800)
            sock.sendall(wire.mqtt_publish(f"{name}/heartbeat", b'{"ts": 1}'))
        header = {"timestamp": 1, "reply_to": DEEP, "properties": {"content_type": "application/json", "content_encoding": "utf8"}}
        for service in ("gateway/query_counted", "gateway/version", "gateway/" + DEEP[:2000]):
            for reply in (DEEP, "+/#", "\x00", "x" * 60_000):
                sock.sendall(wire.mqtt_publish(service, json.dumps({"header": header | {"reply_to": reply}, "data": {}}).encode(), qos=1))
        wire.is_closed(sock, 2)
    grown = grown_mib(target, before_kb)
    target.assert_alive()
    assert grown < 120, f"{grown:.0f} MiB for nodes that are not there"


# --- far ends of links --------------------------------------------------------------------------------------------------


def far_end():
    """A port that a link leads to; who answers there is the attack's business."""
    return socket.create_server(("127.0.0.1", 0))


PARENT, REMOTE = far_end(), far_end()


def serve(listener, answer, stopping):
    """Answers everybody who comes, one thread each, until it is over."""

    def run():
        listener.settimeout(0.2)
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                sock, _ = listener.accept()
                sock.settimeout(5)
                threading.Thread(target=guarded, args=(answer, sock), daemon=True).start()

    def guarded(answer, sock):
        with ignoring_hang_ups():
            answer(sock)
        sock.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def frame(payload, opcode=2, announce=None):
    length = len(payload) if announce is None else announce
    if length < 126:
        return bytes([0x80 | opcode, length]) + payload
    if length < 65536:
        return bytes([0x80 | opcode, 126]) + struct.pack(">H", length) + payload
    return bytes([0x80 | opcode, 127]) + struct.pack(">Q", length) + payload


@attack("4 far end", parent='[{ url = "ws://127.0.0.1:%d", name = "gw", forward = ["**/counted"] }]' % PARENT.getsockname()[1])
def a_parent_that_turned(target, scale):
    """It takes the login and answers with frames that never end, calls without end, deep names and floods of publications."""
    before_kb = target.memory_kb()
    stopping, turns = threading.Event(), iter(range(1 << 20))
    deep = {"x": []}
    for _ in range(400):
        deep = {"x": deep}

    def answer(sock):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(4096)
        key = next(line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        turn = next(turns) % 5
        if turn == 0:
            sock.sendall(frame(bytes(32 * MIB), announce=1 << 40))
        elif turn == 1:
            for number in range(int(20_000 * scale)):
                sock.sendall(frame(cbor2.dumps([2, struct.pack("<Q", number + 1), "query_counted", None, [{}]])))
        elif turn == 2:
            for number in range(int(2000 * scale)):
                sock.sendall(frame(cbor2.dumps([1, f"{DEEP}{number}/counted", [{"n": number}]])))
        elif turn == 3:
            sock.sendall(frame(json.dumps({"jsonrpc": "2.0", "method": "x", "params": [deep]}).encode(), opcode=1))
        else:
            sock.sendall(b"\xc3" * 65536)
        while not stopping.is_set():
            sock.recv(65536) or stopping.wait(0.1)

    serve(PARENT, answer, stopping)
    time.sleep(20 * scale + 4)
    stopping.set()
    grown = grown_mib(target, before_kb)
    target.assert_alive()
    assert next(turns) > 0, "the link never came"
    assert grown < 160, f"{grown:.0f} MiB for a parent that turned"


@attack("4 far end", remote='{ far = { url = "mqtt://127.0.0.1:%d" } }' % REMOTE.getsockname()[1],
        bridge_topic='[{ from = "far", to = "local", filter = "#" }]')
def a_remote_that_turned(target, scale):
    """It lets the gateway in and sends packets that never end, deep topics, properties without end, and acknowledges nothing."""
    before_kb = target.memory_kb()
    stopping, turns = threading.Event(), iter(range(1 << 20))

    def answer(sock):
        wire.mqtt_read(sock)
        sock.sendall(b"\x20\x03\x00\x00\x00")
        turn = next(turns) % 4
        if turn == 0:
            sock.sendall(b"\x32" + wire.varint(250 * MIB) + bytes(32 * MIB))
        elif turn == 1:
            for number in range(int(4000 * scale)):
                sock.sendall(wire.mqtt_publish(f"{DEEP}{number}", b"{}", qos=1, packet_id=number % 65535 + 1))
        elif turn == 2:
            properties = b"".join(wire.user_property("k" * 1000, "v" * 1000) for _ in range(30))
            for number in range(int(4000 * scale)):
                topic = f"far/{number}"
                sock.sendall(wire.mqtt_publish(topic, b"{}", qos=1, packet_id=number % 65535 + 1, retain=True, properties=properties))
        else:
            sock.sendall(b"\xf0\xff\xff\xff\xff" * 20_000)
        while not stopping.is_set():
            sock.recv(65536) or stopping.wait(0.1)

    serve(REMOTE, answer, stopping)
    time.sleep(20 * scale + 4)
    stopping.set()
    grown = grown_mib(target, before_kb)
    target.assert_alive()
    assert next(turns) > 0, "the link never came"
    assert grown < 160, f"{grown:.0f} MiB for a remote that turned"
