"""gmqtt, the asyncio client that the rembus package itself uses, over MQTT 5 and 3.1.1."""

import asyncio

import gmqtt
from gmqtt.mqtt.constants import MQTTv311, MQTTv50

from scenario import equal, fresh, main, scenario, until


async def connected(doors, name, version=MQTTv50):
    client = gmqtt.Client(name)
    client.got = []
    client.acknowledged = set()
    client.subscribed = {}

    def on_message(client, topic, payload, qos, properties):
        client.got.append((topic, bytes(payload), qos, properties))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda client, mid, qos, properties: client.subscribed.__setitem__(mid, qos)
    await asyncio.wait_for(client.connect(doors.mqtt_host, doors.mqtt_port, version=version), 10)
    return client


async def subscribed(client, *args, **options):
    mid = client.subscribe(*args, **options)
    await until(lambda: mid in client.subscribed, "SUBACK")
    return list(client.subscribed[mid])


@scenario
async def telemetry_arrives_over_mqtt_5(doors):
    topic = fresh("dev") + "/telemetry"
    sub, pub = await connected(doors, fresh("sub")), await connected(doors, fresh("pub"))
    equal(await subscribed(sub, "+/telemetry", qos=1), [1])
    for n in range(15):  # gmqtt raises when the broker's receive maximum (20 in mosquitto) is used up
        pub.publish(topic, {"temperature": 21.5, "n": n}, qos=1, content_type="application/json", user_property=("k", "v"))
    await until(lambda: len(sub.got) >= 15, "15 messages")
    equal([(t, q) for t, _, q, _ in sub.got], [(topic, 1)] * 15)
    equal([p for _, p, _, _ in sub.got], [b'{"temperature": 21.5, "n": %d}' % n for n in range(15)])
    equal(sub.got[0][3].get("content_type"), ["application/json"])
    equal(sub.got[0][3].get("user_property"), [("k", "v")])
    await pub.disconnect()
    await sub.disconnect()


@scenario
async def no_local_is_respected(doors):
    topic = fresh("nolocal")
    one, two = await connected(doors, fresh("one")), await connected(doors, fresh("two"))
    await subscribed(one, gmqtt.Subscription(topic, qos=1, no_local=True))
    one.publish(topic, "mine", qos=1)
    two.publish(topic, "theirs", qos=1)
    await until(lambda: one.got, "the other's message")
    await asyncio.sleep(0.1)
    equal([p for _, p, _, _ in one.got], [b"theirs"])
    await one.disconnect()
    await two.disconnect()


@scenario
async def version_3_1_1_works_too(doors):
    topic = fresh("old")
    sub, pub = await connected(doors, fresh("sub"), MQTTv311), await connected(doors, fresh("pub"), MQTTv311)
    equal(await subscribed(sub, topic, qos=1), [1])
    pub.publish(topic, b"\x00\xff", qos=1)
    pub.publish(topic, "text", qos=0)
    await until(lambda: len(sub.got) >= 2, "2 messages")
    equal(sorted(p for _, p, _, _ in sub.got), [b"\x00\xff", b"text"])
    await pub.disconnect()
    await sub.disconnect()


@scenario
async def silence_after_unsubscribe(doors):
    topic, other = fresh("quiet"), fresh("other")
    sub, pub = await connected(doors, fresh("sub")), await connected(doors, fresh("pub"))
    await subscribed(sub, [gmqtt.Subscription(topic, qos=1), gmqtt.Subscription(other, qos=1)])
    done = asyncio.Event()
    sub.on_unsubscribe = lambda *_: done.set()
    sub.unsubscribe(topic)
    await asyncio.wait_for(done.wait(), 10)
    pub.publish(topic, "1", qos=1)
    pub.publish(other, "2", qos=1)
    await until(lambda: sub.got, "the other topic")
    equal([p for _, p, _, _ in sub.got], [b"2"])
    await pub.disconnect()
    await sub.disconnect()


if __name__ == "__main__":
    main()
