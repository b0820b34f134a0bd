"""The tests of a trial's candidates: begun as the candidates come, gathered as rows when all are there.

    with CandidateTests(services, settings) as tests:
        tests.begin(example, candidates)            # while others are decoded
    tests.collect(trial.id)

`raypeft.metrics.functional` makes scores of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any

from raypeft import events
from raypeft.decoding.opening import unfenced
from raypeft.events import Listener, Stage
from raypeft.metrics.exact_match import clean_up, untuned_prediction
from raypeft.records import Candidate, Column, Example
from raypeft.sandbox import RunResult, SandboxSettings
from raypeft.sandbox.records import OUTCOMES
from raypeft.services.protocol import Services
from raypeft.stopping import Stop
from raypeft.trial.parts import Verdicts

PROBE = "print(input())", '{"inputs": ["1"], "outputs": ["1"]}'
"""A program and its test, to learn whether there is a sandbox before hours of training."""


COLUMNS = (
    Column(
        "cached_programs",
        int,
        "Candidates that were not run because an identical program had run on the same tests",
        "programs",
    ),
    Column("sandbox_tier", str, "Isolation of the programs: A, B, C or U (none). Several values if nodes differ"),
    Column("sandbox_isolation", str, "JSON text: limits of the sandbox, and what it measured of its own isolation"),
)
"""`CandidateTests.columns`."""
TESTS = (
    Column("id", str, "Id of the trial"),
    Column("example_id", str, "Id of the problem in its dataset"),
    Column("level", str, "Level of difficulty given by the dataset"),
    Column("rank", int, "Rank among the candidates of the problem, as in the table candidates"),
    Column("test", int, "Number of the test, counted from 0"),
    Column("outcome", str, f"Outcome of the test: {', '.join(OUTCOMES)}"),
    Column("passed", bool, "Whether the test passed"),
    Column("passed_paper", bool, "Whether the test passes by the rules of the APPS reference program"),
    Column("seconds", float, "CPU time of the program in this test", "seconds"),
    Column("error", str, "Error message if the test did not pass"),
    Column(
        "judged",
        str,
        "outside: the answer was compared outside the sandbox. inside: the test ran in the process of the program",
    ),
    Column("cached", bool, "Whether the result comes from an identical program that had run on the same tests"),
)
"""The table `tests`: `CandidateTests.collect`."""


def paper_program(text: str) -> str:
    """The program that the paper's code made of a candidate for APPS: cleaned up, cut at the first fence, stripped.

    The clean-up was meant for prose and changes programs: `x == ' '` becomes `x ==''` (replication package, commit
    3b31320: `decode` with `clean_up_tokenization_spaces`).
    """
    return untuned_prediction(clean_up(text))


class CandidateTests:
    """A trial's programs in the sandbox; entering the context tries it out, leaving it cancels what has not begun.

    Entering raises SandboxUnavailable where programs cannot be run in isolation, RuntimeError where they run wrongly.
    """

    def __init__(
        self,
        services: Services,
        settings: SandboxSettings,
        as_paper: bool = False,
        verdicts: Verdicts | None = None,
        stop: Stop | None = None,
    ) -> None:
        """`as_paper`: run what the paper's code wrote down of a candidate (`paper_program`).

        `verdicts` keeps results for the trial that goes on after an interruption. `stop` ends the waiting for tests.
        """
        self.services, self.settings, self.as_paper = services, settings, as_paper
        self.verdicts, self.stop = verdicts, stop or Stop()
        self.pending: list[tuple[Example, Candidate, Future[RunResult]]] = []
        self.kept = 0
        """How many of `pending`, from the first one on, `verdicts` has been told of."""
        self.isolations: dict[str, str] = {}
        self.cached = 0
        self.rows: list[dict[str, Any]] = []
        """Of every test, once they are collected."""

    def begin(self, example: Example, candidates: Sequence[Candidate]) -> None:
        """Queue an example's candidates. Waits while too many programs wait already."""
        for candidate in candidates:
            program = self._program(candidate)
            if self.verdicts and (known := self.verdicts.known(program, example.tests)):
                future: Future[RunResult] = Future()
                future.set_result(known)
            else:
                future = self.services.judge(program, example.tests, self.settings)
            self.pending.append((example, candidate, future))
        self._keep_verdicts()

    def _program(self, candidate: Candidate) -> str:
        """What is run of a candidate. One that has learnt fences keeps them in its text alone: they are no Python."""
        return paper_program(candidate.text) if self.as_paper else unfenced(candidate.text)

    def _keep_verdicts(self) -> None:
        """Tell `verdicts` of what has come since, up to the first program that still runs."""
        while self.verdicts and self.kept < len(self.pending):
            example, candidate, future = self.pending[self.kept]
            if not future.done() or future.cancelled() or future.exception():
                return
            self.verdicts.add(self._program(candidate), example.tests, future.result())
            self.kept += 1

    def _result(self, future: Future[RunResult]) -> RunResult:
        """Wait for a result. Raises Stopped where the trial was told to stop."""
        while True:
            self.stop.check()
            try:
                return future.result(timeout=1)
            except TimeoutError:
                if future.done():  # it came just after the wait was over, or the error is its own
                    return future.result()

    def collect(self, trial_id: str, listener: Listener = events.ignore) -> list[dict[str, Any]]:
        """One row a test of each candidate, in the order in which they were begun. Waits for all of them."""
        self.rows = []
        for done, (example, candidate, future) in enumerate(self.pending):
            listener(Stage("test", done, len(self.pending)))
            result = self._result(future)
            self._keep_verdicts()
            self.cached += result.cached
            # A sandbox's user id is drawn anew for each; all else tells machines apart.
            isolation = {name: value for name, value in result.isolation.items() if name != "uid"}
            self.isolations[json.dumps(isolation, sort_keys=True)] = str(isolation.get("tier"))
            for number, test in enumerate(result.tests):
                self.rows.append({
                    "id": trial_id,
                    "example_id": example.id,
                    "level": example.level,
                    "rank": candidate.rank,
                    "test": number,
                    "outcome": test.outcome,
                    "passed": test.passed,
                    "passed_paper": test.passed_paper,
                    "seconds": test.seconds,
                    "error": test.error or None,
                    "judged": test.judged,
                    "cached": result.cached,
                })  # fmt: skip
        listener(Stage("test", len(self.pending), len(self.pending)))
        return self.rows

    @property
    def columns(self) -> dict[str, Any]:
        """What the trial's row says of the sandbox: of every kind that answered, where nodes differ."""
        return {
            "sandbox_tier": ", ".join(sorted(set(self.isolations.values()))),
            "sandbox_isolation": f"[{', '.join(self.isolations)}]",
            "cached_programs": self.cached,
        }

    def __enter__(self) -> CandidateTests:
        result = self.services.judge(*PROBE, self.settings).result()
        if not result.all_passed:
            raise RuntimeError(f"the sandbox must pass a program that repeats its input but got {result.tests}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, _, future in self.pending:
            future.cancel()
        if self.verdicts and error is not None:  # the trial goes on later, or is run again after a fault
            self._keep_verdicts()
            with suppress(OSError):  # the error that ended the trial is the one to tell
                self.verdicts.store_waiting()
