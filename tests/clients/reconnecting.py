"""Components and sensors that live through restarts of the broker.

Prints `{"step": ...}` when the broker should be killed, or stopped in order (`stop`), and started again (same doors, same data), and
goes on by itself when it is back. Only the clients' own reconnecting is used.
"""

import asyncio
import sys
import threading

import paho.mqtt.client as mqtt
import rembus as rb

from rembus_component import listener
from scenario import equal, fresh, main, say, scenario, until


async def restarted(step):
    """Asks for a restart and waits for the word that it happened (one line on standard input)."""
    say(step=step)
    line = await asyncio.to_thread(sys.stdin.readline)
    assert line.strip() == "done", line


async def back(node):
    """Waits until the component has noticed the restart and is served again; `isopen` may be true before and after."""

    async def served():
        try:
            return await asyncio.wait_for(node.rpc("rid"), 1) == "broker"
        except Exception:
            return False

    for _ in range(200):
        if await served():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the component does not come back")


@scenario
async def a_component_is_served_again_after_a_restart(doors):
    topic, method = fresh("topic"), fresh("method")
    node, got = await listener(doors.component(fresh("node")), topic, "**/telemetry")
    await node.expose(lambda x: x * 2, topic=method)
    pub = await rb.component(doors.component(fresh("pub")))
    await pub.publish(topic, 1, qos=rb.QOS1)
    await until(lambda: got, "the first message")
    await restarted("kill")
    await until(lambda: pub.isopen() and node.isopen(), "both reconnected", 20)

    async def call():
        try:
            return await pub.rpc(method, 21)
        except Exception:
            return None

    for _ in range(200):
        if await call() == 42:
            break
        await asyncio.sleep(0.05)
    equal(await call(), 42, "the method after the restart")
    await pub.publish(topic, 2, qos=rb.QOS1)
    if not doors.reference:
        await pub.publish("x/telemetry", 3, qos=rb.QOS1)
        await until(lambda: len(got) >= 3, "messages after the restart")
        equal(got[-1], ("**/telemetry", ("x/telemetry", 3)))
    await until(lambda: (topic, (2,)) in got, "the second message")
    await node.close()
    await pub.close()


@scenario
async def who_is_connected_when_the_broker_stops_comes_back_by_itself(doors):
    topic, method = fresh("topic"), fresh("method")
    # What is published before it has said that it is there again counts as missed.
    node, got = await listener(doors.component(fresh("node")), topic, msgfrom=rb.LastReceived)
    await node.expose(lambda x: x * 2, topic=method)
    pub = await rb.component(doors.component(fresh("pub")))
    for life in range(2):
        await pub.publish(topic, life, qos=rb.QOS1)
        await until(lambda: len(got) == life + 1, "a message in each life")
        # An orderly stop: it listens no more before it closes the links, or a client that is cut during its login gives up.
        await restarted("stop")
        await back(pub)
        await back(node)
    equal(await pub.rpc(method, 21), 42)
    await node.close()
    await pub.close()


@scenario
async def paho_resends_what_was_not_acknowledged(doors):
    topic = fresh("paho")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=fresh("resend"), clean_session=False)
    client.reconnect_delay_set(1, 1)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_disconnect = lambda *_: connected.clear()
    client.connect(doors.mqtt_host, doors.mqtt_port)
    client.loop_start()
    assert connected.wait(10)
    client.publish(topic, "0", qos=1).wait_for_publish(10)
    await restarted("kill")
    acknowledged = set()
    client.on_publish = lambda client, userdata, mid, *_: acknowledged.add(mid)
    mids = {client.publish(topic, str(n), qos=1).mid for n in range(1, 20)}
    await until(lambda: mids <= acknowledged, "acknowledgements after the restart", 20)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
