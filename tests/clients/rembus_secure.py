"""The rembus package over wss, told where and whom to trust by REMBUS_BASE_URL and HTTP_CA_BUNDLE as its users do."""

import threading

import rembus as rb

from scenario import equal, fresh, main, scenario


@scenario
def nodes_talk_over_wss(doors):
    called, got = threading.Event(), []

    def reading(data):
        got.append(data)
        called.set()

    dev = fresh("dev")
    monitor = rb.node(fresh("monitor"))
    monitor.subscribe(reading, topic=f"{dev}/telemetry")
    monitor.reactive()
    with rb.node(fresh("sensor")) as sensor:
        sensor.publish(f"{dev}/telemetry", {"temperature": 21.5, "pressure": 980}, qos=rb.QOS1)
        assert called.wait(10), "the subscriber was not called"
        equal(got, [{"temperature": 21.5, "pressure": 980}])
        equal(sensor.rpc("version") is not None, True, "an answer")
    monitor.close()


if __name__ == "__main__":
    main()
