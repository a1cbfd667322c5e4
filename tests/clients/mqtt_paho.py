"""paho-mqtt as its users write it, MQTT 3.1.1 and 5."""

import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from scenario import equal, fresh, main, scenario

VERSIONS = (mqtt.MQTTv311, mqtt.MQTTv5)


class Client:
    """A connected client that notes what it hears."""

    def __init__(self, doors, version=mqtt.MQTTv311, client_id=None, connect=True, **options):
        if version == mqtt.MQTTv311:
            options.setdefault("clean_session", True)
        self.got = []
        self.heard = threading.Condition()
        self.connected = threading.Event()
        self.disconnected = threading.Event()
        self.reason = None
        self.assigned = None
        self.subscribed = {}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=fresh("paho") if client_id is None else client_id,
            protocol=version,
            **options,
        )
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.reconnect_delay_set(60, 120)
        self.doors = doors
        if connect:
            self.open()

    def open(self):
        self.client.connect(self.doors.mqtt_host, self.doors.mqtt_port, keepalive=60)
        self.client.loop_start()
        assert self.connected.wait(10), "no CONNACK"
        equal(str(self.reason), "Success", "CONNACK")

    def _on_connect(self, client, userdata, flags, reason, properties):
        self.reason = reason
        self.assigned = getattr(properties, "AssignedClientIdentifier", None)
        self.properties = properties
        self.connected.set()

    def _on_disconnect(self, client, userdata, flags, reason, properties):
        self.reason = reason
        self.disconnected.set()

    def _on_message(self, client, userdata, message):
        with self.heard:
            self.got.append(message)
            self.heard.notify_all()

    def _on_subscribe(self, client, userdata, mid, reasons, properties):
        with self.heard:
            self.subscribed[mid] = reasons
            self.heard.notify_all()

    def subscribe(self, *args, **options):
        """Returns the granted QoS values or reason codes as numbers."""
        result, mid = self.client.subscribe(*args, **options)
        equal(result, mqtt.MQTT_ERR_SUCCESS)
        with self.heard:
            assert self.heard.wait_for(lambda: mid in self.subscribed, 10), "no SUBACK"
            return [reason.value for reason in self.subscribed[mid]]

    def unsubscribe(self, topic):
        done = threading.Event()
        self.client.on_unsubscribe = lambda *_: done.set()
        self.client.unsubscribe(topic)
        assert done.wait(10), "no UNSUBACK"

    def publish(self, topic, payload=None, qos=0, **options):
        info = self.client.publish(topic, payload, qos, **options)
        info.wait_for_publish(10)
        assert info.is_published(), f"QoS {qos} not acknowledged"
        return info

    def wait(self, count, seconds=10):
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.got) >= count, seconds), (
                f"{len(self.got)} of {count} messages within {seconds} s"
            )
            return list(self.got)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def each_version(f):
    for version in VERSIONS:
        def run(doors, version=version):
            f(doors, version)

        run.__name__ = f"{f.__name__}_in_{'3_1_1' if version == mqtt.MQTTv311 else '5'}"
        scenario(run)
    return f


@each_version
def qos_0_and_1_arrive_in_order(doors, version):
    topic = fresh("order")
    sub, pub = Client(doors, version), Client(doors, version)
    equal(sub.subscribe(topic, qos=1), [1])
    for n in range(60):
        pub.publish(topic, str(n), qos=1)
    equal([(m.payload, m.qos, m.retain) for m in sub.wait(60)], [(str(n).encode(), 1, False) for n in range(60)])
    for n in range(60):
        pub.publish(topic, str(n), qos=0)
    equal([(m.payload, m.qos) for m in sub.wait(120)[60:]], [(str(n).encode(), 0) for n in range(60)])
    pub.close()
    sub.close()


@each_version
def a_window_of_messages_is_acknowledged(doors, version):
    topic = fresh("window")
    sub, pub = Client(doors, version), Client(doors, version, connect=False)
    sub.subscribe(topic, qos=1)
    pub.client.max_inflight_messages_set(100)
    pub.open()
    infos = [pub.client.publish(topic, str(n), qos=1) for n in range(1000)]
    for info in infos:
        info.wait_for_publish(20)
    equal([m.payload for m in sub.wait(1000, 20)], [str(n).encode() for n in range(1000)])
    pub.close()
    sub.close()


@each_version
def the_lower_qos_wins(doors, version):
    topic = fresh("lower")
    zero, one, pub = Client(doors, version), Client(doors, version), Client(doors, version)
    equal(zero.subscribe(topic, qos=0), [0])
    equal(one.subscribe(topic, qos=1), [1])
    pub.publish(topic, "a", qos=1)
    pub.publish(topic, "b", qos=0)
    equal([(m.payload, m.qos) for m in zero.wait(2)], [(b"a", 0), (b"b", 0)])
    equal([(m.payload, m.qos) for m in one.wait(2)], [(b"a", 1), (b"b", 0)])
    for c in (zero, one, pub):
        c.close()


@each_version
def wildcards_match_by_level(doors, version):
    root = fresh("root")
    filters = ["+/x", "#", "a/+/c", "+", "a/#"]
    topics = ["x", "a", "a/x", "a/b/c", "b/x", "/x", "a/"]
    wanted = {
        "+/x": ["a/x", "b/x", "/x"],
        "#": topics,
        "a/+/c": ["a/b/c"],
        "+": ["x", "a"],
        "a/#": ["a", "a/x", "a/b/c", "a/"],
    }
    clients = {}
    for f in filters:
        clients[f] = Client(doors, version)
        clients[f].subscribe(f"{root}/{f}", qos=1)
    pub = Client(doors, version)
    for t in topics:
        pub.publish(f"{root}/{t}", t, qos=1)
    for f in filters:
        clients[f].unsubscribe(f"{root}/{f}")  # in order behind the messages of this client, so that nothing more can come
        equal([m.payload.decode() for m in clients[f].wait(len(wanted[f]))], wanted[f], f)
        clients[f].close()
    pub.close()


@each_version
def several_filters_in_one_packet(doors, version):
    root = fresh("several")
    sub, pub = Client(doors, version), Client(doors, version)
    equal(sub.subscribe([(f"{root}/a", 0), (f"{root}/b", 1), (f"{root}/c/#", 1)]), [0, 1, 1])
    for t in ("a", "b", "c/d", "d"):
        pub.publish(f"{root}/{t}", t, qos=1)
    pub.publish(f"{root}/b", "end", qos=1)
    equal([(m.payload, m.qos) for m in sub.wait(4)], [(b"a", 0), (b"b", 1), (b"c/d", 1), (b"end", 1)])
    pub.close()
    sub.close()


@each_version
def overlapping_filters_deliver_once_or_once_each(doors, version):
    root = fresh("overlap")
    sub, pub = Client(doors, version), Client(doors, version)
    sub.subscribe([(f"{root}/#", 0), (f"{root}/a", 1)])
    pub.publish(f"{root}/a", "x", qos=1)
    pub.publish(f"{root}/end", "end", qos=1)
    got = sub.wait(2)
    while got[-1].payload != b"end":
        got = sub.wait(len(got) + 1)
    assert 1 <= len(got) - 1 <= 2, [m.payload for m in got]
    if len(got) == 2 and not doors.reference:
        equal(got[0].qos, 1, "the highest of the overlapping subscriptions")
    pub.close()
    sub.close()


@each_version
def silence_after_unsubscribe(doors, version):
    topic, other = fresh("quiet"), fresh("other")
    sub, pub = Client(doors, version), Client(doors, version)
    sub.subscribe([(topic, 1), (other, 1)])
    pub.publish(topic, "1", qos=1)
    sub.wait(1)
    sub.unsubscribe(topic)
    sub.unsubscribe("never/subscribed")
    pub.publish(topic, "2", qos=1)
    pub.publish(other, "3", qos=1)
    equal([m.payload for m in sub.wait(2)], [b"1", b"3"])
    pub.close()
    sub.close()


@each_version
def an_empty_client_id_is_welcome(doors, version):
    topic = fresh("noname")
    clients = [Client(doors, version, client_id="") for _ in range(3)]
    for c in clients:
        c.subscribe(topic, qos=1)
    clients[0].publish(topic, "hi", qos=1)
    for c in clients:
        equal(c.wait(1)[0].payload, b"hi")
    if version == mqtt.MQTTv5:
        equal(len({c.assigned for c in clients}), 3, "assigned client ids")
        assert all(c.assigned for c in clients)
    for c in clients:
        c.close()


@each_version
def a_newcomer_takes_the_client_id_over(doors, version):
    name, topic = fresh("same"), fresh("taken")
    first = Client(doors, version, client_id=name)
    first.subscribe(topic, qos=1)
    second = Client(doors, version, client_id=name)
    assert first.disconnected.wait(10), "the older connection lives on"
    if version == mqtt.MQTTv5 and not doors.reference:
        equal(first.reason.value, 0x8E, "DISCONNECT reason")
    second.subscribe(topic, qos=1)
    pub = Client(doors, version)
    pub.publish(topic, "x", qos=1)
    equal(second.wait(1)[0].payload, b"x")
    equal(first.got, [])
    first.client.loop_stop()
    for c in (second, pub):
        c.close()


@each_version
def big_and_empty_payloads_pass(doors, version):
    topic = fresh("big")
    sub, pub = Client(doors, version), Client(doors, version)
    sub.subscribe(topic, qos=1)
    for size in (0, 1, 127, 128, 16_383, 16_384, 1_000_000):
        pub.publish(topic, b"\xa5" * size, qos=1)
    equal([len(m.payload) for m in sub.wait(7)], [0, 1, 127, 128, 16_383, 16_384, 1_000_000])
    assert set(sub.got[-1].payload) == {0xA5}
    pub.close()
    sub.close()


@each_version
def topics_are_any_text(doors, version):
    root = fresh("text")
    sub, pub = Client(doors, version), Client(doors, version)
    sub.subscribe(f"{root}/#", qos=1)
    topics = [f"{root}/température/°C", f"{root}/ space /x", f"{root}/日本/🌡", f"{root}//", f"{root}/" + "l" * 1000]
    for t in topics:
        pub.publish(t, t, qos=1)
    equal([m.topic for m in sub.wait(len(topics))], topics)
    pub.close()
    sub.close()


@each_version
def user_and_password_are_accepted_by_an_open_broker(doors, version):
    for user, password in (("somebody", "secret"), ("", ""), ("somebody", None)):
        c = Client(doors, version, connect=False)
        c.client.username_pw_set(user, password)
        c.open()
        c.publish(fresh("hello"), "x", qos=1)
        c.close()


@each_version
def a_reader_of_its_own_topic_hears_itself(doors, version):
    topic = fresh("echo")
    c = Client(doors, version)
    c.subscribe(topic, qos=1)
    c.publish(topic, "me", qos=1)
    equal(c.wait(1)[0].payload, b"me")
    c.close()


@each_version
def keep_alive_is_answered(doors, version):
    c = Client(doors, version, connect=False)
    c.client.connect(doors.mqtt_host, doors.mqtt_port, keepalive=1)
    c.client.loop_start()
    assert c.connected.wait(10), "no CONNACK"
    assert not c.disconnected.wait(3.2), "disconnected although it pinged"
    c.publish(fresh("alive"), "x", qos=1)
    c.close()


@scenario
def mqtt_5_qos_2_is_used_as_the_broker_allows(doors):
    topic = fresh("exactly")
    sub, pub = Client(doors, mqtt.MQTTv5), Client(doors, mqtt.MQTTv5)
    limit = getattr(pub.properties, "MaximumQoS", 2)
    granted = sub.subscribe(topic, qos=2)[0]
    assert granted in (limit, 2), granted
    for n in range(20):
        pub.publish(topic, str(n), qos=limit)
    equal([m.payload for m in sub.wait(20)], [str(n).encode() for n in range(20)])
    pub.close()
    sub.close()


@scenario
def mqtt_5_no_local_keeps_an_echo_away(doors):
    topic = fresh("nolocal")
    c, other = Client(doors, mqtt.MQTTv5), Client(doors, mqtt.MQTTv5)
    c.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True))
    c.publish(topic, "mine", qos=1)
    other.publish(topic, "theirs", qos=1)
    equal([m.payload for m in c.wait(1)], [b"theirs"])
    c.close()
    other.close()


@scenario
def mqtt_5_properties_travel_along(doors):
    topic = fresh("properties")
    sub, pub = Client(doors, mqtt.MQTTv5), Client(doors, mqtt.MQTTv5)
    options = Properties(PacketTypes.SUBSCRIBE)
    options.SubscriptionIdentifier = 42
    sub.subscribe(topic, options=SubscribeOptions(qos=1), properties=options)
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.ContentType = "application/json"
    sent.ResponseTopic = "answers/here"
    sent.CorrelationData = b"\x00\x01"
    sent.UserProperty = [("a", "1"), ("a", "2")]
    sent.MessageExpiryInterval = 100
    pub.publish(topic, "{}", qos=1, properties=sent)
    p = sub.wait(1)[0].properties
    equal(p.ContentType, "application/json")
    equal(p.PayloadFormatIndicator, 1)
    equal(p.ResponseTopic, "answers/here")
    equal(p.CorrelationData, b"\x00\x01")
    equal(p.UserProperty, [("a", "1"), ("a", "2")])
    assert 95 <= p.MessageExpiryInterval <= 100, p.MessageExpiryInterval
    equal(p.SubscriptionIdentifier, [42])
    pub.close()
    sub.close()


@scenario
def mqtt_5_topic_aliases_work_if_offered(doors):
    topic = fresh("alias")
    sub, pub = Client(doors, mqtt.MQTTv5), Client(doors, mqtt.MQTTv5)
    if not getattr(pub.properties, "TopicAliasMaximum", 0):
        return
    sub.subscribe(topic, qos=1)
    alias = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 1
    pub.publish(topic, "1", qos=1, properties=alias)
    again = Properties(PacketTypes.PUBLISH)
    again.TopicAlias = 1
    pub.client.publish("", "2", qos=1, properties=again)
    equal([(m.topic, m.payload) for m in sub.wait(2)], [(topic, b"1"), (topic, b"2")])
    pub.close()
    sub.close()


@scenario
def mqtt_5_receive_maximum_is_respected(doors):
    topic = fresh("receive")
    limit = Properties(PacketTypes.CONNECT)
    limit.ReceiveMaximum = 3
    sub = Client(doors, mqtt.MQTTv5, connect=False)
    sub.client.manual_ack_set(True)
    sub.client.connect(doors.mqtt_host, doors.mqtt_port, properties=limit)
    sub.client.loop_start()
    assert sub.connected.wait(10)
    sub.subscribe(topic, qos=1)
    pub = Client(doors, mqtt.MQTTv5)
    for n in range(10):
        pub.publish(topic, str(n), qos=1)
    sub.wait(3)
    time.sleep(0.3)
    equal(len(sub.got), 3, "unacknowledged deliveries")
    for n in range(10):
        m = sub.wait(n + 1)[n]
        sub.client.ack(m.mid, m.qos)
    equal([m.payload for m in sub.wait(10)], [str(n).encode() for n in range(10)])
    pub.close()
    sub.close()


if __name__ == "__main__":
    main()
