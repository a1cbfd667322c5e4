"""A sensor with paho-mqtt. `wait_for_publish` returns when the reading is on the gateway's disk."""

import json

import paho.mqtt.client as mqtt

sensor = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="dev1")
sensor.connect("127.0.0.1", 1883)
sensor.loop_start()
reading = {"temperature": 21.5, "pressure": 980}
sensor.publish("dev1/telemetry", json.dumps(reading), qos=1).wait_for_publish(10)
print("on the disk:", reading)
sensor.disconnect()
sensor.loop_stop()
