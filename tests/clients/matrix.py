"""Every publisher with every subscriber, every caller with every service: MQTT (paho), Rembus, commlib, the bus (busrt).

One scenario for each pair, payload kind and QoS. The gateway under test has these settings:

    [commlib]
    topics = ["matrix_commlib.*"]
    [[commlib.expose]]
    service = "matrix.rembus.double"
    rembus = "matrix_rembus_double"
    args = ["x"]
    [[commlib.expose]]
    service = "matrix.bus.double"
    rembus = "bus/matrix.bus/double"
    args = ["x"]

A peer is a class with `publish` and `subscribe`, a server one with `serve` and `call`; a new dialect adds a class to `PEERS` and says
in `SEEN` how its subscribers see a payload.
"""

import asyncio
import json
import uuid

import msgpack
import rembus as rb
from commlib.msg import RPCMessage
from commlib.node import Node
from commlib.transports.mqtt import ConnectionParameters

import bus_client
from mqtt_paho import Client
from scenario import equal, fresh, main, scenario, until

# What is published, as JSON has it; bytes are not JSON.
KINDS = {
    "object": {"temperature": 21.5, "tags": ["a", None], "on": True},
    "number": 21.5,
    "integer": 2**53 + 1,
    "text": "gr\u00fcn",
    "truth": False,
    "list": [1, "a", {"b": 2}],
    "bytes": b"\xff\x00\x01",
    "nothing": None,
}
# commlib publishes fields, and QoS 0 is all it uses.
COMMLIB_KINDS = {"object"}


class Paho:
    """A plain MQTT client."""

    def __init__(self, doors):
        self.client = Client(doors)

    async def open(self):
        return self

    async def publish(self, topic, kind, qos):
        value = KINDS[kind]
        payload = value if isinstance(value, bytes) else b"" if kind == "nothing" else json.dumps(value).encode()
        await asyncio.to_thread(self.client.publish, topic, payload, qos)

    async def subscribe(self, topic, qos):
        await asyncio.to_thread(self.client.subscribe, topic, qos)

    def heard(self):
        return [message.payload for message in self.client.got]

    @staticmethod
    def sees(publisher, kind, wrapped):
        value = KINDS[kind]
        if wrapped and publisher == "rembus" and kind != "object":
            import base64

            inner = base64.b64encode(value).decode() if isinstance(value, bytes) else value
            return lambda payload: equal(json.loads(payload), {"value": inner})
        if isinstance(value, bytes):
            return lambda payload: equal(payload, value)
        if kind == "nothing":
            return lambda payload: equal(payload, b"")
        return lambda payload: equal(json.loads(payload), value)

    async def close(self):
        self.client.close()


class Rembus:
    """A component."""

    def __init__(self, doors):
        self.url = doors.component(fresh("matrix"))
        self.got = []

    async def open(self):
        self.node = await rb.component(self.url)
        return self

    async def publish(self, topic, kind, qos):
        value = KINDS[kind]
        args = () if kind == "nothing" else tuple(value) if kind == "list" else (value,)
        await self.node.publish(topic, *args, qos=(rb.QOS0, rb.QOS1, rb.QOS2)[qos])

    async def subscribe(self, topic, qos):
        await self.node.subscribe(lambda *args: self.got.append(args), topic=topic)
        await self.node.reactive()

    def heard(self):
        return list(self.got)

    @staticmethod
    def sees(publisher, kind, wrapped):
        value = KINDS[kind]
        wanted = () if kind == "nothing" else tuple(value) if kind == "list" else (value,)
        return lambda args: equal(args, wanted)

    async def close(self):
        await self.node.close()


class Commlib:
    """A node with an untyped publisher or subscriber."""

    def __init__(self, doors):
        params = ConnectionParameters(host=doors.mqtt_host, port=doors.mqtt_port)
        self.node = Node(node_name=fresh("matrix"), connection_params=params, heartbeats=False)
        self.got = []
        self.publishers = {}

    async def open(self):
        return self

    async def publish(self, topic, kind, qos):
        if topic not in self.publishers:
            self.publishers[topic] = self.node.create_mpublisher()
            await asyncio.to_thread(self.node.run)
        self.publishers[topic].publish(KINDS[kind], topic)

    async def subscribe(self, topic, qos):
        self.node.create_subscriber(topic=topic, on_message=self.got.append)
        await asyncio.to_thread(self.node.run)
        await asyncio.sleep(0.3)  # `run` does not wait for SUBACK, and nothing tells

    def heard(self):
        return list(self.got)

    @staticmethod
    def sees(publisher, kind, wrapped):
        if wrapped and publisher == "rembus" and kind != "object":
            import base64

            value = KINDS[kind]
            inner = base64.b64encode(value).decode() if isinstance(value, bytes) else value
            return lambda fields: equal(fields, {"value": inner})
        return lambda fields: equal(fields, KINDS[kind])

    async def close(self):
        await asyncio.to_thread(self.node.stop)


class Bus:
    """A program on the bus, whose payloads are those of MQTT: JSON, or bytes as they are."""

    # Its levels as those of MQTT: nothing is said, acknowledged, acknowledged and sent at once.
    LEVELS = (0, 1, 3)

    def __init__(self, doors):
        self.program = bus_client.Program()

    async def open(self):
        return self

    async def publish(self, topic, kind, qos):
        value = KINDS[kind]
        payload = value if isinstance(value, bytes) else b"" if kind == "nothing" else json.dumps(value).encode()
        equal(await asyncio.to_thread(self.program.publish, topic, payload, self.LEVELS[qos]), bus_client.OK)

    async def subscribe(self, topic, qos):
        await asyncio.to_thread(self.program.subscribe, topic)

    def heard(self):
        return [payload for _, _, _, payload in self.program.got]

    @staticmethod
    def sees(publisher, kind, wrapped):
        return Paho.sees(publisher, kind, wrapped)

    async def close(self):
        self.program.close()


PEERS = {"mqtt": Paho, "rembus": Rembus, "commlib": Commlib, "bus": Bus}


def rows():
    for publisher in PEERS:
        for subscriber in PEERS:
            for kind in KINDS:
                if publisher == "commlib" and kind not in COMMLIB_KINDS:
                    continue
                # A node may be told objects only; from MQTT and the bus they come as they are.
                if subscriber == "commlib" and publisher in ("mqtt", "bus") and kind not in COMMLIB_KINDS:
                    continue
                yield publisher, subscriber, kind, (0,) if publisher == "commlib" else (0, 1, 2)


def pairs():
    for publisher in PEERS:
        for subscriber in PEERS:
            kinds = [(kind, qos) for p, s, kind, levels in rows() if (p, s) == (publisher, subscriber) for qos in levels]
            yield publisher, subscriber, kinds


def publication(publisher, subscriber, kinds):
    """All kinds and levels of one pair, over one pair of connections; whatever differs is named."""

    async def story(doors):
        to, wrapped = await PEERS[subscriber](doors).open(), subscriber == "commlib"
        topic = f"matrix_commlib/{fresh('row')}" if wrapped else fresh("row")
        await to.subscribe(topic, 2)
        by = await PEERS[publisher](doors).open()
        wrong = []
        for n, (kind, qos) in enumerate(kinds):
            await by.publish(topic, kind, qos)
            await until(lambda n=n: len(to.heard()) > n, f"{kind} at QoS {qos}")
            try:
                to.sees(publisher, kind, wrapped)(to.heard()[n])
            except AssertionError as difference:
                wrong.append(f"{kind} at QoS {qos}: {difference}")
        assert not wrong, "; ".join(wrong)
        equal(len(to.heard()), len(kinds), "messages")
        await by.close()
        await to.close()

    story.__name__ = f"{publisher}_to_{subscriber}"
    return story


class Double(RPCMessage):
    class Request(RPCMessage.Request):
        x: int

    class Response(RPCMessage.Response):
        result: int = 0


class PahoService:
    """commlib's convention, by hand."""

    def __init__(self, doors):
        self.doors = doors

    async def serve(self):
        self.name = f"{fresh('matrix')}/double"
        self.client = Client(self.doors)
        self.client.client.on_message = self.answer
        await asyncio.to_thread(self.client.subscribe, self.name, 1)
        return f"commlib/{self.name}", self.name

    def answer(self, client, data, message):
        packet = json.loads(message.payload)
        body = json.dumps({"header": {}, "data": {"result": 2 * packet["data"]["x"]}})
        client.publish(packet["header"]["reply_to"], body, qos=1)

    async def close(self):
        self.client.close()


class CommlibService:
    def __init__(self, doors):
        self.doors = doors

    async def serve(self):
        name = f"{fresh('matrix')}.double"
        params = ConnectionParameters(host=self.doors.mqtt_host, port=self.doors.mqtt_port)
        self.node = Node(node_name=fresh("matrix"), connection_params=params, heartbeats=False)
        self.node.create_rpc(rpc_name=name, msg_type=Double, on_request=lambda msg: Double.Response(result=2 * msg.x))
        await asyncio.to_thread(self.node.run)
        await asyncio.sleep(0.3)
        return f"commlib/{name}", name.replace(".", "/")

    async def close(self):
        pass  # a node that stops takes the executor of all services in its process with it


class RembusService:
    def __init__(self, doors):
        self.doors = doors

    async def serve(self):
        self.node = await rb.component(self.doors.component(fresh("matrix")))
        # The last that exposes it serves, as the ones before are gone.
        await self.node.expose(self.double, topic="matrix_rembus_double")
        return "matrix_rembus_double", "matrix/rembus/double"

    async def double(self, x):
        return 2 * (x["x"] if isinstance(x, dict) else x)

    async def close(self):
        await self.node.close()


class BusService:
    """A program that takes its parameters by name (commlib, Rembus) or in a list, as the gateway hands them on."""

    def __init__(self, doors):
        self.program = None

    @staticmethod
    def program_of_that_name():
        try:
            return bus_client.Program(name="matrix.bus")
        except RuntimeError:
            return None

    async def serve(self):
        # The one before may not be gone yet.
        self.program = await until(self.program_of_that_name, "the name to be free")
        self.program.rpc().on_call = self.answer
        return "bus/matrix.bus/double", "matrix/bus/double"

    def answer(self, event):
        assert event.method == b"double", event.method
        parameters = msgpack.unpackb(event.get_payload())
        return msgpack.packb(2 * (parameters["x"] if isinstance(parameters, dict) else parameters[0]))

    async def close(self):
        self.program.close()


async def paho_calls(doors, method, topic):
    client, reply_to = Client(doors), f"rpc-{uuid.uuid4().hex}"
    await asyncio.to_thread(client.subscribe, reply_to, 0)
    request = json.dumps({"header": {"reply_to": reply_to}, "data": {"x": 21}})
    await asyncio.to_thread(client.publish, topic, request, 1)
    await until(lambda: client.got, "an answer")
    return json.loads(client.got[0].payload)["data"]["result"]


async def commlib_calls(doors, method, topic):
    params = ConnectionParameters(host=doors.mqtt_host, port=doors.mqtt_port)
    node = Node(node_name=fresh("matrix"), connection_params=params, heartbeats=False)
    client = node.create_rpc_client(rpc_name=topic, msg_type=Double)
    await asyncio.to_thread(node.run)
    answer = await asyncio.to_thread(client.call, Double.Request(x=21), timeout=8)
    return answer.result


async def rembus_calls(doors, method, topic):
    node = await rb.component(doors.component(fresh("matrix")))
    answer = await node.rpc(method, {"x": 21})
    await node.close()
    return answer["result"] if isinstance(answer, dict) else answer


async def bus_calls(doors, method, topic):
    program = bus_client.Program()
    request = msgpack.packb({"x": 21})
    # The package waits in a thread of its own; a component that serves lives in this loop.
    result, error = await asyncio.to_thread(bus_client.call, program.rpc(), program.package, ".gateway", method, request)
    equal(error, None)
    program.close()
    answer = msgpack.unpackb(result)
    return answer["result"] if isinstance(answer, dict) else answer


SERVICES = {"mqtt": PahoService, "rembus": RembusService, "commlib": CommlibService, "bus": BusService}
CALLERS = {"mqtt": paho_calls, "rembus": rembus_calls, "commlib": commlib_calls, "bus": bus_calls}


def call(caller, service):
    async def story(doors):
        server = SERVICES[service](doors)
        method, topic = await server.serve()
        equal(await CALLERS[caller](doors, method, topic), 42)
        await server.close()

    story.__name__ = f"{caller}_calls_{service}"
    return story


if __name__ == "__main__":
    for publisher, subscriber, kinds in pairs():
        scenario(publication(publisher, subscriber, kinds))
    for caller in CALLERS:
        for service in SERVICES:
            scenario(call(caller, service))
    main()
