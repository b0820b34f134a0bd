"""The wall clock of one test, which stands still while the process waits for a core.

    clock = WallClock(pid, seconds=13)
    clock.left()                        # seconds until the test must end

A program is ended by the CPU time that it uses, and by the wall clock where it sleeps. On a machine that does much
else, a program that only computes waits for a core as well: were that counted, its verdict would depend on the other
work.
"""

import time
from pathlib import Path

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
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0.0
    return max(map(_thread_waited, threads), default=0.0)


def _thread_waited(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError):  # a thread may just have ended
        return 0.0
