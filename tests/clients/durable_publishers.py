"""Real publishers at work while the broker is killed: every acknowledged number goes to standard output as `{"acked": [source, n]}`.

Runs until standard input closes, then says `{"finished": {source: count}}`. One paho client (window of 20) and one rembus component
(8 calls at a time), both reconnecting by themselves. Numbers rise for each source; a number that failed is not used again, so a
consumer may compare what was acknowledged with what is stored.
"""

import argparse
import asyncio
import json
import os
import queue
import sys
import threading

import paho.mqtt.client as mqtt
import rembus as rb

stop = threading.Event()
counts = {"paho": 0, "component": 0}
lock = threading.Lock()


def acked(source, n):
    with lock:
        counts[source] += 1
        print(json.dumps({"acked": [source, n]}), flush=True)


def publish_with_paho(host, port):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho_durable", clean_session=False)
    client.max_inflight_messages_set(20)
    client.reconnect_delay_set(1, 1)
    # The callback may come before publish() has returned the packet id, so that the ids wait here until this thread knows them.
    finished = queue.SimpleQueue()
    client.on_publish = lambda client, userdata, mid, *_: finished.put(mid)
    client.connect(host, port)
    client.loop_start()
    numbers = {}
    n = 0
    while not stop.is_set():
        if len(numbers) < 20:
            n += 1
            numbers[client.publish("paho/counted", json.dumps({"n": n}), qos=1).mid] = n
            continue
        try:
            acked("paho", numbers.pop(finished.get(timeout=0.1)))
        except queue.Empty:
            pass
    client.loop_stop()


async def publish_with_rembus(url):
    node = None
    n = 0

    async def one(n):
        try:
            await asyncio.wait_for(node.publish("component/counted", {"n": n}, qos=rb.QOS1), 5)
        except Exception:
            return
        acked("component", n)

    while not stop.is_set():
        try:
            if node is None or not node.isopen():
                if node is not None:
                    await node.close()
                node = await rb.component(url + "/durable")
            batch = range(n + 1, n + 9)
            n += 8
            await asyncio.gather(*(one(k) for k in batch))
        except Exception:
            node = None
            await asyncio.sleep(0.05)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rembus", required=True)
    parser.add_argument("--mqtt", required=True)
    args = parser.parse_args()
    host, port = args.mqtt.rsplit(":", 1)
    sensor = threading.Thread(target=publish_with_paho, args=(host, int(port)), daemon=True)
    sensor.start()
    component = threading.Thread(target=lambda: asyncio.run(publish_with_rembus(args.rembus)), daemon=True)
    component.start()
    sys.stdin.read()
    stop.set()
    sensor.join(10)
    component.join(10)
    with lock:
        print(json.dumps({"finished": counts}), flush=True)
        # No orderly close: the reconnecting tasks of the clients would keep the process alive.
        os._exit(0)


if __name__ == "__main__":
    main()
