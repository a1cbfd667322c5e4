"""A sensor with gmqtt over MQTT 5."""

import asyncio

import gmqtt


async def main():
    sensor = gmqtt.Client("dev2")
    await sensor.connect("127.0.0.1", 1883)
    sensor.publish("dev2/telemetry", {"temperature": 19.0, "pressure": 1013}, qos=1, content_type="application/json")
    await asyncio.sleep(0.5)  # room for the acknowledgement
    await sensor.disconnect()
    print("published")


asyncio.run(main())
