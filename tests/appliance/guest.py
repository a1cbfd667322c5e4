"""A device under QEMU: boot it, type on its console, pull its plug. Only forwarded ports reach it, on the loopback address."""

import contextlib
import random
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

from flushlog import SECTOR, after_the_cut, count

# Program and machine, bus of the virtual devices, console.
MACHINES = {
    "arm64": (["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"], "device", "ttyAMA0"),
    "armhf": (["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a15"], "device", "ttyAMA0"),
    "amd64": (["qemu-system-x86_64", "-M", "q35", "-cpu", "max"], "pci", "ttyS0"),
}
# A board boots in ten seconds; emulated on a busy machine it has taken three minutes.
BOOT_S = 900
COMMAND_S = 300


class Failed(Exception):
    """The device did not do what it should; the text says what it did."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Guest:
    """One device. Its root disk forgets everything at the end of a life, its data disk what was not flushed at a cut."""

    def __init__(self, folder: Path, arch: str, *, memory_mib=512, kernel_args="", seed=0, extra_disk=None, paced=False):
        self.folder, self.arch = folder, arch
        self.memory_mib, self.kernel_args = memory_mib, kernel_args
        self.extra_disk = extra_disk
        # The guest's clock goes by what it has done, a nanosecond an instruction, whatever else the host has to do.
        self.pace = ["-icount", "shift=0"] if paced else []
        self.dice = random.Random(seed)
        self.ports = {1883: free_port(), 8338: free_port(), 8080: free_port()}
        self.run = folder / "run"
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()
        self.data = self.run / "data.img"
        shutil.copyfile(folder / "data.img", self.data)
        self.emulator = self.console = None
        self.lives = 0

    def boot(self):
        """Starts the device and waits until its boot is over; returns the wall time that took, in seconds."""
        self.lives += 1
        log = self.run / "writes.log"
        log.unlink(missing_ok=True)
        with log.open("wb") as sparse:
            sparse.truncate(4 << 30)
        self.before = self.run / "before.img"
        shutil.copyfile(self.data, self.before)
        program, bus, console = MACHINES[self.arch]
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in self.ports.items())
        command = [
            *program, *self.pace, "-smp", "2", "-m", str(self.memory_mib), "-display", "none", "-no-reboot",
            "-kernel", self.folder / "vmlinuz", "-initrd", self.folder / "initrd.img",
            "-append", f"root=LABEL=root ro console={console} loglevel=4 panic=1 {self.kernel_args}",
            "-drive", f"if=none,id=root,file={self.folder}/root.img,format=raw,cache=unsafe,snapshot=on",
            "-device", f"virtio-blk-{bus},drive=root,serial=root",
            "-blockdev", f"driver=file,node-name=disk,filename={self.data}",
            "-blockdev", f"driver=file,node-name=log,filename={log}",
            "-blockdev", f"driver=blklogwrites,node-name=data,file=disk,log=log,log-sector-size={SECTOR}",
            "-device", f"virtio-blk-{bus},drive=data,serial=data,write-cache=on",
            # The guest reaches nothing outside.
            "-netdev", f"user,id=net,restrict=on{forwards}", "-device", f"virtio-net-{bus},netdev=net",
            "-device", f"virtio-rng-{bus}",
            "-chardev", f"socket,id=console,path={self.run}/console.sock,server=on,wait=off,logfile={self.run}/console-{self.lives}.log",
            "-serial", "chardev:console",
        ]  # fmt: skip
        if self.extra_disk:
            command += ["-drive", f"if=none,id=extra,file={self.extra_disk},format=raw,readonly=on"]
            command += ["-device", f"virtio-blk-{bus},drive=extra,serial=extra"]
        began = time.monotonic()
        with (self.run / "qemu.log").open("ab") as out:
            self.emulator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._wait_for_boot(began + BOOT_S)
        self.console = socket.socket(socket.AF_UNIX)
        self.console.connect(str(self.run / "console.sock"))
        return time.monotonic() - began

    def console_text(self):
        path = self.run / f"console-{self.lives}.log"
        return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""

    def _wait_for_boot(self, end):
        while time.monotonic() < end:
            text = self.console_text()
            up = re.search(r"APPLIANCE-UP failed=(.*)\.\n", text)
            # What is typed before the shell has its terminal is thrown away.
            if up and "root@gateway:~# " in text:
                self.failed_units = up[1]
                return
            if self.emulator.poll() is not None or "Kernel panic" in text or "emergency mode" in text:
                raise Failed(f"the boot failed:\n{text[-2000:]}\n{(self.run / 'qemu.log').read_text()[-1000:]}")
            time.sleep(0.2)
        raise Failed(f"not up after {BOOT_S} s:\n{self.console_text()[-2000:]}")

    def sh(self, command, *, check=True, seconds=COMMAND_S):
        """Runs a line in the root shell on the console; returns what it printed."""
        mark = secrets.token_hex(6)
        # The console echoes what is typed: only the shell's own output has the marks in one piece.
        line = f"\x15 stty -echo cols 500; export SYSTEMD_COLORS=0; echo; echo BEGIN''{mark}; {{ {command}\n}} 2>&1; echo END''{mark} $?\n"
        self.console.sendall(line.encode())
        self.console.settimeout(1)
        end, got = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            try:
                got += self.console.recv(65536).decode(errors="replace").replace("\r", "")
            except TimeoutError:
                continue
            answer = re.search(rf"BEGIN{mark}\n(.*?)END{mark} (\d+)\n", got, re.DOTALL)
            if answer:
                if check and answer[2] != "0":
                    raise Failed(f"`{command}` ended with {answer[2]}:\n{answer[1]}")
                return answer[1].strip()
        raise Failed(f"`{command}`: no answer on the console within {seconds} s:\n{got[-1000:]}")

    def until(self, command, wanted, what, seconds=COMMAND_S):
        """Repeats a command until it prints `wanted`; the caller waits for a state, never for time to pass."""
        end = time.monotonic() + seconds
        while True:
            printed = self.sh(command, check=False)
            if re.fullmatch(wanted, printed, re.DOTALL):
                return printed
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {seconds} s; `{command}` still prints: {printed}")
            time.sleep(0.5)

    def writes(self):
        """How often the guest has written to its data disk, or flushed it, in this life."""
        return count(self.run / "writes.log")

    def cut(self, since):
        """Pulls the plug, at some moment after so many `writes()`. What the guest had not flushed by then is lost or not, write by
        write; returns the counts of each."""
        self.emulator.kill()
        self.emulator.wait()
        self.console.close()
        return after_the_cut(self.before, self.run / "writes.log", self.data, self.dice, since)

    def stop(self):
        """Powers off in order."""
        self.console.sendall(b"\nsystemctl poweroff\n")
        self.console.settimeout(1)
        end = time.monotonic() + COMMAND_S
        while self.emulator.poll() is None:
            if time.monotonic() > end:
                raise Failed(f"no poweroff:\n{self.console_text()[-1000:]}")
            # Who does not read it stops the guest at its next word on the console.
            with contextlib.suppress(TimeoutError):
                self.console.recv(65536)

    def kill(self):
        """At the end of the tests, whatever happened."""
        if self.emulator and self.emulator.poll() is None:
            self.emulator.kill()
            self.emulator.wait()
