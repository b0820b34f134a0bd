"""The wall clock of one test, which stands still while the process waits for a core.

    clock = WallClock(pid, seconds=13)
    clock.left()                        # seconds until the test must end

A program is ended by the CPU time that it uses, and by the wall clock where it sleeps. On a machine that does much
else, a program that only computes waits for a core as well: were that counted, its verdict would depend on the other
work.
"""

# ruff: noqa: PTH208 - it is asked before each test, and pathlib takes several times as long
import os
import time

MOST_WAITED = 20
"""Times its seconds that a test may wait for a core: a machine that gives none must not hold a sweep up for ever."""


class WallClock:
    """Begins when it is made. `pid` 0 is a process whose number is not known: then all time counts."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.pid, self.seconds = pid, seconds
        self.waited_before = waited(pid)
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the limit; 0 or less where it is reached."""
        left = self.end - time.monotonic()
        if left > 0:  # to look is not free
            return left
        return left + min(waited(self.pid) - self.waited_before, MOST_WAITED * self.seconds)


def waited(pid: int) -> float:
    """Seconds in which a process was ready to run and had no core: those of its thread that waited longest.

    The kernel's own count (the second number of `/proc/PID/task/TID/schedstat`). 0 where it keeps none.
    """
    folder = f"/proc/{pid}/task"
    try:
        threads = os.listdir(folder)
    except OSError:
        return 0.0
    return max((_thread_waited(f"{folder}/{each}/schedstat") for each in threads), default=0.0)


def _thread_waited(file: str) -> float:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:  # the thread may just have ended
        return 0.0
    try:
        return int(os.read(descriptor, 100).split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
    finally:
        os.close(descriptor)
