"""The published busrt and elbus packages as their users write programs, among each other and with everybody else.

BUS_SOCKET is where the gateway listens for them; for the vendor's broker, `busrtd -B PATH`, leave out what needs a gateway with
`--reference`.
"""

import asyncio
import os

import msgpack
import paho.mqtt.client as mqtt
import rembus as rb

from bus_client import NOT_REGISTERED, OK, PACKAGES, Program, call
from mqtt_paho import Client as Mqtt
from rembus_component import listener
from scenario import equal, fresh, main, scenario, until


@scenario
async def programs_send_each_other_messages_and_learn_what_became_of_them(doors):
    for package in PACKAGES:
        alice, bob = Program(package), Program(package)
        equal(alice.send(bob.name, b"hello"), OK)
        equal(alice.send(bob.name, b"quiet", qos=0), OK)
        equal(alice.send(bob.name, b"at once", qos=3), OK)
        equal(alice.send(alice.name, b"to myself"), OK)
        equal(alice.send("nobody.there", b"x"), NOT_REGISTERED)
        await until(lambda: len(bob.got) == 3 and len(alice.got) == 1, "four messages")
        kind = package.client.OP_MESSAGE
        equal(bob.got, [(kind, alice.name, None, p) for p in (b"hello", b"quiet", b"at once")])
        large = os.urandom(3 << 20)
        equal(alice.send(bob.name, large), OK)
        await until(lambda: len(bob.got) == 4, "a large message")
        equal(bob.got[-1][3] == large, True, "three megabytes")
        alice.close()
        bob.close()


@scenario
async def a_mask_reaches_those_whose_name_fits(doors):
    for package in PACKAGES:
        group = fresh("grp").replace("_", ".")
        a, b, c = (Program(package, f"{group}.{name}") for name in ("a", "b", "sub.c"))
        equal(a.broadcast(f"{group}.*", b"all"), OK)
        equal(a.broadcast(f"{group}.?", b"one level"), OK)
        equal(a.broadcast(f"{group}.b", b"only b"), OK)
        payloads = lambda program: [payload for _, _, _, payload in program.got]
        await until(lambda: len(b.got) == 3 and len(a.got) == 2 and len(c.got) == 1, "broadcasts")
        equal((payloads(a), payloads(b), payloads(c)), ([b"all", b"one level"], [b"all", b"one level", b"only b"], [b"all"]))
        for program in (a, b, c):
            program.close()


@scenario
async def topics_follow_the_rules_of_the_bus(doors):
    for package in PACKAGES:
        base = fresh("rules")
        program, pub = Program(package), Program(package)
        program.subscribe(f"{base}/a/#", f"{base}/+/x", f"{base}/only")
        sent = ["a", "a/b", "a/b/c", "a/x", "q/x", "q/x/y", "only", "other"]
        for topic in sent:
            equal(pub.publish(f"{base}/{topic}", topic.encode()), OK)
        equal(pub.publish(f"{base}/only", b"last"), OK)
        await until(lambda: (b"last" in [p for *_, p in program.got]), "the last one")
        equal([p for *_, p in program.got], [b"a/b", b"a/b/c", b"a/x", b"q/x", b"only", b"last"])
        program.unsubscribe(f"{base}/a/#")
        pub.publish(f"{base}/a/b", b"no more")
        pub.publish(f"{base}/only", b"still")
        await until(lambda: (b"still" in [p for *_, p in program.got]), "what stays subscribed")
        assert b"no more" not in [p for *_, p in program.got]
        pub.close()
        program.close()


@scenario
async def programs_call_each_other(doors):
    for package in PACKAGES:
        server, caller = Program(package), Program(package)
        serving, calling = server.rpc(), caller.rpc()

        def on_call(event):
            if event.method == b"add":
                return msgpack.packb(sum(msgpack.unpackb(event.get_payload())))
            if event.method == b"fail":
                raise package.rpc.RpcException("custom text", code=-777)
            raise package.rpc.RpcException("no such method", code=package.rpc.RPC_ERROR_CODE_METHOD_NOT_FOUND)

        serving.on_call = on_call
        result, error = call(calling, package, server.name, "add", msgpack.packb([2, 3]))
        equal((msgpack.unpackb(result), error), (5, None))
        equal(call(calling, package, server.name, "fail"), (None, (-777, "custom text")))
        equal(call(calling, package, server.name, "x")[1][0], -32601)
        equal(call(calling, package, "nobody.there", "x")[1][0], -32000 - NOT_REGISTERED)
        server.close()
        caller.close()


@scenario
async def the_broker_answers_for_itself(doors):
    for package in PACKAGES:
        program = Program(package)
        rpc = program.rpc()
        ask = lambda method, payload=b"": msgpack.unpackb(call(rpc, package, ".broker", method, payload)[0])
        equal(ask("test"), {"ok": True})
        equal(sorted(ask("info")), ["author", "version"])
        equal(sorted(ask("stats")), ["r_bytes", "r_frames", "uptime", "w_bytes", "w_frames"])
        everybody = [client["name"] for client in ask("client.list")["clients"]]
        assert program.name in everybody, everybody
        [me] = ask("client.list", msgpack.packb({"filter": program.name.replace(".", "[.]") + "$"}))["clients"]
        equal((me["name"], me["kind"], me["instances"]), (program.name, "local_ipc", 1))
        equal(call(rpc, package, ".broker", "client.list", msgpack.packb({"filter": "("}))[1][0] < 0, True, "a broken filter")
        equal(call(rpc, package, ".broker", "benchmark.test", b"abc")[0], b"abc")
        equal(call(rpc, package, ".broker", "no.such")[1][0], -32601)
        program.close()


def publications(program):
    return [(sender, topic, payload) for kind, sender, topic, payload in program.got if topic]


# What each kind of payload is on the four sides: bytes on the bus and in MQTT, arguments in Rembus.
PAYLOADS = {
    "object": (b'{"temperature": 21.5, "on": true}', ({"temperature": 21.5, "on": True},)),
    "array": (b'[1, "two", null]', (1, "two", None)),
    "number": (b"42", (42,)),
    "text": (b'"a text"', ("a text",)),
    "plain": (b"not JSON", ("not JSON",)),
    "bytes": (b"\x00\xff\xfe", (b"\x00\xff\xfe",)),
    "empty": (b"", ()),
    "messagepack": (msgpack.packb({"a": -1.5}), (msgpack.packb({"a": -1.5}),)),
}


@scenario(reference=False)
async def what_a_program_publishes_reaches_every_kind_of_subscriber_once(doors):
    base = fresh("out")
    for package in PACKAGES:
        pub, other = Program(package), Program()
        pub.subscribe(f"{base}/#")
        other.subscribe(f"{base}/#")
        sub = Mqtt(doors, mqtt.MQTTv5)
        sub.subscribe(f"{base}/#", qos=1)
        node, got = await listener(doors.component(fresh("sub")), f"{base}/**")
        for qos in (0, 1, 3):
            for kind, (payload, arguments) in PAYLOADS.items():
                topic = f"{base}/{kind}/{qos}"
                equal(pub.publish(topic, payload, qos=qos), OK)
                await until(lambda: sub.got and got and pub.got and other.got, f"{topic} everywhere")
                for program in (pub, other):
                    equal(publications(program), [(pub.name, topic, payload)], topic)
                    program.got.clear()
                equal([(m.topic, m.payload) for m in sub.got], [(topic, payload)], topic)
                equal([args for _, args in got], [(topic, *arguments)], topic)
                sub.got.clear()
                got.clear()
        await node.close()
        sub.close()
        pub.close()
        other.close()


@scenario(reference=False)
async def programs_hear_every_kind_of_publisher_once(doors):
    base = fresh("in")
    program = Program()
    program.subscribe(f"{base}/#", f"{base}/+/+")
    pub = Mqtt(doors)
    node = await rb.component(doors.component(fresh("pub")))
    for qos in (0, 1, 2):
        for kind, (payload, arguments) in PAYLOADS.items():
            topic = f"{base}/{kind}/{qos}"
            pub.publish(topic, payload, qos=qos)
            await until(lambda: program.got, f"{topic} by MQTT")
            [(sender, heard, body)] = publications(program)
            equal((sender.startswith(".mqtt."), heard, body), (True, topic, payload), topic)
            program.got.clear()
            await node.publish(topic, *arguments, qos=(rb.QOS0, rb.QOS1, rb.QOS2)[qos])
            await until(lambda: program.got, f"{topic} by Rembus")
            [(sender, heard, body)] = publications(program)
            equal((sender.startswith(".rembus."), heard), (True, topic), topic)
            # As for an MQTT subscriber: JSON, and bytes as they are.
            text = {"object": b'{"temperature":21.5,"on":true}', "array": b'[1,"two",null]', "plain": b'"not JSON"'}
            equal(body, text.get(kind, payload), topic)
            program.got.clear()
    await node.close()
    pub.close()
    program.close()


@scenario(reference=False)
async def what_a_program_publishes_is_history_when_it_is_acknowledged(doors):
    for package in PACKAGES:
        program = Program(package)
        rpc = program.rpc()
        dev = fresh("dev")
        for n in range(5):
            equal(program.publish(f"{dev}/telemetry", b'{"temperature": %d, "pressure": 980}' % n), OK)
        query = msgpack.packb({"where": f"dn = '{dev}'", "cols": ["temperature"], "order": "oldest"})
        rows, error = call(rpc, package, ".gateway", "query_telemetry", query)
        equal(error, None)
        equal(msgpack.unpackb(rows), [{"temperature": float(n)} for n in range(5)])
        result, error = call(rpc, package, ".gateway", "query_telemetry", msgpack.packb({"where": "no_such = 1"}))
        equal((result, error[0]), (None, -32603))
        assert "no_such" in error[1], error
        program.close()


@scenario(reference=False)
async def a_program_calls_components_and_components_call_a_program(doors):
    component = fresh("plc")
    node = await rb.component(doors.component(component))
    name = fresh("server").replace("_", ".")

    async def add(a, b):
        return a + b

    def describe(what):
        return {"what": what, "list": [1, 2.5, None, b"\x00"]}

    def fail():
        raise ValueError("broken on purpose")

    methods = {"add": add, "describe": describe, "fail": fail}
    exposed = {method: fresh(method) for method in methods}
    for method, function in methods.items():
        await node.expose(function, topic=exposed[method])
    for package in PACKAGES:
        program = Program(package, f"{name}.{package.__name__}")
        rpc = program.rpc()
        ask = lambda target, method, *args: call(rpc, package, target, method, msgpack.packb(list(args)))
        # The package waits in threads; the component lives in this loop.
        for target in (".gateway", f".rembus.{component}"):
            result, error = await asyncio.to_thread(ask, target, exposed["add"], 40, 2)
            equal((error, msgpack.unpackb(result)), (None, 42), target)
        result, error = await asyncio.to_thread(ask, ".gateway", exposed["describe"], {"a": b"\xff"})
        equal((error, msgpack.unpackb(result)), (None, {"what": {"a": b"\xff"}, "list": [1, 2.5, None, b"\x00"]}))
        result, error = await asyncio.to_thread(ask, ".gateway", exposed["fail"])
        equal((result, error[0]), (None, -32603))
        assert "broken on purpose" in error[1], error
        equal((await asyncio.to_thread(ask, ".gateway", "no_such_method"))[1][0], -32601)
        equal((await asyncio.to_thread(ask, ".rembus.nobody", "x"))[1][0], -32000 - NOT_REGISTERED)
        equal(msgpack.unpackb((await asyncio.to_thread(ask, ".gateway", "rid"))[0]), "broker")

        def on_call(event):
            parameters = event.get_payload()
            if event.method == b"echo":
                return parameters
            if event.method == b"raw":
                return b"\xc1 is no MessagePack"
            raise package.rpc.RpcException("not here", code=-32601 if event.method == b"missing" else -1)

        rpc.on_call = on_call
        equal(await node.rpc(f"bus/{program.name}/echo", {"named": [1, True]}), {"named": [1, True]})
        equal(await node.rpc(f"bus/{program.name}/echo", 1, "two"), [1, "two"])
        equal(await node.rpc(f"bus/{program.name}/echo"), None)
        equal(await node.rpc(f"bus/{program.name}/raw"), b"\xc1 is no MessagePack")
        for method, kind in (("missing", rb.RembusError), ("broken", rb.RembusError)):
            try:
                value = await node.rpc(f"bus/{program.name}/{method}")
            except kind:
                pass
            else:
                raise AssertionError(f"{method} answered {value!r}")
        # One program calls another through the gateway as well as directly.
        other = Program(package)
        result, error = call(other.rpc(), package, ".gateway", f"bus/{program.name}/echo", msgpack.packb({"x": 1}))
        equal((error, msgpack.unpackb(result)), (None, {"x": 1}))
        clients = {client["name"]: client for client in await node.rpc("bus/clients")}
        equal(clients[program.name]["instances"], 1)
        other.close()
        program.close()
    await node.close()


if __name__ == "__main__":
    main()
