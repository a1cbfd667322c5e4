"""Many calls with the published commlib, each of which leaves its reply topic behind: ROUNDS times CALLS of them.

Says `{"calls": N}` after each round and waits for a line on standard input, so that the broker can be looked at in between.
"""

import asyncio
import os
import sys

from commlib.msg import RPCMessage
from commlib.node import Node
from commlib.transports.mqtt import ConnectionParameters

from scenario import equal, fresh, main, say, scenario

ROUNDS, CALLS = (int(os.environ.get(name, default)) for name, default in (("ROUNDS", 4), ("CALLS", 500)))


class Double(RPCMessage):
    class Request(RPCMessage.Request):
        x: int

    class Response(RPCMessage.Response):
        result: int = 0


@scenario
async def a_client_calls_a_service_again_and_again(doors):
    params = ConnectionParameters(host=doors.mqtt_host, port=doors.mqtt_port)
    name = f"{fresh('calls')}.double"
    server, node = (Node(node_name=fresh("calls"), connection_params=params, heartbeats=False) for _ in range(2))
    server.create_rpc(rpc_name=name, msg_type=Double, on_request=lambda msg: Double.Response(result=2 * msg.x))
    await asyncio.to_thread(server.run)
    client = node.create_rpc_client(rpc_name=name, msg_type=Double)
    await asyncio.to_thread(node.run)
    for done in range(ROUNDS):
        for n in range(CALLS):
            answer = client.call(Double.Request(x=n), timeout=10)
            equal(answer and answer.result, 2 * n, f"call {done * CALLS + n}")
        say(calls=(done + 1) * CALLS)
        equal(sys.stdin.readline().strip(), "done")
    await asyncio.to_thread(node.stop)
    await asyncio.to_thread(server.stop)


if __name__ == "__main__":
    main()
