"""What a component missed: `LastReceived`, windows, and QoS 2 through restarts, with the rembus 0.8.23 package.

Prints `{"step": ...}` when the broker should be killed and started again (same doors, same data). The reference keeps none of
these promises, so nothing here is compared with it.
"""

import asyncio

import rembus as rb

from reconnecting import back, restarted
from scenario import equal, fresh, main, scenario, until

LEVELS = (rb.QOS0, rb.QOS1, rb.QOS2)


async def reader(url, got, *topics, msgfrom=rb.LastReceived, enc=rb.CBOR):
    """A component as its author starts it every time: subscribes, then takes what there is."""
    node = await rb.component(url, enc=enc)
    for topic in topics:
        def note(*args, topic=topic):
            got.append((topic, args))

        await node.subscribe(note, msgfrom=msgfrom, topic=topic)
    await node.reactive()
    return node


async def tell(pub, root, numbers):
    for n in numbers:
        await pub.publish(f"{root}/{n % 5}", n, qos=LEVELS[n % 3])


def numbers(got):
    return [args[-1] for _, args in got]


async def missed_and_back(doors, enc):
    root, name = fresh("root"), fresh("reader")
    pattern = f"{root}/*"
    pub = await rb.component(doors.component(fresh("pub")), enc=enc)
    await tell(pub, root, range(10))
    got = []
    node = await reader(doors.component(name), got, pattern, enc=enc)
    await until(lambda: len(got) >= 10, "what was there before it came")
    await node.close()
    await tell(pub, root, range(10, 60))
    await restarted("kill")
    await back(pub)
    await tell(pub, root, range(60, 100))
    node = await reader(doors.component(name), got, pattern, enc=enc)
    await tell(pub, root, range(100, 110))
    await until(lambda: len(got) >= 110, "everything that it missed")
    await asyncio.sleep(0.3)  # room for a duplicate to show itself
    equal(numbers(got), list(range(110)))
    equal({topic for topic, _ in got}, {pattern})
    equal(got[57][1], (f"{root}/2", 57))
    await node.close()
    await pub.close()


@scenario
async def who_was_away_gets_what_it_missed_through_a_kill(doors):
    await missed_and_back(doors, rb.CBOR)


@scenario
async def so_does_who_speaks_json(doors):
    await missed_and_back(doors, rb.JSON)


@scenario
async def a_client_that_reconnects_by_itself_misses_nothing(doors):
    root = fresh("root")
    got = []
    pub = await rb.component(doors.component(fresh("pub")))
    node = await reader(doors.component(fresh("reader")), got, f"{root}/*")
    for life in range(3):
        await tell(pub, root, range(life * 40, life * 40 + 30))
        # In the middle of its deliveries.
        await restarted("kill")
        await back(pub)
        await tell(pub, root, range(life * 40 + 30, life * 40 + 40))
        await back(node)
    # QoS 0 that was in the socket when the gateway was killed is gone with it, and owed to nobody.
    owed = {n for n in range(120) if n % 3}
    await until(lambda: owed <= set(numbers(got)), "everything of QoS 1 and 2", 20)
    # Of QoS 2 each exactly once. A kill may let QoS 0 and 1 of the last moment come again.
    once = [n for n in numbers(got) if n % 3 == 2]
    equal(sorted(once), [n for n in range(120) if n % 3 == 2])
    await node.close()
    await pub.close()


@scenario
async def a_window_reaches_back_as_far_as_it_says(doors):
    topic = fresh("windowed")
    pub = await rb.component(doors.rembus)
    await pub.publish(topic, "old", qos=rb.QOS1)
    await asyncio.sleep(1.2)
    await pub.publish(topic, "new", qos=rb.QOS1)
    for enc in (rb.CBOR, rb.JSON):
        got = []
        node = await reader(doors.component(fresh("short")), got, topic, msgfrom=900_000_000.0, enc=enc)
        whole = []
        other = await reader(doors.component(fresh("long")), whole, topic, msgfrom=60_000_000_000.0, enc=enc)
        await until(lambda: len(whole) == 2, "both")
        equal([numbers(got), numbers(whole)], [["new"], ["old", "new"]])
        await node.close()
        await other.close()
    await pub.close()


@scenario
async def who_asks_for_more_later_gets_what_was_passed_over(doors):
    topic, name = fresh("widened"), fresh("reader")
    pub = await rb.component(doors.rembus)
    got = []
    for n, msgfrom in enumerate((rb.Now, 100_000_000.0, rb.LastReceived)):
        node = await reader(doors.component(name), got, topic, msgfrom=msgfrom)
        await until(lambda: len(got) >= (n if n == 2 else 0), "what was passed over")
        await node.close()
        await pub.publish(topic, n, qos=rb.QOS1)
        await asyncio.sleep(0.3)  # the window of the next one does not reach back to it
    equal(numbers(got), [0, 1])
    await restarted("kill")
    await back(pub)
    node = await reader(doors.component(name), got, topic)
    await until(lambda: len(got) >= 3, "the last one")
    equal(numbers(got), [0, 1, 2])
    await node.close()
    await pub.close()


@scenario
async def now_is_told_only_what_comes_from_now_on(doors):
    topic, name = fresh("now"), fresh("reader")
    pub = await rb.component(doors.rembus)
    await pub.publish(topic, 1, qos=rb.QOS1)
    got = []
    node = await reader(doors.component(name), got, topic, msgfrom=rb.Now)
    await node.close()
    await pub.publish(topic, 2, qos=rb.QOS1)
    node = await reader(doors.component(name), got, topic, msgfrom=rb.Now)
    await pub.publish(topic, 3, qos=rb.QOS1)
    await until(lambda: got, "the third")
    equal(numbers(got), [3])
    await node.close()
    await pub.close()


@scenario
def synchronous_nodes_get_what_they_missed(doors):
    topic, name = fresh("sync"), fresh("reader")
    got = []
    with rb.node(doors.component(fresh("pub"))) as pub:
        for n in range(20):
            pub.publish(topic, n, qos=LEVELS[n % 3])
        with rb.node(doors.component(name)) as node:
            node.subscribe(lambda n: got.append(n), topic=topic, msgfrom=rb.LastReceived)
            node.reactive()
            asyncio.run(until(lambda: len(got) >= 20, "the past"))
        for n in range(20, 30):
            pub.publish(topic, n, qos=LEVELS[n % 3])
        with rb.node(doors.component(name)) as node:
            node.subscribe(lambda n: got.append(n), topic=topic, msgfrom=rb.LastReceived)
            node.reactive()
            asyncio.run(until(lambda: len(got) >= 30, "what it missed"))
    equal(got, list(range(30)))


@scenario
async def what_was_unsubscribed_does_not_come_back(doors):
    topic, other, name = fresh("gone"), fresh("kept"), fresh("reader")
    method = fresh("method")
    got = []
    node = await reader(doors.component(name), got, topic, other)
    await node.expose(lambda: 1, topic=method)
    await node.unsubscribe(topic)
    await node.unexpose(method)
    await restarted("kill")
    pub = await rb.component(doors.rembus)
    await back(node)
    await pub.publish(topic, 1, qos=rb.QOS1)
    await pub.publish(other, 2, qos=rb.QOS1)
    await until(lambda: got, "the other topic")
    equal(got, [(other, (2,))])
    await node.close()
    await pub.close()


if __name__ == "__main__":
    main()
