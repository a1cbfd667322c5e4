"""The published rembus package where every component must prove its name (`connection_mode = "authenticated"`), and where only
users get in (`anonymous = false`). `REMBUS_STORY` says which of the two.
"""

import asyncio
import os

import rembus as rb

from rembus_keys import PIN, register, stays_outside
from reconnecting import restarted
from scenario import equal, fresh, main, raises, scenario, until

# A client that waits for the challenge, or one that names itself first.
OPTIONS = {"authenticated": True} if os.environ["REMBUS_STORY"] == "authenticated" else {}


@scenario
async def components_with_keys_work(doors):
    for scheme in (rb.SIG_RSA, rb.SIG_ECDSA):
        cid = await register(fresh("node"), PIN, scheme)
        node = await rb.component(doors.component(cid), **OPTIONS)
        equal(await node.rpc("rid"), "broker")
        await node.publish(f"{cid}/t", 1, qos=rb.QOS1)
        await node.close()


@scenario
def synchronous_components_with_keys_work(doors):
    cid = fresh("node")
    rb.register(cid, PIN, rb.SIG_ECDSA)
    with rb.node(doors.component(cid), **OPTIONS) as node:
        equal(node.rpc("rid"), "broker")


@scenario
async def nobody_else_gets_in(doors):
    await stays_outside(doors.component(fresh("stranger")))
    if OPTIONS:
        await stays_outside(doors.component(fresh("stranger")), **OPTIONS)
    # Without a name there is nothing to prove: it gets no answer, or that there is no such method.
    try:
        nameless = await asyncio.wait_for(rb.component(doors.rembus), 10)
        await asyncio.wait_for(nameless.rpc("rid"), 15)
    except (Exception, asyncio.CancelledError):
        return
    raise AssertionError("it was answered")


@scenario
async def a_component_logs_in_again_by_itself_after_a_kill(doors):
    cid = await register(fresh("node"))
    node, got = await rb.component(doors.component(cid), **OPTIONS), []
    # Says nothing by itself: what it hears shows that it is back.
    await node.subscribe(lambda x: got.append(x), topic=f"{cid}/t")
    await node.reactive()
    await restarted("kill")
    other = await register(fresh("other"))
    publisher = await rb.component(doors.component(other), **OPTIONS)
    for n in range(200):
        await publisher.publish(f"{cid}/t", n)
        if got:
            break
        await asyncio.sleep(0.1)
    assert got, "it does not hear anything any more"
    await node.close()
    await publisher.close()


@scenario
async def a_component_whose_program_goes_on_calling_logs_in_again_all_the_same(doors):
    node = await rb.component(doors.component(await register(fresh("node"))), **OPTIONS)
    answers, ended = [], asyncio.Event()

    async def call_and_call():
        while not ended.is_set():
            try:
                answers.append(await asyncio.wait_for(node.rpc("rid"), 5))
            except (Exception, asyncio.CancelledError):
                pass
            await asyncio.sleep(0.01)

    callers = [asyncio.create_task(call_and_call()) for _ in range(5)]
    await until(lambda: answers, "answers")
    await restarted("kill")
    answers.clear()
    await until(lambda: answers, "answers after the kill", 30)
    ended.set()
    await asyncio.gather(*callers)
    await node.close()


@scenario
async def what_no_rule_allows_is_refused(doors):
    if OPTIONS:
        return
    # The rules let every user publish anything, subscribe below its name, and call what it likes.
    cid = await register(fresh("node"))
    node = await rb.component(doors.component(cid))
    await node.subscribe(lambda x: None, topic=f"{cid}/t")
    await raises(node.subscribe(lambda x: None, topic="other/t"), rb.RembusError, status=10)
    await node.close()


if __name__ == "__main__":
    main()
