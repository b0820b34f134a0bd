"""Seeds and examples as two sources of chance: the mean of a score, or of a difference, over both.

    two_level(differences)      # (seeds, examples): what a trial gains on each example, one line a seed
    two_level(ours, theirs)     # the same of two sides that ran other seeds, also other numbers of them
    over_seeds([0.31, 0.29, 0.33])

Seeds and examples are crossed: every seed answers the same test examples. So the mean has the variance of a two-way
random-effects analysis of variance, as readers and cases have in studies of diagnostic readings (Dorfman, Berbaum and
Metz 1992), with degrees of freedom after Hillis (2007, Statistics in Medicine 26, 596-619), made cautious for few seeds
(`raypeft.analysis.statistics.spread.freedom`). The seeds of two sides that share none are independent: their variances
add up, with degrees of freedom after Welch (1947); the examples stay those of both.

A bootstrap that draws seeds, then examples, is the alternative. It is not used here since with few seeds it is too wide
where they scatter little and too narrow where they scatter much: `benchmarks/intervals.py` measures how often each
interval holds the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf, isfinite, sqrt
from statistics import fmean
from typing import Any

import numpy as np

from raypeft.analysis.statistics.paired import CONFIDENCE, numbers
from raypeft.analysis.statistics.spread import Spread, freedom, quantile

FEWEST_SEEDS = 3
"""Fewer seeds have no interval: that of two seeds is 3.6 times as wide as that of three with the same deviation."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """One score over several seeds."""

    mean: float
    standard_deviation: float | None
    """Of the seeds (n - 1 in the denominator), not of their mean. None for a single seed."""
    low: float | None
    high: float | None
    """Bounds of the 95 % interval of the mean. None for fewer than `FEWEST_SEEDS` seeds."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLevel(Spread):
    """A mean over seeds and examples, in the unit of the values."""

    mean: float
    """Of two sides: the first minus the second."""
    low: float
    high: float
    """Bounds of the 95 % interval of the mean, over other seeds and other examples."""
    p_value: float
    """Two-sided, that the mean is 0."""
    error: float
    """Standard error of the mean."""
    degrees: float
    """Degrees of freedom of Student's t for mean / error; infinite where the examples are the only chance."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The analysis of variance of one table (seeds, examples)."""

    seeds: int
    by_example: Any
    """The mean of each example over the seeds."""
    seed_square: float
    """Mean square of the seeds. It expects noise + examples * seeds' variance."""
    noise: float
    """Mean square of what neither seeds nor examples explain."""


def two_level(
    values: Sequence[Sequence[float]], than: Sequence[Sequence[float]] | None = None, floor: float = 0.0
) -> TwoLevel:
    """The mean of `values` (seeds, examples), its 95 % interval and its p-value.

    With `than`, the mean of `values` minus that of `than`: the same examples by other seeds. `floor` is a variance that
    the mean has whatever the values are (`raypeft.analysis.statistics.paired.floor_variance`). Raises ValueError for
    fewer than `FEWEST_SEEDS` seeds, fewer than 2 examples, other numbers of examples, and what is no finite number.
    """
    sides = [_side(_table(each)) for each in (values, than) if each is not None]
    examples = len(sides[0].by_example)
    if any(len(each.by_example) != examples for each in sides):
        raise ValueError(f"both sides must have the same examples but got {examples} and {len(sides[1].by_example)}")
    by_example = sides[0].by_example - sides[1].by_example if than is not None else sides[0].by_example
    mean = float(by_example.mean())
    noise = sum(each.noise / each.seeds for each in sides)
    seed_parts = [each.seed_square / (each.seeds * examples) for each in sides]
    beyond = max(float(by_example.var(ddof=1)) - noise, 0.0)
    each_degrees = [each.seeds - 1 for each in sides]
    seed_degrees = welch(seed_parts, each_degrees) if any(seed_parts) else float(sum(each_degrees))
    degrees = freedom(seed_degrees, sum(seed_parts), beyond / examples)
    error = (sum(seed_parts) + beyond / examples + floor) ** 0.5
    margin = quantile(degrees, (1 + CONFIDENCE) / 2) * error
    fewest = min(each.seeds for each in sides)
    between = sum(max(each.seed_square - each.noise, 0.0) / each.seeds for each in sides) / examples
    return TwoLevel(
        mean=mean,
        low=mean - margin,
        high=mean + margin,
        p_value=2 * _below(degrees, -abs(mean) / error) if error > 0 else float(mean == 0),
        seed_variance=between * fewest,
        example_variance=beyond,
        noise_variance=noise * fewest,
        seeds=fewest,
        examples=examples,
        error=error,
        degrees=degrees,
        seed_degrees=seed_degrees,
        floor=floor,
    )


def _table(values: Sequence[Sequence[float]]) -> Any:
    table = np.array([numbers(f"values of seed {place}", line) for place, line in enumerate(values)])
    seeds, examples = table.shape if table.ndim == 2 else (len(table), 0)
    if seeds < FEWEST_SEEDS or examples < 2:
        raise ValueError(
            f"values must be of at least {FEWEST_SEEDS} seeds and 2 examples but got {seeds} and {examples}"
        )
    return table


def _side(table: Any) -> _Side:
    seeds, examples = table.shape
    mean, by_seed, by_example = table.mean(), table.mean(axis=1), table.mean(axis=0)
    left = table - by_seed[:, None] - by_example[None] + mean
    seed_square = examples * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    return _Side(seeds, by_example, seed_square, float((left**2).sum()) / ((seeds - 1) * (examples - 1)))


def welch(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances (Welch 1947, Biometrika 34, 28-35)."""
    below = sum(part**2 / each for part, each in zip(variances, degrees, strict=True) if isfinite(each))
    return sum(variances) ** 2 / below if below > 0 else inf


def _below(degrees: float, value: float) -> float:
    """The probability that Student's t is below a value."""
    from scipy import special

    return float(special.stdtr(degrees, value) if isfinite(degrees) else special.ndtr(value))


def over_seeds(values: Sequence[float]) -> Seeds:
    """Mean, standard deviation and 95 % interval of the mean (Student's t, n - 1 degrees) of one score a seed.

    The interval takes seeds as independent and their scores as roughly normal; it may leave [0, 1]. Raises ValueError
    for no values and for what is no finite number.
    """
    scores = numbers("values", values).tolist()  # a report has thousands of few seeds, for which numpy is slow
    mean, n = fmean(scores), len(scores)
    deviation = sqrt(fsum((score - mean) ** 2 for score in scores) / (n - 1)) if n > 1 else None
    if n < FEWEST_SEEDS or deviation is None:
        return Seeds(mean, deviation, None, None, n)
    margin = quantile(n - 1, (1 + CONFIDENCE) / 2) * deviation / n**0.5
    return Seeds(mean, deviation, mean - margin, mean + margin, n)
