"""Functional scores: what share of their tests do the candidates pass, and how often do they pass all of them?

    from raypeft.metrics.functional import avg_tests_passed, pass_at_k, strict_accuracy
    avg_tests_passed({"two-sum": [True, False], "max": [-2]})      # 0.25
    pass_at_k(n=5, c=2, k=2)                                       # 0.7

`results` maps each problem to one verdict a test, in the codes of the APPS reference (Hendrycks et al., arXiv
2105.09938): True passed, False a wrong answer, -1 raised or out of time, -2 does not compile or lacks the function. A
problem with several candidates maps to a list of such lists; a candidate that does not compile may have a single -2 for
all tests.

A problem without tests, or without candidates, is left out of every score, and never counts as passed;
`problems_without_tests` names them. Nothing is run here: verdicts come from the sandbox.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from math import prod
from numbers import Integral
from typing import Any, TypeVar

Problem = TypeVar("Problem", bound=Hashable)
Results = Mapping[Problem, Sequence[Any]]
"""Problem -> verdicts of its one candidate, or a list of such lists, one a candidate."""

VERDICTS = (True, False, -1, -2)


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


def avg_tests_passed(results: Results[Problem]) -> float:
    """Share of tests passed, in [0, 1]: mean over a problem's tests, then its candidates, then problems.

    0 where no problem has tests. Raises what `shares_passed` raises. Source: Hendrycks et al. (arXiv 2105.09938), "test
    case average"; the mean over candidates is this project's reading of arXiv 2308.10462, Table 4.
    """
    return _mean(list(shares_passed(results).values()))


def strict_accuracy(results: Results[Problem]) -> float:
    """Share of candidates that pass every test of their problem, in [0, 1]: mean over candidates, then problems.

    With one number of candidates for all this is pass@1. 0 where no problem has tests. Raises what `shares_passed`
    raises. Source: Hendrycks et al. (arXiv 2105.09938), "strict accuracy".
    """
    return _mean([passed / total for total, passed in candidates_passed(results).values()])


def shares_passed(results: Results[Problem]) -> dict[Problem, float]:
    """For each problem with tests, the share that its candidates pass, in [0, 1]: what intervals are made from.

    Raises ValueError for a verdict that is none of True, False, -1, -2, for a problem that mixes verdicts and lists,
    and for a candidate without verdicts beside one that has some: its tests were not run, which is not a score.
    """
    return {
        problem: _mean([_mean([float(verdict == 1) for verdict in verdicts]) for verdicts in candidates])
        for problem, candidates in _with_tests(results)
    }


def candidates_passed(results: Results[Problem]) -> dict[Problem, tuple[int, int]]:
    """For each problem with tests, (n, c) for pass_at_k: its candidates, and how many of them pass every test.

    Raises what `shares_passed` raises.
    """
    return {
        problem: (len(candidates), sum(all(verdict == 1 for verdict in verdicts) for verdicts in candidates))
        for problem, candidates in _with_tests(results)
    }


def problems_without_tests(results: Results[Problem]) -> list[Problem]:
    """The problems that no score counts, since they have no verdict at all. Raises what `shares_passed` raises."""
    counted = {problem for problem, _ in _with_tests(results)}
    return [problem for problem in results if problem not in counted]


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
