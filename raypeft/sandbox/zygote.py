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
import signal
import socket
import stat
import sys
from typing import Any

from raypeft.sandbox import landlock, linux, namespaces, packing, seccomp
from raypeft.sandbox.modules import COMMON, NUMPY, RARE
from raypeft.sandbox.protocol import CHANNEL, FREE_DESCRIPTOR, Frames, pack

STACK = 512 << 20
THREAD_STACK = 8 << 20
NICENESS = 5
"""Of programs: beside one that computes all the time, a program gets a quarter of a core instead of half of it."""


def main(control_fd: int, watch_fd: int) -> None:
    """Runs until the supervisor is gone. Never returns."""
    # CHANNEL is kept free: the first descriptor to arrive with a request is then the program's channel.
    control = socket.socket(fileno=_out_of_the_way(control_fd))
    watch_fd = _out_of_the_way(watch_fd)
    os.closerange(CHANNEL, FREE_DESCRIPTOR)
    try:
        config = _receive(control)
        path = list(sys.path)
        uid = _load_modules(config)
        if sys.platform == "linux":
            packing.copy_tables_at_fork()
        filling = [packing.fill_holes()]
        from raypeft.sandbox import child, forking  # only now: see forking

        facts, watched = _lock_down(config, path, uid)
        watched = [_out_of_the_way(one) for one in (watch_fd, *watched)]
        os.closerange(CHANNEL, FREE_DESCRIPTOR)
        child.take_baseline(THREAD_STACK)
        prepared = None
        if config["tier"] != "U":
            architecture = linux.machine()
            assert architecture, "the filter is written for x86-64 and arm64"
            prepared = seccomp.prepare(seccomp.build_filter(architecture, open_files=config["tier"] != "C"))
        forker = forking.Forker(control, watched, prepared, config)
        if hasattr(os, "memfd_create"):
            forker.rehearse()
        child.prepare()
    except BaseException as error:
        control.sendall(pack({"failed": f"{type(error).__name__}: {error}"[:500]}))
        os._exit(1)
    for name in [name for name in sys.modules if name.startswith("raypeft")]:
        del sys.modules[name]
    gc.collect()
    filling.append(packing.fill_holes())
    gc.freeze()
    control.sendall(pack({"ready": facts}))
    forker.serve()


def _out_of_the_way(descriptor: int) -> int:
    """A copy of the descriptor among the zygote's own."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTOR)


def _receive(control: socket.socket) -> dict[str, Any]:
    frames = Frames(limit=1 << 20)
    while (message := frames.next()) is None:
        data = control.recv(65536)
        if not data:
            os._exit(0)
        frames.feed(data)
    return message


def _load_modules(config: dict[str, Any]) -> int | None:
    """Loads what programs import. Returns the user to become, if any."""
    tier, path = config["tier"], list(sys.path)
    uid = namespaces.sandbox_uid() if tier != "U" and os.geteuid() == 0 else None
    loadable = tier != "C" and (tier != "B" or uid is None or _anyone_can_read(os.path.dirname(os.__file__)))
    sys.path += config["site"]
    for name in COMMON + ([] if loadable and not config["full"] else RARE) + (NUMPY if config["site"] else []):
        try:
            importlib.import_module(name)
        except ImportError:  # a build without that module, or the other version of Python
            continue
    sys.path[:] = path
    return uid


def _lock_down(config: dict[str, Any], path: list[str], uid: int | None) -> tuple[dict[str, Any], list[int]]:
    """Gives up every right that no program needs. Returns what was found, and pidfds to watch."""
    tier, limits = config["tier"], config["limits"]
    sys.path[:] = [] if tier == "C" else path
    readable = [folder for folder in [*path, *config["readable"]] if os.path.isdir(folder)]
    _be_killed_first()
    _yield_cores()
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


def _yield_cores() -> None:
    """Programs are tested while models decode, and decoding waits for its core. Only where the kernel tells how long a
    program waited (`clock.py`): else its limit of wall-clock time would end it for the other work."""
    if os.access("/proc/self/schedstat", os.R_OK):
        os.nice(NICENESS)
        with contextlib.suppress(OSError):  # where the kernel divides cores among sessions, that of the session counts
            linux.write_file("/proc/self/autogroup", str(NICENESS))


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
