"""The wall clock of a test: sleeping counts, waiting for a core does not."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sandboxes import LIMITS

from raypeft.sandbox import Limits, Sandbox
from raypeft.sandbox.clock import MOST_WAITED, WallClock, waited
from raypeft.sandbox.zygote import NICENESS

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel does not count waiting")

COMPUTES = "from time import process_time\nwhile process_time() < 0.6:\n    pass\nprint(5)"
TESTS = {"inputs": [""], "outputs": ["5"]}


def compute(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        pass


@contextmanager
def busy(core: int, processes: int) -> Iterator[None]:
    """So many processes of usual priority that use one core, which this process and what it starts are kept to."""
    usual = os.sched_getaffinity(0)
    others = [multiprocessing.get_context("fork").Process(target=compute, args=(core,), daemon=True)
              for _ in range(processes)]  # fmt: skip
    os.sched_setaffinity(0, {core})
    for each in others:
        each.start()
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
        for each in others:
            each.kill()
            each.join()


def test_a_program_that_waits_for_a_core_is_not_ended_by_the_wall_clock() -> None:
    limits = Limits(**{**LIMITS, "seconds_per_test": 1.0, "wall_seconds_per_test": 1.0})
    with busy(min(os.sched_getaffinity(0)), 1), Sandbox(limits) as sandbox:
        began = time.monotonic()
        result = sandbox.run(COMPUTES, TESTS).tests[0]
    assert time.monotonic() - began > 1.2, "the machine was to be busy"
    assert result.passed, result


def test_programs_have_a_lower_priority_than_what_tests_them() -> None:
    with Sandbox(Limits(**LIMITS)) as sandbox:
        zygote = sandbox.zygotes[False].process.pid
        assert os.getpriority(os.PRIO_PROCESS, zygote) == min(os.getpriority(os.PRIO_PROCESS, 0) + NICENESS, 19)


def test_a_program_that_sleeps_on_a_busy_machine_is_ended_by_the_wall_clock() -> None:
    limits = Limits(**{**LIMITS, "seconds_per_test": 0.3, "wall_seconds_per_test": 0.3})
    with busy(min(os.sched_getaffinity(0)), 1), Sandbox(limits) as sandbox:
        began = time.monotonic()
        result = sandbox.run("import time\ntime.sleep(30)", TESTS).tests[0]
    assert result.outcome == "time_limit" and "wall-clock" in result.error
    assert time.monotonic() - began < 10


def test_the_kernel_counts_the_seconds_that_a_process_waited_for_a_core() -> None:
    with busy(min(os.sched_getaffinity(0)), 1):
        before, began = waited(os.getpid()), time.monotonic()
        while time.monotonic() < began + 0.5:
            pass
        mine = waited(os.getpid()) - before
    assert 0.1 < mine < 0.6


def test_a_test_does_not_wait_for_a_core_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WallClock(os.getpid(), 0.01)
    monkeypatch.setattr(sys.modules[WallClock.__module__], "waited", lambda _: clock.waited_before + 1e6)
    clock.end -= 0.01 * MOST_WAITED + 0.1
    assert clock.left() < 0


def test_of_a_process_whose_number_is_not_known_all_time_counts() -> None:
    assert waited(0) == 0.0
