"""The rembus 0.8.23 package as its users write asynchronous components."""

import asyncio
import math

import polars as pl
import rembus as rb

from scenario import equal, fresh, main, raises, scenario, until

TELEMETRY = {"temperature": 21.5, "pressure": 980}


async def listener(url, *topics, **options):
    """A component that notes every call of its subscriptions as (topic, args)."""
    node = await rb.component(url)
    got = []
    for topic in topics:
        def note(*args, topic=topic):
            got.append((topic, args))

        await node.subscribe(note, topic=topic, **options)
    await node.reactive()
    return node, got


@scenario
async def builtins_answer_an_anonymous_component(doors):
    node = await rb.component(doors.rembus)
    equal(await node.rpc("rid"), "broker")
    assert isinstance(await node.rpc("version"), str)
    assert (await node.rpc("uptime")).startswith("up for ")
    await node.close()


@scenario
async def a_wildcard_subscriber_gets_topic_and_payload(doors):
    dev = fresh("dev")
    node, got = await listener(doors.component(fresh("monitor")), "**/telemetry")
    pub = await rb.component(doors.rembus)
    await pub.publish(f"{dev}/telemetry", TELEMETRY)
    await until(lambda: got, "the telemetry callback")
    equal(got, [("**/telemetry", (f"{dev}/telemetry", TELEMETRY))])
    await pub.close()
    await node.close()


@scenario
async def arguments_arrive_as_published(doors):
    topic = fresh("arguments")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = await rb.component(doors.rembus)
    sent = [
        (),
        (1,),
        ("text", None, True, [1, [2]], {"a": {"b": b"\x00\xff"}}),
        (2**63, -(2**63), 2**70, 0.1, math.inf),
        ("é" * 1000,),
        (b"\x00" * 100_000,),
    ]
    for args in sent:
        await pub.publish(topic, *args)
    await until(lambda: len(got) == len(sent), "all publications")
    equal([args for _, args in got], sent)
    await pub.close()
    await node.close()


@scenario
async def every_qos_arrives_once_and_in_order(doors):
    topic = fresh("qos")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = await rb.component(doors.component(fresh("pub")))
    for n in range(30):
        await pub.publish(topic, n, qos=(rb.QOS0, rb.QOS1, rb.QOS2)[n % 3])
    await until(lambda: len(got) >= 30, "30 publications")
    await asyncio.sleep(0.3)  # room for a duplicate to show itself
    equal([args for _, args in got], [(n,) for n in range(30)])
    await pub.close()
    await node.close()


@scenario
async def concurrent_publishers_with_acknowledgement_all_succeed(doors):
    topic = fresh("burst")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = await rb.component(doors.rembus)
    await asyncio.gather(*(pub.publish(topic, n, qos=rb.QOS1) for n in range(200)))
    await until(lambda: len(got) >= 200, "200 publications")
    equal(sorted(args[0] for _, args in got), list(range(200)))
    await pub.close()
    await node.close()


@scenario
async def a_slot_travels_along(doors):
    dev = fresh("slotted")
    pub = await rb.component(doors.rembus)
    for qos in (rb.QOS0, rb.QOS1, rb.QOS2):
        await pub.publish(f"{dev}/telemetry", TELEMETRY, qos=qos, slot=1763683200)
    await doors.settled()
    rows = await pub.rpc("query_telemetry", {"where": f"dn='{dev}'"})
    equal(rows["time_bucket"].to_list(), [1763683200] * 3)
    await pub.close()


@scenario
async def a_dataframe_is_published_and_received(doors):
    topic = fresh("frames")
    node, got = await listener(doors.component(fresh("sub")), topic)
    pub = await rb.component(doors.rembus)
    df = pl.DataFrame({"name": ["a", None], "level": [1, 2], "ratio": [0.5, None], "on": [True, False]})
    await pub.publish(topic, df, qos=rb.QOS1)
    await pub.publish(topic, "before", df.head(0))
    await until(lambda: len(got) == 2, "two frames")
    assert got[0][1][0].equals(df), got[0]
    equal(got[1][1][0], "before")
    equal(got[1][1][1].shape, (0, 4))
    await pub.close()
    await node.close()


@scenario
async def silence_after_unsubscribe_and_unreactive(doors):
    topic, other = fresh("quiet"), fresh("other")
    node, got = await listener(doors.component(fresh("sub")), topic, other)
    pub = await rb.component(doors.rembus)
    await node.unsubscribe(topic)
    await pub.publish(topic, 1, qos=rb.QOS1)
    await pub.publish(other, 2, qos=rb.QOS1)
    await until(lambda: got, "the other topic")
    equal(got, [(other, (2,))])
    await node.unreactive()
    await pub.publish(other, 3, qos=rb.QOS1)
    await node.reactive()
    await pub.publish(other, 4, qos=rb.QOS1)
    await until(lambda: (other, (4,)) in got, "reactive again")
    equal(got, [(other, (2,)), (other, (4,))])
    await pub.close()
    await node.close()


@scenario(reference=False)  # the reference's wildcard subscribers hear themselves
async def nobody_hears_its_own_publication(doors):
    topic = fresh("own/telemetry")
    node, got = await listener(doors.component(fresh("selfish")), topic, "**/telemetry")
    other, heard = await listener(doors.component(fresh("other")), topic)
    await node.publish(topic, 1, qos=rb.QOS1)
    await until(lambda: heard, "the other one")
    await asyncio.sleep(0.1)
    equal(got, [])
    await other.close()
    await node.close()


@scenario
async def patterns_follow_their_rules(doors):
    root = fresh("root")
    patterns = [f"{root}/*/b", f"{root}/**", f"{root}/a*", f"{root}/**/b"]
    node, got = await listener(doors.component(fresh("sub")), *patterns)
    pub = await rb.component(doors.rembus)
    for topic in (f"{root}/x/b", f"{root}/x/y/b", f"{root}/ab", f"{root}/@x/b", f"{root}x/b"):
        await pub.publish(topic, topic.removeprefix(root))
    done = f"{root}/x/done"
    await pub.publish(done, "done", qos=rb.QOS1)
    await until(lambda: any(args[1] == "done" for _, args in got), "the last one")
    heard = {}
    for pattern, args in got:
        if args[1] != "done":
            heard.setdefault(pattern.removeprefix(root), []).append(args[1])
    equal(
        heard,
        {
            "/*/b": ["/x/b"],
            "/**": ["/x/b", "/x/y/b", "/ab"],
            "/a*": ["/ab"],
            "/**/b": ["/x/b", "/x/y/b"],
        },
    )
    await pub.close()
    await node.close()


@scenario(reference=False)  # promised by the documentation, not done by the reference
async def a_double_star_matches_no_segment_at_all(doors):
    topic = fresh("plain")
    node, got = await listener(doors.component(fresh("sub")), f"**/{topic}")
    pub = await rb.component(doors.rembus)
    await pub.publish(topic, 1, qos=rb.QOS1)
    await until(lambda: got, "the publication")
    equal(got, [(f"**/{topic}", (topic, 1))])
    await pub.close()
    await node.close()


@scenario
async def a_method_is_exposed_called_and_taken_back(doors):
    add, fail, frame, slow = fresh("add"), fresh("fail"), fresh("frame"), fresh("slow")
    server = await rb.component(doors.component(fresh("server")))
    client = await rb.component(doors.rembus)

    def fail_now(reason):
        raise ValueError(f"because {reason}")

    async def wait_a_little(n):
        await asyncio.sleep(0.05)
        return n

    await server.expose(lambda x, y: x + y, topic=add)
    await server.expose(fail_now, topic=fail)
    await server.expose(lambda: pl.DataFrame({"a": [1, 2]}), topic=frame)
    await server.expose(wait_a_little, topic=slow)

    equal(await client.rpc(add, 1, 2), 3)
    equal(await client.rpc(add, "a", "b"), "ab")
    equal((await client.rpc(frame))["a"].to_list(), [1, 2])
    equal(await asyncio.gather(*(client.rpc(slow, n) for n in range(8))), list(range(8)))
    await raises(client.rpc(fail, "x"), rb.RembusError, status=40, message="because x")
    error = await raises(client.rpc(add, 1), rb.RembusError, status=40)
    assert "missing 1 required" in error.message, error.message
    await raises(client.rpc(fresh("unknown")), rb.RembusError, status=42)
    await raises(server.rpc(add, 1, 2), rb.RembusError, status=44, message=add)

    await server.unexpose(add)
    error = await raises(client.rpc(add, 1, 2), rb.RembusError)
    assert error.status in (42, 43), error.status
    await server.close()
    error = await raises(client.rpc(frame), rb.RembusError)
    assert error.status in (42, 43), error.status
    await client.close()


@scenario
async def frames_and_big_values_travel_as_arguments(doors):
    topic = fresh("shape")
    server = await rb.component(doors.component(fresh("server")))
    client = await rb.component(doors.rembus)

    def shape(df, blob):
        return [list(df.shape), df["n"].sum(), len(blob)]

    await server.expose(shape, topic=topic)
    df = pl.DataFrame({"n": list(range(1000)), "name": ["x"] * 1000})
    equal(await client.rpc(topic, df, b"b" * 20_000_000), [[1000, 2], 499_500, 20_000_000])
    await server.close()
    await client.close()


@scenario
async def a_direct_call_reaches_its_target(doors):
    name, topic = fresh("target"), fresh("whoami")
    servers = []
    for n in (name, name + "x"):
        server = await rb.component(doors.component(n))
        await server.expose(lambda n=n: n, topic=topic)
        servers.append(server)
    client = await rb.component(doors.rembus)
    equal(await client.direct(name, topic), name)
    equal(await client.direct(name + "x", topic), name + "x")
    await raises(client.direct(fresh("nobody"), topic), rb.RembusError, status=45)
    equal(await client.direct(name, "rid"), name)
    for node in (*servers, client):
        await node.close()


@scenario(reference=False)  # the reference leaves the caller waiting
async def a_caller_learns_that_the_exposer_left(doors):
    topic = fresh("abandoned")
    server = await rb.component(doors.component(fresh("server")))
    client = await rb.component(doors.rembus)
    called = asyncio.Event()

    async def never():
        called.set()
        await asyncio.sleep(3600)

    await server.expose(never, topic=topic)
    call = asyncio.create_task(client.rpc(topic))
    await asyncio.wait_for(called.wait(), 5)
    # Cuts the connection as a crash of the component would.
    server.socket.transport.abort() if getattr(server, "socket", None) else await server.close()
    await raises(asyncio.wait_for(call, 5), rb.RembusError, status=43)
    await client.close()


@scenario
async def a_name_in_use_is_refused_and_free_after_close(doors):
    name = fresh("unique")
    first = await rb.component(doors.component(name))
    await raises(rb.component(doors.component(name)), rb.RembusError, status=10)
    equal(await first.rpc("rid"), "broker")
    await first.close()
    second = None
    for _ in range(100):  # the close is noticed a moment later
        try:
            second = await rb.component(doors.component(name))
            break
        except rb.RembusError:
            await asyncio.sleep(0.02)
    equal(await second.rpc("rid"), "broker")
    await second.close()


@scenario
async def subscriptions_of_a_name_outlive_its_connection(doors):
    name, topic = fresh("returning"), fresh("kept")
    node, _ = await listener(doors.component(name), topic)
    await node.close()
    pub = await rb.component(doors.rembus)
    got = []
    again = await rb.component(doors.component(name))
    again.router.handler[topic] = lambda *args: got.append(args)
    await again.reactive()
    await pub.publish(topic, 7, qos=rb.QOS1)
    await until(lambda: got, "a subscription made in an earlier life")
    equal(got, [(7,)])
    await again.close()
    await pub.close()


@scenario
async def history_answers_with_a_polars_frame(doors):
    dev = fresh("history")
    pub = await rb.component(doors.rembus)
    await pub.publish(f"{dev}/telemetry", TELEMETRY, qos=rb.QOS1)
    await pub.publish(f"{dev}/telemetry", {"temperature": 3, "unknown": 1}, qos=rb.QOS1)
    await doors.settled()
    rows = await pub.rpc("query_telemetry", {"where": f"dn='{dev}'"})
    assert isinstance(rows, pl.DataFrame), type(rows)
    equal(rows.columns, ["dn", "temperature", "pressure", "ts", "time_bucket"])
    equal(sorted(rows["temperature"].to_list()), [3.0, 21.5])
    equal(
        rows.schema,
        {"dn": pl.String, "temperature": pl.Float64, "pressure": pl.Float64, "ts": pl.UInt64, "time_bucket": pl.UInt32},
        "schema",
    )
    warm = await pub.rpc("query_telemetry", {"where": f"dn='{dev}' and temperature>4", "cols": ["dn", "pressure"]})
    equal(warm.rows(), [(dev, 980.0)])
    count = await pub.rpc("query_telemetry", {"where": f"dn='{dev}'", "cols": "count(*) AS n"})
    equal(count.rows(), [(2,)])
    ordered = await pub.rpc("query_telemetry", {"where": f"dn='{dev}' ORDER BY temperature DESC LIMIT 1", "cols": "dn, temperature"})
    equal(ordered.rows(), [(dev, 21.5)])
    none = await pub.rpc("query_telemetry", {"where": "dn='nobody at all'"})
    equal(none.shape, (0, 5))
    equal((await pub.rpc("query_telemetry")).columns[0], "dn")
    await raises(pub.rpc("query_telemetry", {"wrong": 1}), rb.RembusError, status=40, message="invalid keys: wrong")
    await raises(pub.rpc("query_telemetry", {"where": "nosuch=1"}), rb.RembusError, status=40)
    await raises(pub.rpc("query_telemetry", {"where": "dn='"}), rb.RembusError, status=40)
    await pub.close()


@scenario
async def a_frame_fills_a_table_by_its_name(doors):
    a, b = fresh("frame"), fresh("frame")
    pub = await rb.component(doors.rembus)
    df = pl.DataFrame({"dn": [a, b], "temperature": [15, 18], "pressure": [1.5, None]})
    await pub.publish("telemetry", df, qos=rb.QOS1)
    await doors.settled()
    rows = await pub.rpc("query_telemetry", {"where": f"dn in ('{a}','{b}') ORDER BY dn"})
    equal(rows.select("dn", "temperature", "pressure").rows(), [(a, 15.0, 1.5), (b, 18.0, None)])
    await pub.close()


@scenario
async def keyed_tables_keep_the_last_row(doors):
    dn = fresh("boiler")
    pub = await rb.component(doors.rembus)
    topic = f"rome/HVAC/{dn}/sensor"
    await pub.publish(topic, {"level": 1}, qos=rb.QOS1)
    await pub.publish(topic, {"level": 2}, qos=rb.QOS1)
    await pub.publish(topic.replace("rome", "paris"), {"level": 3}, qos=rb.QOS1)
    await doors.settled()
    rows = await pub.rpc("query_sensor", {"where": f"dn='{dn}'"})
    equal(rows.rows(), [("paris", "HVAC", dn, 3)])
    await pub.close()


@scenario
async def rows_are_upserted_and_deleted_by_call(doors):
    dn = fresh("pump")
    node = await rb.component(doors.rembus)
    await node.rpc("upsert_sensor", {"site": "oslo", "type": "water", "dn": dn, "level": 5})
    await node.rpc("upsert_sensor", [{"site": "oslo", "type": "water", "dn": dn, "level": 6}])
    await node.rpc(
        "upsert_sensor", pl.DataFrame({"site": ["oslo"], "type": ["air"], "dn": [dn + "b"], "level": [7]})
    )
    rows = await node.rpc("query_sensor", {"where": f"dn like '{dn}%' ORDER BY dn"})
    equal(rows["level"].to_list(), [6, 7])
    equal(await node.rpc("delete_sensor", {"where": f"dn='{dn}'"}), None)
    rows = await node.rpc("query_sensor", {"where": f"dn like '{dn}%'"})
    equal(rows["dn"].to_list(), [dn + "b"])
    await raises(node.rpc("upsert_sensor", "nonsense"), rb.RembusError, status=40)
    await node.close()


@scenario(reference=False)  # the poison message stops the reference for ever
async def one_bad_value_costs_only_its_row(doors):
    dev = fresh("poison")
    pub = await rb.component(doors.rembus)
    for temperature in ("abc", 1, {"a": 1}, 2):
        await pub.publish(f"{dev}/telemetry", {"temperature": temperature}, qos=rb.QOS1)
    rows = await pub.rpc("query_telemetry", {"where": f"dn='{dev}' ORDER BY temperature"})
    equal(rows["temperature"].to_list(), [1.0, 2.0])
    await pub.close()


@scenario(reference=False)  # observed to drop tables and to read the archive there
async def sql_is_not_injected(doors):
    node = await rb.component(doors.rembus)
    for query in (
        {"where": "1=1; DROP TABLE telemetry; --"},
        {"where": "1=1 UNION SELECT 1,2,3,4,5"},
        {"where": "dn IN (SELECT dn FROM sensor)"},
        {"cols": "* FROM message --"},
        {"cols": "read_text('/etc/passwd')"},
        {"where": "getenv('HOME') IS NOT NULL"},
        {"when": "2020-01-01'; DROP TABLE telemetry; --"},
    ):
        await raises(node.rpc("query_telemetry", query), rb.RembusError, status=40)
    await raises(node.rpc("delete_telemetry", {"where": "1=1; DROP TABLE telemetry"}), rb.RembusError, status=40)
    await raises(node.rpc("python_service_install", {"name": "x", "content": "1"}), rb.RembusError, status=42)
    assert (await node.rpc("query_telemetry", {"where": "1=0"})).shape[0] == 0
    await node.close()


@scenario(reference=False)  # the reference keeps a second's worth in memory
async def what_was_acknowledged_is_in_history_at_once(doors):
    dev = fresh("fresh")
    pub = await rb.component(doors.rembus)
    for n in range(40):
        await pub.publish(f"{dev}/counted", {"n": n}, qos=rb.QOS1)
        rows = await pub.rpc("query_counted", {"where": f"source='{dev}'", "cols": "count(*) AS n, max(n) AS last"})
        equal(rows.rows(), [(n + 1, n)])
    await pub.close()


@scenario(reference=False)
async def history_answers_all_it_can_be_asked(doors):
    dev, other = fresh("asked"), fresh("asked")
    pub = await rb.component(doors.rembus)
    for source, n in ((dev, 1), (other, 7), (dev, 2), (dev, 3)):
        await pub.publish(f"{source}/counted", {"n": n}, qos=rb.QOS1)

    async def ask(**argument):
        return await pub.rpc("query_counted", {"where": f"source in ('{dev}', '{other}')", **argument})

    equal((await ask(order="newest", limit=2, cols=["n"])).rows(), [(3,), (2,)])
    equal((await ask(since="1h", until="now", order="n", cols="n")).height, 4)
    equal((await ask(until="1h")).height, 0)
    buckets = await ask(every="1d", cols=["source", "n"], where=f"source='{dev}'")
    equal(buckets.columns, ["time", "source", "rows", "n_avg", "n_min", "n_max", "n_last"])
    equal(buckets.select(pl.exclude("time")).rows(), [(dev, 3, 2.0, 1, 3, 3)])
    equal((await pub.rpc("latest_counted", {"source": dev})).select("source", "n").rows(), [(dev, 3)])
    tables = await pub.rpc("tables")
    equal([table["table"] for table in tables], ["telemetry", "sensor", "counted"])
    assert tables[2]["rows"] >= 4 and tables[2]["time"] == "ts", tables
    # Rows that no file holds yet are deleted and replaced too.
    await pub.rpc("delete_counted", {"where": f"source='{dev}' and n < 3"})
    equal((await ask(order="n", cols="n")).rows(), [(3,), (7,)])
    await raises(ask(since="soon"), rb.RembusError)
    await raises(ask(every="5m", cols="n; drop table counted"), rb.RembusError)
    await pub.close()


if __name__ == "__main__":
    main()
