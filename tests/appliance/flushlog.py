"""A disk with a write cache that is lost when the power goes.

QEMU's `blklogwrites` writes down every write and every flush that the guest sends to its disk (the format of Linux's
dm-log-writes). After a cut the disk is made anew from its state before the boot: everything up to the last flush is on it, and
of what came later each write is, or is not, as the dice say, whatever their order. A card does no better and no worse.
"""

import random
import shutil
import struct
from pathlib import Path

# Of the log; guest.py tells QEMU.
SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4


def entries(log):
    """(sector, bytes or None, flags) as the guest sent them, until the log ends."""
    # The first sector is written only when QEMU ends in order.
    at = SECTOR
    while True:
        log.seek(at)
        head = log.read(32)
        if len(head) < 32:
            return
        sector, count, flags, _ = struct.unpack("<QQQQ", head)
        if count == 0 and flags == 0:
            return
        at += SECTOR
        data = None
        if count and not flags & DISCARD:
            log.seek(at)
            data = log.read(count * SECTOR)
            at += count * SECTOR
        yield sector * SECTOR, data, flags


def count(log: Path):
    """Entries so far; the guest may be at work."""
    with log.open("rb") as written:
        return sum(1 for _ in entries(written))


def after_the_cut(before: Path, log: Path, disk: Path, dice: random.Random, since: int):
    """Makes `disk` what is left; returns how many writes were flushed, and lost and kept among the others.

    The guest is killed a little later than the plug is pulled: that was at some moment behind entry `since`, and at the worst
    ones, if there are any, with a write under way that no flush has followed yet. What was acknowledged before `since` must be there.
    """
    shutil.copyfile(before, disk)
    with log.open("rb") as written:
        kinds = [(data is not None, flags) for _, data, flags in entries(written)]
    worst = [n for n in range(since, len(kinds)) if kinds[n][0] and not kinds[n][1] & (FLUSH | FUA)]
    end = dice.choice(worst) + 1 if worst else len(kinds)
    last_flush = max((n for n in range(end) if kinds[n][1] & FLUSH), default=-1)
    flushed = lost = kept = 0
    with log.open("rb") as written, disk.open("r+b") as target:
        for number, (at, data, flags) in zip(range(end), entries(written)):
            if data is None:
                continue
            if number <= last_flush or flags & FUA:
                flushed += 1
            elif dice.random() < 0.5:
                lost += 1
                continue
            else:
                kept += 1
            target.seek(at)
            target.write(data)
    return flushed, lost, kept
