"""Programs on the bus, written with the published busrt and elbus packages. BUS_SOCKET is where the gateway listens for them."""

import os

import busrt
import elbus

from scenario import equal, fresh

PACKAGES = (busrt, elbus)
OK, NOT_REGISTERED, ACCESS = 0x01, 0x71, 0x79


class Program:
    """A connected program that notes every frame it gets as (type, sender, topic, payload)."""

    def __init__(self, package=busrt, name=None):
        self.package = package
        self.name = name or fresh("prog").replace("_", ".")
        self.got = []
        self.client = package.client.Client(os.environ["BUS_SOCKET"], self.name)
        # A busy machine is no broken bus.
        self.client.timeout = 20
        self.client.on_frame = self._note
        self.client.connect()

    def _note(self, frame):
        self.got.append((frame.type, frame.sender, frame.topic, bytes(frame.payload)))

    def _sent(self, kind, target, payload, qos):
        frame = self.package.client.Frame(payload, tp=kind, qos=qos)
        return self.client.send(target, frame).wait_completed(timeout=20)

    def send(self, target, payload, qos=1):
        return self._sent(self.package.client.OP_MESSAGE, target, payload, qos)

    def broadcast(self, mask, payload, qos=1):
        return self._sent(self.package.client.OP_BROADCAST, mask, payload, qos)

    def publish(self, topic, payload, qos=1):
        return self._sent(self.package.client.OP_PUBLISH, topic, payload, qos)

    def _change(self, kind, topics):
        frame = self.package.client.Frame(tp=kind, qos=1)
        frame.topic = topics
        equal(self.client.send(None, frame).wait_completed(timeout=20), OK, f"{topics}")

    def subscribe(self, *topics):
        self._change(self.package.client.OP_SUBSCRIBE, list(topics))

    def unsubscribe(self, *topics):
        self._change(self.package.client.OP_UNSUBSCRIBE, list(topics))

    def rpc(self):
        rpc = self.package.rpc.Rpc(self.client)
        rpc.on_frame = self._note
        return rpc

    def close(self):
        self.client.disconnect()


def call(rpc, package, target, method, payload=b""):
    """Calls and waits: (result, None), or (None, (code, text))."""
    request = package.rpc.Request(method.encode(), payload)
    try:
        return rpc.call(target, request).wait_completed(timeout=20).get_payload(), None
    except Exception as error:
        payload = error.rpc_error_payload
        return None, (error.rpc_error_code, payload if isinstance(payload, str) else bytes(payload).decode())
