"""One sandboxed process, as the supervisor sees it: sends tests, waits within limits, kills, says how a test ended.

    with zygote.fork(cpu_seconds=20) as process:
        process.load(program, fn_name=None)            # an Ending where it cannot be loaded, else None
        ending = process.test(0, stdin=b"1 2")         # how it ended, what it printed or returned, CPU seconds

All deadlines are kept here. The process's own messages are believed only as far as it could do the same honestly.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypeft.sandbox.clock import WallClock
from raypeft.sandbox.descriptors import anonymous_file, pid_of, write_all
from raypeft.sandbox.protocol import OUT_OF_MEMORY, Frames, ProtocolError, decode_value, pack
from raypeft.sandbox.records import Limits
from raypeft.sandbox.wire import ENDED, FORKED, STARTED

TICK = 0.05
"""Seconds between two looks at a running process's CPU time and threads."""
ZYGOTE_PATIENCE = 30.0
"""Seconds to wait for the zygote, which answers within milliseconds unless the machine stands still."""
_ENDS = {"error": "runtime_error", "compile": "compile_error", "memory": "memory_limit", "output": "output_limit"}


class ZygoteLost(Exception):
    """The zygote died, and its processes with it."""


@dataclass(frozen=True)
class Ending:
    """How a test ended: "ok" or an outcome; `value` is the decoded return value of a call."""

    outcome: str
    error: str = ""
    seconds: float = 0.0
    printed: bytes = b""
    value: Any = None
    retire: bool = True


class _Stopped(Exception):
    """The process was, or is to be, stopped within a test."""

    def __init__(self, outcome: str, error: str = "") -> None:
        super().__init__(outcome, error)
        self.outcome, self.error = outcome, error


class Process:
    """Made by `Zygote.fork`; a context that leaves no process behind."""

    def __init__(self, channel: socket.socket, report: socket.socket, limits: Limits, cpu_seconds: int) -> None:
        self.channel, self.report, self.limits, self.cpu_seconds = channel, report, limits, cpu_seconds
        self.frames = Frames(limit=limits.output_bytes + 4096)
        self.pidfd = -1
        self.status: int | None = None
        self.cpu_used = 0.0
        self.poll = select.poll()
        self._receive_start()
        self.poll.register(channel, select.POLLIN)
        self.poll.register(report, select.POLLIN)

    def _receive_start(self) -> None:
        self.report.settimeout(ZYGOTE_PATIENCE)
        try:
            data, ancillary, _, _ = self.report.recvmsg(STARTED.size, 64)
        except OSError as error:
            raise ZygoteLost(str(error)) from None
        if len(data) < STARTED.size:
            raise ZygoteLost("the zygote closed its report")
        kind, self.pid = STARTED.unpack(data)
        if kind != FORKED:
            raise BlockingIOError(self.pid, f"the zygote could not fork: {os.strerror(self.pid)}")
        if ancillary:
            (self.pidfd,) = struct.unpack("i", ancillary[0][2])
            self.pid = self.pid or pid_of(self.pidfd) or 0

    def load(self, program: str, fn_name: str | None, harness: bool = True) -> Ending | None:
        """Sends the program. Returns how it failed to compile or, call-based, to load; None where it did not.

        `harness`: the names that the APPS harness imports ahead of a program are built in.
        """
        self._begin()
        try:
            self._send(pack({"program": program, "fn_name": fn_name, "harness": harness}))
            message = self._await_message()
            if message == {"loaded": True}:
                return None
            return Ending(self._end_of(message, None), _text(message.get("error")), self._cpu())
        except _Stopped as stop:
            outcome = "runtime_error" if stop.outcome == "ok" else stop.outcome
            return Ending(outcome, stop.error or "the process ended while the program was loaded", self._cpu())

    def test(self, index: int, stdin: bytes = b"", args: Any = None, call: bool = False) -> Ending:
        """Runs one test. `args` is an encoded list of arguments, for a call."""
        with anonymous_file() as given, anonymous_file() as printed:
            write_all(given, stdin)
            os.lseek(given, 0, os.SEEK_SET)
            self._begin()
            try:
                self._send(pack({"test": index, **({"args": args} if call else {})}), [given, printed])
                message = self._await_message()
                ending = self._judge_message(message, index, call)
            except _Stopped as stop:
                outcome = "runtime_error" if stop.outcome == "ok" and call else stop.outcome
                ending = Ending(outcome, stop.error)
            return self._with_output(ending, printed)

    def _with_output(self, ending: Ending, printed: int) -> Ending:
        size, seconds = os.fstat(printed).st_size, self._cpu() - self.cpu_before
        outcome, error = ending.outcome, ending.error
        if seconds > self.limits.seconds_per_test:
            outcome, error = "time_limit", f"used {seconds:.2f} CPU seconds"
        elif size > self.limits.output_bytes and outcome != "time_limit":
            outcome, error = "output_limit", f"printed more than {self.limits.output_bytes} bytes"
        data = os.pread(printed, size, 0) if outcome == "ok" else b""
        return Ending(outcome, error, max(seconds, 0.0), data, ending.value, ending.retire or outcome == "time_limit")

    def _judge_message(self, message: dict[str, Any], index: int, call: bool) -> Ending:
        outcome = self._end_of(message, index)
        value = None
        if outcome == "ok" and call:
            try:
                value = decode_value(message.get("value"))
            except ProtocolError as error:
                raise self._violation(str(error)) from None
        return Ending(outcome, _text(message.get("error")), value=value, retire=message.get("retire") is not False)

    def _end_of(self, message: dict[str, Any], index: int | None) -> str:
        end = message.get("end")
        known = isinstance(end, str) and (end in _ENDS or (end == "ok" and index is not None))
        if not known or message.get("test") != index or isinstance(message.get("test"), bool) or self.frames.data:
            raise self._violation("a message is out of turn")
        return _ENDS.get(str(end), "ok")

    def _violation(self, what: str) -> _Stopped:
        return self._killed("runtime_error", f"the process did not speak the protocol: {what}"[:200])

    def _begin(self) -> None:
        self.cpu_before = self._cpu()
        self.wall = WallClock(self.pid, self.limits.wall_seconds)

    def _send(self, data: bytes, descriptors: list[int] | None = None) -> None:
        """A process that is already gone shows when its answer is awaited."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[self.channel.sendmsg([left], rights, socket.MSG_DONTWAIT) :]
                    rights = []
                except BlockingIOError:
                    self._wait_to_send()
        except OSError:
            pass

    def _wait_to_send(self) -> None:
        poll = select.poll()
        poll.register(self.channel, select.POLLOUT)
        while not poll.poll(1000 * max(self.wall.left(), 0.01)):
            if self.wall.left() <= 0:
                raise self._killed("time_limit", "the process did not take its input")

    def _await_message(self) -> dict[str, Any]:
        """The next message. Raises _Stopped where the process ends, or has to be ended, before it is complete."""
        wait = min(TICK, self.limits.seconds_per_test)
        look_at = time.monotonic() + wait
        while True:
            try:
                if (message := self.frames.next()) is not None:
                    return message
            except ProtocolError as error:
                raise self._violation(str(error)) from None
            if self.status is not None:
                raise self._ended()
            ready = self.poll.poll(1000 * wait)
            if not ready or time.monotonic() >= look_at:  # a process that keeps sending is looked at all the same
                wait = self._next_look()
                look_at = time.monotonic() + wait
            for descriptor, _ in ready:
                if descriptor == self.report.fileno():
                    self._read_report()
                    while self._read_channel():
                        pass
                else:
                    self._read_channel()

    def _next_look(self) -> float:
        """Seconds until the process must be looked at again. Raises _Stopped where a limit is reached."""
        left = self.wall.left()
        cpu_left = self.limits.seconds_per_test - (self._cpu() - self.cpu_before)
        if left <= 0 or cpu_left <= 0:
            what = "CPU" if cpu_left <= 0 else "wall-clock"
            raise self._killed("time_limit", f"more {what} seconds than a test may take")
        if (threads := self._threads()) > self.limits.threads:
            raise self._killed("runtime_error", f"{threads} threads, of which a program may have {self.limits.threads}")
        return min(TICK, left, max(cpu_left, 0.001))

    def _read_channel(self) -> bool:
        """Takes what there is, without waiting. Returns whether there may be more."""
        try:
            data = self.channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self.frames.feed(data)
        if not data:  # closing the channel is no end: what counts is how the process ends
            with contextlib.suppress(KeyError):
                self.poll.unregister(self.channel)
        return bool(data) and len(self.frames.data) <= self.frames.limit + 4

    def _read_report(self) -> None:
        try:
            data = self.report.recv(ENDED.size)
        except OSError:
            data = b""
        if len(data) < ENDED.size:
            raise ZygoteLost("the zygote died")
        _, self.status, user, system, _ = ENDED.unpack(data)
        self.cpu_used = user + system

    def _ended(self) -> _Stopped:
        """What an end of the process's own making means."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code == 0:
            return _Stopped("ok")
        if code == OUT_OF_MEMORY:
            return _Stopped("memory_limit", "no memory was left to report with")
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and self.cpu_used > self.cpu_seconds - 0.5):
            return _Stopped("time_limit", "the kernel's limit of CPU seconds")
        if code == -signal.SIGKILL:
            return _Stopped("memory_limit", "killed by the kernel")
        return _Stopped("runtime_error", f"exit code {code}" if code > 0 else f"signal {-code}")

    def _killed(self, outcome: str, error: str) -> _Stopped:
        self.kill()
        return _Stopped(outcome, error)

    def kill(self) -> None:
        """Ends the process and waits until it is gone."""
        if self.status is not None:
            return
        self._cpu()
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        self._read_report()

    def _cpu(self) -> float:
        """CPU seconds that the process has used so far, by the kernel's count."""
        if self.status is None and self.pid and sys.platform == "linux":
            try:  # noqa: SIM105 - for speed
                self.cpu_used = max(self.cpu_used, time.clock_gettime((~self.pid << 3) | 2))
            except OSError:  # it may just have ended
                pass
        return self.cpu_used

    def _threads(self) -> int:
        try:
            return int(Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[17])
        except (OSError, IndexError):
            return 1

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.kill()
        finally:
            self.close()

    def close(self) -> None:
        self.channel.close()
        self.report.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def _text(value: object) -> str:
    """What the process says of an error, as text that can be stored."""
    return value[:300].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
