"""The process that every program is forked from: a clean interpreter with the usual modules loaded, locked down once.

The supervisor (raypeft.sandbox.spawn) starts it as `python -I -S` with two inherited descriptors: a socket for
requests and a pidfd of the supervisor. It reads its configuration, loads modules, gives up what it can give up for
good (namespaces, user, capabilities, new privileges, files, limits), answers {"ready": ...} and then forks on request.
A request carries two sockets: one for the program, which only the forked process keeps, and one for the report, on
which the zygote sends the process's pidfd and, when it has ended, how. The zygote never sees a program.

It ends when the supervisor closes the socket or dies; its children die with it (PR_SET_PDEATHSIG).
"""

# ruff: noqa: PTH112, PTH116, PTH120 - every process would have pathlib and what it imports
from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from typing import Any

from raypeft.sandbox import child, landlock, linux, namespaces, seccomp
from raypeft.sandbox.modules import COMMON, NUMPY, RARE
from raypeft.sandbox.protocol import Frames, pack

REQUEST = struct.Struct("<IB")
"""CPU seconds that end the process in any case; 1 to put it under the filter."""
STARTED = struct.Struct("<cq")
ENDED = struct.Struct("<ciddq")
"""Wait status, user and system CPU seconds, peak resident KiB."""

STACK = 512 << 20
THREAD_STACK = 8 << 20


@dataclass
class Process:
    """A forked process that has not been reported as ended."""

    pid: int
    pidfd: int
    report: socket.socket


def main(control_fd: int, watch_fd: int) -> None:
    """Runs until the supervisor is gone. Never returns."""
    # Above descriptor 3, which is kept free: the first descriptor to arrive with a request is then the program's 3.
    control = socket.socket(fileno=fcntl.fcntl(control_fd, fcntl.F_DUPFD_CLOEXEC, 10))
    watch_fd = fcntl.fcntl(watch_fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.closerange(3, 10)
    try:
        config = _receive(control)
        facts, watched = _lock_down(config)
        child.take_baseline(THREAD_STACK)
        if hasattr(os, "memfd_create"):
            child.rehearse()
        prepared = None
        if config["tier"] != "U":
            architecture = linux.machine()
            assert architecture, "the filter is written for x86-64 and arm64"
            prepared = seccomp.prepare(seccomp.build_filter(architecture, open_files=config["tier"] != "C"))
    except BaseException as error:
        control.sendall(pack({"failed": f"{type(error).__name__}: {error}"[:500]}))
        os._exit(1)
    for name in [name for name in sys.modules if name.startswith("raypeft")]:
        del sys.modules[name]
    gc.collect()
    gc.freeze()
    control.sendall(pack({"ready": facts}))
    Zygote(control, [watch_fd, *watched], prepared, config).serve()


def _receive(control: socket.socket) -> dict[str, Any]:
    frames = Frames(limit=1 << 20)
    while (message := frames.next()) is None:
        data = control.recv(65536)
        if not data:
            os._exit(0)
        frames.feed(data)
    return message


def _lock_down(config: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Loads modules, then gives up every right that no program needs. Returns what was found, and pidfds to watch."""
    tier, limits = config["tier"], config["limits"]
    path = list(sys.path)
    uid = namespaces.sandbox_uid() if tier != "U" and os.geteuid() == 0 else None
    loadable = tier != "C" and (tier != "B" or uid is None or _anyone_can_read(os.path.dirname(os.__file__)))
    sys.path += config["site"]
    for name in COMMON + ([] if loadable and not config["full"] else RARE) + (NUMPY if config["site"] else []):
        try:
            importlib.import_module(name)
        except ImportError:  # a build without that module, or the other version of Python
            continue
    sys.path[:] = [] if tier == "C" else path
    readable = [folder for folder in [*path, *config["readable"]] if os.path.isdir(folder)]
    _be_killed_first()
    facts: dict[str, Any] = {"tier": tier, "landlock_abi": 0, "namespaces": [], "no_new_privs": False}
    watched: list[int] = []
    mapped = _address_space()
    if tier == "A":
        facts["namespaces"], parent = namespaces.enter(readable)
        watched.append(parent)
        uid = None if "user" in facts["namespaces"] else uid
    ruleset = landlock.rules(readable) if tier in ("A", "B") else None
    if tier != "U":
        if uid is not None:
            namespaces.drop_user(uid)
        linux.drop_capabilities()
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        facts["no_new_privs"] = True
    if ruleset is not None:
        landlock.enforce(ruleset)
        facts["landlock_abi"] = landlock.abi()
    if sys.platform == "linux":
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        if watched:  # after the change of user, which would clear it
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    _set_limits(limits, mapped, own_user=uid is not None and uid != namespaces.NOBODY)
    facts["uid"] = os.getuid()
    facts["python"] = ".".join(map(str, sys.version_info[:3]))
    facts["numpy"] = getattr(sys.modules.get("numpy"), "__version__", None)
    return facts, watched


def _anyone_can_read(folder: str) -> bool:
    """Whether another user reaches the folder: a sandbox that root started loads modules as such a user."""
    above = os.path.dirname(folder)
    return bool(os.stat(folder).st_mode & stat.S_IXOTH) and (above == folder or _anyone_can_read(above))


def _be_killed_first() -> None:
    """When memory runs out the kernel is to end a program, not the supervisor. Where /proc allows it."""
    with contextlib.suppress(OSError):
        linux.write_file("/proc/self/oom_score_adj", "1000")


def _address_space() -> int:
    """Bytes of address space that the loaded interpreter has mapped; 0 where /proc does not say."""
    try:
        return int(linux.read_file("/proc/self/statm").split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _set_limits(limits: dict[str, Any], mapped: int, own_user: bool) -> None:
    space = mapped + (limits["memory_mb"] << 20)
    wanted = {
        resource.RLIMIT_AS: space,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: int(limits["output_mb"] * (1 << 20)) + 1,
        resource.RLIMIT_MEMLOCK: 0,
        # After the start: a thread's stack is as large as the limit that the interpreter began under.
        resource.RLIMIT_STACK: min(STACK, space // 2),
    }
    if own_user:  # it counts a user's threads everywhere, so only a user of our own can have it
        wanted[resource.RLIMIT_NPROC] = 16 * limits["threads"] + 64
    for name in ("MSGQUEUE", "NICE", "RTPRIO", "SIGPENDING"):
        if (number := getattr(resource, f"RLIMIT_{name}", None)) is not None:
            wanted[number] = 0
    for number, value in wanted.items():
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


class Zygote:
    """Forks on request and reports how each process ended."""

    def __init__(self, control: socket.socket, watched: list[int], prepared: Any, config: dict[str, Any]) -> None:
        self.control = control
        self.watched = watched
        self.prepared = prepared
        self.open_files = config["limits"]["open_files"]
        self.output_bytes = int(config["limits"]["output_mb"] * (1 << 20))
        self.processes: dict[int, Process] = {}
        self.pid = os.getpid()
        self.die_with_zygote = linux.prepare_prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        self.has_pidfd = hasattr(os, "pidfd_open")
        self.poll = select.poll()
        for descriptor in (control.fileno(), *watched):
            self.poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        control = self.control.fileno()
        while True:
            for descriptor, _ in self.poll.poll(None if self.has_pidfd else 10):
                if descriptor == control:
                    self.accept()
                elif descriptor in self.watched:
                    os._exit(0)
                else:
                    self.reap(self.processes[descriptor])
            if not self.has_pidfd:
                for process in [*self.processes.values()]:
                    self.reap(process)

    def accept(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self.control, REQUEST.size, 2)
        if len(data) < REQUEST.size or len(descriptors) != 2:
            os._exit(0)
        cpu_seconds, filtered = REQUEST.unpack(data)
        channel, report = child.Channel(descriptors[0]), socket.socket(fileno=descriptors[1])
        try:
            pid = linux.fork() if sys.platform == "linux" else os.fork()
        except OSError as error:
            report.sendall(STARTED.pack(b"F", error.errno or 0))
            channel.socket.close()
            return
        if pid == 0:
            self.become_program(channel, cpu_seconds, bool(filtered))
        channel.socket.close()
        # Elsewhere than on Linux a process goes by its pid, and is looked after now and then.
        process = Process(pid, os.pidfd_open(pid) if self.has_pidfd else -pid, report)
        self.processes[process.pidfd] = process
        try:
            if self.has_pidfd:
                self.poll.register(process.pidfd, select.POLLIN)
                socket.send_fds(report, [STARTED.pack(b"S", pid)], [process.pidfd])
            else:
                report.sendall(STARTED.pack(b"S", pid))
        except OSError:  # the supervisor gave up on it
            os.kill(pid, signal.SIGKILL)

    def reap(self, process: Process) -> None:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            return
        del self.processes[process.pidfd]
        if self.has_pidfd:
            self.poll.unregister(process.pidfd)
            os.close(process.pidfd)
        with contextlib.suppress(OSError):
            process.report.sendall(ENDED.pack(b"E", status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss))
        process.report.close()

    def become_program(self, channel: child.Channel, cpu_seconds: int, filtered: bool) -> None:
        """In the forked process: keeps nothing of the zygote's but the program's socket, as descriptor 3."""
        try:
            if channel.descriptor != child.CHANNEL:
                os.dup2(channel.descriptor, child.CHANNEL, inheritable=False)
                channel = child.Channel()
            os.closerange(child.CHANNEL + 1, 1 << 16)
            if sys.platform == "linux":
                linux.call_prctl(self.die_with_zygote)
                if os.getppid() != self.pid:
                    os._exit(1)
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files, self.open_files))
            if filtered and self.prepared is not None:
                seccomp.install(self.prepared)
            child.serve(channel, self.output_bytes)
        finally:
            os._exit(child.BROKEN)
