"""A component that publishes; with QOS1 the call returns when the message is on the gateway's disk."""

import rembus as rb

with rb.node("ws://127.0.0.1:8338/plc") as plc:
    plc.publish("dev3/telemetry", {"temperature": 40.2, "pressure": 990}, qos=rb.QOS1)
    print("on the disk")
