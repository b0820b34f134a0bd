"""Functional scores: what share of their tests do the candidates pass, and how often do they pass all of them?

    from raypeft.metrics.functional import pass_at_k, shares_passed
    shares_passed({"two-sum": [True, False], "max": [-2]})      # {"two-sum": 0.5, "max": 0.0}
    pass_at_k(n=5, c=2, k=2)                                    # 0.7

`results` maps each problem to one verdict a test, in the codes of the APPS reference (Hendrycks et al., arXiv
2105.09938): True passed, False a wrong answer, -1 raised or out of time, -2 does not compile or lacks the function. A
problem with several candidates maps to a list of such lists; a candidate that does not compile may have a single -2 for
all tests.

A problem without tests, or without candidates, is left out of every score, and never counts as passed. Nothing is run
here: verdicts come from the sandbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import prod
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from raypeft.metrics import intervals
from raypeft.metrics.metric import WIDE, Answers, Metric, Row, Score, Values
from raypeft.records import Column
from raypeft.sandbox.records import OUTCOMES

Problem = TypeVar("Problem", bound=Hashable)
Results = Mapping[Problem, Sequence[Any]]
"""Problem -> verdicts of its one candidate, or a list of such lists, one a candidate."""

VERDICTS = (True, False, -1, -2)
VERDICT = {"passed": False, "wrong_answer": False, "compile_error": -2}
"""An outcome that did not pass, as a verdict; -1 what is not here."""
PASS_CUTS = (1, 2, 5)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance, in [0, 1], that k of a problem's n candidates, drawn without putting back, hold one of the c that pass.

    Unbiased: 1 - C(n-c, k) / C(n, k), as the product of 1 - k/i, which neither overflows nor cancels (Chen et al.,
    arXiv 2107.03374, section 2.1). Raises ValueError unless 1 <= k <= n and 0 <= c <= n, all whole numbers.
    """
    for name, value in (("n", n), ("c", c), ("k", k)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} must be a whole number but got {value!r}")
    if not 0 <= c <= n:
        raise ValueError(f"c must be from 0 to the n = {n} candidates of the problem but got {c}")
    if not 1 <= k <= n:
        raise ValueError(f"k must be from 1 to the n = {n} candidates of the problem but got {k}")
    return 1.0 - prod(1.0 - k / i for i in range(n - c + 1, n + 1)) if n - c >= k else 1.0


def shares_passed(results: Results[Problem]) -> dict[Problem, float]:
    """For each problem with tests, the share that its candidates pass, in [0, 1]: mean over tests, then candidates.

    The mean over problems is `avg_tests_passed`. Raises ValueError for a verdict that is none of True, False, -1, -2,
    for a problem that mixes verdicts and lists, and for a candidate without verdicts beside one that has some: its
    tests were not run, which is not a score. Source: Hendrycks et al. (arXiv 2105.09938), "test case average"; the mean
    over candidates is this project's reading of arXiv 2308.10462, Table 4.
    """
    return {
        problem: _mean([_mean([float(verdict == 1) for verdict in verdicts]) for verdicts in candidates])
        for problem, candidates in _with_tests(results)
    }


def candidates_passed(results: Results[Problem]) -> dict[Problem, tuple[int, int]]:
    """For each problem with tests, (n, c) for pass_at_k: its candidates, and how many of them pass every test.

    The mean of c / n over problems is `strict_accuracy`; with one number of candidates for all it is pass@1. Raises
    what `shares_passed` raises. Source: Hendrycks et al. (arXiv 2105.09938), "strict accuracy".
    """
    return {
        problem: (len(candidates), sum(all(verdict == 1 for verdict in verdicts) for verdicts in candidates))
        for problem, candidates in _with_tests(results)
    }


def _with_tests(results: Results[Problem]) -> list[tuple[Problem, list[list[int]]]]:
    """Each problem that has tests, with its candidates' verdicts, checked."""
    checked = [(problem, _candidates(problem, given)) for problem, given in results.items()]
    return [(problem, candidates) for problem, candidates in checked if any(candidates)]


def _candidates(problem: object, given: Sequence[Any]) -> list[list[int]]:
    """A problem's verdicts as one list a candidate."""
    given = _listed(given)
    if not isinstance(given, list):
        raise ValueError(f"problem {problem!r}: must have a list of verdicts but got {given!r}")
    rows = [_listed(each) for each in given]
    nested = [isinstance(row, list) for row in rows]
    if any(nested) and not all(nested):
        raise ValueError(
            f"problem {problem!r}: must have verdicts or one list a candidate but mixes the two: {given!r}"
        )
    candidates = rows if any(nested) else [rows]
    for verdict in chain.from_iterable(candidates):
        # 1 and 0 are True and False here: an array makes them of booleans beside codes.
        if not isinstance(verdict, int) or verdict not in VERDICTS:
            raise ValueError(f"problem {problem!r}: a verdict must be True, False, -1 or -2 but got {verdict!r}")
    if any(candidates) and not all(candidates):
        raise ValueError(
            f"problem {problem!r}: every candidate must have a verdict for each test, or one -2, but candidate "
            f"{candidates.index([])} of {len(candidates)} has none while others do"
        )
    return candidates


def _listed(value: Any) -> Any:
    """Tuples and NumPy's arrays and numbers as plain lists and values; anything else as it is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def compute(answers: Answers) -> dict[str, Any]:
    """Tests passed, strict accuracy and pass@k with 95 % intervals, by column, over all problems and over each level;
    and how many tests ended in which outcome.

    A cut k beyond the fewest candidates is left out, and avg_tests_passed where tests were not run after a first
    failure.
    """
    rows = [row for tests in answers.tests.values() for row in tests]
    counts = Counter(row["outcome"] for row in rows)
    columns: dict[str, Any] = {f"{outcome}_tests": counts[outcome] for outcome in OUTCOMES}
    level_of = {problem: tests[0]["level"] for problem, tests in answers.tests.items()}
    values = values_by_problem(answers.tests, "passed")
    paper = values_by_problem(answers.tests, "passed_paper", PAPER_CAP_SECONDS if answers.as_paper else None)
    for level in (None, *answers.levels):
        chosen = [problem for problem in level_of if level in (None, level_of[problem])]
        for name in values if chosen else ():
            if name == "avg_tests_passed" and counts["not_run"]:
                continue
            column = f"{name}_{level}" if level else name
            for reading, by_problem in {column: values[name], f"{column}_paper": paper[name]}.items():
                own = [by_problem[problem] for problem in chosen]
                columns[reading] = float(np.mean(own))
                columns |= intervals.of_mean(reading, own)
    return columns


PAPER_CAP_SECONDS = 11.0
"""How long the reference harness of APPS waits for all tests of a program, after which all of them count as failed (its
`check_correctness`: a timeout of 10 seconds and 1 more). The harness measures elapsed time, the table `tests` CPU time.
"""


def values_by_problem(tests: Mapping[str, Sequence[Row]], reading: str, cap_seconds: float | None = None) -> Values:
    """Each functional score of each problem, in [0, 1]; `reading` is `passed` or `passed_paper`.

    A candidate whose tests take more than `cap_seconds` together fails them all; None: there is no such limit.
    """
    verdicts: dict[str, list[list[Any]]] = {}
    for problem, rows in tests.items():
        candidates: dict[int, list[Any]] = {}
        seconds: Counter[int] = Counter()
        for row in rows if cap_seconds else ():
            seconds[row["rank"]] += row["seconds"] or 0
        for row in rows:
            capped = cap_seconds is not None and seconds[row["rank"]] > cap_seconds
            verdict = True if row[reading] and not capped else VERDICT.get(row["outcome"], -1)
            candidates.setdefault(row["rank"], []).append(verdict)
        verdicts[problem] = [*candidates.values()]
    passed = candidates_passed(verdicts)
    values = {
        "avg_tests_passed": shares_passed(verdicts),
        "strict_accuracy": {problem: c / n for problem, (n, c) in passed.items()},
    }
    fewest = min((n for n, _ in passed.values()), default=0)
    for k in (k for k in PASS_CUTS if k <= fewest):
        values[f"pass_at_{k}"] = {problem: pass_at_k(n, c, k) for problem, (n, c) in passed.items()}
    return values


FIRST_PASSES = "first_passes"
"""Whether a problem's first candidate passes all its tests: pass@1 as a hit or miss."""


def per_example(answers: Answers) -> Values:
    """pass@1 of each problem, whether its first candidate passes, and, where all tests were run, the share passed."""
    values = values_by_problem(answers.tests, "passed")
    if not answers.tests:
        return {}
    found = {
        "pass_at_1": values["strict_accuracy"],
        FIRST_PASSES: {
            problem: float(all(row["passed"] for row in rows if row["rank"] == 0))
            for problem, rows in answers.tests.items()
        },
    }
    if not any(row["outcome"] == "not_run" for rows in answers.tests.values() for row in rows):
        found["avg_tests_passed"] = values["avg_tests_passed"]
    return found


TOLD = {
    **{
        f"pass_at_{k}": (
            f"pass@{k}",
            f"pass@k: chance that at least one of {k} candidates passes all tests (unbiased estimator)",
        )
        for k in PASS_CUTS
    },
    "strict_accuracy": ("strict accuracy", "Share of candidates that pass all their tests, averaged over problems"),
    "avg_tests_passed": (
        "tests passed",
        "Share of tests that a candidate passes, averaged over candidates and then over problems",
    ),
}
"""Name of a score -> its heading, and what it is."""


def _score(name: str, **shown: Any) -> Score:
    title, description = TOLD[name]
    return Score(name, title, description, readings=("low", "high", "paper", "paper_low", "paper_high"), **shown)


def _level_scores(levels: Sequence[str]) -> tuple[Score, ...]:
    return tuple(score for level, short in _short_names(levels).items() for score in _scores_of_level(level, short))


def _short_names(levels: Sequence[str]) -> dict[str, str]:
    """Each level's name in headings: its first letters, unless another level has the same ones."""
    cut = {level: level if len(level) <= 5 else f"{level[:5]}." for level in levels}
    counts = Counter(cut.values())
    return {level: short if counts[short] == 1 else level for level, short in cut.items()}


def _scores_of_level(level: str, short: str) -> tuple[Score, ...]:
    table = {"title": short, "width": WIDE, "note": f"{short}: pass@1 of {level} problems"}
    hidden = {"width": None}
    return tuple(
        replace(
            _score(name, over_seeds=False),
            name=f"{name}_{level}",
            description=f"{TOLD[name][1]}, {level} problems",
            **(table if name == "pass_at_1" else hidden),
        )
        for name in TOLD
    )


METRIC = Metric(
    name="functional",
    needs="tests",
    scores=(
        _score("pass_at_1", with_interval=True, in_headline=True, hits=FIRST_PASSES),
        _score("pass_at_2", width=None, over_seeds=False),
        _score("pass_at_5", in_headline=True, over_seeds=False),
        _score("strict_accuracy", width=None, over_seeds=False),
        _score("avg_tests_passed", in_headline=True),
    ),
    compute=compute,
    per_example=per_example,
    columns=tuple(
        Column(f"{outcome}_tests", int, f"Number of tests, over all candidates, whose outcome is {outcome}", "tests")
        for outcome in OUTCOMES
    ),
    level_scores=_level_scores,
)
