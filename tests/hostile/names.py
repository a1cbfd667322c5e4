"""Names that are deep, values that are nested, patterns that match slowly."""

import contextlib
import json
import time

import wire
from registry import attack, ignoring_hang_ups


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
