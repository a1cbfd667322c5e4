"""What the scenario programs share: their arguments, their deadlines and how they report.

A program lists scenarios, each a function that uses a published client the way its users do and asserts what they would see:

    @scenario
    async def a_subscriber_is_called(doors): ...

Run against any broker:

    python rembus_component.py --rembus ws://127.0.0.1:8338 --mqtt 127.0.0.1:1883 [--only NAME]

One JSON line per scenario goes to standard output, and the exit code is 1 if any failed. `--reference` leaves out what the
reference brokers (the Python broker of rembus 0.8.23, mosquitto) are known to do differently, so that the programs themselves can
be checked against them: a failure there is a mistake in the program.
"""

import argparse
import asyncio
import inspect
import json
import os
import sys
import time
import traceback

DEADLINE_S = float(os.environ.get("SCENARIO_DEADLINE_S", "40"))
_scenarios = []


def scenario(function=None, *, reference=True):
    """Registers a scenario; `reference=False` if the reference broker behaves otherwise."""

    def register(f):
        _scenarios.append((f, reference))
        return f

    return register(function) if function else register


class Doors:
    """Where the broker under test listens."""

    def __init__(self, rembus, mqtt, reference):
        self.rembus = rembus.rstrip("/") if rembus else None
        self.mqtt = mqtt
        # The reference writes its tables once a second; the gateway promises no staleness at all.
        self.reference = reference
        self.bus = os.environ.get("BUS_SOCKET")

    @property
    def mqtt_host(self):
        return self.mqtt.rsplit(":", 1)[0]

    @property
    def mqtt_port(self):
        return int(self.mqtt.rsplit(":", 1)[1])

    def component(self, name):
        return f"{self.rembus}/{name}"

    async def settled(self):
        """The reference shows rows only after its archiver ran; the gateway gets no such grace."""
        if self.reference:
            await asyncio.sleep(2.6)


_unique = 0


def fresh(prefix):
    """A name that no other scenario, run or process uses."""
    global _unique
    _unique += 1
    return f"{prefix}_{os.getpid()}_{_unique}"


async def until(condition, what, seconds=10.0):
    """Waits for `condition()` to become true; its value is the result."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.005)


def equal(got, wanted, what="value"):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


async def raises(awaitable, kind, **fields):
    """Awaits, expects an exception of `kind` with these attributes."""
    try:
        value = await awaitable
    except kind as error:
        for name, wanted in fields.items():
            equal(getattr(error, name), wanted, f"{kind.__name__}.{name}")
        return error
    raise AssertionError(f"no {kind.__name__}, got {value!r}")


def say(**fields):
    print(json.dumps(fields, default=repr), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rembus")
    parser.add_argument("--mqtt")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--reference", action="store_true")
    args = parser.parse_args()
    doors = Doors(args.rembus, args.mqtt, args.reference)
    chosen = [
        f
        for f, reference in _scenarios
        # An imported program lends its helpers, not its scenarios.
        if f.__module__ == "__main__"
        and (not args.only or f.__name__ in args.only) and (reference or not args.reference)
    ]
    if not chosen:
        sys.exit("no such scenario")
    failed = 0
    for f in chosen:
        begin = time.monotonic()
        error = None
        try:
            if inspect.iscoroutinefunction(f):
                asyncio.run(asyncio.wait_for(f(doors), DEADLINE_S))
            else:
                f(doors)
        except BaseException as e:  # a scenario may not stop the ones after it
            if isinstance(e, KeyboardInterrupt):
                raise
            error = f"{type(e).__name__}: {e}"
            traceback.print_exc()
        failed += error is not None
        say(scenario=f.__name__, ok=error is None, error=error, seconds=round(time.monotonic() - begin, 3))
    sys.stdout.flush()
    # Some clients leave threads behind that would keep a plain exit waiting.
    os._exit(1 if failed else 0)
