"""`raypeft sandbox-check`: run a dataset's official solutions in this machine's sandbox, with load and without.

A right program that fails here would count against a model as well. The usual reason is a time limit on a busy machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from raypeft.data import DATASETS
from raypeft.records import Example
from raypeft.sandbox import Limits, RunResult, SandboxSettings, SandboxUnavailable, parse_tests
from raypeft.services.queue import Executor, SandboxWorker, cpu_count
from raypeft.trial.examples import sample

TESTED = sorted(name for name, each in DATASETS.items() if "tests" in each.judged_by)
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of running official solutions once each."""

    programs: int
    failed: dict[str, str]
    """Example id -> outcomes of its failed tests."""
    tier: str
    seconds: float
    longest: float
    """CPU time of the slowest test, in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft sandbox-check",
        description="Run a dataset's official solutions in the sandbox of this machine, and state the\n"
        "share of false failures: first with the machine as it is, then with every core kept\n"
        "busy by other work.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  raypeft sandbox-check mbpp --path mbpp.jsonl\n\nexit codes: 0 all pass; 1 some fail",
    )
    parser.add_argument("dataset", choices=TESTED, help="a dataset with tests")
    parser.add_argument("--path", help="folder or file of the dataset, if not its usual place")
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="problems, drawn at random (default: 200)")
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU time limit of one test (default: 4)")
    parser.add_argument("--no-load", action="store_true", help="leave out the second run, beside other work")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit must be at least 1 but got {options.limit}")
    try:
        solutions = list(official(options.dataset, options.path, options.limit))
        settings = SandboxSettings(Limits(seconds_per_test=options.seconds))
        print(f"{options.dataset}: {len(solutions)} official solutions, {options.seconds:g} s for each test")
        outcomes = [told("as it is", run(solutions, settings))]
        if not options.no_load:
            with load(cpu_count()):
                outcomes.append(told(f"beside {cpu_count()} busy processes", run(solutions, settings)))
    except (FileNotFoundError, ValueError, SandboxUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    if any(outcomes):
        print(
            "a solution that fails only under load needs more time: sandbox: {seconds_per_test: ...} in the sweep file"
        )
    return 1 if any(outcomes) else 0


def official(name: str, path: str | None, limit: int) -> Iterator[tuple[Example, str]]:
    """Test problems with tests and an official solution, and its program without what the tests add.

    Raises ValueError where there is none, and what loading raises.
    """
    splits = DATASETS[name].load(path, None)
    found = [each for each in splits["test"] if each.tests and each.code.strip() and not each.defect]
    if not found:
        raise ValueError(f"{name} must have test problems with tests and an official solution but has none")
    for example in sample(found, limit):
        yield example, example.code.removesuffix(parse_tests(example.tests).get("suffix") or "")


def run(solutions: Sequence[tuple[Example, str]], settings: SandboxSettings) -> Checked:
    """Run all solutions, as many at a time as a sweep does. Raises SandboxUnavailable."""
    worker, started = SandboxWorker(settings), time.perf_counter()
    try:
        executor = Executor(worker.run)
        futures = [(example, executor.submit(program, example.tests)) for example, program in solutions]
        results = [(example, future.result()) for example, future in futures]
        tier = worker.sandbox.tier if worker.sandbox else ""
    finally:
        if worker.sandbox is not None:
            worker.sandbox.close()
    failed = {example.id: outcomes(result) for example, result in results if not result.all_passed}
    longest = max((test.seconds for _, result in results for test in result.tests), default=0.0)
    return Checked(len(results), failed, tier, time.perf_counter() - started, longest)


def outcomes(result: RunResult) -> str:
    """The outcomes of the tests that failed, with their number."""
    counts = Counter(test.outcome for test in result.tests if not test.passed)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())


def told(how: str, checked: Checked) -> bool:
    """Print what came of a run; returns whether a solution failed."""
    share = len(checked.failed) / checked.programs
    print(f"{how}: {len(checked.failed)} of {checked.programs} fail ({share:.1%}), tier {checked.tier}, "
          f"{checked.seconds:.1f} s, the slowest test took {checked.longest:.2f} s of CPU time")  # fmt: skip
    for name, found in list(checked.failed.items())[:SHOWN]:
        print(f"  {name}: {found}")
    if len(checked.failed) > SHOWN:
        print(f"  and {len(checked.failed) - SHOWN} more")
    return bool(checked.failed)


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many cores busy meanwhile."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(100_000))"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()
