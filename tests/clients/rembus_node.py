"""The rembus 0.8.23 package as its README shows it: synchronous nodes."""

import threading

import polars as pl
import rembus as rb

from scenario import equal, fresh, main, scenario


@scenario
def the_readme_works(doors):
    dev = fresh("dev")
    called = threading.Event()
    got = []

    def telemetry(topic, data):
        got.append((topic, data))
        called.set()

    sub = rb.node(doors.component(fresh("monitor")))
    sub.subscribe(telemetry, topic="**/telemetry", msgfrom=rb.LastReceived)
    sub.reactive()

    cli = rb.node(doors.component(fresh("cli")))
    cli.publish(f"{dev}/telemetry", {"temperature": 21.5, "pressure": 980}, qos=rb.QOS1)
    assert called.wait(10), "the subscriber was not called"
    equal(got, [(f"{dev}/telemetry", {"temperature": 21.5, "pressure": 980})])
    if not doors.reference:
        rows = cli.rpc("query_telemetry", {"where": f"dn='{dev}'"})
        equal(rows.select("dn", "temperature", "pressure").rows(), [(dev, 21.5, 980.0)])
        newest = cli.rpc("query_telemetry", {"where": f"dn='{dev}'", "since": "5m", "order": "newest", "limit": 1})
        equal(newest.height, 1)
        equal(cli.rpc("latest_telemetry", {"dn": dev})["temperature"].to_list(), [21.5])
    cli.close()
    sub.close()


@scenario
def alarms_arrive_as_arguments(doors):
    called = threading.Event()
    got = []

    def alarm(slogan, severity):
        got.append((slogan, severity))
        called.set()

    sub = rb.node(doors.component(fresh("monitor")))
    sub.subscribe(alarm)
    sub.reactive()
    with rb.node(doors.component(fresh("cli"))) as cli:
        cli.publish("alarm", "mydevice: battery very low", "CRITICAL")
        assert called.wait(10), "the subscriber was not called"
    equal(got, [("mydevice: battery very low", "CRITICAL")])
    sub.unsubscribe(alarm)
    sub.close()


@scenario
def a_calculator_adds(doors):
    def add(x, y):
        return x + y

    handle = rb.node(doors.component(fresh("calculator")))
    handle.expose(add)
    client = rb.node(doors.component(fresh("myclient")))
    equal(client.rpc("add", 1, 2), 3)
    try:
        client.rpc("add", 1, "a")
        raise AssertionError("adding text to a number succeeded")
    except rb.RembusError as error:
        equal(error.status, 40)
    handle.unexpose(add)
    client.close()
    handle.close()


@scenario
def a_frame_is_published(doors):
    called = threading.Event()
    got = []

    def keep(df):
        got.append(df)
        called.set()

    topic = fresh("frames")
    sub = rb.node(doors.component(fresh("monitor")))
    sub.subscribe(keep, topic=topic)
    sub.reactive()
    cli = rb.node(doors.component(fresh("cli")))
    df = pl.DataFrame({"dn": ["s1", "s2"], "temperature": [15.0, 18.8]})
    cli.publish(topic, df)
    assert called.wait(10), "the subscriber was not called"
    assert got[0].equals(df), got[0]
    cli.close()
    sub.close()


if __name__ == "__main__":
    main()
