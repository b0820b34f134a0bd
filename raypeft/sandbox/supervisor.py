"""The sandbox's trusted side: keeps zygotes, gives each program a process, judges what it printed or returned.

    with Sandbox(limits=Limits(seconds_per_test=4), tier="auto") as sandbox:
        result = sandbox.run(program, {"inputs": ["1 2"], "outputs": ["3"]}, stop="first_fail")

`run` may be called from many threads. It forks nothing itself: it asks a zygote, a clean interpreter of its own, for a
process, so it is safe in a program that has threads. Expected answers stay on this side.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from raypeft.sandbox import selftest
from raypeft.sandbox.asserts import is_asserts, with_driver
from raypeft.sandbox.cases import Case, read_cases
from raypeft.sandbox.modules import needs_full
from raypeft.sandbox.process import Ending, Process, ZygoteLost
from raypeft.sandbox.records import TIERS, Limits, RunResult, SandboxUnavailable, TestResult
from raypeft.sandbox.spawn import Zygote

_ATTEMPTS = 3
_PAUSE = 0.5
"""Seconds before a tier is tried again; twice as many before the last time."""
UNSAFE = "allow_unsafe_execution=True"


class Sandbox:
    """Runs programs in the strongest tier that this machine proves to give, or in the one asked for.

    Raises SandboxUnavailable where the tier cannot be had, or its self-test finds a way out, and ValueError for a tier
    that does not exist. Tier U, without isolation, is taken only with allow_unsafe_execution=True.
    """

    def __init__(self, limits: Limits | None = None, tier: str = "auto", allow_unsafe_execution: bool = False) -> None:
        if tier != "auto" and tier not in TIERS:
            raise ValueError(f"tier must be auto or one of {', '.join(TIERS)} but got {tier!r}")
        self.limits = limits or Limits()
        self.owner = os.getpid()
        self.lock = threading.Lock()
        self.closed = False
        self.zygotes: dict[bool, Zygote] = {}
        self.tier, zygote = self._choose(tier, allow_unsafe_execution)
        self.zygotes[False] = zygote
        self.isolation: dict[str, Any] = {**zygote.facts, "limits": self.limits.as_dict()}

    def _choose(self, tier: str, unsafe: bool) -> tuple[str, Zygote]:
        """The first tier that starts and holds. Every way that fails is closed; what failed is told."""
        wanted = [one for one in TIERS if one != "U" or unsafe] if tier == "auto" else [tier]
        if wanted == ["U"] and not unsafe:
            raise SandboxUnavailable(
                f"tier U has no isolation: it needs {UNSAFE}, in a sweep sandbox: {{allow_unsafe_execution: true}}"
            )
        reasons = []
        for one in wanted:
            try:
                return one, self._started(one)
            except (SandboxUnavailable, ZygoteLost, OSError) as error:
                reasons.append(str(error))
        hint = "" if unsafe else f"; to run without isolation, on a machine that may be lost, pass {UNSAFE}"
        raise SandboxUnavailable(f"this machine gives no sandbox: {'; '.join(reasons)}{hint}")

    def _started(self, tier: str) -> Zygote:
        """A zygote of a tier that holds. What the machine lacks just now, such as memory, is no fault of the tier's."""
        for attempt in range(1, _ATTEMPTS + 1):
            zygote = None
            try:
                zygote = Zygote(self.limits, tier, full=False)
                selftest.check(zygote, tier)
                return zygote
            except BaseException as error:
                if zygote is not None:
                    zygote.close()
                if attempt == _ATTEMPTS or not isinstance(error, ZygoteLost | OSError):
                    raise
            time.sleep(_PAUSE * attempt)
        raise AssertionError("the last attempt returns or raises")

    def run(self, program: str | bytes, tests: Mapping[str, Any], stop: str | None = None) -> RunResult:
        """A program's results on its tests, in order.

        stop="first_fail" leaves out (not_run) what follows the first test that fails in both readings. Raises
        ValueError for tests in neither form (`raypeft.sandbox.cases`) and RuntimeError where the sandbox is closed.
        """
        if stop not in (None, "first_fail"):
            raise ValueError(f"stop must be None or first_fail but got {stop!r}")
        cases = read_cases(tests)
        try:
            text = program if isinstance(program, str) else program.decode("utf-8")
        except UnicodeDecodeError as error:
            text, failed = "", TestResult("compile_error", error=f"the program is no text: {error}"[:300])
            return RunResult([failed] * len(cases), self.isolation)
        asserts = is_asserts(tests)
        if asserts:
            text = with_driver(text, tests)
        results = _Run(self, text, cases, first_fail=stop == "first_fail", harness=not asserts).results()
        judged = [replace(result, judged="inside") if case.inside else result
                  for case, result in zip(cases, results, strict=True)]  # fmt: skip
        return RunResult(judged, self.isolation)

    def fork(self, full: bool, tests: int, lost: Zygote | None = None) -> tuple[Zygote, Process]:
        """A process for a program with so many tests. `lost` is a zygote that died, which is then replaced."""
        if os.getpid() != self.owner:
            raise RuntimeError("a sandbox belongs to the process that made it: make another one after a fork")
        cpu_seconds = math.ceil(self.limits.seconds_per_test * tests) + 2
        for attempt in range(_ATTEMPTS):
            zygote = self._zygote(full, lost)
            try:
                return zygote, zygote.fork(cpu_seconds)
            except ZygoteLost:
                lost = zygote
            except BlockingIOError:  # no process or memory to be had just now
                time.sleep(0.1 * 4**attempt)
        raise RuntimeError(f"the sandbox could not start a process in {_ATTEMPTS} attempts")

    def _zygote(self, full: bool, lost: Zygote | None) -> Zygote:
        with self.lock:
            if self.closed:
                raise RuntimeError("the sandbox is closed")
            current = self.zygotes.get(full)
            if current is not None and current is not lost:
                return current
            if current is not None:
                current.close()
            self.zygotes[full] = Zygote(self.limits, self.tier, full)
            return self.zygotes[full]

    def close(self) -> None:
        """Ends every process of the sandbox. May be called again."""
        with self.lock:
            self.closed = True
            if os.getpid() == self.owner:
                for zygote in self.zygotes.values():
                    zygote.close()
            self.zygotes.clear()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Run:
    """One program through its tests, over as many processes as it takes."""

    def __init__(self, sandbox: Sandbox, program: str, cases: list[Case], *, first_fail: bool, harness: bool) -> None:
        self.sandbox, self.program, self.cases = sandbox, program, cases
        self.first_fail, self.harness = first_fail, harness
        self.full = needs_full(program)
        self.done: list[TestResult] = []
        # A failure in a process that ran tests before is tried again in a fresh one. Where that gives the same, the
        # process is trusted from then on; where it does not, every further test gets a process of its own.
        self.doubted: TestResult | None = None
        self.trusting = False
        self.reusing = True

    def results(self) -> list[TestResult]:
        attempts, lost = 0, None
        while len(self.done) < len(self.cases):
            before = len(self.done)
            zygote, process = self.sandbox.fork(self.full, len(self.cases) - before, lost)
            lost = None
            try:
                with process:
                    self._use(process)
            except ZygoteLost:
                lost = zygote
                attempts = attempts + 1 if len(self.done) == before else 0
                if attempts == _ATTEMPTS:
                    self._add(Ending("runtime_error", f"the sandbox was lost {_ATTEMPTS} times in this test"))
            if self.first_fail and any(not (test.passed or test.passed_paper) for test in self.done):
                break
        missing = len(self.cases) - len(self.done)
        return self.done + [TestResult("not_run")] * missing

    def _use(self, process: Process) -> None:
        """Tests until the process must be left: it ended, was dirtied, or a result needs a fresh one."""
        first = len(self.done)
        fn_name = self.cases[first].fn_name
        failed = process.load(self.program, fn_name, self.harness)
        if failed is not None:
            for _ in self.cases[first:]:
                self._add(failed)
            return
        for index in range(first, len(self.cases)):
            case = self.cases[index]
            ending = process.test(index, case.stdin, case.args, call=fn_name is not None)
            passed = case.judge(ending)
            if index > first and not self.trusting and not passed[0] and ending.outcome != "time_limit":
                self.doubted = _result(ending, passed)
                return
            self._add(ending, passed)
            if self.doubted is not None:
                told, self.doubted, self.trusting = self.doubted, None, True
                self.reusing = told.outcome == self.done[-1].outcome
            if not self.reusing or ending.retire or process.status is not None or (self.first_fail and not any(passed)):
                return

    def _add(self, ending: Ending, passed: tuple[bool, bool] = (False, False)) -> None:
        self.done.append(_result(ending, passed))


def _result(ending: Ending, passed: tuple[bool, bool]) -> TestResult:
    outcome = ending.outcome
    if outcome == "ok":
        outcome = "passed" if passed[0] else "wrong_answer"
    return TestResult(outcome, *passed, seconds=round(ending.seconds, 6), error=ending.error)
