"""Runs programs on their tests beside other work: a bounded queue, threads that wait for a sandbox, remembered answers.

    executor = Executor(SandboxWorker(SandboxSettings()).run)
    future = executor.submit(program, '{"inputs": ["1 2"], "outputs": ["3"]}')
    future.result().tests[0].outcome

Nothing is run in this process: the sandbox gives every program a process of its own. With Ray the same queue stands in
every trial, and what its threads wait for is another node's sandbox (`raypeft.services.cluster`).
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
"""(program, tests as JSON text) -> how it did. Safe to call from threads."""

WAITING = 1_000
"""Programs that may wait in a queue: a few batches of candidates, and little memory. Then decoding waits."""
REMEMBERED = 100_000
"""Answers that are kept; one of twenty tests takes some 5 kB."""


class SandboxWorker:
    """A sandbox that starts when it is first asked for. `run` may be called from threads."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.lock = threading.Lock()
        self.sandbox: Sandbox | None = None

    def run(self, program: str, tests: str) -> RunResult:
        """Raises SandboxUnavailable where the machine gives no sandbox, ValueError for tests of another form."""
        with self.lock:
            if self.sandbox is None:
                how = self.settings
                self.sandbox = Sandbox(how.limits, how.tier, how.allow_unsafe_execution)
        return self.sandbox.run(program, parse_tests(tests), self.settings.stop)


class Answers:
    """A run whose answers are remembered: equal programs on equal tests are run once, also when asked at once."""

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
                self.known.pop(key, None)  # a failure is no answer: the next one tries again
            mine.set_exception(error)
            raise
        mine.set_result(result)
        return result


class Executor:
    """A bounded queue before a `run`, worked off by threads."""

    def __init__(self, run: Run, workers: int | None = None, waiting: int = WAITING) -> None:
        """`workers` programs are run at once (None: one a CPU core); `waiting` more may wait."""
        workers = workers or cpu_count()
        self.answers = Answers(run)
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self.room = threading.BoundedSemaphore(workers + waiting)

    def submit(self, program: str, tests: str) -> Future[RunResult]:
        """The answer to come. Blocks while the queue is full. One that waits still may be cancelled."""
        self.room.acquire()
        future = self.threads.submit(self.answers, program, tests)
        future.add_done_callback(lambda _: self.room.release())
        return future


def cpu_count() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
