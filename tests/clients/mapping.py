"""What crosses between MQTT and Rembus: `protocol/rembus.md` section 15."""

import asyncio
import json

import paho.mqtt.client as mqtt
import polars as pl
import rembus as rb

from mqtt_paho import Client
from rembus_component import listener
from scenario import equal, fresh, main, scenario, until


async def delivered(got, count, what):
    await until(lambda: len(got) >= count, what)
    return [args for _, args in got]


@scenario
async def json_becomes_arguments(doors):
    topic = fresh("json")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = Client(doors)
    cases = [
        ('{"temperature":21.5,"pressure":980}', ({"temperature": 21.5, "pressure": 980},)),
        ("1", (1,)),
        ("-2.5", (-2.5,)),
        ('"text"', ("text",)),
        ("true", (True,)),
        ("null", (None,)),
        ("[1,2]", (1, 2)),
        ("[[1,2]]", ([1, 2],)),
        ("[]", ()),
        ('{"a":{"b":[1,null]},"c":"é"}', ({"a": {"b": [1, None]}, "c": "é"},)),
        ("18446744073709551615", (2**64 - 1,)),
    ]
    for n, (payload, args) in enumerate(cases):
        await asyncio.to_thread(pub.publish, topic, payload, 1)
        # One at a time: the reference does not keep the order.
        await until(lambda: len(got) > n, payload)
        equal(got[n][1], args, payload)
    await node.close()
    pub.close()


@scenario(reference=False)  # dropped there
async def what_is_not_json_arrives_as_text_bytes_or_nothing(doors):
    topic = fresh("raw")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = Client(doors)
    cases = [
        (b"hello world", ("hello world",)),
        ("grün".encode(), ("grün",)),
        (b"NaN", ("NaN",)),
        (b"{broken", ("{broken",)),
        (b"21.5 C", ("21.5 C",)),
        (b"\xff\xfe\x00", (b"\xff\xfe\x00",)),
        (b"", ()),
    ]
    for payload, _ in cases:
        pub.publish(topic, payload, 1)
    equal(await delivered(got, len(cases), "all payloads"), [args for _, args in cases])
    await node.close()
    pub.close()


@scenario(reference=False)  # 20 parallel workers there
async def order_is_kept_from_mqtt_to_rembus(doors):
    topic, other = fresh("order"), fresh("order")
    node, got = await listener(doors.component(fresh("sub")), topic, other)
    pub = Client(doors)
    # One topic for each level: paho sends QoS 0 past the QoS 1 messages that wait for room in its window.
    for n in range(250):
        pub.client.publish(topic, str(n), qos=0)
        pub.client.publish(other, str(n), qos=1)
    await until(lambda: len(got) >= 500, "500 messages")
    for t in (topic, other):
        equal([args for name, args in got if name == t], [(n,) for n in range(250)])
    await node.close()
    pub.close()


@scenario
async def a_wildcard_subscriber_hears_a_sensor(doors):
    dev = fresh("dev")
    node, got = await listener(doors.component(fresh("monitor")), "**/telemetry")
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        pub = Client(doors, version)
        pub.publish(f"{dev}/telemetry", '{"temperature":21.5,"pressure":980}', 1)
        pub.close()
    await until(lambda: len(got) >= 2, "two telemetry messages")
    equal(got, [("**/telemetry", (f"{dev}/telemetry", {"temperature": 21.5, "pressure": 980}))] * 2)
    await node.close()


@scenario
async def rembus_arguments_become_json(doors):
    topic = fresh("tomqtt")
    sub = Client(doors, mqtt.MQTTv5)
    sub.subscribe(topic, qos=1)
    node = await rb.component(doors.rembus)
    cases = [
        ((), b"", None),
        (({"temperature": 21.5, "pressure": 980},), {"temperature": 21.5, "pressure": 980}, "application/json"),
        ((1,), 1, "application/json"),
        (("text",), "text", "application/json"),
        ((None,), None, "application/json"),
        ((True,), True, "application/json"),
        ((1, 2), [1, 2], "application/json"),
        (([1, 2],), [1, 2], "application/json"),
        (("a", {"b": [1, None]}), ["a", {"b": [1, None]}], "application/json"),
    ]
    for args, _, _ in cases:
        await node.publish(topic, *args, qos=rb.QOS1)
    messages = await asyncio.to_thread(sub.wait, len(cases))
    for (args, wanted, content_type), m in zip(cases, messages):
        if wanted == b"":
            equal(m.payload, b"", repr(args))
        else:
            equal(json.loads(m.payload), wanted, repr(args))
        equal(getattr(m.properties, "ContentType", None), content_type, f"content type of {args!r}")
    await node.close()
    sub.close()


@scenario(reference=False)  # always QoS 0 there
async def the_quality_of_service_is_mapped(doors):
    topic = fresh("qos")
    sub = Client(doors)
    sub.subscribe(topic, qos=1)
    node = await rb.component(doors.rembus)
    for qos in (rb.QOS0, rb.QOS1, rb.QOS2):
        await node.publish(topic, 1, qos=qos)
    equal([m.qos for m in await asyncio.to_thread(sub.wait, 3)], [0, 1, 1])
    await node.close()
    sub.close()


@scenario(reference=False)  # stops the bridge there
async def frames_and_bytes_reach_mqtt(doors):
    topic = fresh("frames")
    sub = Client(doors, mqtt.MQTTv5)
    sub.subscribe(topic, qos=1)
    node = await rb.component(doors.rembus)
    await node.publish(topic, pl.DataFrame({"dn": ["a", "b"], "t": [1.5, None]}), qos=rb.QOS1)
    await node.publish(topic, b"\x00\xff", qos=rb.QOS1)
    frame, raw = await asyncio.to_thread(sub.wait, 2)
    equal(json.loads(frame.payload), [{"dn": "a", "t": 1.5}, {"dn": "b", "t": None}])
    equal(frame.properties.ContentType, "application/json")
    equal(raw.payload, b"\x00\xff")
    equal(raw.properties.ContentType, "application/octet-stream")
    await node.close()
    sub.close()


@scenario(reference=False)  # no bridge for such topics; the reference drops its MQTT link
async def a_topic_with_mqtt_wildcards_stays_in_rembus(doors):
    topic = fresh("odd") + "/+/#"
    sub = Client(doors)
    sub.subscribe("#", qos=0)
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = await rb.component(doors.rembus)
    await pub.publish(topic, 1, qos=rb.QOS1)
    last = fresh("last")
    await pub.publish(last, 2, qos=rb.QOS1)
    equal(await delivered(got, 1, "the Rembus subscriber"), [(1,)])
    await until(lambda: any(m.topic == last for m in list(sub.got)), "the MQTT subscriber")
    assert all(m.topic != topic for m in sub.got)
    await node.close()
    await pub.close()
    sub.close()


@scenario
async def there_is_no_echo(doors):
    topic = fresh("echo")
    sub = Client(doors)
    sub.subscribe(topic, qos=1)
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = Client(doors)
    pub.publish(topic, "1", 1)
    await until(lambda: got, "Rembus side")
    sub.wait(1)
    await asyncio.sleep(0.3)
    equal((len(got), len(sub.got)), (1, 1), "copies on the Rembus and the MQTT side")
    await node.close()
    sub.close()
    pub.close()


@scenario
async def the_package_itself_speaks_mqtt(doors):
    topic = fresh("package")
    node = await rb.component(f"mqtt://{doors.mqtt}")
    got = []

    def note(*args):
        got.append(args)

    await node.subscribe(note, topic=topic)
    await node.reactive()
    other = Client(doors)
    other.subscribe(topic, qos=1)
    other.publish(topic, '{"a":1}', 1)
    await until(lambda: got, "a message for the component")
    equal(got, [({"a": 1},)])
    await node.publish(topic, {"b": 2})
    equal([json.loads(m.payload) for m in await asyncio.to_thread(other.wait, 2)], [{"a": 1}, {"b": 2}])
    await node.close()
    other.close()


@scenario(reference=False)  # one bad value stops the tables there
async def readings_over_mqtt_become_rows(doors):
    dev = fresh("dev")
    sensor = Client(doors)
    for payload in (
        '{"temperature":1.5,"pressure":980}',
        '{"temperature":2}',
        '{"temperature":"3.5"}',
        f'{{"dn":"{dev}","temperature":4,"other":[1]}}',
        "{}",
        "",
        '{"temperature":"hot"}',
        "not json",
        "12",
        '["too","many","values","here"]',
    ):
        sensor.publish(f"{dev}/telemetry", payload, 1)
    sensor.publish("telemetry", f'["{dev}",5,null]', 1)
    node = await rb.component(doors.rembus)
    rows = await node.rpc("query_telemetry", {"where": f"dn='{dev}' ORDER BY temperature", "cols": ["temperature", "pressure"]})
    got = sorted(rows.rows(), key=lambda row: (row[0] is None, row[0]))
    equal(got, [(1.5, 980.0), (2.0, None), (3.5, None), (4.0, None), (5.0, None), (None, None), (None, None)])
    await node.close()
    sensor.close()


if __name__ == "__main__":
    main()
