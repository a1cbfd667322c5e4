"""paho and gmqtt over TLS and WebSocket.

Where the doors are comes from the environment: SECURE_TLS, SECURE_WS and SECURE_WSS as host:port, SECURE_CA for the CA, and
SECURE_CERTIFICATE and SECURE_KEY for the client's own.
"""

import asyncio
import os
import ssl
import threading

import gmqtt
import paho.mqtt.client as paho
from gmqtt.mqtt.constants import MQTTv311, MQTTv50

from scenario import equal, fresh, main, scenario, until

CA = os.environ["SECURE_CA"]
OWN = (os.environ["SECURE_CERTIFICATE"], os.environ["SECURE_KEY"])


def address(name):
    host, port = os.environ[name].rsplit(":", 1)
    return host, int(port)


def paho_talks(variable, version, transport, secure):
    """Publishes to itself with QoS 1, a small payload and one that takes many TLS records and WebSocket frames."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh("paho"), protocol=version, transport=transport)
    if secure:
        client.tls_set(ca_certs=CA, certfile=OWN[0], keyfile=OWN[1])
    topic, got, subscribed, done = fresh("secure"), [], threading.Event(), threading.Event()
    large = os.urandom(700_000)

    def on_message(client, userdata, message):
        got.append(message.payload)
        if len(got) == 3:
            done.set()

    def on_connect(client, userdata, flags, reason, properties):
        equal(reason.is_failure, False, "refused")
        client.subscribe(topic, 1)

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = on_message
    client.connect(*address(variable), keepalive=30)
    client.loop_start()
    assert subscribed.wait(10), "no SUBACK"
    for payload in (b"first", large, b"last"):
        client.publish(topic, payload, qos=1).wait_for_publish(10)
    assert done.wait(10), f"{len(got)} messages"
    equal(got == [b"first", large, b"last"], True, "the messages are the same")
    client.disconnect()
    client.loop_stop()


@scenario
def paho_over_tls(doors):
    for version in (paho.MQTTv311, paho.MQTTv5):
        paho_talks("SECURE_TLS", version, "tcp", True)


@scenario
def paho_over_web_socket(doors):
    for version in (paho.MQTTv311, paho.MQTTv5):
        paho_talks("SECURE_WS", version, "websockets", False)


@scenario
def paho_over_secure_web_socket(doors):
    for version in (paho.MQTTv311, paho.MQTTv5):
        paho_talks("SECURE_WSS", version, "websockets", True)


@scenario
async def gmqtt_over_tls(doors):
    for version in (MQTTv311, MQTTv50):
        context = ssl.create_default_context(cafile=CA)
        context.load_cert_chain(*OWN)
        client, got, topic = gmqtt.Client(fresh("gmqtt")), [], fresh("secure")
        subscribed = asyncio.Event()

        def on_message(client, topic, payload, qos, properties):
            got.append(bytes(payload))
            return 0

        client.on_message = on_message
        client.on_subscribe = lambda *_: subscribed.set()
        host, port = address("SECURE_TLS")
        await asyncio.wait_for(client.connect(host, port, ssl=context, version=version), 10)
        client.subscribe(topic, qos=1)
        await asyncio.wait_for(subscribed.wait(), 10)
        client.publish(topic, b"hello", qos=1)
        await until(lambda: got, "the message")
        equal(got, [b"hello"])
        await client.disconnect()


if __name__ == "__main__":
    main()
