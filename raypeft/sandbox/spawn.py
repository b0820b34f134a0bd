"""Starts zygotes and has them fork: the supervisor's end of raypeft.sandbox.zygote.

zygote = Zygote(Limits(), tier="B", full=False)       # SandboxUnavailable where the tier cannot be had
with zygote.fork(cpu_seconds=20) as process: ...
zygote.close()
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from raypeft.sandbox.process import ZYGOTE_PATIENCE, Process, ZygoteLost
from raypeft.sandbox.protocol import Frames, pack
from raypeft.sandbox.records import Limits, SandboxUnavailable
from raypeft.sandbox.wire import REQUEST

_BOOT = """
import sys, types
for name, path in (("raypeft", []), ("raypeft.sandbox", [sys.argv[1]])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
from raypeft.sandbox import zygote
zygote.main(int(sys.argv[2]), int(sys.argv[3]))
"""
"""Imports the sandbox's files without the packages above them, whose __init__ would load far more."""
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "LD_BIND_NOW": "1",  # symbols are looked up once, not by each process that first calls them
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # each further arena of glibc reserves 64 MiB of a program's address space
}
_STARTING = 60.0
"""Seconds that a zygote may take to load its modules, on a machine that does much else."""


class Zygote:
    """A running zygote; a `full` one has numpy, where it is installed, and rare modules loaded.

    Raises SandboxUnavailable, with the zygote's own reason, where it cannot lock itself down.
    """

    def __init__(self, limits: Limits, tier: str, full: bool) -> None:
        self.limits = limits
        self.lock = threading.Lock()
        self.control, theirs = socket.socketpair()
        # The zygote ends when this process does, even if a forked sibling still holds the other end of its socket.
        watch, self.held = (os.pidfd_open(os.getpid()), -1) if hasattr(os, "pidfd_open") else os.pipe()
        try:
            inherited = (theirs.fileno(), watch)
            folder = str(Path(__file__).resolve().parent)
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", "-B", "-c", _BOOT, folder, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=inherited,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor
            )
        finally:
            theirs.close()
            os.close(watch)
        try:
            self.facts = self._configure(tier, full)
        except BaseException:
            self.close()
            raise

    def _configure(self, tier: str, full: bool) -> dict[str, Any]:
        site = numpy_folder() if full else None
        config = {
            "tier": tier,
            "full": full,
            "limits": self.limits.as_dict(),
            "site": [str(site)] if site else [],
            "readable": [str(site / "numpy")] if site else [],
        }
        self.control.settimeout(_STARTING)
        frames = Frames(limit=1 << 20)
        try:
            self.control.sendall(pack(config))
            while (answer := frames.next()) is None:
                data = self.control.recv(65536)
                if not data:
                    raise SandboxUnavailable(
                        f"tier {tier}: the zygote ended with code {self.process.wait(ZYGOTE_PATIENCE)}"
                    )
                frames.feed(data)
        except OSError as error:
            raise SandboxUnavailable(f"tier {tier}: the zygote did not start: {error}") from None
        if "ready" not in answer:
            raise SandboxUnavailable(f"tier {tier}: {answer.get('failed', 'the zygote gave no reason')}")
        return answer["ready"]

    def fork(self, cpu_seconds: int, filtered: bool = True) -> Process:
        """A new process that waits for a program; the kernel ends it after `cpu_seconds` whatever happens here.

        Without `filtered` it has no seccomp filter: for the self-test's own programs. Raises ZygoteLost.
        """
        channel, program_end = socket.socketpair()
        report, zygote_end = socket.socketpair()
        try:
            with self.lock:
                self.control.settimeout(ZYGOTE_PATIENCE)
                fds = [program_end.fileno(), zygote_end.fileno()]
                socket.send_fds(self.control, [REQUEST.pack(cpu_seconds, filtered)], fds)
        except OSError as error:
            channel.close()
            report.close()
            raise ZygoteLost(str(error)) from None
        finally:
            program_end.close()
            zygote_end.close()
        try:
            return Process(channel, report, self.limits, cpu_seconds)
        except BaseException:
            channel.close()
            report.close()
            raise

    def close(self) -> None:
        """Ends the zygote, and with it every process that it forked. May be called again."""
        self.control.close()
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        if self.held >= 0:
            os.close(self.held)
            self.held = -1


def numpy_folder() -> Path | None:
    """The folder that `import numpy` finds numpy in, None without numpy. Imports nothing."""
    found = importlib.util.find_spec("numpy")
    return Path(found.origin).resolve().parent.parent if found and found.origin else None
