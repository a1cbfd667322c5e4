"""What an MQTT client leaves at the broker: sessions, queues, retained messages, wills, shared subscriptions; and what of it a
broker that is killed still knows. paho-mqtt, unmodified, in both versions.

Prints `{"step": ...}` when the broker should be killed and started again (same doors, same data).
"""

import socket
import struct
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_paho import VERSIONS, Client
from scenario import equal, fresh, main, say, scenario

FOREVER = 0xFFFFFFFF


def killed(step):
    say(step=step)
    line = sys.stdin.readline()
    assert line.strip() == "done", line


class Stayer(Client):
    """A client whose session stays when it goes."""

    def __init__(self, doors, version, client_id, clean=False, expiry=FOREVER, will=None, will_delay=0, manual=False):
        options = {"clean_session": clean} if version == mqtt.MQTTv311 else {}
        super().__init__(doors, version, client_id, connect=False, manual_ack=manual, **options)
        self.properties_wanted = None
        if version == mqtt.MQTTv5:
            self.properties_wanted = Properties(PacketTypes.CONNECT)
            self.properties_wanted.SessionExpiryInterval = expiry
        if will:
            properties = None
            if version == mqtt.MQTTv5 and will_delay:
                properties = Properties(PacketTypes.WILLMESSAGE)
                properties.WillDelayInterval = will_delay
            self.client.will_set(will, "gone", qos=1, retain=True, properties=properties)
        self.clean = clean
        self.present = None
        self.client.on_connect = self._on_connect_present
        more = {} if version == mqtt.MQTTv311 else {"clean_start": clean, "properties": self.properties_wanted}
        self.client.connect(doors.mqtt_host, doors.mqtt_port, keepalive=60, **more)
        self.client.loop_start()
        assert self.connected.wait(10), "no CONNACK"
        equal(str(self.reason), "Success", "CONNACK")

    def _on_connect_present(self, client, userdata, flags, reason, properties):
        self.present = flags.session_present
        self._on_connect(client, userdata, flags, reason, properties)

    def vanish(self):
        """As a pulled cable looks to the broker: the socket ends without DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def each_version(f):
    for version in VERSIONS:
        def run(doors, version=version):
            f(doors, version)

        run.__name__ = f"{f.__name__}_in_{'3_1_1' if version == mqtt.MQTTv311 else '5'}"
        run.__module__ = "__main__"
        scenario(run)
    return f


def texts(messages):
    return [m.payload.decode() for m in messages]


@each_version
def an_offline_queue_survives_a_kill(doors, version):
    name, topic = fresh("offline"), fresh("t")
    sub = Stayer(doors, version, name, clean=True) if version == mqtt.MQTTv5 else Stayer(doors, version, name)
    equal(sub.present, False)
    sub.subscribe(topic + "/#", qos=2)
    sub.close()
    pub = Client(doors, version)
    for n in range(50):
        pub.publish(f"{topic}/{n % 5}", str(n), qos=1 + n % 2)
    pub.publish(topic, "not kept", qos=0)
    pub.close()
    killed("with fifty messages in a queue")
    sub = Stayer(doors, version, name)
    equal(sub.present, True, "session present")
    got = sub.wait(50)
    # paho hands a QoS 2 message over when its exchange has ended, so order is to be seen within a QoS.
    for qos in (1, 2):
        equal(texts(m for m in got if m.qos == qos), [str(n) for n in range(qos - 1, 50, 2)], f"QoS {qos}")
    pub = Client(doors, version)
    pub.publish(topic, "live", qos=1)
    equal(sub.wait(51)[50].payload, b"live")
    equal(len(sub.got), 51, "each once")
    pub.close()
    sub.close()
    again = Stayer(doors, version, name)
    equal((again.present, again.got), (True, []))
    again.close()
    Stayer(doors, version, name, clean=True, expiry=0).close()


@each_version
def unacknowledged_deliveries_come_again_after_a_kill_marked_as_such(doors, version):
    name, topic = fresh("dup"), fresh("t")
    sub = Stayer(doors, version, name, manual=True)
    sub.subscribe(topic, qos=1)
    pub = Client(doors, version)
    for n in range(3):
        pub.publish(topic, str(n), qos=1)
    first = sub.wait(3)
    equal([m.dup for m in first], [False] * 3)
    sub.client.ack(first[0].mid, 1)
    # The acknowledgement is in the broker when it has answered something that came behind it.
    sub.subscribe(topic + "/other", qos=0)
    pub.publish(topic, "3", qos=1)
    sub.wait(4)
    sub.vanish()
    killed("with unanswered deliveries")
    sub = Stayer(doors, version, name)
    got = sub.wait(3)
    equal(texts(got), ["1", "2", "3"])
    equal([m.dup for m in got], [True] * 3)
    pub.close()
    sub.close()


@each_version
def a_qos_2_exchange_ends_once_whatever_happens_between(doors, version):
    """paho keeps its half of the exchange while the broker is killed and comes back."""
    name, topic = fresh("exactly"), fresh("t")
    sub = Stayer(doors, version, fresh("sub"))
    sub.subscribe(topic, qos=2)
    pub = Stayer(doors, version, name)
    pub.client.reconnect_delay_set(1, 1)
    sub.client.reconnect_delay_set(1, 1)
    infos = []
    stop = threading.Event()

    def work():
        n = 0
        while not stop.is_set():
            infos.append(pub.client.publish(topic, str(n), qos=2))
            n += 1
            time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    for round in range(2):
        sub.wait(len(sub.got) + 20, 30)
        killed(f"in the middle of exchanges, round {round}")
    sub.wait(len(sub.got) + 20, 60)
    stop.set()
    thread.join()
    got = texts(sub.wait(len(infos), 60))
    equal(sorted(got, key=int), [str(n) for n in range(len(infos))], "each exactly once")
    pub.close()
    sub.close()


@each_version
def retained_messages_survive_a_kill_and_cleared_ones_stay_cleared(doors, version):
    topic = fresh("retained")
    pub = Client(doors, version)
    for n in range(300):
        pub.publish(f"{topic}/{n}", str(n), qos=1, retain=True)
    pub.publish(f"{topic}/7", "seven", qos=1, retain=True)
    pub.publish(f"{topic}/8", None, qos=1, retain=True)
    pub.publish(f"{topic}/9", None, qos=1)
    pub.close()
    killed("with retained messages")
    sub = Client(doors, version)
    sub.subscribe(topic + "/+", qos=1)
    got = sub.wait(299)
    equal({m.topic.rsplit("/", 1)[1]: m.payload.decode() for m in got} | {"8": "8"},
          {str(n): "seven" if n == 7 else str(n) for n in range(300)})
    assert all(m.retain for m in got)
    sub.subscribe(topic + "/7", qos=0)
    equal(sub.wait(300)[299].payload, b"seven", "subscribing again brings it again")
    sub.close()


@each_version
def a_will_is_published_for_the_vanished_and_not_for_those_who_say_goodbye(doors, version):
    topic = fresh("will")
    heir = Client(doors, version)
    heir.subscribe(topic + "/#", qos=1)
    Stayer(doors, version, fresh("polite"), clean=True, expiry=0, will=topic + "/polite").close()
    Stayer(doors, version, fresh("lost"), clean=True, expiry=0, will=topic + "/lost").vanish()
    got = heir.wait(1)
    equal([(m.topic, m.payload, m.retain) for m in got], [(topic + "/lost", b"gone", False)])
    late = Client(doors, version)
    late.subscribe(topic + "/#", qos=1)
    equal([(m.topic, m.retain) for m in late.wait(1)], [(topic + "/lost", True)])
    # A takeover: the older connection ended without goodbye.
    name = fresh("twice")
    first = Stayer(doors, version, name, clean=True, expiry=0, will=topic + "/first")
    first.client.loop_stop()
    second = Stayer(doors, version, name, clean=True, expiry=0, will=topic + "/second")
    equal(heir.wait(2)[1].topic, topic + "/first")
    second.close()
    heir.publish(topic + "/end", "x", qos=1)
    equal(heir.wait(3)[2].topic, topic + "/end")
    for client in (heir, late):
        client.close()


@scenario
def a_delayed_will_is_withdrawn_by_a_quick_return(doors):
    topic, name = fresh("delayed"), fresh("mortal")
    heir = Client(doors, mqtt.MQTTv5)
    heir.subscribe(topic, qos=1)
    mortal = Stayer(doors, mqtt.MQTTv5, name, expiry=100, will=topic, will_delay=1)
    mortal.vanish()
    mortal = Stayer(doors, mqtt.MQTTv5, name, expiry=100, will=topic, will_delay=1)
    equal(mortal.present, True)
    begin = time.monotonic()
    mortal.vanish()
    equal(heir.wait(1)[0].payload, b"gone")
    assert time.monotonic() - begin > 0.9, "not before its time"
    equal(len(heir.got), 1, "the first one was withdrawn")
    heir.close()


@each_version
def a_shared_subscription_divides_and_hands_on(doors, version):
    topic, group = fresh("work"), fresh("group")
    workers = [Client(doors, version) for _ in range(3)]
    for worker in workers:
        worker.subscribe(f"$share/{group}/{topic}", qos=1)
    pub = Client(doors, version)
    for n in range(30):
        pub.publish(topic, str(n), qos=1)
    end = time.monotonic() + 10
    while sum(len(worker.got) for worker in workers) < 30 and time.monotonic() < end:
        time.sleep(0.01)
    equal([len(worker.got) for worker in workers], [10, 10, 10])
    equal(sorted(int(text) for worker in workers for text in texts(worker.got)), list(range(30)))
    for client in (*workers, pub):
        client.close()


@scenario
def a_session_expires_when_its_time_is_over(doors):
    name = fresh("expiring")
    Stayer(doors, mqtt.MQTTv5, name, expiry=1).close()
    back = Stayer(doors, mqtt.MQTTv5, name, expiry=1)
    equal(back.present, True)
    back.close()
    pause = time.monotonic() + 1.6
    while time.monotonic() < pause:
        time.sleep(0.05)
    back = Stayer(doors, mqtt.MQTTv5, name, expiry=0)
    equal(back.present, False)
    back.close()


@scenario
def retain_handling_and_identifiers_work(doors):
    topic = fresh("options")
    pub = Client(doors, mqtt.MQTTv5)
    pub.publish(topic, "1", qos=1, retain=True)
    sub = Client(doors, mqtt.MQTTv5)
    properties = Properties(PacketTypes.SUBSCRIBE)
    properties.SubscriptionIdentifier = 7
    sub.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND))
    sub.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB))
    equal(sub.got, [])
    sub.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True), properties=properties)
    got = sub.wait(1)[0]
    equal((got.retain, got.properties.SubscriptionIdentifier), (True, [7]))
    pub.publish(topic, "2", qos=1, retain=True)
    equal(sub.wait(2)[1].retain, True, "as published")
    pub.close()
    sub.close()


@scenario
def the_system_tells_its_figures(doors):
    sub = Client(doors, mqtt.MQTTv5)
    sub.subscribe("$SYS/broker/#")
    end = time.monotonic() + 10
    wanted = {"$SYS/broker/clients/connected", "$SYS/broker/version"}
    while not wanted <= {m.topic for m in sub.got} and time.monotonic() < end:
        time.sleep(0.01)
    topics = {m.topic: m.payload.decode() for m in sub.got}
    assert int(topics["$SYS/broker/clients/connected"]) >= 0
    assert topics["$SYS/broker/version"].startswith("rembus-gateway version ")
    sub.close()


if __name__ == "__main__":
    main()
