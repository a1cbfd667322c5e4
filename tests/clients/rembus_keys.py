"""The published rembus package with keys: registers, logs in, administers, and stays within its tenant.

The gateway has the tenants `.` (pin 11223344) and `acme` (pin 55667788) and the admin `root`. `REMBUS_BASE_URL` says where it is,
as the package wants it; its own keys are below `REMBUS_DIR`.
"""

import asyncio
import os
import shutil

import rembus as rb

from reconnecting import restarted
from rembus_component import listener
from scenario import equal, fresh, main, raises, scenario, until

PIN, ACME = "11223344", "55667788"
SCHEMES = (rb.SIG_RSA, rb.SIG_ECDSA)


def home(cid):
    return os.path.join(os.environ["REMBUS_DIR"], cid)


async def register(cid, pin=PIN, scheme=rb.SIG_ECDSA):
    await asyncio.to_thread(rb.register, cid, pin, scheme)
    return cid


async def admin(doors):
    """Registers the admin with the first scenario that needs it."""
    if not os.path.exists(home("root")):
        await register("root", PIN, rb.SIG_RSA)
    return await rb.component(doors.component("root"))


async def stays_outside(url, **options):
    try:
        component = await asyncio.wait_for(rb.component(url, **options), 20)
    except (Exception, asyncio.CancelledError):
        return
    await component.close()
    raise AssertionError("it got in")


@scenario
async def components_register_and_log_in_with_their_keys(doors):
    for scheme in SCHEMES:
        for enc in (rb.CBOR, rb.JSON):
            cid = fresh("node")
            await asyncio.to_thread(rb.register, cid, PIN, scheme, enc)
            for again in range(2):
                node = await rb.component(doors.component(cid), enc=enc)
                equal(await node.rpc("rid"), "broker")
                await node.close()


@scenario
def the_synchronous_package_registers_and_logs_in(doors):
    for scheme in SCHEMES:
        cid = fresh("sync")
        rb.register(cid, PIN, scheme)
        with rb.node(doors.component(cid)) as node:
            equal(node.rpc("rid"), "broker")
    with rb.node(doors.rembus) as provisioner:
        cid = fresh("sync")
        provisioner.register(cid, PIN, rb.SIG_RSA)
    with rb.node(doors.component(cid)) as node:
        node.unregister()
        equal(node.rpc("rid"), "broker")
    # The name is free: no key is asked for.
    shutil.rmtree(home(cid))
    with rb.node(doors.component(cid)) as node:
        equal(node.rpc("rid"), "broker")


@scenario
async def registrations_are_refused_with_a_reason(doors):
    cid = await register(fresh("taken"))
    for name, pin, status, message in [
        (fresh("node"), "00000000", 10, "wrong tenant/pin"),
        (fresh("node") + ".rival", PIN, 10, "tenant [rival] not enabled"),
        (fresh("node") + ".acme", PIN, 10, "wrong tenant/pin"),
        (cid, PIN, 60, f"[{cid}] not available"),
    ]:
        shutil.rmtree(home(name), ignore_errors=True)
        error = await raises(register(name, pin), rb.RembusError, status=status)
        assert message in str(error), error


@scenario
async def a_wrong_key_and_no_key_stay_outside(doors):
    cid, other = await register(fresh("node")), await register(fresh("other"))
    # Somebody else's key.
    shutil.copytree(home(cid), home(cid) + "_kept")
    shutil.rmtree(home(cid))
    shutil.copytree(home(other), home(cid))
    await stays_outside(doors.component(cid))
    shutil.rmtree(home(cid))
    await stays_outside(doors.component(cid))
    shutil.copytree(home(cid) + "_kept", home(cid))
    node = await rb.component(doors.component(cid))
    equal(await node.rpc("rid"), "broker")
    await node.close()


@scenario
async def keys_grants_and_subscriptions_survive_a_kill(doors):
    root, cid, topic = await admin(doors), await register(fresh("node")), fresh("secret")
    await root.private_topic(topic)
    await root.authorize(cid, topic)
    node, got = await listener(doors.component(cid), topic)
    await restarted("kill")
    await until(lambda: node.isopen() and root.isopen(), "both logged in again", 20)
    stranger = await rb.component(doors.component(fresh("stranger")))
    await raises(stranger.subscribe(lambda x: None, topic=topic), rb.RembusError, status=10)
    await stays_outside_of(doors, cid)
    await root.authorize("root", topic)

    async def heard():
        await root.publish(topic, "after the kill", qos=rb.QOS1)
        return got

    for _ in range(100):
        if await heard():
            break
        await asyncio.sleep(0.05)
    equal(got[0], (topic, ("after the kill",)))
    for component in (root, node, stranger):
        await component.close()


async def stays_outside_of(doors, cid):
    """Nobody else gets the name, whatever key he has."""
    other = await register(fresh("thief"))
    shutil.copytree(home(cid), home(cid) + "_kept")
    shutil.rmtree(home(cid))
    shutil.copytree(home(other), home(cid))
    await stays_outside(doors.component(cid))
    shutil.rmtree(home(cid))
    shutil.copytree(home(cid) + "_kept", home(cid))


@scenario
async def an_admin_makes_topics_private_and_grants_them(doors):
    root, topic, method = await admin(doors), fresh("topic"), fresh("method")
    alice, mallory = await register(fresh("alice")), await register(fresh("mallory"))
    await root.private_topic(topic)
    await root.authorize(alice, topic)
    await root.authorize(alice, method)
    granted, got = await listener(doors.component(alice), topic)
    await granted.expose(lambda x: x + 1, topic=method)
    other, overheard = await listener(doors.component(mallory), "**")

    for refused in (
        other.subscribe(lambda x: None, topic=topic),
        other.expose(lambda x: x, topic=method),
        other.private_topic(fresh("topic")),
        other.authorize(mallory, topic),
    ):
        await raises(refused, rb.RembusError, status=10)
    await raises(other.rpc(method, 1), rb.RembusError, status=42)
    # The publisher is not told; it would have to wait for its time-out with QoS 1.
    await other.publish(topic, "from mallory")
    await root.authorize("root", topic)
    await root.publish(topic, "from root", qos=rb.QOS1)
    await until(lambda: got, "what was granted")
    equal(got, [(topic, ("from root",))])
    equal(overheard, [])

    await root.unauthorize(alice, topic)
    await root.publish(topic, "no more", qos=rb.QOS1)
    await root.public_topic(topic)
    await root.publish(topic, "for everybody", qos=rb.QOS1)
    await until(lambda: len(got) == 2 and overheard, "what is public again")
    equal(got[1], (topic, ("for everybody",)))
    equal(overheard, [("**", (topic, "for everybody"))])
    for component in (root, granted, other):
        await component.close()


@scenario
async def an_admin_sees_the_tables(doors):
    root, topic, method = await admin(doors), fresh("topic"), fresh("method")
    alice = fresh("alice")
    node = await rb.component(doors.component(alice))
    await node.subscribe(lambda x: None, topic=topic)
    await node.expose(lambda x: x, topic=method)
    await root.authorize(alice, fresh("private"))
    config = await root.broker_setting("broker_config", {})
    equal(config["subscribers"][topic], [alice])
    equal(config["exposers"][method], [alice])
    private = await root.broker_setting("private_topics_config", {})
    assert [alice] in private.values(), private
    await raises(node.broker_setting("broker_config", {}), rb.RembusError, status=10)
    await root.close()
    await node.close()


@scenario
async def the_name_of_an_admin_alone_administers_nothing(doors):
    root = await admin(doors)
    await root.unregister()
    await root.close()
    kept = home("root") + "_kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(home("root"), kept)
    claimed = await rb.component(doors.component("root"))
    error = await raises(claimed.private_topic(fresh("topic")), rb.RembusError, status=10)
    assert "key" in str(error), error
    await claimed.close()
    # The next scenario registers it again.


@scenario
async def two_tenants_do_not_see_each_other(doors):
    topic, method = fresh("topic"), fresh("method")
    names = {tenant: [fresh("a") + tenant, fresh("b") + tenant] for tenant in ("", ".acme")}
    for tenant, pin in (("", PIN), (".acme", ACME)):
        for name in names[tenant]:
            await register(name, pin)
    heard = {}
    for tenant, (name, _) in names.items():
        heard[tenant] = await listener(doors.component(name), topic, "**")

    def answer(tenant):
        return lambda: tenant

    for tenant, (node, _) in heard.items():
        await node.expose(answer(tenant), topic=method)
    for tenant, (target, name) in names.items():
        node = await rb.component(doors.component(name))
        await node.publish(topic, tenant, qos=rb.QOS1)
        equal(await node.rpc(method), tenant)
        equal(await node.direct(target, method), tenant)
        stranger = names[".acme" if tenant == "" else ""][0]
        await raises(node.direct(stranger, method), rb.RembusError, status=45)
        await node.close()
    for tenant, (node, got) in heard.items():
        await until(lambda: len(got) == 2, "both forms")
        equal(sorted(got), sorted([(topic, (tenant,)), ("**", (topic, tenant))]), tenant)
        await node.close()


if __name__ == "__main__":
    main()
