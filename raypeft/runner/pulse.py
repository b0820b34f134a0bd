"""Whether Ray still answers. A process of Ray's that stalls answers no call, and whoever calls would wait with it.

    with Pulse(say) as pulse:       # threads ask Ray for its nodes, again and again
        pulse.check()               # raises RayLost once Ray is lost
        pulse.nodes                 # as Ray told them last

A process that stalls is killed where it was started here: Ray waits without end for one that is there. Tune too asks
Ray in the main thread, and such a call hears neither of that nor of signals; where it does not come back, this process
is ended. Silence is counted in seconds in which this process runs, so that one that was stopped for a while (Ctrl-Z)
does not take its own silence for Ray's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import ray

ASK = 5.0
"""Seconds between two questions."""
SAY_AFTER, GIVE_UP = 30.0, 120.0
"""Seconds without an answer until it is said, and until Ray is lost."""
GRACE = 40.0
"""Seconds in which this process must have left a Ray that is lost. Ray would end it without a word after 60."""
TICK = 0.5
GO_ON = "; the same command goes on from what is stored"


class RayLost(Exception):
    """Ray itself has ended while trials were left. The message says what a user can do."""


class Pulse:
    """Asks Ray whether it lives, from threads, until the block is left; the block has to shut Ray down."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.nodes: Sequence[Mapping[str, Any]] = ()
        """The nodes of the cluster, as Ray told them last."""
        self.silence = 0.0
        """Seconds since the last answer."""
        self.lost: str | None = None
        """Why Ray is lost, and what to do."""
        self.over, self.left = threading.Event(), threading.Event()

    def __enter__(self) -> Pulse:
        self.node = ray._private.worker._global_node
        self.node_id = ray.get_runtime_context().get_node_id()
        for work in (self._ask, self._watch):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left.set()

    def check(self) -> None:
        """Raise RayLost where Ray is lost."""
        if self.lost:
            raise RayLost(f"{self.lost}{GO_ON}")

    def ask_no_more(self) -> None:
        """To be called before Ray is shut down: its processes end then, and are not lost."""
        self.over.set()

    def _ask(self) -> None:
        while not self.over.is_set():
            try:
                self.nodes = ray.nodes()
                self.silence = 0.0
            except Exception:  # noqa: S110  # no answer: Ray has many classes of errors
                pass
            self.over.wait(ASK)

    def _watch(self) -> None:
        while not self.lost and not self.over.wait(TICK):
            before, self.silence = self.silence, self.silence + TICK
            if before < SAY_AFTER <= self.silence:
                self.say(f"waiting: Ray has not answered for {SAY_AFTER:g} s (is the machine overloaded?); after "
                         f"{GIVE_UP:g} s the command ends")  # fmt: skip
            self._look()
        if not self.lost and not self.left.wait(GIVE_UP):
            self.lost = f"Ray did not shut down within {GIVE_UP:g} s"
        if self.lost and not self.left.wait(GRACE):
            self.say(f"{self.lost}{GO_ON}")
            os._exit(1)

    def _look(self) -> None:
        """Whether Ray is lost by now."""
        own = self.node if self.node is not None and self.node.head else None
        dead = {name for name, _ in own.dead_processes()} & {"raylet", "gcs_server"} if own else set()
        stalled = None
        if dead:
            self.lost = f"Ray's {' and '.join(sorted(dead))} ended (most often the machine ran out of memory)"
        elif any(node["NodeID"] == self.node_id and not node["Alive"] for node in self.nodes):
            stalled = "raylet"
            self.lost = "Ray has given up this machine, since its raylet does not answer (is the machine overloaded?)"
        elif self.silence >= GIVE_UP:
            stalled = "gcs_server"
            self.lost = f"Ray has not answered for {GIVE_UP:g} s"
        for name, process in own.live_processes() if own else ():
            if name == stalled:
                process.kill()
