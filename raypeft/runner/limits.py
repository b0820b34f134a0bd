"""Limits to waiting: for Ray to start, and for a trial to say something. Nothing that a sweep waits for may hang it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

START_SECONDS = 120.0
START_VARIABLE = "RAYPEFT_RAY_START_SECONDS"
"""Environment variable that overrides `START_SECONDS`, for machines where Ray takes longer to start."""
LAST_RESORT = 10.0
"""Seconds after a limit in which the waiting must have ended: a library that never comes back hears no signal."""
NO_START = 2
"""The exit code of a command that could not begin."""


def start_seconds() -> float:
    """How long Ray may take to start, in seconds. Raises ValueError for a value that is no positive number."""
    text = os.environ.get(START_VARIABLE, "")
    try:
        seconds = float(text) if text else START_SECONDS
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(f"{START_VARIABLE} must be a positive number of seconds but got {text!r}")
    return seconds


@contextmanager
def time_limit(seconds: float, message: str) -> Iterator[None]:
    """Raise TimeoutError(message) where the block, in the main thread, takes longer.

    Where it does not even hear of that, the process prints the message and ends with `NO_START`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(message)

    def end() -> None:
        print(message, file=sys.stderr, flush=True)
        os._exit(NO_START)

    fallback = threading.Timer(seconds + LAST_RESORT, end)
    fallback.daemon = True
    before = signal.signal(signal.SIGALRM, late)
    fallback.start()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        fallback.cancel()
        signal.signal(signal.SIGALRM, before)
