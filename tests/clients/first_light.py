"""The first evening with the gateway: sensors, a component, a question, a power cut, the same question."""

import asyncio
import json
import subprocess
import sys

import paho.mqtt.client as mqtt
import polars as pl
import rembus as rb

from mqtt_gmqtt import connected
from mqtt_paho import Client
from rembus_component import listener
from scenario import equal, main, say, scenario, until

READING = {"temperature": 21.5, "pressure": 980}


@scenario
async def first_light(doors):
    monitor, got = await listener(doors.component("monitor"), "**/telemetry")
    cli = await rb.component(doors.component("cli"))

    async def ask(n):
        """History, without a moment's grace."""
        if doors.reference:
            await doors.settled()
        rows = await cli.rpc("query_telemetry", {"where": f"dn='dev{n}'"})
        assert isinstance(rows, pl.DataFrame), type(rows)
        equal(rows.select("dn", "temperature", "pressure").rows(), [(f"dev{n}", 21.5, 980.0)])

    def mosquitto_pub(n):
        subprocess.run(
            ["mosquitto_pub", "-h", doors.mqtt_host, "-p", str(doors.mqtt_port), "-q", "1", "-t", f"dev{n}/telemetry", "-m", json.dumps(READING)],
            check=True,
            timeout=20,
        )

    await asyncio.to_thread(mosquitto_pub, 1)
    await ask(1)

    for n, version in ((2, mqtt.MQTTv311), (3, mqtt.MQTTv5)):
        sensor = Client(doors, version)
        await asyncio.to_thread(sensor.publish, f"dev{n}/telemetry", json.dumps(READING), 1)
        await ask(n)
        sensor.close()

    sensor = await connected(doors, "gmqtt")
    sensor.publish("dev4/telemetry", READING, qos=1)
    await until(lambda: len(got) >= 4, "the reading of gmqtt")
    await ask(4)
    await sensor.disconnect()

    await cli.publish("dev5/telemetry", READING, qos=rb.QOS1)
    await ask(5)
    await until(lambda: len(got) >= 5, "five readings")
    equal(got, [("**/telemetry", (f"dev{n}/telemetry", READING)) for n in range(1, 6)])

    say(step="kill -9 and start again")
    assert (await asyncio.to_thread(sys.stdin.readline)).strip() == "done"
    await until(lambda: cli.isopen() and monitor.isopen(), "the components are back", 20)
    for n in range(1, 6):
        await ask(n)
    await asyncio.to_thread(mosquitto_pub, 6)
    await until(lambda: len(got) >= 6, "the monitor hears again")
    await ask(6)


if __name__ == "__main__":
    main()
