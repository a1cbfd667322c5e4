"""A component that is called for every reading, whichever door it came through."""

import rembus as rb


def telemetry(topic, reading):
    print(topic, reading, flush=True)


monitor = rb.node("ws://127.0.0.1:8338/monitor")
monitor.subscribe(telemetry, topic="**/telemetry")
monitor.reactive()
print("listening; Ctrl-C ends", flush=True)
monitor.wait()
