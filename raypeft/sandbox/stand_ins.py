"""What programs get in place of what no program may have: files, devices, pipes and a larger stack.

builtins.open, os.open = opened, opened_descriptor
install()     # in the zygote, once the modules are loaded

asyncio's event loops watch one end of a socket pair, so that another thread can wake them. The filter of system calls
offers neither sockets nor pipes; here both ends are one plain object, and the selector knows it.
"""

from __future__ import annotations

import io
import os
import resource
import select
import socket
import sys
import threading
from collections.abc import Iterable
from typing import Any

_FIRST = 1 << 20
"""The numbers of such ends begin here, above those of all descriptors."""
_POLL = 0.005
"""Seconds between two looks at the ends where a loop watches descriptors as well."""


class _Waker:
    """Both ends of a pair: what is sent is only that something was."""

    known: dict[int, _Waker] = {}  # noqa: RUF012 - one table for all

    def __init__(self) -> None:
        self.number = _FIRST + len(self.known)
        self.known[self.number] = self
        self.sent = threading.Event()

    def fileno(self) -> int:
        return self.number

    def setblocking(self, blocking: bool) -> None:
        pass

    def send(self, data: bytes) -> int:
        self.sent.set()
        return len(data)

    def recv(self, size: int) -> bytes:
        self.sent.clear()
        return b""

    def close(self) -> None:
        pass


def _socketpair(*arguments: Any) -> tuple[Any, Any]:
    """A waker for asyncio; for others what the filter says of a real pair."""
    if sys._getframe(1).f_globals.get("__name__") != "asyncio.selector_events":
        return _SOCKETPAIR(*arguments)
    waker = _Waker()
    return waker, waker


_SOCKETPAIR = socket.socketpair


def _select(
    self: Any, readers: Iterable[int], writers: Iterable[int], others: Iterable[int], timeout: float | None = None
) -> tuple[list[int], list[int], list[int]]:
    """As `select.select`, with wakers among the readers."""
    wakers = [_Waker.known[each] for each in readers if each >= _FIRST]
    real = [each for each in readers if each < _FIRST]
    if not wakers:
        return select.select(real, writers, others, timeout)
    if not real and not writers:
        wakers[0].sent.wait(timeout)  # a loop has one
    ready: tuple[list[int], list[int], list[int]] = ([], [], [])
    while real or writers:
        wait = _POLL if timeout is None else min(timeout, _POLL)
        ready = select.select(real, writers, others, wait)
        timeout = None if timeout is None else timeout - wait
        if any(ready) or any(each.sent.is_set() for each in wakers) or (timeout is not None and timeout <= 0):
            break
    return [*ready[0], *(each.number for each in wakers if each.sent.is_set())], ready[1], ready[2]


def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    """The built-in `open`, but that "input.txt" is standard input and "output.txt" standard output.

    No program can open a device. `/dev/stdin` and the like are copies of the descriptors that programs have.
    """
    name = file if isinstance(file, str) else file.__fspath__() if hasattr(file, "__fspath__") else None
    if name is None:
        return _FILE_OPEN(file, mode, *args, **kwargs)
    writing = any(letter in mode for letter in "wax+")
    if name in _DEVICES:
        descriptor = _DEVICES[name]
        if name == _NOTHING or writing == (descriptor > 0):
            return _FILE_OPEN(os.dup(descriptor), mode.replace("x", "w"), *args, **kwargs)
    if isinstance(name, str) and name.lower() == ("output.txt" if writing else "input.txt"):
        file, mode = (1, mode.replace("x", "w")) if writing else (0, mode)
        kwargs = {**kwargs, "closefd": False}
    return _FILE_OPEN(file, mode, *args, **kwargs)


def opened_descriptor(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    """`os.open`, but that devices are copies of the descriptors that programs have."""
    if isinstance(path, str) and path in _DEVICES:
        return os.dup(_DEVICES[path])
    return _DESCRIPTOR_OPEN(path, flags, *args, **kwargs)


_NOTHING = "/dev/null"
_DEVICES = {
    f"{folder}{descriptor}": descriptor for folder in ("/dev/fd/", "/proc/self/fd/") for descriptor in range(3)
} | {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2, _NOTHING: 2}
"""Standard error is /dev/null (`raypeft.sandbox.spawn`), open for both."""
_FILE_OPEN = io.open
_DESCRIPTOR_OPEN = os.open


def setrlimit(which: int, limits: tuple[int, int]) -> None:
    if which != resource.RLIMIT_STACK:
        _SETRLIMIT(which, limits)


_SETRLIMIT = resource.setrlimit


def _temporary_file(mode: str = "w+b", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
    """As `tempfile.TemporaryFile`, in memory."""
    return sys.modules["tempfile"].SpooledTemporaryFile(0, mode, buffering, *args, **kwargs)


def install() -> None:
    """Put the stand-ins into the modules that are loaded, but for `opened`, `opened_descriptor` and `setrlimit`."""
    if "tempfile" in sys.modules:
        sys.modules["tempfile"].TemporaryFile = _temporary_file  # type: ignore[attr-defined]
    selectors = sys.modules.get("selectors")
    if selectors is None:
        return
    selectors.DefaultSelector = type("SelectSelector", (selectors.SelectSelector,), {"_select": _select})  # type: ignore[attr-defined]
    socket.socketpair = _socketpair  # type: ignore[assignment]
