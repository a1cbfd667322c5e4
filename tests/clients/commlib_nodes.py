"""commlib-py 0.13.2 as its users write nodes: with each other, and with Rembus components, through one gateway.

commlib is threads and blocking calls, so each scenario does that side in threads of its own.
"""

import asyncio
import time

import rembus as rb
from commlib.action import GoalStatus
from commlib.bridges import RPCBridge, TopicBridge
from commlib.exceptions import RPCClientTimeoutError
from commlib.msg import ActionMessage, PubSubMessage, RPCMessage
from commlib.node import Node
from commlib.transports.mqtt import ConnectionParameters

from rembus_component import listener
from scenario import equal, fresh, main, raises, scenario, until


class Add(RPCMessage):
    class Request(RPCMessage.Request):
        a: int
        b: int

    class Response(RPCMessage.Response):
        c: int = 0


class Sonar(PubSubMessage):
    distance: float = 0.0
    fov: float = 30.0


class Move(ActionMessage):
    class Goal(ActionMessage.Goal):
        cm: int = 0

    class Result(ActionMessage.Result):
        at: int = 0

    class Feedback(ActionMessage.Feedback):
        cm: int = 0


def params(doors):
    return ConnectionParameters(host=doors.mqtt_host, port=doors.mqtt_port)


def node(doors, **options):
    options = {"heartbeats": False, **options}
    return Node(node_name=options.pop("name", fresh("node")), connection_params=params(doors), **options)


async def running(*nodes):
    """They connect; a service answers once its subscription is there, and `run` does not wait for that."""
    for n in nodes:
        await asyncio.to_thread(n.run)


async def until_answered(call, seconds=10.0):
    """A service that has just been started may miss the first request."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = await asyncio.to_thread(call)
        except RPCClientTimeoutError:
            answer = None
        if answer is not None or time.monotonic() > end:
            return answer


def dotted(prefix):
    return f"{fresh(prefix)}.ops"


@scenario
async def services_are_called_typed_and_untyped(doors):
    name = dotted("add")
    server, caller = node(doors), node(doors)
    server.create_rpc(rpc_name=name, msg_type=Add, on_request=lambda msg: Add.Response(c=msg.a + msg.b))
    client = caller.create_rpc_client(rpc_name=name, msg_type=Add)
    await running(server, caller)
    answer = await until_answered(lambda: client.call(Add.Request(a=2, b=3), timeout=2))
    equal(answer.c, 5)
    for n in range(20):
        equal((await asyncio.to_thread(client.call, Add.Request(a=n, b=n), timeout=5)).c, 2 * n)


@scenario
async def an_rpc_server_echoes_large_and_foreign_text(doors):
    base = fresh("server")
    server, caller = node(doors), node(doors)
    server.create_rpc_server(base_uri=base, svc_map={"echo": (lambda msg: msg, None)})
    client = caller.create_rpc_client(rpc_name=f"{base}.echo")
    await running(server, caller)
    for text in ("é\u20ac", "x" * (128 << 10), "y" * (256 << 10)):
        answer = await until_answered(lambda: client.call({"text": text}, timeout=5))
        # The untyped client of 0.13.2 returns the answer before (protocol/commlib.md, 4), so its length is all to go by.
        assert answer is not None and "text" in answer, answer
    await until(lambda: client.call({"text": "z"}, timeout=5)["text"] in ("z", text), "the last answers")


@scenario
async def subscribers_and_patterns_get_what_is_published(doors):
    top = fresh("sensors")
    n, p = node(doors), node(doors)
    exact, below, middle = [], [], []
    n.create_subscriber(topic=f"{top}.sonar.front", msg_type=Sonar, on_message=lambda msg: exact.append(msg.distance))
    n.create_psubscriber(topic=f"{top}.*", on_message=lambda msg, topic: below.append((topic, msg["distance"])))
    n.create_psubscriber(topic=f"{top}.*.front", on_message=lambda msg, topic: middle.append(topic))
    out = p.create_mpublisher()
    await running(n, p)
    await asyncio.sleep(0.3)  # `run` does not wait for SUBACK, and nothing tells
    out.publish(Sonar(distance=1.0), f"{top}.sonar.front")
    out.publish(Sonar(distance=2.0), f"{top}.ir.back")
    out.publish(Sonar(distance=3.0), top)
    await until(lambda: len(below) == 3 and exact and middle, "three messages")
    # Each exactly once, although the client subscribes twice.
    await asyncio.sleep(0.2)
    equal(exact, [1.0])
    equal(sorted(below), sorted([(f"{top}/sonar/front", 1.0), (f"{top}/ir/back", 2.0), (top, 3.0)]))
    equal(middle, [f"{top}/sonar/front"])


def mover(steps):
    """A goal that takes so many steps of 50 ms, and stops when asked to."""

    def on_goal(goal):
        done = 0
        for n in range(steps):
            if goal.cancel_event.is_set():
                break
            goal.send_feedback(Move.Feedback(cm=n))
            time.sleep(0.05)
            done = n + 1
        return Move.Result(at=done)

    return on_goal


@scenario
async def actions_between_nodes_run_and_are_cancelled(doors):
    name = fresh("move")
    server, client_node = node(doors), node(doors)
    server.create_action(action_name=name, msg_type=Move, on_goal=mover(10))
    feedback = []
    client = client_node.create_action_client(
        action_name=name, msg_type=Move, on_feedback=lambda msg: feedback.append(msg.cm), on_result=lambda msg: None
    )
    await running(server, client_node)
    await asyncio.sleep(0.3)
    equal((await asyncio.to_thread(client.send_goal, Move.Goal(cm=10))).status, 1)
    result = await asyncio.to_thread(client.get_result, wait=True)
    equal(result.at, 10)
    assert feedback, "no feedback"
    equal((await asyncio.to_thread(client.send_goal, Move.Goal(cm=10))).status, 1)
    await asyncio.sleep(0.1)
    equal((await asyncio.to_thread(client.cancel_goal)).status, 1)


@scenario
async def the_node_table_follows_heartbeats(doors):
    name = fresh("beating")
    watcher, changes = await listener(doors.component(fresh("watch")), f"commlib/node/{name}")
    n = node(doors, name=name, heartbeats=True, heartbeat_interval=0.2, ctrl_services=True)
    await running(n)
    await until(lambda: changes, "the node's arrival")
    equal(changes[0][1][0]["state"], "alive")
    known = {entry["node"]: entry for entry in await watcher.rpc("commlib/nodes")}
    equal(known[name]["state"], "alive")
    # Its control interface is a service like others.
    equal(set(await watcher.rpc(f"commlib/{name}.stop", {})), {"status", "error"})
    await watcher.close()


@scenario
async def a_component_calls_a_service_of_a_node(doors):
    name = dotted("add")
    server = node(doors)
    server.create_rpc(rpc_name=name, msg_type=Add, on_request=lambda msg: Add.Response(c=msg.a + msg.b))
    component = await rb.component(doors.component(fresh("caller")))
    begin = time.monotonic()
    await raises(component.rpc(f"commlib/{name}", {"a": 1, "b": 2}), rb.RembusError, status=42)
    assert time.monotonic() - begin < 2, "nobody there must be known at once"
    await running(server)

    async def served():
        try:
            return await component.rpc(f"commlib/{name}", {"a": 2, "b": 3})
        except rb.RembusError:
            return None

    while (answer := await served()) is None:
        await asyncio.sleep(0.02)
    equal(answer, {"c": 5})
    answers = await asyncio.gather(*(component.rpc(f"commlib/{name}", {"a": n, "b": 1}) for n in range(4)))
    assert all(set(answer) == {"c"} for answer in answers), answers
    await component.close()


@scenario
async def history_is_a_service_for_nodes(doors):
    dev = fresh("dev")
    pub = await rb.component(doors.rembus)
    await pub.publish(f"{dev}/telemetry", {"temperature": 21.5, "pressure": 980}, qos=rb.QOS1)
    caller = node(doors)
    client = caller.create_rpc_client(rpc_name="gateway.query_telemetry")
    await running(caller)
    answer = await asyncio.to_thread(client.call, {"where": f"dn = '{dev}'"}, timeout=10)
    equal([row["temperature"] for row in answer["rows"]], [21.5])
    await pub.close()


@scenario
async def topics_go_both_ways(doors):
    top = fresh("both")
    component, heard = await listener(doors.component(fresh("sub")), f"{top}/*")
    n, got = node(doors), []
    n.create_subscriber(topic=f"{top}.down", msg_type=Sonar, on_message=lambda msg: got.append(msg.distance))
    out = n.create_publisher(topic=f"{top}.up", msg_type=Sonar)
    await running(n)
    out.publish(Sonar(distance=4.0))
    await until(lambda: heard, "a node's publication")
    equal(heard, [(f"{top}/*", (f"{top}/up", {"distance": 4.0, "fov": 30.0}))])
    pub = await rb.component(doors.rembus)
    end = time.monotonic() + 5
    while not got and time.monotonic() < end:
        await pub.publish(f"{top}/down", {"distance": 5.0})
        await asyncio.sleep(0.05)
    equal(got[0], 5.0)
    await component.close()
    await pub.close()


@scenario
async def a_component_uses_an_action_of_a_node(doors):
    name = fresh("move")
    server = node(doors)
    server.create_action(action_name=name, msg_type=Move, on_goal=mover(6))
    await running(server)
    await asyncio.sleep(0.3)
    component, feedback = await listener(doors.component(fresh("user")), f"{name}/feedback")
    done = await component.rpc("commlib/action/run", name, {"cm": 6}, 20)
    equal((done["status"], done["result"]), (int(GoalStatus.SUCCEDED), {"at": 6}))
    await until(lambda: len(feedback) == 6, "feedback")
    goal = await component.rpc("commlib/action/send", {"name": name, "goal": {"cm": 6}})
    equal(await component.rpc("commlib/action/cancel", name, goal["goal_id"]), True)
    ended = await component.rpc("commlib/action/result", name, goal["goal_id"], 5)
    equal(ended["status"], int(GoalStatus.CANCELED))
    await component.close()


class Robot:
    """A Rembus component that serves an action, as the README shows."""

    def __init__(self, name):
        self.name = name
        self.node = None
        self.stopped = set()

    async def start(self, doors):
        self.node = await rb.component(doors.component(fresh("robot")))
        await self.node.expose(self.on_goal, topic=f"{self.name}/on_goal")
        await self.node.expose(self.on_cancel, topic=f"{self.name}/on_cancel")
        await self.node.expose(self.on_preempt, topic=f"{self.name}/on_preempt")
        return self

    async def on_goal(self, goal_id, goal):
        if goal["cm"] < 0:
            return "backwards is not possible"
        self.task = asyncio.create_task(self.move(goal_id, goal))

    async def on_cancel(self, goal_id):
        self.stopped.add(goal_id)

    async def on_preempt(self, goal_id, goal):
        self.stopped.add(goal_id)
        return True

    async def move(self, goal_id, goal):
        at = 0
        while at < goal["cm"] and goal_id not in self.stopped:
            at += 1
            await self.node.rpc(f"action/{self.name}/feedback", goal_id, {"cm": at})
            await asyncio.sleep(0.02)
        await self.node.rpc(f"action/{self.name}/done", goal_id, {"at": at})


@scenario
async def an_action_client_uses_an_action_of_a_component(doors):
    name = fresh("robot")
    robot = await Robot(name).start(doors)
    feedback, results = [], []
    n = node(doors)
    client = n.create_action_client(
        action_name=name, msg_type=Move, on_feedback=lambda msg: feedback.append(msg.cm), on_result=lambda msg: results.append(msg.at)
    )
    await running(n)
    await asyncio.sleep(0.3)
    equal((await asyncio.to_thread(client.send_goal, Move.Goal(cm=5))).status, 1)
    result = await asyncio.to_thread(client.get_result, wait=True)
    equal(result.at, 5)
    equal(feedback[-1], 5)
    refused = await asyncio.to_thread(client.send_goal, Move.Goal(cm=-1))
    equal((refused.status, refused.error), (0, "backwards is not possible"))
    equal((await asyncio.to_thread(client.send_goal, Move.Goal(cm=500))).status, 1)
    await asyncio.sleep(0.1)
    equal((await asyncio.to_thread(client.cancel_goal)).status, 1)
    await until(lambda: client.status.status == GoalStatus.CANCELED, "the end of the goal")
    await robot.node.close()


@scenario
async def components_use_an_action_of_a_component_and_pre_empt(doors):
    name = fresh("robot")
    robot = await Robot(name).start(doors)
    user, status = await listener(doors.component(fresh("user")), f"{name}/status")
    first = (await user.rpc(f"action/{name}/send", {"cm": 500}))["goal_id"]
    second = (await user.rpc(f"action/{name}/send", {"cm": 3}))["goal_id"]
    equal(await user.rpc(f"action/{name}/result", second, 10), {"status": 4, "result": {"at": 3}})
    equal((await user.rpc(f"action/{name}/result", first))["status"], 6)
    await until(lambda: len(status) == 7, "every status")
    equal([s[1][0]["status"] for s in status if s[1][0]["goal_id"] == second], [1, 2, 4])
    equal([s[1][0]["status"] for s in status if s[1][0]["goal_id"] == first], [1, 2, 3, 6])
    # commlib's helpers work with it, too.
    done = await user.rpc("commlib/action/run", name, {"cm": 2}, 10)
    equal((done["status"], done["result"]), (4, {"at": 2}))
    await raises(user.rpc(f"action/{name}/send", {"cm": -1}), rb.RembusError, status=40)
    await robot.node.close()
    await user.close()


@scenario
async def bridges_of_commlib_run_through_the_gateway(doors):
    top, far = fresh("near"), fresh("far")
    n, got = node(doors), []
    n.create_subscriber(topic=f"{far}.sonar", msg_type=Sonar, on_message=lambda msg: got.append(msg.distance))
    n.create_rpc(rpc_name=f"{far}.add", msg_type=Add, on_request=lambda msg: Add.Response(c=msg.a + msg.b))
    out = n.create_publisher(topic=f"{top}.sonar", msg_type=Sonar)
    client = n.create_rpc_client(rpc_name=f"{top}.add", msg_type=Add)
    topic = TopicBridge(f"{top}.sonar", f"{far}.sonar", params(doors), params(doors), auto_transform_uris=False, msg_type=Sonar)
    rpc = RPCBridge(f"{top}.add", f"{far}.add", params(doors), params(doors), auto_transform_uris=False, msg_type=Add)
    await running(n)
    await asyncio.to_thread(topic.run)
    await asyncio.to_thread(rpc.run)
    end = time.monotonic() + 10
    while not got and time.monotonic() < end:
        out.publish(Sonar(distance=7.0))
        await asyncio.sleep(0.1)
    equal(got[0], 7.0)
    answer = await until_answered(lambda: client.call(Add.Request(a=1, b=2), timeout=3))
    equal(answer.c, 3)


@scenario
async def conversations_are_nobody_elses_business(doors):
    everything, heard = await listener(doors.component(fresh("all")), "**")
    name = dotted("add")
    server, caller = node(doors), node(doors)
    server.create_rpc(rpc_name=name, msg_type=Add, on_request=lambda msg: Add.Response(c=msg.a + msg.b))
    client = caller.create_rpc_client(rpc_name=name, msg_type=Add)
    await running(server, caller)
    await until_answered(lambda: client.call(Add.Request(a=2, b=3), timeout=2))
    assert not [args for _, args in heard if args[0].startswith("rpc-")], heard
    await everything.close()


if __name__ == "__main__":
    main()
