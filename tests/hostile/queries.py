"""Queries that want everything, and answers that nobody reads."""

import socket
import struct
import threading
import time

import wire
from registry import MIB, attack, ignoring_hang_ups


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
