"""What goes into the sandbox and what comes out: limits, a test's result, a run's result.

limits = Limits(seconds_per_test=4, memory_mb=1024)
result.tests[0].outcome, result.tests[0].passed, result.tests[0].passed_paper, result.tests[0].seconds
result.isolation["tier"]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OUTCOMES = (
    "passed",
    "wrong_answer",
    "runtime_error",
    "compile_error",
    "time_limit",
    "memory_limit",
    "output_limit",
    "not_run",
)
TIERS = ("A", "B", "C", "U")


class SandboxUnavailable(RuntimeError):
    """This machine does not give the isolation that was asked for; the message says which part failed."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. A bad value raises ValueError.

    seconds_per_test is CPU time; wall_seconds_per_test (default: three times as much, and a second) ends what sleeps.
    memory_mb is address space in MiB on top of what the bare interpreter has mapped; output_mb is MiB of standard
    output, or of an encoded return value, of one test.
    """

    seconds_per_test: float = 4.0
    memory_mb: int = 1024
    output_mb: float = 16
    open_files: int = 64
    threads: int = 64
    wall_seconds_per_test: float | None = None

    def __post_init__(self) -> None:
        bounds = {
            "seconds_per_test": (0.01, 3600),
            "memory_mb": (64, 1 << 20),
            "output_mb": (0.001, 64),
            "open_files": (16, 1024),
            "threads": (1, 1024),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name} must be a number between {low} and {high} but got {value!r}")
        wall = self.wall_seconds_per_test
        if wall is not None and (not isinstance(wall, (int, float)) or not wall >= self.seconds_per_test):
            raise ValueError(
                f"wall_seconds_per_test must be at least seconds_per_test ({self.seconds_per_test}) but got {wall!r}"
            )

    @property
    def wall_seconds(self) -> float:
        """The wall-clock cap of one test in seconds."""
        return self.wall_seconds_per_test or 3 * self.seconds_per_test + 1

    @property
    def output_bytes(self) -> int:
        return int(self.output_mb * (1 << 20))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "wall_seconds_per_test": self.wall_seconds}


@dataclass(frozen=True)
class SandboxSettings:
    """Everything that decides how a program is run: what `Sandbox` and its `run` are given."""

    limits: Limits = field(default_factory=Limits)
    tier: str = "auto"
    stop: str | None = None
    allow_unsafe_execution: bool = False


@dataclass(frozen=True)
class TestResult:
    """One (program, test) pair. `seconds` is CPU time of the process; `error` says why a test did not end well."""

    __test__ = False  # not one of pytest's classes

    outcome: str
    passed: bool = False
    passed_paper: bool = False
    seconds: float = 0.0
    error: str = ""
    judged: str = "outside"
    """`outside` the sandbox, where no program can reach; `inside` for tests that must run in the program's process."""


@dataclass(frozen=True)
class RunResult:
    """A program's results, one per test in order, and under what isolation they came about (JSON-able)."""

    tests: list[TestResult]
    isolation: dict[str, Any] = field(default_factory=dict)
    cached: bool = False
    """Whether an equal program had been run on equal tests before, and this is its answer."""

    @property
    def all_passed(self) -> bool:
        return all(test.passed for test in self.tests)
