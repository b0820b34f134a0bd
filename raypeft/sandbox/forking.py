"""Forks a confined process for every request, and reports how each one ended: what the zygote does once it is ready.

forker = Forker(control, watched, filter, config); forker.rehearse(); forker.serve()

A request carries two sockets: one for the program, which only the forked process keeps, and one for the report, on
which the zygote sends the process's pidfd and, when it has ended, how.

Most of what a process costs is the pages that it has to copy because it writes to them, and to use an object is to
write to it. So this file and what a process runs are imported last, into memory of their own (`packing`), and all
of it is run in the zygote before the first fork (`rehearse`), so that no process has to make what can be made once.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import sys
from typing import Any

from raypeft.sandbox import child, linux, seccomp
from raypeft.sandbox.protocol import BROKEN, CHANNEL, FREE_DESCRIPTOR
from raypeft.sandbox.wire import ENDED, FORKED, GONE, NOT_FORKED, REQUEST, STARTED

_TWO = struct.Struct("ii")
_SETRLIMIT = resource.setrlimit
_ABOVE = 1 << 16


class Forker:
    """Forks on request and reports how each process ended."""

    def __init__(self, control: socket.socket, watched: list[int], prepared: Any, config: dict[str, Any]) -> None:
        self.watched = watched
        self.prepared = prepared
        self.open_files = config["limits"]["open_files"]
        self.output_bytes = int(config["limits"]["output_mb"] * (1 << 20))
        # In a pid namespace of their own processes have other pids outside, which only their pidfds tell there.
        self.tells_pids = config["tier"] != "A"
        self.processes: dict[int, tuple[int, socket.SocketType]] = {}
        self.pid = os.getpid()
        self.parent = self.pid
        self.death = linux.prepare_prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        self.has_pidfd = hasattr(os, "pidfd_open")
        self.fork = linux.fork if sys.platform == "linux" else os.fork
        self.limits = (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE)
        self.first_closed = CHANNEL + 1
        self.rehearsing = False
        self.poll = select.poll()
        self.control = control
        for descriptor in (control.fileno(), *watched):
            self.poll.register(descriptor, select.POLLIN)

    def rehearse(self) -> None:
        """Runs processes' lives without forking, confining or ending: what they would change stays as it is."""
        harmless = linux.prepare_prctl(linux.PR_SET_DUMPABLE, 0)
        ours, theirs = [
            socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, FREE_DESCRIPTOR))
            for one in socket.socketpair()
        ]
        stand_ins: dict[str, Any] = {
            "control": theirs,
            "fork": lambda: 0,
            "rehearsing": True,
            "first_closed": _ABOVE,
            "death": harmless,
            "parent": os.getppid(),
            "prepared": seccomp.Prepared(None, harmless),
            "limits": (resource.RLIMIT_CORE, resource.RLIMIT_CORE),
            "open_files": 0,
        }
        usual = {name: getattr(self, name) for name in stand_ins}

        def start(program_end: socket.socket) -> None:
            socket.send_fds(ours, [REQUEST.pack(0, 1)], [program_end.fileno(), ours.fileno()])
            program_end.close()
            self.accept()

        for name, value in stand_ins.items():
            setattr(self, name, value)
        child.rehearse(start)
        for name, value in usual.items():
            setattr(self, name, value)

    def serve(self) -> None:
        """Runs until the supervisor is gone. Never returns."""
        control = self.control.fileno()
        while True:
            for descriptor, _ in self.poll.poll(None if self.has_pidfd else 10):
                if descriptor == control:
                    self.accept()
                elif descriptor in self.watched:
                    os._exit(0)
                else:
                    self.reap(descriptor)
            if not self.has_pidfd:
                for descriptor in [*self.processes]:
                    self.reap(descriptor)

    def accept(self) -> None:
        data, ancillary, _, _ = self.control.recvmsg(REQUEST.size, 64)
        if len(data) < REQUEST.size or len(ancillary) != 1 or len(ancillary[0][2]) != _TWO.size:
            os._exit(0)
        cpu_seconds, filtered = REQUEST.unpack(data)
        program_end, report_end = _TWO.unpack(ancillary[0][2])
        channel = child.Channel(program_end)
        report = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, report_end)
        try:
            pid = self.fork()
        except OSError as error:
            report.send(STARTED.pack(NOT_FORKED, error.errno or 0))
            channel.socket.close()
            return
        if pid == 0:
            self.become_program(channel, cpu_seconds, filtered)
            return  # in a rehearsal
        channel.socket.close()
        # Elsewhere than on Linux a process goes by its pid, and is looked after now and then.
        pidfd = os.pidfd_open(pid) if self.has_pidfd else -pid
        self.processes[pidfd] = pid, report
        started = STARTED.pack(FORKED, pid if self.tells_pids else 0)
        try:
            if self.has_pidfd:
                self.poll.register(pidfd, select.POLLIN)
                report.sendmsg([started], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))])
            else:
                report.send(started)
        except OSError:  # the supervisor gave up on it
            os.kill(pid, signal.SIGKILL)

    def reap(self, pidfd: int) -> None:
        pid, report = self.processes[pidfd]
        pid, status, usage = os.wait4(pid, os.WNOHANG)
        if not pid:
            return
        del self.processes[pidfd]
        if self.has_pidfd:
            self.poll.unregister(pidfd)
            os.close(pidfd)
        with contextlib.suppress(OSError):
            report.send(ENDED.pack(GONE, status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss))
        report.close()

    def become_program(self, channel: child.Channel, cpu_seconds: int, filtered: int) -> None:
        """In the forked process: keeps nothing of the zygote's but the program's socket, as descriptor 3."""
        try:
            if channel.descriptor != CHANNEL:
                os.dup2(channel.descriptor, CHANNEL, inheritable=False)
                channel = child.Channel()
            os.closerange(self.first_closed, _ABOVE)
            if sys.platform == "linux":
                linux.call_prctl(self.death)
                if os.getppid() != self.parent:
                    os._exit(1)
            of_cpu, of_files = self.limits
            _SETRLIMIT(of_cpu, (cpu_seconds, cpu_seconds))
            _SETRLIMIT(of_files, (self.open_files, self.open_files))
            if filtered and self.prepared is not None:
                seccomp.install(self.prepared)
            child.serve(channel, self.output_bytes)
        finally:
            if not self.rehearsing:
                os._exit(BROKEN)
