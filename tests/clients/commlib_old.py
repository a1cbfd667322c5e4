"""commlib-py 0.10.7, for what only that line has: events, the REST proxy; and that it still gets on with everybody.

Runs with the packages of `.venv/commlib-0.10` in front of the others.
"""

import asyncio
import http.server
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.environ["COMMLIB_0_10"])

from commlib.events import Event  # noqa: E402
from commlib.msg import RPCMessage  # noqa: E402
from commlib.node import Node, TransportType  # noqa: E402
from commlib.rest_proxy import RESTProxy, RESTProxyMessage  # noqa: E402
from commlib.transports.mqtt import ConnectionParameters  # noqa: E402
import paho.mqtt.client as mqtt  # noqa: E402
import zlib  # noqa: E402

from scenario import equal, fresh, main, scenario, until  # noqa: E402


class Add(RPCMessage):
    class Request(RPCMessage.Request):
        a: int
        b: int

    class Response(RPCMessage.Response):
        c: int = 0


def params(doors):
    return ConnectionParameters(host=doors.mqtt_host, port=doors.mqtt_port)


def node(doors):
    return Node(node_name=fresh("old"), connection_params=params(doors), heartbeats=False)


async def answered(call, seconds=10.0):
    end = time.monotonic() + seconds
    while (answer := await asyncio.to_thread(call)) is None:
        assert time.monotonic() < end, "no answer"
    return answer


@scenario
async def services_are_called(doors):
    name = f"{fresh('add')}.ops"
    n = node(doors)
    n.create_rpc(rpc_name=name, msg_type=Add, on_request=lambda msg: Add.Response(c=msg.a + msg.b))
    client = n.create_rpc_client(rpc_name=name, msg_type=Add)
    n.run()
    answer = await answered(lambda: client.call(Add.Request(a=2, b=3), timeout=2))
    equal(answer.c, 5)


@scenario
async def events_arrive_as_they_were_sent(doors):
    name = fresh("bedroom")
    got = []
    sub = mqtt.Client()
    sub.on_message = lambda client, data, message: got.append(message.payload)
    sub.connect(doors.mqtt_host, doors.mqtt_port)
    sub.subscribe(f"{name}/lights/off", 1)
    granted = []
    sub.on_subscribe = lambda *args: granted.append(args)
    sub.loop_start()
    await until(lambda: granted, "SUBACK")
    n = node(doors)
    emitter = n.create_event_emitter(name=fresh("emitter"))
    n.run()
    emitter.send_event(Event(name="off", uri=f"{name}.lights.off", data={"k": 1}))
    await until(lambda: got, "the event")
    # Compressed by default, and never re-encoded on its way.
    equal(json.loads(zlib.decompress(got[0]))["data"], {"k": 1})
    sub.loop_stop()


@scenario
async def the_rest_proxy_is_a_service_like_others(doors):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"path": self.path}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    name = fresh("proxy")
    proxy = RESTProxy(name, TransportType.MQTT, params(doors))
    proxy._svc.run()
    n = node(doors)
    client = n.create_rpc_client(rpc_name=name, msg_type=RESTProxyMessage)
    n.run()
    request = RESTProxyMessage.Request(base_url=f"http://127.0.0.1:{web.server_port}", path="/x", query_params={"q": "1"})
    answer = await answered(lambda: client.call(request, timeout=3))
    equal(answer.status_code, 200)
    equal(answer.data, {"path": "/x?q=1"})
    web.shutdown()


if __name__ == "__main__":
    main()
