"""The gateway under attack: the real binary, under the limits that its unit has."""

import contextlib
import json
import os
import pathlib
import queue
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BINARY", ROOT / "target/release/rembus-gateway")).resolve()
SCHEMA = ROOT / "tests/clients/schema.json"
# As systemd/rembus-gateway.service has them.
MEMORY_BYTES = 512 << 20
FILES = 65536
START_S = 60
ADMIN = ("admin", "admin-of-the-test")


def until(what, seconds, condition):
    """Waits until the condition gives something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class MemoryGroup:
    """A control group with the unit's memory limit, where this machine lets us make one."""

    def __init__(self):
        self.folder = None
        v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        for base, limit in ((v1, "memory.limit_in_bytes"), (v2, "memory.max")):
            folder = base / f"rembus-hostile-{os.getpid()}-{time.monotonic_ns()}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                try:
                    (folder / limit).write_text(str(MEMORY_BYTES))
                except OSError:
                    folder.rmdir()
                    continue
                self.folder = folder
                return

    def enter(self):
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        if self.folder:
            with contextlib.suppress(OSError):
                until("the control group is empty", 5, lambda: not (self.folder / "cgroup.procs").read_text())
                self.folder.rmdir()


class Target:
    """A gateway in a folder of its own. Options are `section__key="value"`, as its environment takes them."""

    def __init__(self, *, history=True, users=(), files=FILES, **options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hostile-"))
        self.data = self.folder / "data"
        self.group = MemoryGroup()
        self.files = files
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("REMBUS_GATEWAY_")}
        self.environment |= {f"REMBUS_GATEWAY_{k.replace('__', '_').upper()}": str(v) for k, v in options.items()}
        self.environment |= {"REMBUS_GATEWAY_GATEWAY_DATA": str(self.data), "REMBUS_GATEWAY_LOG": "info"}
        self.arguments = ["run", "--data", str(self.data), "--mqtt", "127.0.0.1:0", "--rembus", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        self.arguments += ["--schema", str(SCHEMA)] if history else []
        self.process, self.lines, self.peaks_kb, self.passwords = None, [], [], {}
        if users:
            self.environment |= {f"REMBUS_GATEWAY_{section}_ANONYMOUS": "false" for section in ("MQTT", "REMBUS", "HTTP")}
            self.data.mkdir(mode=0o700)
            self.add_user(*ADMIN)
            self.command("admin", "acl", "allow", ADMIN[0], "publish,subscribe,call,expose", "#")
            self.command("admin", "acl", "allow", "@users", "publish,subscribe", "%u/#")
            for name in users:
                self.add_user(name, f"password-of-{name}")
        self.start()

    def command(self, *arguments, **options):
        """Runs one of the gateway's own commands on this data folder."""
        done = subprocess.run([BINARY, *arguments, "--data", str(self.data)], capture_output=True, text=True, timeout=60,
                              env=self.environment, **options)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def add_user(self, name, password):
        self.passwords[name] = password
        self.command("admin", "user", "add", name, input=password + "\n")

    def login(self, name):
        """What an MQTT client says to log in."""
        return {"user": name, "password": self.passwords[name]}

    def basic(self, name):
        return f"{name}:{self.passwords[name]}"

    def start(self):
        def limits():
            self.group.enter()
            files = min(self.files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.ports, lines = {}, queue.Queue()
        self.process = subprocess.Popen([BINARY, *self.arguments], env=self.environment, stderr=subprocess.PIPE, text=True,
                                        errors="backslashreplace", stdin=subprocess.DEVNULL, preexec_fn=limits)

        def read():
            for line in self.process.stderr:
                self.lines.append(line.rstrip("\n"))
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            line = lines.get(timeout=START_S)
            assert line is not None, "the gateway does not start:\n" + "\n".join(self.lines[-15:])
            fields = dict(part.split("=", 1) for part in line.split() if "=" in part)
            if "listening" in line and "addr" in fields:
                transport = fields.get("transport")
                name = fields["door"] + (f"-{transport}" if transport else "")
                self.ports[name] = int(fields["addr"].rsplit(":", 1)[1])
            if line.rstrip().endswith("ready"):
                return

    mqtt = property(lambda self: self.ports["mqtt"])
    rembus = property(lambda self: self.ports["rembus"])
    http = property(lambda self: self.ports["http"])

    def alive(self):
        return self.process.poll() is None

    def memory_kb(self, field="VmRSS"):
        """Memory now, or at its peak (`VmHWM`)."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(field))

    def peak_kb(self):
        with contextlib.suppress(StopIteration, OSError):  # it ended a moment ago
            self.peaks_kb.append(self.memory_kb("VmHWM"))
        return max(self.peaks_kb, default=0)

    def assert_alive(self):
        assert self.alive(), f"the gateway ended with {self.process.returncode}:\n" + "\n".join(self.lines[-15:])

    def kill(self):
        self.peak_kb()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self):
        """`kill -9`, and a start that must succeed."""
        self.assert_alive()
        self.kill()
        self.start()

    def metric(self, name):
        """The sum of a metric over its labels; `None` where there is none of this name."""
        import wire

        _, answer = wire.get(self.http, "/metrics", **self.http_login())
        found = [line for line in answer.decode().splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found) if found else None

    def http_login(self):
        if not self.passwords:
            return {}
        import base64

        return {"Authorization": "Basic " + base64.b64encode(self.basic(ADMIN[0]).encode()).decode()}

    def query(self, table, **what):
        return json.loads(self.command("query", table, "--format", "json", *[f"--{k}={v}" for k, v in what.items()]))

    def stop(self):
        """An orderly stop; what does not stop is a failure."""
        self.assert_alive()
        self.peak_kb()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        assert code == 0, f"the stop ended with {code}"

    def clean(self):
        if self.alive():
            self.kill()
        self.group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
