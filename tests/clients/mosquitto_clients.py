"""The command line clients of mosquitto, as in the README."""

import subprocess
import threading

from scenario import equal, fresh, main, scenario


class Listener:
    """mosquitto_sub, ready to hear."""

    def __init__(self, doors, *args, count):
        self.process = subprocess.Popen(
            # Line by line, or its words would wait in a buffer.
            ["stdbuf", "-oL", "mosquitto_sub", "-h", doors.mqtt_host, "-p", str(doors.mqtt_port), "-d", "-C", str(count), "-W", "20", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        ready = threading.Event()

        def read():
            for line in self.process.stdout:
                if line.startswith("Subscribed"):
                    ready.set()
                elif not line.startswith("Client "):
                    self.lines.append(line.rstrip("\n"))

        self.thread = threading.Thread(target=read, daemon=True)
        self.thread.start()
        assert ready.wait(10), "mosquitto_sub did not subscribe"

    def result(self):
        equal(self.process.wait(25), 0, "exit code of mosquitto_sub")
        self.thread.join(5)
        return self.lines


def publish(doors, *args, input=None):
    done = subprocess.run(
        ["mosquitto_pub", "-h", doors.mqtt_host, "-p", str(doors.mqtt_port), *args],
        input=input,
        capture_output=True,
        timeout=30,
    )
    equal((done.returncode, done.stdout, done.stderr), (0, b"", b""), "mosquitto_pub")


def each_version(f):
    for version in ("mqttv311", "mqttv5"):
        def run(doors, version=version):
            f(doors, "-V", version)

        run.__name__ = f"{f.__name__}_{version}"
        scenario(run)
    return f


@each_version
def a_reading_is_published_and_heard(doors, *version):
    dev = fresh("dev")
    sub = Listener(doors, *version, "-q", "1", "-t", f"{dev}/#", "-F", "%t %q %r %p", count=3)
    publish(doors, *version, "-q", "1", "-t", f"{dev}/telemetry", "-m", '{"temperature":21.5,"pressure":980}')
    publish(doors, *version, "-q", "0", "-t", f"{dev}/state", "-m", "on")
    publish(doors, *version, "-q", "1", "-t", f"{dev}/empty", "-n")
    equal(
        sub.result(),
        [f'{dev}/telemetry 1 0 {{"temperature":21.5,"pressure":980}}', f"{dev}/state 0 0 on", f"{dev}/empty 1 0 "],
    )


@each_version
def many_lines_with_acknowledgement(doors, *version):
    topic = fresh("lines")
    sub = Listener(doors, *version, "-q", "1", "-t", topic, count=2000)
    publish(doors, *version, "-q", "1", "-t", topic, "-l", input=b"".join(b"%d\n" % n for n in range(2000)))
    equal(sub.result(), [str(n) for n in range(2000)])


@each_version
def a_big_file(doors, *version):
    topic = fresh("file")
    sub = Listener(doors, *version, "-q", "1", "-t", topic, "-F", "%l", count=1)
    publish(doors, *version, "-q", "1", "-t", topic, "-s", input=b"x" * 1_500_000)
    equal(sub.result(), ["1500000"])


if __name__ == "__main__":
    main()
