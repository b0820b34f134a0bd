"""Runs programs on their tests in the background: a bounded queue, threads that wait for a sandbox, cached results.

    executor = Executor(SandboxWorker(SandboxSettings()).run)
    future = executor.submit(program, '{"inputs": ["1 2"], "outputs": ["3"]}')
    future.result().tests[0].outcome

No program runs in this process: the sandbox starts a process for each program. With Ray each trial has such a queue,
and its threads wait for sandboxes that may be on other nodes (`raypeft.services.cluster`).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from raypeft.sandbox import RunResult, Sandbox, SandboxSettings, parse_tests

Run = Callable[[str, str], RunResult]
"""(program, tests as JSON text) -> result. Safe to call from threads."""

WAITING = 1_000
"""Maximum number of waiting programs: a few batches of candidates, which need little memory. Then decoding waits."""
REMEMBERED = 100_000
"""Maximum number of cached results. A result of twenty tests takes about 5 kB."""


class SandboxWorker:
    """A sandbox that starts at its first use. `run` may be called from threads."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.lock = threading.Lock()
        self.sandbox: Sandbox | None = None

    def run(self, program: str, tests: str) -> RunResult:
        """Run a program on its tests.

        Raises SandboxUnavailable if the machine has no sandbox, and ValueError for tests in another format.
        """
        with self.lock:
            if self.sandbox is None:
                settings = self.settings
                self.sandbox = Sandbox(settings.limits, settings.tier, settings.allow_unsafe_execution)
        return self.sandbox.run(program, parse_tests(tests), self.settings.stop)


class Answers:
    """Caches the results of a run. Equal programs on equal tests run only once, even if they are asked for together."""

    def __init__(self, run: Run, most: int = REMEMBERED) -> None:
        self.run, self.most = run, most
        self.lock = threading.Lock()
        self.known: dict[bytes, Future[RunResult]] = {}

    def __call__(self, program: str, tests: str) -> RunResult:
        key = hashlib.sha256(f"{len(program)}\0{program}{tests}".encode("utf-8", "surrogatepass")).digest()
        with self.lock:
            answer = self.known.get(key)
            if answer is None:
                mine = self.known[key] = Future()
                if len(self.known) > self.most:
                    del self.known[next(iter(self.known))]  # the oldest
        if answer is not None:
            return replace(answer.result(), cached=True)
        try:
            result = self.run(program, tests)
        except BaseException as error:
            with self.lock:
                self.known.pop(key, None)  # an error is not cached: the next call tries again
            mine.set_exception(error)
            raise
        mine.set_result(result)
        return result


class Executor:
    """A bounded queue of programs, and threads that run them."""

    def __init__(self, run: Run, workers: int | None = None, waiting: int = WAITING) -> None:
        """`workers` programs run at the same time (None: one for each CPU core), and up to `waiting` more may wait."""
        workers = workers or cpu_count()
        self.answers = Answers(run)
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self.room = threading.BoundedSemaphore(workers + waiting)

    def submit(self, program: str, tests: str) -> Future[RunResult]:
        """The future result. Blocks while the queue is full. A program that has not started can be cancelled."""
        self.room.acquire()
        future = self.threads.submit(self.answers, program, tests)
        future.add_done_callback(lambda _: self.room.release())
        return future


def cpu_count() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
