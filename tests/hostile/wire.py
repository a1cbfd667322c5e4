"""Bytes of the protocols, with no manners: what a client library would refuse to send can be sent from here."""

import base64
import itertools
import os
import socket
import struct

import cbor2

_ids = itertools.count(0x1000_0000_0000)
DEADLINE_S = 15


def connect(port, host="127.0.0.1", timeout=DEADLINE_S):
    sock = socket.create_connection((host, port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_exactly(sock, length):
    data = bytearray()
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise ConnectionError("closed by the gateway")
        data += part
    return bytes(data)


def is_closed(sock, seconds):
    """Whether the gateway ends the connection within this time; what it says meanwhile is read and dropped."""
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


# --- MQTT -------------------------------------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(data)) + data


def packet(first, body):
    return bytes([first]) + varint(len(body)) + body


def mqtt_connect(client, *, level=5, user=None, password=None, clean=True, keep_alive=60, properties=b"", will=None):
    flags = (2 if clean else 0) | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes([level, flags | (0x04 if will else 0)]) + struct.pack(">H", keep_alive)
    if level == 5:
        body += varint(len(properties)) + properties
    body += text(client)
    if will:
        body += (b"\0" if level == 5 else b"") + text(will[0]) + struct.pack(">H", len(will[1])) + will[1]
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    return packet(0x10, body)


def mqtt_publish(topic, payload, *, qos=0, packet_id=1, retain=False, properties=b"", level=5):
    body = text(topic) + (struct.pack(">H", packet_id) if qos else b"")
    if level == 5:
        body += varint(len(properties)) + properties
    return packet(0x30 | qos << 1 | retain, body + payload)


def mqtt_subscribe(filters, *, packet_id=1, qos=0, level=5):
    body = struct.pack(">H", packet_id) + (b"\0" if level == 5 else b"")
    return packet(0x82, body + b"".join(text(name) + bytes([qos]) for name in filters))


def user_property(name, value):
    return b"\x26" + text(name) + text(value)


def session_expiry(seconds):
    return b"\x11" + struct.pack(">I", seconds)


def maximum_packet_size(size):
    return b"\x27" + struct.pack(">I", size)


def mqtt_read(sock):
    """The next packet: its first byte and its body."""
    first = read_exactly(sock, 1)[0]
    length, shift = 0, 0
    while True:
        digit = read_exactly(sock, 1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return first, read_exactly(sock, length)


def mqtt_client(port, client, **options):
    """A connected client, and the reason code it was let in or refused with."""
    sock = connect(port)
    sock.sendall(mqtt_connect(client, **options))
    first, body = mqtt_read(sock)
    assert first == 0x20, f"no CONNACK: {first:#x}"
    return sock, body[1]


def mqtt_acknowledged(sock, topic, payload, packet_id=1, **options):
    """Publishes with QoS 1 and returns the reason code of the acknowledgement."""
    sock.sendall(mqtt_publish(topic, payload, qos=1, packet_id=packet_id, **options))
    while True:
        first, body = mqtt_read(sock)
        if first == 0x40 and body[:2] == struct.pack(">H", packet_id):
            return body[2] if len(body) > 2 else 0
        if first == 0xE0:
            raise ConnectionError(f"disconnected with reason {body[:1].hex()}")


# --- WebSocket --------------------------------------------------------------------------------------------------------


class WebSocket:
    """A WebSocket whose frames, lengths and origin are the caller's."""

    def __init__(self, port, *, login=None, headers=(), protocol=None, path="/"):
        self.sock = connect(port)
        lines = [f"GET {path} HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append("Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode())
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append(f"Host: 127.0.0.1:{port}")
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        lines += ["Authorization: Basic " + base64.b64encode(login.encode()).decode()] if login else []
        self.sock.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                break
            head += byte
        self.status = int(head.split(b" ", 2)[1]) if head else 0

    def send(self, payload, opcode=2, *, fin=True, announce=None):
        """One frame; `announce` says another length than is sent."""
        length = len(payload) if announce is None else announce
        head = bytes([opcode | (0x80 if fin else 0)])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += b"\xfe" + struct.pack(">H", length)
        else:
            head += b"\xff" + struct.pack(">Q", length)
        # A mask of zeros leaves the payload as it is.
        self.sock.sendall(head + b"\0\0\0\0" + payload)

    def receive(self):
        """The payload of the next message; `None` when the connection is closed."""
        message = bytearray()
        while True:
            first, second = read_exactly(self.sock, 2)
            length = second & 0x7F
            if length == 126:
                length = struct.unpack(">H", read_exactly(self.sock, 2))[0]
            elif length == 127:
                length = struct.unpack(">Q", read_exactly(self.sock, 8))[0]
            payload = read_exactly(self.sock, length)
            opcode = first & 0x0F
            if opcode == 8:
                return None
            if opcode in (0, 1, 2):
                message += payload
                if first & 0x80:
                    return bytes(message)

    def close(self):
        self.sock.close()


# --- Rembus -----------------------------------------------------------------------------------------------------------


class Component(WebSocket):
    """A Rembus component that speaks CBOR."""

    def __init__(self, port, name=None, **options):
        super().__init__(port, **options)
        if self.status == 101 and name:
            status, data = self.request([0, None, name, {}])
            assert status == 0, f"login refused: {status} {data}"

    def send_message(self, parts):
        self.send(cbor2.dumps(parts))

    def request(self, parts):
        """Sends a request whose second element becomes its id; returns status and data of the response."""
        parts[1] = struct.pack("<Q", next(_ids))
        self.send_message(parts)
        while True:
            answer = self.receive()
            if answer is None:
                raise ConnectionError("closed by the gateway")
            message = cbor2.loads(answer)
            if message[0] & 0x0F in (4, 5) and message[1] == parts[1]:
                return (message[2], message[3] if len(message) > 3 else None) if message[0] == 4 else (0, None)

    def rpc(self, method, *arguments):
        return self.request([2, None, method, None, list(arguments)])

    def admin(self, topic, **command):
        return self.request([3, None, topic, command])

    def publish(self, topic, *arguments, qos=1):
        return self.request([1 | (0x10 if qos else 0), None, topic, list(arguments)])

    def subscribe(self, topic):
        return self.admin(topic, cmd="subscribe")

    def reactive(self):
        return self.admin("__config__", cmd="reactive", status=True)


# --- HTTP -------------------------------------------------------------------------------------------------------------


def http(port, head, body=b"", timeout=DEADLINE_S):
    """Sends a request as it stands and returns status code and answer."""
    with connect(port, timeout=timeout) as sock:
        sock.sendall(head.encode() + body)
        answer = bytearray()
        try:
            while part := sock.recv(65536):
                answer += part
        except OSError:
            pass  # what came until then counts
    return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0), bytes(answer)


def get(port, path, **headers):
    host = headers.pop("Host", f"127.0.0.1:{port}")
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close"] + [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
    return http(port, "\r\n".join([*lines, "", ""]))
