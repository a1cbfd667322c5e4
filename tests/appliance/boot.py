"""A device with our package, booted with the real kernel and systemd, as its users meet it.

    python tests/appliance/boot.py arm64|armhf|amd64 [--cuts N] [--seed S]

The disks come from tests/appliance/rootfs; `make appliance-test` does all of it. One guest lives through all stories, in
order; each says what was measured. Emulation is slow: no figure of a wall clock here is one of a board.
"""

import argparse
import json
import re
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path

import paho.mqtt.client as mqtt
import rembus as rb
from guest import Failed, Guest
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).resolve().parents[2]
READY_ID = re.search(r'"ready", "([0-9a-f]{32})"', (ROOT / "src/journal/events.rs").read_text())[1]
# The package lets in users only, and the published component has no way to log in: this device's operator lets it in.
KERNEL_ARGS = "systemd.setenv=REMBUS_GATEWAY_REMBUS_ANONYMOUS=true"
SERVICE = "rembus-gateway.service"


def expect(condition, otherwise):
    if not condition:
        raise Failed(otherwise)


class Publisher:
    """A sensor with the published client, QoS 1 and a window; knows what was acknowledged."""

    def __init__(self, port, user, password, client_id):
        self._numbers, self._acks, self._acknowledged = {}, deque(), set()
        self.refused = None
        self.connected = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
        self.client.username_pw_set(user, password)
        self.client.max_inflight_messages_set(20)
        self.client.on_connect = self._on_connect
        # Called while paho holds a lock that publish() wants: only noted here.
        self.client.on_publish = lambda _client, _data, mid, _reason, _properties: self._acks.append(mid)
        self.client.connect_async("127.0.0.1", port, keepalive=60)
        self.client.loop_start()

    def _on_connect(self, _client, _data, _flags, reason, _properties):
        if reason.is_failure:
            self.refused = str(reason)
        self.connected.set()

    def publish(self, dn, number):
        body = json.dumps({"temperature": number, "pressure": 980})
        self._numbers[self.client.publish(f"{dn}/telemetry", body, qos=1).mid] = number

    def acknowledged(self):
        while self._acks:
            self._acknowledged.add(self._numbers.pop(self._acks.popleft()))
        return self._acknowledged

    def waiting(self):
        self.acknowledged()
        return len(self._numbers)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def until(condition, what, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.05)


def component(guest, name):
    """The published Rembus package, from the host."""
    return rb.node(f"ws://127.0.0.1:{guest.ports[8338]}/{name}")


def rows_of(guest, dn):
    """The numbers in the table, asked with the published package. History may still be opening."""
    for attempt in range(60):
        try:
            with component(guest, "analyst") as analyst:
                table = analyst.rpc("query_telemetry", {"where": f"dn = '{dn}'", "cols": ["temperature"]})
                return {int(number) for number in table["temperature"]}
        except Exception:
            if attempt == 59:
                raise
            time.sleep(2)


class Story:
    def __init__(self, guest, cuts):
        self.guest, self.cuts = guest, cuts
        self.password = None
        self.acknowledged = set()
        self.number = 0

    def publisher(self, client_id):
        return Publisher(self.guest.ports[1883], "admin", self.password, client_id)

    def a_it_boots_and_no_unit_has_failed(self):
        wall = self.guest.boot()
        expect(self.guest.failed_units == "", f"failed units: {self.guest.failed_units}")
        show = self.guest.sh(f"systemctl show {SERVICE} -p ActiveState -p ActiveEnterTimestampMonotonic -p NRestarts -p User")
        expect("ActiveState=active" in show and "NRestarts=0" in show and "User=rembus-gateway" in show, show)
        ready = int(re.search(r"Monotonic=(\d+)", show)[1]) / 1e6
        started = self.guest.sh(f"systemctl show {SERVICE} -p ExecMainStartTimestampMonotonic --value")
        return f"ready {ready:.1f} s after the kernel began (its process took {ready - int(started) / 1e6:.1f} s of it), {wall:.0f} s wall"

    def b_the_first_start_made_a_password_of_its_own_for_root_alone(self):
        facts = self.guest.sh("stat -c '%a %U %s' /var/lib/rembus-gateway/first-password")
        expect(facts == "600 root 25", facts)
        self.password = self.guest.sh("cat /var/lib/rembus-gateway/first-password")
        expect(re.fullmatch(r"[a-zA-Z2-9]{24}", self.password), "no password")
        self.guest.sh("rembus-gateway admin acl allow @anonymous subscribe,call '#'")

    def c_root_sees_how_it_is_in_spite_of_the_sandbox(self):
        status = self.guest.sh("rembus-gateway status")
        expect("mqtt" in status, status)

    def d_nobody_gets_in_without_a_password(self):
        stranger = Publisher(self.guest.ports[1883], "admin", "wrong", "stranger")
        until(stranger.connected.is_set, "an answer to a wrong password")
        stranger.close()
        expect(stranger.refused, "a wrong password was let in")

    def e_what_a_sensor_publishes_a_component_hears_and_history_keeps(self):
        heard = []
        monitor = component(self.guest, "monitor")

        def telemetry(topic, reading):
            heard.append((topic, reading["temperature"]))

        monitor.subscribe(telemetry, topic="**/telemetry")
        monitor.reactive()
        sensor = self.publisher("sensor")
        sensor.publish("dev1", 21)
        until(lambda: sensor.acknowledged() == {21}, "the acknowledgement")
        until(lambda: heard, "the component")
        expect(heard == [("dev1/telemetry", 21)], str(heard))
        sensor.close()
        monitor.close()
        rows = rows_of(self.guest, "dev1")
        expect(rows == {21}, f"history has {rows}")

    def f_the_journal_has_fields_ids_and_explanations(self):
        doors = self.guest.sh(f"journalctl -b -u {SERVICE} DOOR=mqtt -o cat")
        expect("listening door=mqtt addr=0.0.0.0:1883" in doors, doors)
        ready = self.guest.sh(f"journalctl -b -u {SERVICE} MESSAGE_ID={READY_ID} -o json")
        fields = json.loads(ready.splitlines()[0])
        # What the gateway says at `info` is a notice to the journal: systemd-journal-logger keeps 6 for `debug`.
        expect(fields["MESSAGE"] == "ready" and fields["PRIORITY"] == "5", ready)
        # What dpkg's trigger compiled lies below this device's tmpfs.
        self.guest.sh("journalctl --update-catalog")
        explained = self.guest.sh(f"journalctl -b -u {SERVICE} MESSAGE_ID={READY_ID} -x")
        expect("All doors listen" in explained, explained)
        refused = self.guest.sh("journalctl -b USER=admin -o cat", check=False)
        expect("login refused" in refused, refused)

    def g_a_gateway_that_stands_still_is_killed_and_started_again(self):
        pid = self.guest.sh(f"systemctl show {SERVICE} -p MainPID --value")
        self.guest.sh(f"kill -STOP {pid}")
        began = time.monotonic()
        self.guest.until(f"systemctl show {SERVICE} -p NRestarts --value", "1", "the restart")
        took = time.monotonic() - began
        self.guest.until(f"systemctl is-active {SERVICE}", "active", "the second life")
        expect(self.guest.sh(f"systemctl show {SERVICE} -p MainPID --value") != pid, "the same process")
        log = self.guest.sh(f"journalctl -b -u {SERVICE} -o cat | grep -i watchdog")
        expect("Watchdog timeout" in log or "watchdog" in log, log)
        rows = rows_of(self.guest, "dev1")
        expect(rows == {21}, f"history has {rows}")
        return f"restarted {took:.0f} s after it was stopped"

    def h_it_is_small_when_nothing_happens(self):
        pid = self.guest.sh(f"systemctl show {SERVICE} -p MainPID --value")
        # Not VmRSS, which may lag behind by some pages for each thread.
        sizes = self.guest.sh(f"grep -E '^(Rss|Pss|Anonymous):' /proc/{pid}/smaps_rollup | tr -s '\\t ' ' '")
        return sizes.replace("\n", ", ")

    def keep_publishing(self, sensor, acknowledged):
        """With a full window, until so many are acknowledged."""
        while len(sensor.acknowledged()) < acknowledged:
            expect(sensor.connected.wait(240) and not sensor.refused, f"refused: {sensor.refused}")
            if sensor.waiting() < 40:
                self.number += 1
                sensor.publish("cuts", self.number)
            else:
                time.sleep(0.002)

    def i_no_acknowledged_message_is_lost_when_the_power_goes(self):
        flushed = lost = kept = cuts = 0
        for cut in range(self.cuts):
            sensor = self.publisher(f"sensor{cut}")
            # Each cut comes at another moment: after so many acknowledgements, with the window full.
            self.keep_publishing(sensor, self.guest.dice.randint(1, 400))
            acknowledged = set(sensor.acknowledged())
            # What made these durable is in the list of writes when the next one comes.
            self.keep_publishing(sensor, len(acknowledged) + 1)
            since = self.guest.writes()
            # Acknowledgements may lie in the socket since before that: what counts is that the guest goes on writing.
            while self.guest.writes() < since + 8:
                self.keep_publishing(sensor, len(sensor.acknowledged()) + 20)
            counts = self.guest.cut(since)
            expect(counts[1] + counts[2] > 0, f"cut {cut + 1}: no write was under way, and it shows nothing")
            sensor.client.loop_stop()
            self.acknowledged |= acknowledged
            flushed, lost, kept = (a + b for a, b in zip((flushed, lost, kept), counts, strict=True))
            self.guest.boot()
            state = self.guest.sh(f"systemctl is-active {SERVICE}")
            expect(state == "active", f"after cut {cut + 1} the service is {state}")
            rows = rows_of(self.guest, "cuts")
            missing = self.acknowledged - rows
            expect(not missing, f"cut {cut + 1}: {len(missing)} acknowledged messages are lost: {sorted(missing)[:20]}")
            cuts += 1
            print(f"     cut {cuts}: {len(self.acknowledged)} acknowledged so far, all there", flush=True)
        expect(lost > 0 or self.cuts < 12, "no cut lost a write: the disk forgets nothing, and this test shows nothing")
        return f"{cuts} cuts, {len(self.acknowledged)} acknowledged, 0 lost; writes: {flushed} flushed, {lost} lost, {kept} kept unflushed"

    def j_it_stops_in_order(self):
        self.guest.stop()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("arch", choices=["arm64", "armhf", "amd64"])
    args.add_argument("--cuts", type=int, default=20)
    args.add_argument("--seed", type=int, default=int(time.time()))
    args.add_argument("--paced", action="store_true", help="only boots, on a clock of a nanosecond an instruction")
    args = args.parse_args()
    print(f"{args.arch}, {args.cuts} cuts, seed {args.seed}", flush=True)
    folder = ROOT / "target/appliance" / args.arch
    guest = Guest(folder, args.arch, kernel_args=KERNEL_ARGS, seed=args.seed, paced=args.paced)
    story = Story(guest, args.cuts)
    chapters = sorted(name for name in dir(Story) if re.match(r"[a-z]_", name))
    if args.paced:
        chapters = chapters[:1]
    passed = 0
    try:
        for name in chapters:
            began = time.monotonic()
            said = getattr(story, name)()
            passed += 1
            print(f"ok   {name[2:].replace('_', ' ')} ({time.monotonic() - began:.0f} s){': ' + said if said else ''}", flush=True)
    except Exception:
        # The later ones build on this one.
        print(f"FAIL {name[2:].replace('_', ' ')}\n{traceback.format_exc()}", flush=True)
        print(guest.console_text()[-3000:])
    finally:
        guest.kill()
    print(f"{passed} passed, {len(chapters) - passed} failed")
    sys.exit(passed < len(chapters))


if __name__ == "__main__":
    main()
