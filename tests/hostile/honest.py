"""The honest clients beside an attack: what they send must be acknowledged as fast as ever, delivered, and kept."""

import statistics
import struct
import threading
import time

import cbor2

import wire
from target import ADMIN

PERIOD_S = 0.05
TOPIC = "honest/counted"


class Honest:
    """A sensor (MQTT, QoS 1, 20 messages a second, one after the other), a subscriber (MQTT) and a component (Rembus)."""

    def __init__(self, target):
        self.target = target
        self.latencies, self.acknowledged, self.refused = [], set(), 0
        self.delivered, self.heard, self.errors = set(), set(), []
        self.numbers = iter(range(1 << 30))
        self.stopping = threading.Event()

    def __enter__(self):
        login = self.target.login(ADMIN[0]) if self.target.passwords else {}
        basic = self.target.basic(ADMIN[0]) if self.target.passwords else None
        self.stopping.clear()
        self.subscriber, code = wire.mqtt_client(self.target.mqtt, "honest-subscriber", **login)
        assert code == 0
        self.subscriber.sendall(wire.mqtt_subscribe([TOPIC], qos=1))
        assert wire.mqtt_read(self.subscriber)[0] == 0x90
        self.component = wire.Component(self.target.rembus, login=basic)
        assert self.component.subscribe(TOPIC)[0] == 0 and self.component.reactive()[0] == 0
        self.sensor, code = wire.mqtt_client(self.target.mqtt, "honest-sensor", **login)
        assert code == 0
        self.threads = [threading.Thread(target=self.guard, args=(what,), daemon=True) for what in (self.publish, self.receive, self.listen)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stopping.set()
        self.threads[0].join(timeout=40)
        if kind is None:
            end = time.monotonic() + 20
            while time.monotonic() < end and not (self.acknowledged <= self.delivered and self.acknowledged <= self.heard):
                time.sleep(0.02)
        for sock in (self.sensor, self.subscriber, self.component.sock):
            sock.close()

    def guard(self, what):
        try:
            what()
        except (OSError, AssertionError) as error:
            if not self.stopping.is_set():
                self.errors.append(f"{what.__name__}: {error!r}")

    def publish(self):
        self.sensor.settimeout(30)
        for number in self.numbers:
            if self.stopping.wait(PERIOD_S):
                return
            began = time.monotonic()
            code = wire.mqtt_acknowledged(self.sensor, TOPIC, b'{"n":%d}' % number, packet_id=number % 65535 + 1)
            self.latencies.append(time.monotonic() - began)
            if code in (0, 0x10):
                self.acknowledged.add(number)
            else:
                self.refused += 1

    def receive(self):
        self.subscriber.settimeout(60)
        while True:
            first, body = wire.mqtt_read(self.subscriber)
            if first & 0xF0 == 0x30:
                at = 2 + struct.unpack(">H", body[:2])[0]
                packet_id = body[at : at + 2] if first & 0x06 else b""
                self.delivered.add(int(body[body.index(b'"n":') + 4 : -1]))
                if packet_id:
                    self.subscriber.sendall(wire.packet(0x40, packet_id))

    def listen(self):
        self.component.sock.settimeout(60)
        while (message := self.component.receive()) is not None:
            parts = cbor2.loads(message)
            if parts[0] & 0x0F == 1:
                if parts[0] & 0x30:
                    self.component.send_message([5, parts[1]])
                self.heard.add(parts[-1][0]["n"])

    def p99_ms(self):
        return statistics.quantiles(self.latencies, n=100)[98] * 1000 if len(self.latencies) > 1 else float("nan")

    def faults(self):
        """What went wrong for them, in words."""
        faults = list(self.errors)
        if self.refused:
            faults.append(f"{self.refused} honest messages refused")
        if missing := self.acknowledged - self.delivered:
            faults.append(f"{len(missing)} acknowledged messages not delivered to the subscriber")
        if missing := self.acknowledged - self.heard:
            faults.append(f"{len(missing)} acknowledged messages not delivered to the component")
        return faults
