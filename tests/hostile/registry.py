"""Attacks on a gateway register here. Each attack is bounded in time and count, and ends by itself.

An attack is a function of the gateway under attack and of the scale: 1 for a whole run, less for a short one. It asserts what must
hold for the attack itself; run.py watches the honest clients, the memory and the process.
"""

import contextlib

ATTACKS = []
MIB = 1 << 20


def attack(row, *, short=True, **options):
    """Registers an attack on a row of the issue list; the options are the gateway's."""

    def register(function):
        ATTACKS.append((function, row, short, options))
        return function

    return register


def ignoring_hang_ups():
    return contextlib.suppress(OSError, ConnectionError, AssertionError)


def grown_mib(target, before_kb):
    return (target.peak_kb() - before_kb) / 1024
