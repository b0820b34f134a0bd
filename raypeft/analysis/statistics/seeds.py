"""Seeds and examples as two sources of chance: the mean of a score, or of a difference, over both.

    two_level(differences)      # (seeds, examples): what a trial gains on each example, one line a seed
    over_seeds([0.31, 0.29, 0.33])

Seeds and examples are crossed: every seed answers the same test examples. So the mean has the variance of a two-way
random-effects analysis of variance, as readers and cases have in studies of diagnostic readings (Dorfman, Berbaum and
Metz 1992), with degrees of freedom after Hillis (2007, Statistics in Medicine 26, 596-619), made cautious for few seeds
(`_freedom`).

A bootstrap that draws seeds, then examples, is the alternative. It is not used here since with few seeds it is too wide
where they scatter little and too narrow where they scatter much: `benchmarks/intervals.py` measures how often each
interval holds the truth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from raypeft.analysis.statistics.paired import CONFIDENCE, POWER, numbers

SEED_BOUND = 0.1
"""Chance that the variance between seeds is larger than the bound that degrees of freedom are made from."""
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


@dataclass(frozen=True, slots=True)
class TwoLevel:
    """A mean over seeds and examples, in the unit of the values."""

    mean: float
    low: float
    high: float
    """Bounds of the 95 % interval of the mean, over other seeds and other examples."""
    p_value: float
    """Two-sided, that the mean is 0."""
    seed_variance: float
    """Variance between seeds over all examples: how much a seed's mean scatters beyond what examples explain."""
    example_variance: float
    """Variance between examples over all seeds."""
    noise_variance: float
    """What neither explains: seeds that differ on single examples."""
    seeds: int
    examples: int
    error: float
    """Standard error of the mean."""
    degrees: float
    """Degrees of freedom of Student's t for mean / error; infinite where the examples are the only chance."""

    @property
    def detectable(self) -> float:
        """The smallest mean that as many seeds and examples find significant with a chance of 80 %."""
        return self._detectable(self.seeds)

    def seeds_for(self, mean: float, most: int = 100) -> int | None:
        """The number of seeds with which this mean would be found with a chance of 80 %, on as many examples.

        None if `most` seeds would not do: then the examples are too few.
        """
        # More seeds find smaller means, so the first number that does is found by halving.
        n = bisect_left(range(2, most + 1), True, key=lambda n: self._detectable(n) <= abs(mean)) + 2
        return n if n <= most else None

    def _detectable(self, seeds: int) -> float:
        by_seeds = (self.seed_variance + self.noise_variance / self.examples) / seeds
        variance = by_seeds + self.example_variance / self.examples
        freedom = _freedom(seeds, by_seeds, self.example_variance / self.examples)
        return (_quantile(freedom, (1 + CONFIDENCE) / 2) + _quantile(freedom, POWER)) * variance**0.5


def two_level(values: Sequence[Sequence[float]]) -> TwoLevel:
    """The mean of `values` (seeds, examples), its 95 % interval and its p-value.

    Raises ValueError for fewer than `FEWEST_SEEDS` seeds, fewer than 2 examples, and what is no finite number.
    """
    table = np.array([numbers(f"values of seed {place}", line) for place, line in enumerate(values)])
    seeds, examples = table.shape if table.ndim == 2 else (len(table), 0)
    if seeds < FEWEST_SEEDS or examples < 2:
        raise ValueError(
            f"values must be of at least {FEWEST_SEEDS} seeds and 2 examples but got {seeds} and {examples}"
        )
    mean, by_seed, by_example = table.mean(), table.mean(axis=1), table.mean(axis=0)
    left = table - by_seed[:, None] - by_example[None] + mean
    # Mean squares. Their expectations: noise + examples * seeds', noise + seeds * examples', noise.
    seed_square = examples * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    example_square = seeds * float(((by_example - mean) ** 2).sum()) / (examples - 1)
    noise = float((left**2).sum()) / ((seeds - 1) * (examples - 1))
    beyond = max(example_square - noise, 0.0)
    variance = (seed_square + beyond) / (seeds * examples)
    freedom = _freedom(seeds, seed_square, beyond)
    error = variance**0.5
    margin = _quantile(freedom, (1 + CONFIDENCE) / 2) * error
    p_value = 2 * _below(freedom, -abs(mean) / error) if variance > 0 else float(mean == 0)
    return TwoLevel(
        mean=float(mean),
        low=float(mean - margin),
        high=float(mean + margin),
        p_value=p_value,
        seed_variance=max(seed_square - noise, 0.0) / examples,
        example_variance=beyond / seeds,
        noise_variance=noise,
        seeds=seeds,
        examples=examples,
        error=error,
        degrees=freedom,
    )


def _freedom(seeds: int, by_seeds: float, by_examples: float) -> float:
    """Degrees of freedom of Student's t, from both parts of the mean's variance; infinite where seeds have none.

    They are Hillis' ((n - 1) / share**2, where share is the part of the variance that comes from seeds), but with the
    upper bound (90 %) of the variance between seeds in the share. Hillis takes the share as known; of three seeds it is
    not, and where it came out too small by chance, the interval was too narrow and the degrees were too many at once.
    """
    from scipy import special

    if by_seeds <= 1e-12:
        return inf
    upper = by_seeds * (seeds - 1) / float(special.chdtri(seeds - 1, 1 - SEED_BOUND))
    return (seeds - 1) / (upper / (upper + by_examples)) ** 2


def _quantile(freedom: float, probability: float) -> float:
    """Of Student's t. These functions are what `scipy.stats.t` calls; an object of it takes 1 ms to make."""
    from scipy import special

    return float(special.stdtrit(freedom, probability) if isfinite(freedom) else special.ndtri(probability))


def _below(freedom: float, value: float) -> float:
    """The probability that Student's t is below a value."""
    from scipy import special

    return float(special.stdtr(freedom, value) if isfinite(freedom) else special.ndtr(value))


def over_seeds(values: Sequence[float]) -> Seeds:
    """Mean, standard deviation and 95 % interval of the mean (Student's t, n - 1 degrees) of one score a seed.

    The interval takes seeds as independent and their scores as roughly normal; it may leave [0, 1]. Raises ValueError
    for no values and for what is no finite number.
    """
    scores = numbers("values", values)
    mean, n = float(scores.mean()), len(scores)
    deviation = float(scores.std(ddof=1)) if n > 1 else None
    if n < FEWEST_SEEDS or deviation is None:
        return Seeds(mean, deviation, None, None, n)
    margin = _quantile(n - 1, (1 + CONFIDENCE) / 2) * deviation / n**0.5
    return Seeds(mean, deviation, mean - margin, mean + margin, n)
