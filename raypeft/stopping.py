"""How a running trial is told to stop: a flag that it polls between steps, and the signals that set it.

    stop = Stop()
    with stop.on_signals():
        stop.check()                  # raises Stopped once a signal has come
        with stop.deferred():
            ...                       # a signal here only sets the flag: whoever polls it comes to a good end first

A trial of `python -m raypeft.trial` is told by signals, a trial of a sweep by the sweep's command.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE = 20
"""Seconds after which a signal stops what polls too rarely: half a minute is what batch systems give at the least."""
LAST_RESORT = 8
"""Seconds after that in which a process must have ended: one that waits within a library hears no signal."""
TOO_LATE = (
    f"ended {GRACE + LAST_RESORT} seconds after it was told to stop, in the middle of its work: what is stored "
    f"stays, and the same command goes on from there\n"
).encode()
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""SIGUSR1 is what SLURM sends before a job's end if it is asked to (`--signal=USR1@60`)."""


class Stopped(BaseException):
    """The process was told to stop. As KeyboardInterrupt it is no Exception: no handler of faults takes it for one."""

    def __init__(self, number: int, is_time_over: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.is_time_over = number, is_time_over

    @property
    def exit_code(self) -> int:
        """As shells report a process that the signal ended."""
        return 128 + self.number


class Stop:
    """Whether to stop. `number` is the signal, once one has come."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_time_over = False
        """Whether it was the time budget that set the flag."""
        self.polling = 0
        """How many blocks are entered that poll the flag."""

    def check(self) -> None:
        """Raise Stopped where a signal has come."""
        if self.number is not None:
            raise Stopped(self.number, self.is_time_over)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block whose code calls `check` where it can stop without a loss."""
        self.polling += 1
        try:
            yield
        finally:
            self.polling -= 1

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Set the flag on the first signal; raise Stopped at once on a second one, or where nothing polls the flag.

        A signal that the process was started to ignore (`nohup`) stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {each: signal.getsignal(each) for each in (*SIGNALS, signal.SIGALRM)}
        self.listen()
        try:
            with last_resort():
                yield
        finally:
            if self.number is not None:
                signal.alarm(0)  # ours; another one stays
            for each, handler in before.items():
                signal.signal(each, handler)

    def listen(self) -> None:
        """Set the handlers; again, where a library has set its own since."""
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        first, self.number = self.number is None, self.number or number
        if number == getattr(signal, "SIGHUP", None):
            leave_terminal()
        if not first or not self.polling:
            signal.alarm(0)
            raise Stopped(self.number)
        signal.signal(signal.SIGALRM, self._told)
        signal.alarm(GRACE)


@contextmanager
def time_budget(hours: float | None) -> Iterator[Stop]:
    """A `Stop` that is set after so many hours, as by SIGUSR1. None: by signals alone."""
    stop, over = Stop(), threading.Event()

    def wait() -> None:
        if not over.wait(3600 * (hours or 0)) and stop.number is None:
            stop.is_time_over, stop.number = True, int(signal.SIGUSR1)

    if hours is not None:
        threading.Thread(target=wait, daemon=True).start()
    try:
        yield stop
    finally:
        over.set()


@contextmanager
def last_resort() -> Iterator[None]:
    """End this process some time after a signal, even if it waits within a library, where Python's handlers wait too.

    Python writes the number of each signal to a socket at once; a thread reads it.
    """
    over, (reader, writer) = threading.Event(), socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while number := reader.recv(1):
            if number[0] in SIGNALS and not over.wait(GRACE + LAST_RESORT):
                with suppress(OSError):
                    os.write(2, TOO_LATE)
                os._exit(128 + number[0])

    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        writer.close()


def leave_terminal() -> None:
    """Let what is still written to a terminal that has gone go nowhere: it would be an error."""
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def end_quietly() -> None:
    """End this process without a traceback on Ctrl-C, until other handlers are set. Nothing may have begun yet."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
